//! How much of the budget newcomers get: found by trial.
//!
//! Requests drawn alike from a fixed popularity are served best by a small queue as small as can
//! be, bursts of requests for one key after another by a large one, and no size serves both. So it
//! climbs, as Einziger, Eytan, Friedman and Manes propose (Adaptive Software Cache Management,
//! Middleware 2018): now and then another share is tried, and kept if more requests are hits.

/// Shares tried, in percent: the smallest, doubled up to the largest.
const SMALLEST: usize = 5;
const LARGEST: usize = 40;
/// Requests of a window: the hit ratio of fewer is noise.
const WINDOW: u32 = 50_000;
/// And so many for each entry, for the store to follow the share.
const WINDOW_PER_ENTRY: usize = 5;
/// Windows between two trials.
const REST: u8 = 4;
/// A larger share must raise the hit ratio by this factor, a smaller one may lower it by as much.
const WORTH: f64 = 0.01;

/// The small queue's share, and the trial under way.
#[derive(Clone, Debug)]
pub(super) struct Share {
    percent: usize,
    hits: u32,
    misses: u32,
    /// The hit ratio a trial is compared with.
    best: f64,
    rest: u8,
    trying: bool,
    downwards: bool,
}

impl Share {
    /// The smallest share.
    pub(super) const fn new() -> Self {
        Self {
            percent: SMALLEST,
            hits: 0,
            misses: 0,
            best: 0.0,
            rest: REST,
            trying: false,
            downwards: false,
        }
    }

    /// The share now.
    pub(super) const fn of(&self, budget: usize) -> usize {
        budget / 100 * self.percent
    }

    /// Counts a hit.
    pub(super) const fn hit(&mut self) {
        self.hits = self.hits.saturating_add(1);
    }

    /// Counts a newcomer to a store of so many entries; may change the share.
    pub(super) fn miss(&mut self, entries: usize) {
        self.misses = self.misses.saturating_add(1);
        let window = u32::try_from(entries.saturating_mul(WINDOW_PER_ENTRY)).unwrap_or(u32::MAX);
        if self.hits.saturating_add(self.misses) >= window.max(WINDOW) {
            let ratio = f64::from(self.hits) / (f64::from(self.hits) + f64::from(self.misses));
            self.restart();
            self.judge(ratio);
        }
    }

    /// Starts the window anew: the store was not full, so that the share did not matter.
    pub(super) const fn restart(&mut self) {
        (self.hits, self.misses) = (0, 0);
    }

    fn judge(&mut self, ratio: f64) {
        let factor = if self.downwards { 1.0 - WORTH } else { 1.0 + WORTH };
        if !self.trying {
            self.best = ratio;
            if self.rest > 0 {
                self.rest -= 1;
                return;
            }
            self.trying = self.step();
            if !self.trying {
                self.downwards = !self.downwards;
                self.trying = self.step();
            }
        } else if ratio > self.best * factor {
            self.best = ratio;
            self.trying = self.step(); // and on in this direction
        } else {
            self.downwards = !self.downwards;
            self.step();
            self.trying = false;
        }
        if !self.trying {
            self.rest = REST;
        }
    }

    fn step(&mut self) -> bool {
        let next = if self.downwards { self.percent / 2 } else { self.percent * 2 };
        let possible = (SMALLEST..=LARGEST).contains(&next);
        if possible {
            self.percent = next;
        }
        possible
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The shares over `windows` windows in which a share is worth `hits(share)` of 1,000 requests.
    fn shares(share: &mut Share, windows: u32, hits: impl Fn(usize) -> u32) -> Vec<usize> {
        let window = |_| {
            let hits = hits(share.percent);
            for n in 0..WINDOW {
                if n % 1_000 < hits { share.hit() } else { share.miss(0) }
            }
            share.percent
        };
        (0..windows).map(window).collect()
    }

    #[test]
    fn it_settles_where_the_hits_are() {
        let mut share = Share::new();
        let seen = shares(&mut share, 60, |percent| 500 + 2 * u32::try_from(percent).unwrap());
        assert!(seen[40..].iter().filter(|percent| **percent == LARGEST).count() >= 15, "{seen:?}");
        let seen = shares(&mut share, 60, |percent| 500 - 2 * u32::try_from(percent).unwrap());
        assert!(
            seen[40..].iter().filter(|percent| **percent == SMALLEST).count() >= 15,
            "{seen:?}"
        );
        let seen = shares(&mut share, 60, |_| 500);
        assert!(seen.iter().all(|percent| *percent <= 2 * SMALLEST), "{seen:?}");
    }

    #[test]
    fn it_waits_for_a_full_store() {
        let mut share = Share::new();
        for _ in 0..WINDOW * 20 {
            share.miss(0);
            share.restart();
        }
        assert_eq!((share.of(1_000), share.rest), (50, REST));
    }
}
