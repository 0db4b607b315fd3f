//! Whether what is stored answers a request (RFC 9111, 4).

use std::rc::Rc;

use super::exchange::Exchange;
use super::found::{Found, Level};
use super::{Outcome, Worker, elsewhere};
use crate::entry::{Entry, Variants};
use crate::http::cache_status::Forward;
use crate::http::reuse::{Reuse, reuse};
use crate::http::vary;
use crate::observe::Counter;

impl Exchange {
    /// L1 has `entry` for the resource.
    pub(super) fn found_in_l1(
        &mut self,
        entry: Rc<Entry>,
        level: Level,
        now_ms: u64,
        tier: impl Fn(u128) -> Option<Vec<u8>>,
        worker: &mut Worker,
    ) -> Option<Found> {
        if !entry.meta().variants {
            return self.consider(entry, now_ms, level, worker);
        }
        self.select(&entry, now_ms);
        if self.variant.is_none() && level == Level::L1 {
            // Another worker may know more variants.
            let newer =
                elsewhere::shared(&self.policy, &self.key, Some(&entry), || now_ms, &tier, worker);
            if let Some(newer) = newer.filter(|newer| newer.meta().variants) {
                self.select(&newer, now_ms);
            }
        }
        let variant = self.variant.as_ref()?;
        let Some(entry) = worker.stored(variant.as_bytes(), || now_ms) else {
            let entry = elsewhere::shared(&self.policy, variant, None, || now_ms, tier, worker)?;
            return self.consider(entry, now_ms, Level::Shared, worker);
        };
        self.consider(entry, now_ms, Level::L1, worker)
    }

    /// Chooses the variant that a record has for the request; if it has none L2's may.
    pub(super) fn select(&mut self, record: &Rc<Entry>, now_ms: u64) {
        self.variant = None;
        if !record.is_fresh(now_ms) {
            return;
        }
        // From before the resource varied: nobody knows for which requests.
        self.stored = None;
        self.why = Forward::VaryMiss;
        let Some(variants) = Variants::read(record.body()) else { return };
        // Without it, all that is known of variants, it is a miss.
        let Some(kept) = self.hold.keep(record, self.policy.held_budget) else { return };
        self.record = Some(kept);
        let mut text = Vec::new();
        let (names, normalisers) = (variants.names(), &self.policy.normalisers);
        if vary::write_values(&mut text, names, self.request(), normalisers).is_ok() {
            self.variant = variants.key(&self.key, &text);
        }
    }

    /// Whether a stored response answers the request; if not it is kept to be validated.
    pub(super) fn consider(
        &mut self,
        entry: Rc<Entry>,
        now_ms: u64,
        level: Level,
        worker: &mut Worker,
    ) -> Option<Found> {
        if self.has.authorization && !entry.meta().shared && !self.rule.store.authorization_ignored
        {
            // Neither served nor validated: it is not this client's.
            self.why = Forward::Request;
            return None;
        }
        let (outcome, refresh) = match reuse(entry.standing(now_ms), &self.wanted()) {
            Reuse::Fresh if self.detached => (Outcome::Miss, false),
            Reuse::Fresh if self.waits > 0 => (Outcome::Collapsed, false),
            Reuse::Fresh => (level.fresh().1, self.early),
            Reuse::Stale => (Outcome::StaleHit, false),
            // Without a way to fetch and store it meanwhile, it is fetched now.
            Reuse::Refresh if self.policy.origin.is_some() && !self.asked().no_store => {
                (Outcome::StaleHit, true)
            }
            Reuse::Refresh | Reuse::Validate => {
                self.keep_for_later(&entry, Forward::Stale);
                return None;
            }
            Reuse::Refused => {
                self.keep_for_later(&entry, Forward::Request);
                return None;
            }
        };
        if self.behind.is_none() {
            worker.counters.count(Counter::Request(outcome));
        }
        Some(Found { entry, level, outcome, refresh, now_ms })
    }

    /// Of two stored responses the younger is kept (RFC 9111, 4.1), if there is room.
    fn keep_for_later(&mut self, entry: &Rc<Entry>, why: Forward) {
        let age = |entry: &Entry| entry.meta().stored_ms;
        if self.stored.as_ref().is_some_and(|stored| age(stored) > age(entry)) {
            return;
        }
        self.why = why;
        if let Some(kept) = self.hold.keep(entry, self.policy.held_budget) {
            self.stored = Some(kept);
        }
    }
}
