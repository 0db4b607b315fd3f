//! Protecting the origin: not too many fetches at once, and few of them while it fails.

use std::cell::Cell;
use std::rc::Rc;

use hashbrown::HashMap;

use super::exchange::Exchange;
use super::found::Found;
use super::{Outcome, Worker};
use crate::collapse::Ended;
use crate::config::ProtectionPolicy;
use crate::observe::{Counter, Protection};

/// Origins that are remembered although nothing is asked of them.
const IDLE: usize = 256;

/// The origins of a worker, by the names of their Envoy clusters.
#[derive(Debug, Default)]
pub struct Origins {
    by_name: HashMap<Box<[u8]>, Rc<Origin>>,
}

/// How an origin fares.
#[derive(Debug, Default)]
pub(super) struct Origin {
    fetches: Cell<u32>,
    /// Failures since it last answered as it should.
    failures: Cell<u32>,
    /// When it last did, and when it was last tried while it failed, in ms since the epoch.
    well_ms: Cell<u64>,
    probed_ms: Cell<u64>,
}

/// A fetch under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Fetch(Rc<Origin>);

/// What becomes of a request that is to be fetched.
#[derive(Debug)]
pub enum Admission {
    /// The origin is asked.
    Fetch,
    /// So much is being fetched that this is the answer.
    Stale(Found),
    /// So much is being fetched that there is no answer.
    Refused,
}

impl Origins {
    fn get(&mut self, name: &[u8]) -> Rc<Origin> {
        if let Some(known) = self.by_name.get(name) {
            return Rc::clone(known);
        }
        if self.by_name.len() >= IDLE {
            self.by_name.retain(|_, origin| Rc::strong_count(origin) > 1);
        }
        let origin = Rc::<Origin>::default();
        self.by_name.insert(name.into(), Rc::clone(&origin));
        origin
    }
}

impl Origin {
    fn begin(self: &Rc<Self>, policy: &ProtectionPolicy) -> Option<Fetch> {
        let fetches = self.fetches.get();
        (fetches < policy.max_fetches).then(|| {
            self.fetches.set(fetches + 1);
            Fetch(Rc::clone(self))
        })
    }

    const fn fails(&self, policy: &ProtectionPolicy) -> bool {
        policy.failures > 0 && self.failures.get() >= policy.failures
    }

    /// Whether it is time to see whether it still fails.
    fn is_due(&self, policy: &ProtectionPolicy, now_ms: u64) -> bool {
        let due = self.probed_ms.get().abs_diff(now_ms) >= policy.probe_ms;
        if due {
            self.probed_ms.set(now_ms);
        }
        due
    }

    /// It answered what was asked then, as it should or not.
    fn answered(
        &self,
        well: bool,
        (asked_ms, now_ms): (u64, u64),
        policy: &ProtectionPolicy,
    ) -> Option<Protection> {
        let failed = self.fails(policy);
        if well {
            self.failures.set(0);
            self.well_ms.set(now_ms);
        } else if asked_ms >= self.well_ms.get() || self.well_ms.get() > now_ms {
            // What was asked before it was well again says nothing of now.
            self.failures.set(self.failures.get().saturating_add(1));
        }
        match (failed, self.fails(policy)) {
            (false, true) => {
                self.probed_ms.set(now_ms);
                Some(Protection::Opened)
            }
            (true, false) => Some(Protection::Closed),
            _ => None,
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.fetches.set(self.0.fetches.get().saturating_sub(1));
    }
}

impl Exchange {
    /// The request would go to the origin of this name; none if nobody knows where it goes.
    pub fn goes_to(&mut self, name: Option<&[u8]>, worker: &mut Worker) {
        self.origin = name.map(|name| worker.origins.get(name));
    }

    /// The cache asks the origin of this name itself; what shows whether one fails goes by the name of that.
    pub fn goes_behind(&mut self, name: &[u8], worker: &mut Worker) {
        if !self.probes {
            self.goes_to(Some(name), worker);
        }
    }

    /// Whether it is to show whether the origin still fails.
    #[must_use]
    pub const fn probes(&self) -> bool {
        self.probes
    }

    /// Something stale, because the origin fails: it is asked now and then only, behind the client's back
    /// if there is a way.
    pub fn spares_origin(&mut self, now_ms: u64, worker: &mut Worker) -> Option<Found> {
        let protection = &self.policy.protection;
        let origin = Rc::clone(self.origin.as_ref().filter(|origin| origin.fails(protection))?);
        self.stored_for_error(now_ms, worker)?;
        let wanted = self.wanted();
        if wanted.max_age.is_some() || wanted.min_fresh.is_some() {
            // Whoever asks for something so fresh is not to get less unasked.
            return None;
        }
        // What it asked for would not be stored: it shows nothing to anybody else.
        let probe = !self.asked().no_store && origin.is_due(protection, now_ms);
        if probe && self.policy.origin.is_none() {
            // It asks for itself: who leads may wait for an answer that never comes.
            self.waits_no_more();
            self.probes = true;
            worker.counters.count(Counter::Protection(Protection::Probed));
            return None;
        }
        self.probes = probe;
        worker.counters.count(Counter::Protection(Protection::Spared));
        let found = self.stale_for_error(now_ms, worker)?;
        Some(Found { refresh: probe, ..found })
    }

