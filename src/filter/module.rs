//! Every context of one VM, and the callbacks that reach them.

use std::rc::Rc;

use hashbrown::HashMap;

use super::meters::Meters;
use super::root::Root;
use super::stream::Stream;
use super::tunnel;
use crate::config::{self, Policy, Role};
use crate::engine::{Begin, Bypass, Exchange, Worker};
use crate::entry::Entry;
use crate::host::{Action, Buffer, FieldMap, Host};
use crate::http::cache_status::{self, Forward};
use crate::http::fields::{Fields, FieldsBuf};
use crate::http::request::RequestHead;
use crate::l2::{Answer, L2Error};
use crate::observe::{Counter, Histogram, L2Store};

/// Between ticks: the longest a lone L2 store waits for company, and metrics for their hand-over.
const TICK_MS: u32 = 50;
/// The tunnel's filters only forget ended streams at ticks.
const TUNNEL_TICK_MS: u32 = 1_000;

/// One VM: the worker's state, its root contexts and its streams.
#[derive(Debug)]
pub struct Module<H> {
    host: H,
    worker: Worker,
    roots: HashMap<u32, Root>,
    streams: HashMap<u32, (u32, Stream)>,
    meters: Option<Meters>,
    /// Makes this VM's queue names its own.
    nonce: u64,
    // Of the answer at hand: kept, so that a hit allocates nothing.
    fields: FieldsBuf,
    block: Vec<u8>,
    text: Vec<u8>,
}

impl<H: Host> Module<H> {
    /// A VM that was just started; `seed` is random.
    pub fn new(host: H, seed: u64) -> Self {
        Self {
            host,
            worker: Worker::new(seed),
            roots: HashMap::new(),
            streams: HashMap::new(),
            meters: None,
            nonce: seed.rotate_left(32),
            fields: FieldsBuf::default(),
            block: Vec::new(),
            text: Vec::new(),
        }
    }

    /// The VM starts.
    pub fn on_vm_start(&self) -> bool {
        let features = env!("TIERCEL_FEATURES");
        let (version, git) = (env!("CARGO_PKG_VERSION"), env!("TIERCEL_GIT_HASH"));
        self.host.log(
            log::Level::Info,
            &format!("tiercel {version} (git {git}, features: {features}) started"),
        );
        true
    }

    /// A filter gets its configuration. False refuses it, and Envoy keeps what it had.
    pub fn on_configure(&mut self, root_id: u32, len: usize) -> bool {
        // An empty configuration has no buffer: it is read as `{}`.
        let bytes = self.host.buffer(Buffer::PluginConfiguration, len).unwrap_or_default();
        let policy = match config::load(if bytes.is_empty() { b"{}" } else { &bytes }) {
            Ok(policy) => policy,
            Err(errors) => {
                for error in &errors {
                    self.log_error(&format!("configuration refused: {error}"));
                }
                return false;
            }
        };
        let (role, budget) = (policy.role, policy.l1_budget);
        let queue = format!("tiercel/{:016x}/{root_id}", self.nonce);
        let root = self.roots.entry(root_id).or_default();
        if let Err(error) = root.configure(policy, &self.host, &queue) {
            self.log_error(&format!("cannot open the L2 queue: {error}"));
            return false;
        }
        if role == Role::Cache {
            self.worker.l1.set_budget(budget);
            if self.meters.is_none() {
                self.meters = Some(Meters::define(&self.host));
            }
        }
        let period = if role == Role::Cache { TICK_MS } else { TUNNEL_TICK_MS };
        if let Err(error) = self.host.set_tick(period) {
            self.log_error(&format!("no timer: {error}"));
            return false;
        }
        true
    }

    /// A context begins: a root, or a stream of one.
    pub fn on_create(&mut self, context: u32, root: u32) {
        if root == 0 {
            self.roots.insert(context, Root::default());
        } else {
            self.streams.insert(context, (root, Stream::New));
        }
    }

