//! The worker's L2 client: queues, calls in flight, answers. What a call says is in `calls.rs`.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::HashMap;

use super::L2Error;
use super::answers::{Answer, Ticket, Waiting};
use super::claims::{Claim, Held, Keep};
use super::missed::Missed;
use super::resp::{self, Reply};
use super::table::table_key;
use crate::coherence::{Cells, Generations, Layout, Reach};
use crate::config::L2Policy;
use crate::entry::Entry;
use crate::health::{Gate, Probe};

/// Stores held back until there are this many, or until the next tick.
pub(super) const WRITE_BATCH: usize = 16;
/// Deletes that may wait, at most.
pub(super) const MAX_DELETES: usize = 1_024;
/// Leases that may wait to be renewed or given back: what is beyond runs out by itself.
const MAX_LEASES: usize = 1_024;
/// Calls about the table in flight; beyond it bumps wait for company.
const MAX_TABLE_CALLS: usize = 4;

/// A callout to make.
#[derive(Debug)]
pub struct Call {
    /// Pipelined RESP.
    pub body: Vec<u8>,
    pub(super) waiting: Waiting,
}

impl Call {
    /// How long its answer is waited for, in ms.
    #[must_use]
    pub const fn timeout_ms(&self, policy: &L2Policy) -> u32 {
        self.waiting.timeout_ms(policy)
    }

    /// The number of look-ups, if it is a call of look-ups.
    #[must_use]
    pub const fn lookups(&self) -> Option<usize> {
        match &self.waiting {
            Waiting::Lookups(tickets, _) => Some(tickets.len()),
            _ => None,
        }
    }
}

/// What is to be written.
#[derive(Debug)]
pub(super) enum Write {
    /// An entry; and whether Redis missed it, so that somebody may have stored a newer one since.
    Store(Rc<Entry>, bool),
    /// This becomes of the lease of this hash with this token.
    Lease(u128, u64, Keep),
}

/// What is to be asked of the table of generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// How far back.
    pub reach: Reach,
    /// Gives the table an incarnation if it has none, or another than this one.
    pub replace: Option<u64>,
    /// Shows as well whether Redis takes writes.
    pub probe: Option<Probe>,
}

/// Queues and calls of one filter in one worker.
#[derive(Debug)]
pub struct Client {
    pub(super) policy: L2Policy,
    pub(super) scope: u64,
    pub(super) table: String,
    layout: Layout,
    /// Stores that wait for Redis to be well again.
    pub(super) missed: Missed,
    pub(super) lookups: VecDeque<(Ticket, u128)>,
    pub(super) writes: VecDeque<Write>,
    pub(super) store_bytes: usize,
    /// Leases to be renewed or given back, among the stores.
    pub(super) leases: usize,
    pub(super) claims: Vec<Claim>,
    pub(super) held: Held,
    pub(super) deletes: VecDeque<u128>,
    pub(super) bumps: Cells,
    pub(super) question: Option<Question>,
    /// Commands of others, under their numbers.
    pub(super) errands: VecDeque<(u64, Vec<u8>)>,
    /// Stores that something made stale before they were sent.
    pub(super) overtaken: u64,
    /// What Redis is asked at all.
    pub(super) gate: Gate,
    /// By token, with the time they were sent.
    pub(super) in_flight: HashMap<u32, (Waiting, u64)>,
}

impl Client {
    /// A client with nothing to do, for a fleet whose tags fall into so many `slots`.
    #[must_use]
    pub fn new(policy: L2Policy, slots: usize) -> Self {
        Self {
            scope: policy.scope(slots),
            table: table_key(&policy.key_prefix, slots, &policy.tag_mark),
            layout: Layout::new(slots),
            missed: Missed::new(policy.write_back),
            policy,
            lookups: VecDeque::new(),
            writes: VecDeque::new(),
            store_bytes: 0,
            leases: 0,
            claims: Vec::new(),
            held: Held::default(),
            deletes: VecDeque::new(),
            bumps: Cells::new(),
            question: None,
            errands: VecDeque::new(),
            overtaken: 0,
            gate: Gate::OPEN,
            in_flight: HashMap::new(),
        }
    }

    /// The settings.
    #[must_use]
    pub const fn policy(&self) -> &L2Policy {
        &self.policy
    }

    /// Which table of generations it asks.
    #[must_use]
    pub const fn scope(&self) -> u64 {
        self.scope
    }

