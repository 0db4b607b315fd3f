//! Every context of one VM, and the callbacks that reach them.

use std::rc::Rc;

use hashbrown::HashMap;

use super::meters::Meters;
use super::reply::Reply;
use super::root::Root;
use super::stream::Stream;
use super::tunnel;
use crate::config::{self, Policy, Role};
use crate::engine::{Begin, Exchange, Worker};
use crate::entry::Entry;
use crate::host::{Action, Buffer, FieldMap, Host};
use crate::http::fields::Fields;
use crate::http::request::RequestHead;
use crate::l2::{Answer, L2Error};
use crate::observe::{Counter, Histogram, L2Lookup, L2Store};

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
    /// The stream that was just made, and its root: its request's head comes next.
    newest: (u32, u32),
    meters: Option<Meters>,
    /// Makes this VM's queue names its own.
    nonce: u64,
    reply: Reply,
}

impl<H: Host> Module<H> {
    /// A VM that was just started; `seed` is random.
    pub fn new(host: H, seed: u64) -> Self {
        Self {
            host,
            worker: Worker::new(seed),
            roots: HashMap::new(),
            streams: HashMap::new(),
            newest: (0, 0),
            meters: None,
            nonce: seed.rotate_left(32),
            reply: Reply::default(),
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
        let role = policy.role;
        let queue = format!("tiercel/{:016x}/{root_id}", self.nonce);
        let root = self.roots.entry(root_id).or_default();
        if let Err(error) = root.configure(policy, &self.host, &queue) {
            self.log_error(&format!("cannot open the L2 queue: {error}"));
            return false;
        }
        if role == Role::Cache {
            self.set_l1_budget();
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
            self.newest = (context, root);
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
            self.roots.get_mut(&owner).map(|r| r.received(token, status.as_deref(), &body, now_ms));
        self.answer_all(root, answers.unwrap_or_default(), now_ms);
        self.flush(owner, false);
    }

    /// A request's head arrives.
    pub fn on_request_head(&mut self, context: u32, ended: bool) -> Action {
        let (newest, root_id) = self.newest;
        let Some(root) = self.roots.get_mut(&root_id).filter(|_| newest == context) else {
            return Action::Continue;
        };
        let Some(policy) = &root.policy else { return Action::Continue };
        if policy.role != Role::Cache {
            self.streams.insert(context, (root_id, Stream::Tunnelled));
            return Action::Continue;
        }
        let Ok(block) = self.host.fields(FieldMap::Request) else { return Action::Continue };
        let head = RequestHead::read(Fields::new(&block));
        let (stream, action) =
            match Exchange::begin(policy, &head, ended, || self.host.now_ms(), &mut self.worker) {
                Begin::Hit(entry, now_ms) => {
                    let policy = Rc::clone(policy);
                    let sent = self.serve((context, root_id), &policy, &entry, "l1", now_ms);
                    return if sent { Action::Pause } else { Action::Continue };
                }
                Begin::Bypass(reason) => (Stream::Bypassed(reason), Action::Continue),
                Begin::Miss(exchange)
                    if root.has_l2() && root.look_up(&self.host, context, exchange.hash()) =>
                {
                    (Stream::AwaitingL2(exchange), Action::Pause)
                }
                Begin::Miss(exchange) => {
                    if root.has_l2() {
                        exchange.l2_failed(L2Error::Saturated, &mut self.worker);
                    }
                    (Stream::Forwarded(exchange), Action::Continue)
                }
            };
        self.streams.insert(context, (root_id, stream));
        action
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
        match stream {
            Stream::Tunnelled | Stream::AwaitingL2(_) => {}
            Stream::Retyped(content_type) => {
                Reply::retype(&self.host, content_type.as_deref());
                self.streams.remove(&context);
            }
            Stream::Bypassed(reason) => {
                self.reply.bypass(&self.host, policy, *reason);
                self.streams.remove(&context);
            }
            Stream::Forwarded(exchange) => {
                let Ok(block) = self.host.fields(FieldMap::Response) else { return };
                let now_ms = self.host.now_ms();
                let status = self.reply.begin_status();
                exchange.respond(Fields::new(&block), now_ms, &mut self.worker, status);
                self.reply.miss(&self.host, policy, exchange.hash());
                if ended || !exchange.wants_body() {
                    self.finish(context);
                }
            }
        }
    }

    /// A chunk of a response's body streams by.
    pub fn on_response_body(&mut self, context: u32, len: usize, end_of_stream: bool) {
        let Some((_, Stream::Forwarded(exchange))) = self.streams.get_mut(&context) else { return };
        if len > 0 && exchange.wants_chunk(len, &mut self.worker) {
            let data = self.host.buffer(Buffer::ResponseBody, len).ok();
            exchange.chunk(data.filter(|data| data.len() == len), &mut self.worker);
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
        let ended = streams.extract_if(|id, _| host.set_context(*id).is_err());
        for (_, (_, stream)) in ended {
            match stream {
                Stream::AwaitingL2(exchange) => {
                    worker.counters.count(Counter::L2(L2Lookup::Abandoned));
                    exchange.abandon(worker);
                }
                Stream::Forwarded(exchange) => exchange.abandon(worker),
                Stream::Tunnelled | Stream::Bypassed(_) | Stream::Retyped(_) => {}
            }
        }
        let known = roots.len();
        roots.retain(|id, _| host.set_context(*id).is_ok());
        let changed = roots.len() != known;
        // The root lives: it is the one that was called.
        let _ = host.set_context(root);
        if changed {
            self.set_l1_budget();
        }
    }

    /// The filters of a VM share one L1: it is as large as the largest of them wants it.
    fn set_l1_budget(&mut self) {
        let policies = self.roots.values().filter_map(|root| root.policy.as_ref());
        let budgets = policies.filter(|p| p.role == Role::Cache).map(|p| p.l1_budget);
        self.worker.l1.set_budget(budgets.max().unwrap_or(0));
    }

    /// Nothing more is wanted of a stream; what it stored goes on to L2.
    fn finish(&mut self, context: u32) {
        let Some((root_id, Stream::Forwarded(exchange))) = self.streams.remove(&context) else {
            return;
        };
        let Some(entry) = exchange.finish(&mut self.worker) else { return };
        if let Some(meters) = &mut self.meters {
            meters.record(Histogram::EntryBytes, entry.len());
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
        if let Some(meters) = &mut self.meters {
            batches.iter().for_each(|n| meters.record(Histogram::L2Batch, *n));
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
        let Some((root_id, Stream::AwaitingL2(mut exchange))) = self.streams.remove(&context)
        else {
            return;
        };
        // A client that left in this very turn has a context still, but nothing behind it.
        if self.host.set_context(context).is_err() || self.host.has_ended() {
            self.worker.counters.count(Counter::L2(L2Lookup::Abandoned));
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
        let policy = self.roots.get(&root_id).and_then(|root| root.policy.clone());
        if let (Some(entry), Some(policy)) = (entry, policy)
            && self.serve((context, root_id), &policy, &entry, "l2", now_ms)
        {
            return;
        }
        self.streams.insert(context, (root_id, Stream::Forwarded(exchange)));
        if let Err(error) = self.host.resume_request() {
            self.log_error(&format!("a request cannot go on: {error}"));
        }
    }

    /// Answers the stream at hand, `context` of `root`, with an entry; false if it must do without.
    fn serve(
        &mut self,
        (context, root): (u32, u32),
        policy: &Policy,
        entry: &Entry,
        level: &str,
        now_ms: u64,
    ) -> bool {
        if let Err(error) = self.reply.hit(&self.host, policy, entry, level, now_ms) {
            self.log_error(&format!("a hit cannot be sent: {error}"));
            return false;
        }
        let content_type = entry.fields().get(b"content-type");
        if content_type.is_some() == entry.body().is_empty() {
            let stream = Stream::Retyped(content_type.map(<[u8]>::to_vec));
            self.streams.insert(context, (root, stream));
        }
        true
    }

    fn role(&self, context: u32) -> Option<Role> {
        let (root, _) = self.streams.get(&context)?;
        Some(self.roots.get(root)?.policy.as_ref()?.role)
    }

    fn log_error(&self, text: &str) {
        self.host.log(log::Level::Error, &format!("tiercel: {text}"));
    }
}
