//! Every context of one VM, and the callbacks that reach them.

use hashbrown::HashMap;

use super::behind::Fetching;
use super::claims::Waiting;
use super::existence::Asked;
use super::health::heat;
use super::meters::Meters;
use super::reply::Reply;
use super::root::{Queued, Root};
use super::stream::Stream;
use crate::coherence::Intents;
use crate::collapse::Peers;
use crate::config::{self, Role};
use crate::engine::{Worker, Write};
use crate::health::Health;
use crate::host::{Buffer, FieldMap, Host};
use crate::l2::{Answer, Claimant, L2Error};
use crate::observe::{Counter, Histogram, L2Delete, L2Store};

/// Between ticks: the longest a lone L2 store waits for company, and metrics for their hand-over.
const TICK_MS: u32 = 50;
/// The tunnel's filters only forget ended streams at ticks.
const TUNNEL_TICK_MS: u32 = 1_000;

/// One VM: the worker's state, its root contexts and its streams.
#[derive(Debug)]
pub struct Module<H> {
    pub(super) host: H,
    pub(super) worker: Worker,
    pub(super) roots: HashMap<u32, Root>,
    pub(super) streams: HashMap<u32, (u32, Stream)>,
    /// The stream that was just made, and its root: its request's head comes next.
    pub(super) newest: (u32, u32),
    /// The paused request that is just being answered, or let go.
    pub(super) in_hand: Option<u32>,
    /// Fetches that the cache makes itself, by token.
    pub(super) behind: HashMap<u32, Fetching>,
    pub(super) meters: Option<Meters>,
    /// Whether a worker runs it for sure: Envoy's main thread has a VM too, which no request reaches and
    /// whose calls do not reach L2.
    pub(super) is_worker: bool,
    /// Whether it has asked L2, and how often in vain before that was sure.
    pub(super) has_asked: bool,
    pub(super) vain_calls: u32,
    /// Whether the process has several workers.
    pub(super) peers: Peers,
    /// The gauge that tells workers of bumps.
    pub(super) bell: Option<u32>,
    /// Who asks Redis who of the fleet fetches.
    pub(super) claims: HashMap<Claimant, Waiting>,
    /// Writes whose end this VM has to see.
    pub(super) intents: Intents,
    /// How L2 fares, and when this VM sent a probe that has no answer yet.
    pub(super) health: Health,
    pub(super) probed_ms: Option<u64>,
    /// What spaces of ids have asked.
    pub(super) asked: Asked,
    /// Makes this VM's queue names its own.
    pub(super) nonce: u64,
    pub(super) reply: Reply,
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
            in_hand: None,
            behind: HashMap::new(),
            meters: None,
            is_worker: false,
            has_asked: false,
            vain_calls: 0,
            peers: Peers::default(),
            bell: None,
            claims: HashMap::new(),
            intents: Intents::new(seed),
            health: Health::default(),
            probed_ms: None,
            asked: Asked::default(),
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
        let (role, slots, tagging) = (policy.role, policy.coherence.slots, policy.tagging);
        let queue = format!("tiercel/{:016x}/{root_id}", self.nonce);
        let (now_ms, root) = (self.host.now_ms(), self.roots.entry(root_id).or_default());
        let unsent = root.unsent();
        let left = root.leave_l2(&self.worker.generations, now_ms);
        self.skip_stores(unsent);
        self.answer_all(root_id, left, now_ms);
        let root = self.roots.entry(root_id).or_default();
        if let Err(error) = root.configure(policy, &self.host, &queue) {
            self.log_error(&format!("cannot open the worker's queue: {error}"));
            return false;
        }
        if role == Role::Cache {
            self.set_l1_budget();
            if self.meters.is_none() {
                self.meters = Some(Meters::define(&self.host));
            }
            self.join_generations(root_id, slots, tagging);
            self.join_spaces(root_id);
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
            self.is_worker = true;
        }
    }

    /// Time passes.
    pub fn on_tick(&mut self, root: u32) {
        let now_ms = self.host.now_ms();
        let late = self.roots.get_mut(&root).map(|r| r.expired(now_ms)).unwrap_or_default();
        self.judge_call(root, &late, (now_ms, now_ms));
        self.answer_all(root, late, now_ms);
        self.expire_behind(now_ms);
        self.expire_claims(now_ms);
        self.sweep(root);
        self.see_to_orphans(root, now_ms);
        self.follow_in_turn(root, now_ms);
        self.wait_no_longer(root, now_ms);
        self.claim_again(root, now_ms);
        self.keep_spaces(root, now_ms);
        self.flush(root, true);
        let health = self.told_health();
        if let Some(meters) = &mut self.meters {
            meters.flush(&self.host, &mut self.worker.counters, &self.worker.l1);
            meters.tell_health(&self.host, &health);
        }
    }

    /// Our own message came back: what was queued meanwhile goes out together.
    pub fn on_queue_ready(&mut self, root: u32, queue: u32) {
        if let Some(r) = self.roots.get_mut(&root).filter(|r| r.owns_queue(queue)) {
            let messages = r.wake_up(&self.host);
            self.hear(root, &messages);
            self.refresh_generations();
            self.obey_health(root, self.host.now_ms());
            self.flush(root, false);
        }
    }

    /// A callout was answered; without a head it was reset.
    pub fn on_call_response(&mut self, root: u32, token: u32, has_head: bool, body_len: usize) {
        if let Some(fetching) = self.behind.remove(&token) {
            return self.fetched_behind(fetching, has_head, body_len);
        }
        if self.asked.owns(token) {
            return self.listed(root, token, has_head, body_len);
        }
        let owner = self.roots.iter().find(|(_, r)| r.owns_call(token)).map(|(id, _)| *id);
        let Some(owner) = owner else { return };
        let status = has_head.then(|| self.host.field(FieldMap::Call, b":status").ok()).flatten();
        let body = match body_len {
            0 => Vec::new(),
            _ => self.host.buffer(Buffer::CallBody, body_len).unwrap_or_default(),
        };
        let now_ms = self.host.now_ms();
        self.refresh_generations();
        let root_of_call = self.roots.get_mut(&owner);
        let received =
            root_of_call.and_then(|r| r.received(token, status.as_deref(), &body, now_ms));
        let Some((answers, sent_ms)) = received else { return };
        self.judge_call(owner, &answers, (sent_ms, now_ms));
        self.answer_all(root, answers, now_ms);
        self.obey_health(root, now_ms);
        self.flush(owner, false);
    }

    /// Makes the L2 calls that are due. `root` must be the context at hand.
    pub(super) fn flush(&mut self, root_id: u32, all: bool) {
        let now_ms = self.host.now_ms();
        self.refresh_generations();
        let Some(root) = self.roots.get_mut(&root_id) else { return };
        let (failed, batches) = root.flush(&self.host, &self.worker.generations, now_ms, all);
        let overtaken = root.take_overtaken();
        self.worker.counters.add(Counter::L2Store(L2Store::Overtaken), overtaken);
        if let Some(meters) = &mut self.meters {
            batches.iter().for_each(|n| meters.record(Histogram::L2Batch, *n));
        }
        if !failed.is_empty() {
            self.judge_call(root_id, &failed, (now_ms, now_ms));
            self.answer_all(root_id, failed, now_ms);
        }
    }

    /// Gives L2's answers to the requests that wait for them. Called only from callbacks of a root:
    /// from a stream's, answering another stream would stop the first (docs/design.md, 6).
    pub(super) fn answer_all(&mut self, root: u32, answers: Vec<Answer<'_>>, now_ms: u64) {
        if answers.is_empty() {
            return;
        }
        let (mut is_known, mut is_refused, mut epoch) = (true, false, 0);
        for answer in answers {
            match answer {
                Answer::Found(ticket, bytes) if is_known => {
                    self.answer(ticket, Ok(Some(bytes)), (epoch, now_ms));
                }
                Answer::Found(ticket, _) => {
                    self.answer(ticket, Err(L2Error::Unsynced), (epoch, now_ms));
                }
                Answer::Followed(asked, followed, alone) => {
                    epoch = asked.epoch;
                    is_known = self.followed(&asked, &followed, (alone, is_refused), now_ms);
                }
                Answer::NotFollowed(error) => self.not_followed(error),
                Answer::Bumped(asked, cells, bumped) => {
                    self.bumped(&asked, &cells, &bumped, now_ms);
                }
                Answer::NotBumped(count, error) => {
                    is_refused = true;
                    self.not_bumped(count, error);
                }
                Answer::Claimed(claim, holder, found) => {
                    let found = found.filter(|_| is_known);
                    self.claimed(&claim, (holder, found), (epoch, now_ms));
                }
                Answer::Probed(probe, outcome) => {
                    self.probed(root, (probe, outcome), (epoch, now_ms));
                }
                Answer::Errand(number, replies) => self.ran(number, replies),
                Answer::NotClaimed(claim, error) => self.not_claimed(&claim, error, now_ms),
                Answer::Absent(ticket) => self.answer(ticket, Ok(None), (epoch, now_ms)),
                Answer::Failed(ticket, error) => self.answer(ticket, Err(error), (epoch, now_ms)),
                Answer::Deleted => self.worker.counters.count(Counter::L2Delete(L2Delete::Deleted)),
                Answer::NotDeleted(error) => {
                    self.worker.counters.count(Counter::L2Delete(L2Delete::Failed));
                    self.worker.counters.count(Counter::L2Error(error));
                }
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

    /// Hands what is to change in L2 over to a root.
    pub(super) fn post(&mut self, root_id: u32) {
        self.publish(root_id);
        self.tell_of_ids(root_id);
        self.share(root_id);
        self.settle(root_id);
        if self.worker.outbox.is_empty() {
            return;
        }
        let root = self.roots.get_mut(&root_id);
        let Some(root) = root.filter(|root| root.has_l2()) else {
            return self.worker.outbox.clear();
        };
        let mut is_stored = true;
        for write in self.worker.outbox.drain(..) {
            let skipped = match write {
                Write::Store(entry, replaces) => {
                    let queued = root.store(&self.host, &entry, heat(&self.worker.l1));
                    is_stored &= matches!(queued, Queued::Now);
                    let given_up = match queued {
                        Queued::Now => Vec::new(),
                        Queued::Later(given_up) => given_up,
                        Queued::NoRoom => vec![entry],
                        Queued::NotForL2 => {
                            // What it replaces must not stay.
                            let hash = replaces.then(|| entry.key().hash());
                            hash.map(|hash| root.delete(&self.host, hash));
                            continue;
                        }
                    };
                    for entry in given_up.iter().filter(|_| replaces) {
                        root.delete(&self.host, entry.key().hash());
                    }
                    let skipped = Counter::L2Store(L2Store::Skipped);
                    self.worker.counters.add(skipped, given_up.len() as u64);
                    None
                }
                Write::Delete(hash) => {
                    let queued = root.delete(&self.host, hash);
                    (!queued).then_some(Counter::L2Delete(L2Delete::Skipped))
                }
                Write::GiveBack(lease, token, close) => {
                    // What L2 has no room for is not for others, either.
                    root.give_back(&self.host, (lease, token), close || !is_stored);
                    is_stored = true;
                    None
                }
            };
            if let Some(counter) = skipped {
                self.worker.counters.count(counter);
            }
        }
    }

    /// Notes a value for a distribution.
    pub(super) fn record(&mut self, histogram: Histogram, value: usize) {
        if let Some(meters) = &mut self.meters {
            meters.record(histogram, value);
        }
    }

    pub(super) fn role(&self, context: u32) -> Option<Role> {
        let (root, _) = self.streams.get(&context)?;
        Some(self.roots.get(root)?.policy.as_ref()?.role)
    }

    pub(super) fn log_error(&self, text: &str) {
        self.host.log(log::Level::Error, &format!("tiercel: {text}"));
    }
}