    /// Queues a look-up; false if there are so many that it would wait for others.
    pub fn look_up(&mut self, ticket: Ticket, hash: u128) -> bool {
        let free = self.policy.max_in_flight.saturating_sub(self.calls(false));
        if self.lookups.len() >= free.saturating_mul(self.policy.max_batch) {
            return false;
        }
        self.lookups.push_back((ticket, hash));
        true
    }

    /// Queues a store; false if the queue is full.
    pub fn store(&mut self, entry: Rc<Entry>) -> bool {
        self.queue(entry, false)
    }

    /// As [`Self::store`], perhaps of what Redis missed.
    pub(super) fn queue(&mut self, entry: Rc<Entry>, is_late: bool) -> bool {
        if self.store_bytes + entry.len() > self.policy.write_budget {
            return false;
        }
        let _ = self.missed.take(entry.key().hash());
        self.store_bytes += entry.len();
        self.writes.push_back(Write::Store(entry, is_late));
        true
    }

    /// Queues a claim; false if there are so many that it would wait for others.
    pub fn claim(&mut self, claim: Claim) -> bool {
        let room = self.claims.len() < self.policy.max_batch;
        if room {
            self.claims.push(claim);
        }
        room
    }

    /// A lease is held, and is renewed for so long if it is not given back.
    pub fn hold(&mut self, claim: &Claim, now_ms: u64, longest_ms: u64) {
        self.held.take(claim, now_ms, longest_ms);
    }

    /// Gives a lease back, after all stores that are queued, or closes it.
    pub fn give_back(&mut self, (lease, token): (u128, u64), close: bool) {
        self.held.give_back(lease, token);
        self.keep((lease, token), if close { Keep::Close } else { Keep::GiveBack });
    }

    /// Time passes: renews leases.
    pub fn renew(&mut self, now_ms: u64) {
        for (lease, token) in self.held.due(now_ms) {
            self.keep((lease, token), Keep::Renew);
        }
    }

    fn keep(&mut self, (lease, token): (u128, u64), keep: Keep) {
        if self.leases < MAX_LEASES {
            self.leases += 1;
            self.writes.push_back(Write::Lease(lease, token, keep));
        }
    }

    /// Queues a delete, and drops stores of the same that are still queued. False if too many deletes
    /// wait.
    pub fn delete(&mut self, hash: u128) -> bool {
        let _ = self.missed.take(hash);
        let bytes = &mut self.store_bytes;
        self.writes.retain(|write| match write {
            Write::Store(entry, _) if entry.key().hash() == hash => {
                *bytes -= entry.len();
                false
            }
            _ => true,
        });
        let queued = self.deletes.contains(&hash);
        if !queued && self.deletes.len() < MAX_DELETES {
            self.deletes.push_back(hash);
            return true;
        }
        queued
    }

    /// Queues bumps. There are never more than cells.
    pub fn bump(&mut self, cells: Cells) {
        self.bumps.extend(cells);
        // Of each the last.
        self.bumps.sort_unstable_by_key(|(cell, epoch)| (*cell, Reverse(*epoch)));
        self.bumps.dedup_by_key(|(cell, _)| *cell);
    }

    /// Queues a question about the table.
    pub fn ask(&mut self, question: Question) {
        let known = self.question.unwrap_or_default();
        self.question = Some(Question {
            reach: known.reach.max(question.reach),
            replace: question.replace.or(known.replace),
            probe: question.probe.or(known.probe),
        });
    }

    /// Queues commands whose replies come back under `number`. Whoever does so sees to it that they are few.
    pub fn run(&mut self, number: u64, commands: Vec<u8>) {
        self.errands.push_back((number, commands));
    }

    /// Stores that something made stale before they were sent, since this was last asked.
    pub fn take_overtaken(&mut self) -> u64 {
        std::mem::take(&mut self.overtaken)
    }

    /// Whether so many stores wait that they are sent now.
    #[must_use]
    pub fn has_full_batch(&self) -> bool {
        self.writes.len() >= WRITE_BATCH
    }