    /// Time passes.
    pub fn on_tick(&mut self, root: u32) {
        let now_ms = self.host.now_ms();
        let late = self.roots.get_mut(&root).map(|r| r.expired(now_ms)).unwrap_or_default();
        self.answer_all(root, late, now_ms);
        self.sweep(root);
        self.flush(root, true);
        if let Some(meters) = &mut self.meters {
            meters.flush(&self.host, &mut self.worker.counters, &self.worker.l1);
        }
    }

    /// Our own message came back: what was queued meanwhile goes out together.
    pub fn on_queue_ready(&mut self, root: u32, queue: u32) {
        if let Some(r) = self.roots.get_mut(&root).filter(|r| r.owns_queue(queue)) {
            r.wake_up(&self.host);
            self.flush(root, false);
        }
    }

    /// A callout was answered; without a head it was reset.
    pub fn on_call_response(&mut self, root: u32, token: u32, has_head: bool, body_len: usize) {
        let owner = self.roots.iter().find(|(_, r)| r.owns_call(token)).map(|(id, _)| *id);
        let Some(owner) = owner else { return };
        let status = has_head.then(|| self.host.field(FieldMap::Call, b":status").ok()).flatten();
        let body = match body_len {
            0 => Vec::new(),
            _ => self.host.buffer(Buffer::CallBody, body_len).unwrap_or_default(),
        };
        let now_ms = self.host.now_ms();
        let answers =
            self.roots.get_mut(&owner).map(|r| r.received(token, status.as_deref(), &body));
        self.answer_all(root, answers.unwrap_or_default(), now_ms);
        self.flush(owner, false);
    }

    /// A request's head arrives.
    pub fn on_request_head(&mut self, context: u32, ended: bool) -> Action {
        let Some((root_id, stream)) = self.streams.get_mut(&context) else {
            return Action::Continue;
        };
        let Some(root) = self.roots.get_mut(root_id) else { return Action::Continue };
        let Some(policy) = root.policy.as_ref().filter(|p| p.role == Role::Cache) else {
            return Action::Continue;
        };
        let Ok(block) = self.host.fields(FieldMap::Request) else { return Action::Continue };
        let head = RequestHead::read(Fields::new(&block));
        let now_ms = self.host.now_ms();
        match Exchange::begin(policy, &head, ended, now_ms, &mut self.worker) {
            Begin::Hit(entry) => {
                let policy = Rc::clone(policy);
                self.streams.remove(&context);
                if self.serve(&policy, &entry, "l1", now_ms) {
                    Action::Pause
                } else {
                    Action::Continue
                }
            }
            Begin::Bypass(reason) => {
                *stream = Stream::Bypassed(reason);
                Action::Continue
            }
            Begin::Miss(exchange) if root.look_up(&self.host, context, exchange.hash()) => {
                *stream = Stream::AwaitingL2(exchange);
                Action::Pause
            }
            Begin::Miss(exchange) => {
                if root.has_l2() {
                    exchange.l2_failed(L2Error::Saturated, &mut self.worker);
                }
                *stream = Stream::Forwarded(exchange);
                Action::Continue
            }
        }
    }

    /// A chunk of a request's body arrives.
    pub fn on_request_body(&mut self, context: u32, end_of_stream: bool) -> Action {
        self.role(context)
            .map_or(Action::Continue, |role| tunnel::on_body(role, end_of_stream, &self.host))
    }

    /// A request's trailers arrive.
    pub fn on_request_trailers(&mut self, context: u32) -> Action {
        self.role(context).map_or(Action::Continue, tunnel::on_trailers)
    }

