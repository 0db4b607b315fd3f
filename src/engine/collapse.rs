//! Requests that wait for what another one fetches (RFC 9111, 4): whether they may, and what they find.

use std::rc::Rc;

use super::exchange::Exchange;
use super::found::{Found, Level};
use super::{Outcome, Worker, elsewhere, is_of_now};
use crate::collapse::{Alone, Ended, Joined, Ticket};
use crate::entry::Entry;
use crate::http::cache_status::Forward;
use crate::http::storable::NotStored;
use crate::observe::{Collapse, Counter};

/// How often a request waits: what it waited for may be for others each time.
pub(super) const MOST_WAITS: u8 = 3;

impl Exchange {
    /// The hash of what others may be fetching as well, and whether what this request fetches could be for
    /// them; none if it must ask for itself.
    #[must_use]
    pub fn shares(&self, worker: &Worker, now_ms: u64) -> Option<(u128, bool)> {
        let asked = self.asked();
        let may_lead = self.may_lead();
        let of_one = asked.authorization && !self.rule.store.authorization_ignored;
        let for_itself = !self.rule.collapse
            || of_one
            || self.wanted().no_cache.is_some()
            || self.waits >= MOST_WAITS
            || worker.refused.knows(self.key.hash(), now_ms);
        (!for_itself).then(|| (self.hash(), may_lead))
    }

    /// Whether what it fetches could be for others.
    #[must_use]
    pub fn may_lead(&self) -> bool {
        let asked = self.asked();
        !(asked.head || asked.range || asked.no_store)
    }

    /// What has become of the request: it leads, it waits for `hash`, or it asks for itself.
    pub fn joined(&mut self, hash: u128, joined: Joined, worker: &mut Worker) {
        match joined {
            Joined::Leads(ticket) => self.leads = Some(ticket),
            Joined::Follows => {
                self.leads = None;
                self.follows = hash;
                self.waits += 1;
                worker.counters.count(Counter::Collapse(Collapse::Followed));
            }
            Joined::Alone(why) => self.goes_alone(why, worker),
        }
    }

    /// It waits no more, and asks the origin for itself.
    pub fn goes_alone(&mut self, why: Alone, worker: &mut Worker) {
        self.waits_no_more();
        worker.counters.count(Counter::Collapse(why.into()));
    }

    pub(super) const fn waits_no_more(&mut self) {
        self.leads = None;
        self.waits = MOST_WAITS;
        self.detached = false;
    }

    /// It asks the origin in the place of one that brought nothing.
    pub fn takes_over(&mut self, ticket: Ticket, worker: &mut Worker) {
        self.leads = Some(ticket);
        worker.counters.count(Counter::Collapse(Collapse::TookOver));
    }

    /// What it was to fetch is stored already.
    pub fn found_after_all(&mut self, worker: &mut Worker) {
        self.end(Ended::Stored, worker);
    }

    /// What it waits for.
    #[must_use]
    pub const fn follows(&self) -> u128 {
        self.follows
    }

    /// Why it would have gone forward, had it not waited for another that did.
    #[must_use]
    pub fn waited(&self) -> Option<Forward> {
        (self.waits > 0 || self.detached).then_some(self.why)
    }

    /// Looks once more for something stored.
    pub fn look_again(
        &mut self,
        now_ms: u64,
        tier: impl Fn(u128) -> Option<Vec<u8>>,
        worker: &mut Worker,
    ) -> Option<Found> {
        let of_l1 = worker.stored(self.key.as_bytes(), || now_ms);
        let (entry, level) = match of_l1 {
            Some(entry) if entry.is_fresh(now_ms) => (entry, Level::L1),
            of_l1 => {
                let (policy, known) = (&self.policy, of_l1.as_deref());
                let shared = elsewhere::shared(policy, &self.key, known, || now_ms, &tier, worker);
                shared.map(|e| (e, Level::Shared)).or(of_l1.map(|e| (e, Level::L1)))?
            }
        };
        self.found_in_l1(entry, level, now_ms, tier, worker)
    }

    /// Something stale in the place of the error that another request got.
    pub fn stale_for_error(&self, now_ms: u64, worker: &mut Worker) -> Option<Found> {
        let entry = Rc::clone(self.stored_for_error(now_ms, worker)?);
        let outcome = Outcome::StaleIfError;
        worker.counters.count(Counter::Request(outcome));
        Some(Found { entry, level: Level::L1, outcome, refresh: false, now_ms })
    }

    /// What it leads has come: those who wait for it get it, whatever L1 keeps.
    pub(super) fn land(&self, entry: &Rc<Entry>, worker: &mut Worker) {
        let waited_for = self.leads.is_some_and(|ticket| worker.flights.has_followers(ticket));
        if waited_for && is_of_now(&self.policy, worker) {
            worker.landed.insert(entry.key().as_bytes().into(), Rc::clone(entry));
        }
    }

    /// The fetch that others may wait for has ended.
    pub(super) fn end(&mut self, how: Ended, worker: &mut Worker) {
        self.give_back(how == Ended::Unshared, worker);
        if let Some(ticket) = self.leads.take() {
            worker.flights.ended(ticket, how);
        }
    }

    /// It has ended without anything being stored of a response with this status.
    pub(super) fn end_for(&mut self, reason: NotStored, status: u16, worker: &mut Worker) {
        let how = match reason {
            // What overtook it may have left something to find.
            NotStored::Overtaken => Ended::Stored,
            NotStored::Incomplete => Ended::Lost,
            NotStored::TooLarge => {
                worker.refused.note(self.key.hash(), self.asked_ms);
                Ended::Unshared
            }
            _ if status >= 500 => Ended::Failed,
            _ => Ended::Unshared,
        };
        self.end(how, worker);
    }
}