    /// The next call to make: the table first, then deletes, then look-ups; none when there is nothing to
    /// send or too much in flight. `all` sends the last few stores too instead of waiting for more. Calls
    /// may overtake each other on their way.
    pub fn next_call(&mut self, generations: &Generations, now_ms: u64, all: bool) -> Option<Call> {
        let has_news = !self.bumps.is_empty() || self.question.is_some();
        if has_news && self.calls(true) < MAX_TABLE_CALLS {
            return Some(self.table_call(generations));
        }
        if let Some((number, commands)) = self.errands.pop_front() {
            return Some(self.errand_call(number, &commands));
        }
        if self.calls(false) >= self.policy.max_in_flight {
            return None;
        }
        if self.gate.writes && !self.deletes.is_empty() {
            return Some(self.delete_call());
        }
        if !self.lookups.is_empty() {
            return Some(self.lookup_call(generations));
        }
        if !self.claims.is_empty() {
            return Some(self.claim_call(generations));
        }
        // What nobody could trust waits until the table is known.
        let is_known = generations.knows(self.scope);
        let due = self.leases > 0 || self.has_full_batch() || all;
        if is_known && due && self.gate.writes && !self.writes.is_empty() {
            return self.write_call(generations, now_ms);
        }
        None
    }

    /// Calls in flight that are, or are not, about the table alone.
    fn calls(&self, about_table: bool) -> usize {
        let waiting = self.in_flight.values().map(|(waiting, _)| waiting);
        let about = |waiting: &&Waiting| match waiting {
            Waiting::Table(..) => about_table,
            Waiting::Errand(_) => false,
            _ => !about_table,
        };
        waiting.filter(about).count()
    }

    /// The call was made: its answer will come under `token`, or is given up after the timeout.
    pub fn sent(&mut self, call: Call, token: u32, now_ms: u64) {
        self.in_flight.insert(token, (call.waiting, now_ms));
    }

    /// The call could not be made.
    pub fn failed(call: Call, mut give: impl FnMut(Answer<'static>)) {
        call.waiting.fail(L2Error::Dispatch, &mut give);
    }

    /// Whether a callout is this client's.
    #[must_use]
    pub fn owns(&self, token: u32) -> bool {
        self.in_flight.contains_key(&token)
    }

    /// A callout came back with `status` and `body`: every command gets its answer. When it was sent, in ms
    /// since the epoch; none if nobody waits for it any more.
    pub fn received<'a>(
        &mut self,
        token: u32,
        status: Option<&[u8]>,
        body: &'a [u8],
        now_ms: u64,
        mut give: impl FnMut(Answer<'a>),
    ) -> Option<u64> {
        let (waiting, sent_ms) = self.in_flight.remove(&token)?;
        if let Some(mut error) = L2Error::from_call_status(status) {
            // The tunnel answers 200 before Redis does: Envoy's timeout then looks like a reset. It
            // is counted from the start of the event loop's round, hence before the call was made.
            let least_ms = u64::from(waiting.timeout_ms(&self.policy)) * 9 / 10;
            if error == L2Error::Reset && now_ms.saturating_sub(sent_ms) >= least_ms {
                error = L2Error::Timeout;
            }
            waiting.fail(error, &mut give);
            return Some(sent_ms);
        }
        let mut replies = body;
        let refused = match self.policy.auth.as_ref().map(|_| resp::next_reply(&mut replies)) {
            None | Some(Ok(Reply::Simple(b"OK"))) => None,
            Some(Ok(Reply::Error(text))) => Some(L2Error::from_reply(text)),
            Some(_) => Some(L2Error::Protocol),
        };
        match refused {
            None => waiting.read(replies, self.layout, &mut give),
            Some(error) => waiting.fail(error, &mut give),
        }
        Some(sent_ms)
    }

    /// Gives up calls whose answer never came. Envoy's own timeout comes first: this only makes
    /// sure that no request can wait for ever.
    pub fn expire(&mut self, now_ms: u64, mut give: impl FnMut(Answer<'static>)) {
        let policy = &self.policy;
        let late = self.in_flight.extract_if(|_, (waiting, sent_ms)| {
            *sent_ms + 2 * u64::from(waiting.timeout_ms(policy)) + 1_000 < now_ms
        });
        late.for_each(|(_, (waiting, _))| waiting.fail(L2Error::Timeout, &mut give));
    }

    /// Gives up whatever is under way, or is still to be sent.
    pub fn close(
        mut self,
        generations: &Generations,
        now_ms: u64,
        mut give: impl FnMut(Answer<'static>),
    ) {
        let sent = self.in_flight.drain();
        sent.for_each(|(_, (waiting, _))| waiting.fail(L2Error::Reset, &mut give));
        while let Some(call) = self.next_call(generations, now_ms, true) {
            call.waiting.fail(L2Error::Reset, &mut give);
        }
    }
}