    /// The head of the origin's response arrives, or of our own.
    pub fn on_response_head(&mut self, context: u32, ended: bool) {
        let Some((root_id, stream)) = self.streams.get_mut(&context) else { return };
        let Some(root) = self.roots.get_mut(root_id) else { return };
        let Some(policy) = &root.policy else { return };
        self.text.clear();
        match stream {
            Stream::New | Stream::AwaitingL2(_) => {}
            Stream::Bypassed(reason) => {
                let why = match reason {
                    Bypass::Method => Forward::Method,
                    _ => Forward::Bypass,
                };
                let (name, detail) = (&policy.cache_name, Some(reason.as_str()));
                cache_status::write_forwarded(&mut self.text, name, why, 0, false, detail);
                add_status(&self.host, policy, &self.text, "BYPASS", None);
                self.streams.remove(&context);
            }
            Stream::Forwarded(exchange) => {
                let Ok(block) = self.host.fields(FieldMap::Response) else { return };
                let now_ms = self.host.now_ms();
                let fields = Fields::new(&block);
                exchange.respond(fields, now_ms, &mut self.worker, &mut self.text);
                add_status(&self.host, policy, &self.text, "MISS", Some(exchange.hash()));
                if ended || !exchange.wants_body() {
                    self.finish(context);
                }
            }
        }
    }

    /// A chunk of a response's body streams by.
    pub fn on_response_body(&mut self, context: u32, len: usize, end_of_stream: bool) {
        let Some((_, Stream::Forwarded(exchange))) = self.streams.get_mut(&context) else { return };
        if len > 0 {
            match self.host.buffer(Buffer::ResponseBody, len) {
                Ok(data) if data.len() == len => exchange.chunk(data, &mut self.worker),
                // A chunk that cannot be copied leaves a hole: the response is not stored.
                _ => exchange.give_up(&mut self.worker),
            }
        }
        if end_of_stream || !exchange.wants_body() {
            self.finish(context);
        }
    }

    /// A response ends with trailers, which are not stored.
    pub fn on_response_trailers(&mut self, context: u32) {
        if let Some((_, Stream::Forwarded(_))) = self.streams.get(&context) {
            self.finish(context);
        }
    }

    /// Forgets contexts that have ended. Envoy would tell of each by a callback, which costs a hit more
    /// than anything else that can be left out; the few streams still known at a tick are asked for.
    /// `root` must be the context at hand.
    fn sweep(&mut self, root: u32) {
        let Self { host, worker, streams, roots, .. } = self;
        if streams.is_empty() {
            return;
        }
        let ended = streams.extract_if(|id, _| host.set_context(*id).is_err());
        for (_, (_, stream)) in ended {
            if let Stream::AwaitingL2(exchange) | Stream::Forwarded(exchange) = stream {
                exchange.abandon(worker);
            }
        }
        roots.retain(|id, _| host.set_context(*id).is_ok());
        // The root lives: it is the one that was called.
        let _ = host.set_context(root);
    }

    /// Nothing more is wanted of a stream; what it stored goes on to L2.
    fn finish(&mut self, context: u32) {
        let Some((root_id, Stream::Forwarded(exchange))) = self.streams.remove(&context) else {
            return;
        };
        let Some(entry) = exchange.finish(&mut self.worker) else { return };
        if let Some(meters) = &self.meters {
            meters.record(&self.host, Histogram::EntryBytes, entry.len());
        }
        let root = self.roots.get_mut(&root_id);
        if root.and_then(|root| root.store(&self.host, &entry)) == Some(false) {
            self.worker.counters.count(Counter::L2Store(L2Store::Skipped));
        }
    }

    /// Makes the L2 calls that are due. `root` must be the context at hand.
    fn flush(&mut self, root_id: u32, all: bool) {
        let now_ms = self.host.now_ms();
        let Some(root) = self.roots.get_mut(&root_id) else { return };
        let (failed, batches) = root.flush(&self.host, now_ms, all);
        if let Some(meters) = &self.meters {
            batches.iter().for_each(|n| meters.record(&self.host, Histogram::L2Batch, *n));
        }
        self.answer_all(root_id, failed, now_ms);
    }

    /// Gives L2's answers to the requests that wait for them. Called only from callbacks of a root:
    /// from a stream's, answering another stream would stop the first (docs/design.md, 6).
    fn answer_all(&mut self, root: u32, answers: Vec<Answer<'_>>, now_ms: u64) {
        if answers.is_empty() {
            return;
        }
        for answer in answers {
            match answer {
                Answer::Found(ticket, bytes) => self.answer(ticket, Ok(Some(bytes)), now_ms),
                Answer::Absent(ticket) => self.answer(ticket, Ok(None), now_ms),
                Answer::Failed(ticket, error) => self.answer(ticket, Err(error), now_ms),
                Answer::Stored => self.worker.counters.count(Counter::L2Store(L2Store::Stored)),
                Answer::NotStored(error) => {
                    self.worker.counters.count(Counter::L2Store(L2Store::Failed));
                    self.worker.counters.count(Counter::L2Error(error));
                }
            }
        }
        // The root lives: it is the one that was called.
        let _ = self.host.set_context(root);
    }

