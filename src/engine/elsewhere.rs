//! What lies outside the worker's own store, in the process's or in L2, and what follows from it.

use std::rc::Rc;

use super::exchange::Exchange;
use super::found::{FromL2, Level};
use super::worker::usable;
use super::{Worker, keep_here};
use crate::config::Policy;
use crate::entry::{DecodeError, Entry, decode, decode_unsealed};
use crate::http::cache_status::Forward;
use crate::http::key::{Key, MAX_KEY};
use crate::l2::L2Error;
use crate::observe::{Counter, L2Lookup};

/// What the process's workers share under a key, if it is valid and younger than what this one has. It
/// goes into this one's own store.
pub(super) fn shared(
    policy: &Policy,
    key: &Key,
    known: Option<&Entry>,
    now_ms: impl FnOnce() -> u64,
    tier: impl Fn(u128) -> Option<Vec<u8>>,
    worker: &mut Worker,
) -> Option<Rc<Entry>> {
    let bytes = policy.tier.as_ref().and_then(|_| tier(key.hash()))?;
    let (entry, stamp) = decode_unsealed(&bytes, key, policy.max_fill() + MAX_KEY).ok()?;
    let is_older = known.is_some_and(|known| known.meta().stored_ms >= entry.meta().stored_ms);
    if stamp.incarnation != policy.tagging || is_older {
        return None;
    }
    let entry = entry.as_of(stamp.number);
    let validity = worker.generations.validity(entry.tags(), entry.epoch());
    let entry = usable(Rc::new(entry), validity, now_ms)?;
    let _ = entry.offer();
    keep_here(policy, &entry, worker);
    Some(entry)
}

impl Exchange {
    /// L2 had `bytes` for the hash, in the table's `scope`, when it was asked at `epoch`.
    pub fn found_in_l2(
        &mut self,
        bytes: &[u8],
        (scope, epoch): (u64, u64),
        now_ms: u64,
        worker: &mut Worker,
    ) -> FromL2 {
        let key = self.variant.as_ref().unwrap_or(&self.key);
        let Some(l2) = &self.policy.l2 else { return FromL2::Forward };
        let max = l2.max_entry + key.as_bytes().len();
        let (entry, stamp) = match decode(bytes, key, max, &l2.secrets) {
            Ok(found) => found,
            // Another variant has taken the place since.
            Err(DecodeError::OtherKey) if self.variant.is_some() => {
                worker.counters.count(Counter::L2(L2Lookup::Miss));
                return FromL2::Forward;
            }
            Err(error) => {
                worker.counters.count(Counter::L2(L2Lookup::Corrupt));
                worker.counters.count(Counter::Corrupt(error));
                return FromL2::Forward;
            }
        };
        // The route may name more tags by now than when it was stored.
        let tags = self.tags.with(entry.tags());
        // What was bumped since it was asked for may have been there still.
        let generations = &worker.generations;
        let validity = generations.admits(scope, stamp, tags.as_slice());
        let validity = validity.max(generations.validity(tags.as_slice(), epoch));
        let entry = entry.with_tags(tags.as_slice().into(), epoch);
        let Some(entry) = usable(Rc::new(entry), validity, || now_ms) else {
            worker.counters.count(Counter::L2(L2Lookup::Invalid));
            return FromL2::Forward;
        };
        // What L1 has may be on its way to L2 still, or never got there: what is there is then older.
        let received = |entry: &Rc<Entry>| entry.meta().stored_ms;
        let is_older = match &self.variant {
            None if self.record.as_ref().is_some_and(|r| received(r) >= received(&entry)) => true,
            _ => self.stored.as_ref().is_some_and(|stored| received(stored) > received(&entry)),
        };
        if is_older {
            worker.counters.count(Counter::L2(L2Lookup::Stale));
            return FromL2::Forward;
        }
        if entry.meta().variants {
            return self.found_record(&entry, now_ms, worker);
        }
        // What came into L1 meanwhile may be younger (RFC 9111, 4).
        let of_now = worker.stored(entry.key().as_bytes(), || now_ms).filter(|known| {
            !known.meta().variants && known.is_fresh(now_ms) && received(known) > received(&entry)
        });
        if let Some(known) = of_now {
            worker.counters.count(Counter::L2(L2Lookup::Stale));
            return match self.consider(known, now_ms, Level::L1, worker) {
                Some(found) => FromL2::Serve(found),
                None => FromL2::Forward,
            };
        }
        let fresh = entry.is_fresh(now_ms);
        if fresh {
            super::keep(&self.policy, &entry, worker);
        }
        worker.counters.count(Counter::L2(if fresh { L2Lookup::Hit } else { L2Lookup::Stale }));
        match self.consider(entry, now_ms, Level::L2, worker) {
            Some(found) => FromL2::Serve(found),
            None => FromL2::Forward,
        }
    }

    fn found_record(&mut self, record: &Rc<Entry>, now_ms: u64, worker: &mut Worker) -> FromL2 {
        if self.variant.is_some() || !record.is_fresh(now_ms) {
            worker.counters.count(Counter::L2(L2Lookup::Stale));
            return FromL2::Forward;
        }
        super::keep(&self.policy, record, worker);
        self.select(record, now_ms);
        let Some(variant) = &self.variant else {
            worker.counters.count(Counter::L2(L2Lookup::Miss));
            return FromL2::Forward;
        };
        let known = worker.stored(variant.as_bytes(), || now_ms);
        match known.and_then(|entry| self.consider(entry, now_ms, Level::L1, worker)) {
            Some(found) => FromL2::Serve(found),
            None => FromL2::AskAgain,
        }
    }

    /// L2 has nothing for the hash.
    pub fn absent_in_l2(&mut self, worker: &mut Worker) {
        self.absent = true;
        worker.counters.count(Counter::L2(L2Lookup::Miss));
    }

    /// L2 gave no answer.
    pub fn l2_failed(&mut self, error: L2Error, worker: &mut Worker) {
        self.goes_without_lease();
        if matches!(self.why, Forward::UriMiss | Forward::VaryMiss) {
            self.why = Forward::Miss;
        }
        worker.counters.count(Counter::L2(L2Lookup::Error));
        worker.counters.count(Counter::L2Error(error));
    }
}