    /// Whether the origin may be asked for one thing more. What is not for the cache is not counted.
    pub fn admit(&mut self, now_ms: u64, worker: &mut Worker) -> Admission {
        let Some(origin) = &self.origin else { return Admission::Fetch };
        if worker.refused.knows(self.key.hash(), now_ms) {
            return Admission::Fetch;
        }
        self.fetch = origin.begin(&self.policy.protection);
        // What hangs must not hinder what shows whether anything else does.
        if self.fetch.is_some() || self.probes {
            return Admission::Fetch;
        }
        let stale = self.stale_for_error(now_ms, worker);
        let event = if stale.is_some() { Protection::LimitStale } else { Protection::Limit };
        worker.counters.count(Counter::Protection(event));
        if stale.is_none() {
            worker.counters.count(Counter::Request(Outcome::Limited));
        }
        stale.map_or(Admission::Refused, Admission::Stale)
    }

    /// The origin was not asked after all, for it has enough to do.
    pub fn refused(&mut self, worker: &mut Worker) {
        self.end(Ended::Failed, worker);
    }

    /// Whether something may be fetched behind clients' backs.
    pub(super) fn admit_refresh(&mut self, now_ms: u64, worker: &mut Worker) -> bool {
        let Some(origin) = &self.origin else { return true };
        let protection = &self.policy.protection;
        let probes = self.probes || origin.fails(protection) && origin.is_due(protection, now_ms);
        if origin.fails(protection) && !probes {
            return false;
        }
        self.fetch = origin.begin(protection);
        if probes {
            self.probes = true;
            worker.counters.count(Counter::Protection(Protection::Probed));
        }
        probes || self.fetch.is_some()
    }

    /// The origin answered, as it should or not, or not at all.
    pub(super) fn heard(&mut self, well: bool, now_ms: u64, worker: &mut Worker) {
        let Some(origin) = &self.origin else { return };
        let times = (self.asked_ms, now_ms);
        if let Some(event) = origin.answered(well, times, &self.policy.protection) {
            worker.counters.count(Counter::Protection(event));
            if event == Protection::Closed {
                // What was asked while it failed may hang for as long as it likes: it is asked anew.
                worker.refreshing.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const POLICY: ProtectionPolicy =
        ProtectionPolicy { max_fetches: 2, retry_after_s: 1, failures: 3, probe_ms: 500 };

    #[test]
    fn so_many_fetches_and_no_more() {
        let mut origins = Origins::default();
        let origin = origins.get(b"a");
        let (one, two) = (origin.begin(&POLICY), origin.begin(&POLICY));
        assert!(one.is_some() && two.is_some() && origin.begin(&POLICY).is_none());
        assert!(origins.get(b"b").begin(&POLICY).is_some());
        drop(one);
        assert!(origins.get(b"a").begin(&POLICY).is_some());
    }

    #[test]
    fn it_fails_after_failures_in_a_row_until_it_is_well() {
        let origin = Origin::default();
        let answered = |well, asked_ms, now_ms| origin.answered(well, (asked_ms, now_ms), &POLICY);
        assert_eq!(answered(true, 0, 10), None);
        assert_eq!(answered(false, 20, 30), None);
        assert_eq!(answered(true, 30, 40), None);
        for now_ms in [50, 60] {
            assert_eq!(answered(false, now_ms, now_ms), None);
        }
        assert_eq!(answered(false, 70, 70), Some(Protection::Opened));
        assert_eq!(answered(false, 71, 71), None);
        assert!(origin.fails(&POLICY) && !origin.is_due(&POLICY, 100));
        assert!(origin.is_due(&POLICY, 570) && !origin.is_due(&POLICY, 1_000));
        assert_eq!(answered(true, 570, 1_070), Some(Protection::Closed));
        // What hung meanwhile fails late.
        for _ in 0..9 {
            assert_eq!(answered(false, 1_069, 9_000), None);
        }
        assert!(!origin.fails(&POLICY));
        // A clock that was set back hides no failure.
        for _ in 0..3 {
            answered(false, 500, 500);
        }
        assert!(origin.fails(&POLICY));
        let never = ProtectionPolicy { failures: 0, ..POLICY };
        assert!(!origin.fails(&never));
    }

    #[test]
    fn idle_origins_are_forgotten() {
        let mut origins = Origins::default();
        let busy = origins.get(b"busy");
        for n in 0_u32..10_000 {
            origins.get(&n.to_le_bytes());
        }
        assert!(origins.by_name.len() <= IDLE && Rc::ptr_eq(&busy, &origins.get(b"busy")));
    }
}