    fn answer(&mut self, context: u32, found: Result<Option<&[u8]>, L2Error>, now_ms: u64) {
        // A client that left meanwhile has no stream any more.
        let Some((root_id, stream)) = self.streams.get_mut(&context) else { return };
        let Stream::AwaitingL2(mut exchange) = std::mem::replace(stream, Stream::New) else {
            return;
        };
        // A client that left in this very turn has a context still, but nothing behind it.
        if self.host.set_context(context).is_err() || self.host.has_ended() {
            self.streams.remove(&context);
            return exchange.abandon(&mut self.worker);
        }
        let entry = match found {
            Ok(Some(bytes)) => exchange.found_in_l2(bytes, now_ms, &mut self.worker),
            Ok(None) => {
                exchange.absent_in_l2(&mut self.worker);
                None
            }
            Err(error) => {
                exchange.l2_failed(error, &mut self.worker);
                None
            }
        };
        let policy = self.roots.get(root_id).and_then(|root| root.policy.clone());
        *stream = Stream::Forwarded(exchange);
        if let (Some(entry), Some(policy)) = (entry, policy)
            && self.serve(&policy, &entry, "l2", now_ms)
        {
            self.streams.remove(&context);
        } else if let Err(error) = self.host.resume_request() {
            self.log_error(&format!("a request cannot go on: {error}"));
        }
    }

    /// Answers the stream at hand with an entry; false if it must do without.
    fn serve(&mut self, policy: &Policy, entry: &Entry, level: &str, now_ms: u64) -> bool {
        let ttl_s = entry.ttl_s(now_ms);
        self.fields.clear();
        self.fields.extend(entry.fields());
        self.text.clear();
        cache_status::write_hit(&mut self.text, &policy.cache_name, ttl_s, level);
        self.fields.push(b"cache-status", &self.text);
        self.fields.push(b"age", itoa::Buffer::new().format(entry.age_s(now_ms)).as_bytes());
        if policy.x_cache_status {
            self.fields.push(b"x-cache-status", b"HIT");
        }
        if policy.x_cache_key {
            self.fields.push(b"x-cache-key", &short_hash(entry.key().hash()));
        }
        self.block.clear();
        self.fields.write(&mut self.block);
        let sent = self.host.respond(entry.meta().status, &self.block, entry.body());
        if let Err(error) = &sent {
            self.log_error(&format!("a hit cannot be sent: {error}"));
        }
        sent.is_ok()
    }

    fn role(&self, context: u32) -> Option<Role> {
        let (root, _) = self.streams.get(&context)?;
        Some(self.roots.get(root)?.policy.as_ref()?.role)
    }

    fn log_error(&self, text: &str) {
        self.host.log(log::Level::Error, &format!("tiercel: {text}"));
    }
}

fn add_status(host: &impl Host, policy: &Policy, text: &[u8], x_status: &str, hash: Option<u128>) {
    // A response that cannot take a field goes out without it.
    let _ = host.add_field(FieldMap::Response, b"cache-status", text);
    if policy.x_cache_status {
        let _ = host.set_field(FieldMap::Response, b"x-cache-status", x_status.as_bytes());
    }
    if let Some(hash) = hash.filter(|_| policy.x_cache_key) {
        let _ = host.set_field(FieldMap::Response, b"x-cache-key", &short_hash(hash));
    }
}

/// The first eight hex digits of a key's hash.
fn short_hash(hash: u128) -> [u8; 8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibble = |n: usize| (hash >> (124 - 4 * n) & 15) as usize;
    std::array::from_fn(|n| DIGITS.get(nibble(n)).copied().unwrap_or_default())
}
