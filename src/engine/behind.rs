//! Fetches that the cache makes itself: of what is served stale meanwhile (RFC 5861, 3), and on behalf of
//! clients who may leave.

use std::rc::Rc;

use super::Worker;
use super::exchange::Exchange;
use crate::collapse::Ended;
use crate::entry::Entry;
use crate::http::cache_status::Forward;
use crate::http::fields::FieldsBuf;
use crate::http::stored_fields::is_of_the_way;

/// Refreshes at the same time, per worker.
const MOST: usize = 64;
/// How long after its own time-out Envoy may tell of it.
const GRACE_MS: u64 = 5_000;

/// What the cache fetches for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// What lies under this hash, again: nobody waits for it.
    Refresh(u128),
    /// What a client asked for, who waits for it as others may.
    Detached,
}

impl Exchange {
    /// Makes the exchange one that fetches `entry` again; false if that is under way already or too much else
    /// is.
    pub fn refresh(&mut self, entry: &Rc<Entry>, now_ms: u64, worker: &mut Worker) -> bool {
        let hash = entry.key().hash();
        // One that is to show whether the origin still fails does not wait for one that gets no answer.
        let known = worker.refreshing.contains(&hash) || worker.refreshing.len() >= MOST;
        if known && !self.probes || !self.admit_refresh(now_ms, worker) {
            return false;
        }
        worker.refreshing.insert(hash);
        self.stored = self.hold.keep(entry, usize::MAX);
        self.why = Forward::Stale;
        self.behind = Some(Behind::Refresh(hash));
        true
    }

    /// Another worker fetches it again.
    pub fn is_refreshed_elsewhere(&self, worker: &mut Worker) {
        if let Some(Behind::Refresh(hash)) = &self.behind {
            worker.refreshing.remove(hash);
        }
    }

    /// Whether what it leads is fetched by the cache itself.
    #[must_use]
    pub fn detaches(&self) -> bool {
        let once = self.leads.is_some() && !self.detached && self.may_lead();
        once && self.rule.detached && self.policy.origin.is_some()
            // It takes an exchange with the same request.
            && self.hold.has_room_again(self.policy.held_budget)
    }

    /// Waits for what it leads, which another exchange is to fetch; false if it does not lead any more.
    pub fn waits_for_itself(&self, context: u32, worker: &mut Worker) -> bool {
        self.leads.is_some_and(|ticket| worker.flights.wait_for_own(ticket, context))
    }

    /// Leaves its fetch to another exchange, and waits for it. Returns that, and the fields of the request to
    /// send.
    pub fn detach(&mut self, now_ms: u64, worker: &Worker) -> (Box<Self>, Vec<u8>) {
        let (rules, of) = ((&self.policy, &self.rule), (self.has, self.is_head));
        let (key, tags) = (self.key.clone(), self.tags.clone());
        let mut fetch = Box::new(Self {
            record: self.record.clone(),
            variant: self.variant.clone(),
            why: self.why,
            stored: self.stored.clone(),
            absent: self.absent,
            behind: Some(Behind::Detached),
            leads: self.leads.take(),
            lease: std::mem::take(&mut self.lease),
            origin: self.origin.clone(),
            fetch: self.fetch.take(),
            passed: std::mem::take(&mut self.passed),
            ..Self::new(rules, self.request.clone(), of, (key, tags, self.epoch), &worker.held)
        });
        self.detached = true;
        self.follows = fetch.leads.map_or(0, |ticket| ticket.hash);
        let head = fetch.ask_behind(now_ms, worker);
        (fetch, head)
    }

    /// Whether it waits for what is fetched on its behalf.
    #[must_use]
    pub const fn waits_for_own(&self) -> bool {
        self.detached
    }

    /// Takes back what could not be begun by another exchange.
    pub fn attach(&mut self, fetch: &mut Self) {
        (self.leads, self.fetch, self.detached) = (fetch.leads.take(), fetch.fetch.take(), false);
        self.lease = std::mem::take(&mut fetch.lease);
    }

    /// The fields of a request that the cache makes: for the whole, and nothing special.
    pub fn ask_behind(&mut self, now_ms: u64, worker: &Worker) -> Vec<u8> {
        self.is_head = false;
        (self.has.condition, self.has.range, self.has.directives) = (false, false, false);
        self.has.cookie &= !self.rule.store.cookies_ignored;
        let mut changes = Vec::new();
        self.forward(now_ms, worker, |name, value| {
            changes.push((name.to_vec(), value.map(<[u8]>::to_vec)));
        });
        let mut out = FieldsBuf::default();
        let cookies_ignored = self.rule.store.cookies_ignored;
        for (name, value) in self.request().iter() {
            let left_out = name == b":method"
                || name == b"cookie" && cookies_ignored
                || matches!(name, b"range" | b"if-range" | b"if-none-match" | b"if-modified-since")
                || matches!(name, b"cache-control" | b"pragma")
                || is_of_the_way(self.request(), name)
                || changes.iter().any(|(changed, _)| changed == name);
            if !left_out {
                out.push(name, value);
            }
        }
        out.push(b":method", b"GET");
        for (name, value) in &changes {
            if let Some(value) = value {
                out.push(name, value);
            }
        }
        out.to_block().into()
    }

    /// The origin did not answer.
    pub fn unanswered(mut self, now_ms: u64, worker: &mut Worker) {
        self.answered(worker);
        self.heard(false, now_ms, worker);
        self.end(Ended::Failed, worker);
        self.abandon(worker);
    }

    /// The origin did, one way or another.
    pub fn answered(&self, worker: &mut Worker) {
        if let Some(Behind::Refresh(hash)) = &self.behind {
            worker.refreshing.remove(hash);
            worker.flights.refreshed(*hash);
        }
    }

    /// Whether the fetch should have ended long ago.
    #[must_use]
    pub fn is_overdue(&self, now_ms: u64) -> bool {
        let timeout_ms = self.policy.origin.as_ref().map_or(0, |origin| origin.timeout_ms);
        now_ms > self.asked_ms + u64::from(timeout_ms) + GRACE_MS
    }
}
