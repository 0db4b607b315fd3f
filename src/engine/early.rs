//! What expires together is fetched together: so lifetimes differ a little, and what is asked for often is
//! fetched again before it expires.

use std::rc::Rc;

use super::Worker;
use super::elsewhere::shared;
use super::exchange::Exchange;
use super::found::Level;
use crate::config::{Policy, Rule};
use crate::entry::Entry;
use crate::http::key::Key;
use crate::http::storable::Storable;

/// Beyond so many times what a fetch takes, weighted, nothing is refreshed early: chances are below one in
/// a million.
const MOST: f64 = 14.0;

impl Exchange {
    /// Takes a part of its lifetime from what the policy calls fresh, never from what the response says.
    pub(super) fn jitter(&self, found: &mut Storable, now_ms: u64, worker: &mut Worker) {
        let percent = u64::from(self.rule.jitter_percent);
        if found.by_policy && percent > 0 {
            let left_ms = found.fresh_until_ms.saturating_sub(now_ms);
            found.fresh_until_ms -= worker.random.u64(0..=left_ms / 100 * percent);
        }
    }
}

/// Whether what was found is to be fetched again early. If another worker has done so, that is found.
pub(super) fn draw(
    policy: &Policy,
    rule: &Rule,
    found: &mut (Rc<Entry>, Level, u64),
    key: &mut Option<Key>,
    tier: &impl Fn(u128) -> Option<Vec<u8>>,
    worker: &mut Worker,
) -> bool {
    let (entry, level, now_ms) = &*found;
    let now_ms = *now_ms;
    if entry.meta().variants || !entry.is_fresh(now_ms) || !is_due(entry, rule, now_ms, worker) {
        return false;
    }
    if *level == Level::L1 {
        let key = key.get_or_insert_with(|| Key::new(entry.key().as_bytes()));
        if let Some(newer) = shared(policy, key, Some(entry), || now_ms, tier, worker) {
            *found = (newer, Level::Shared, now_ms);
            return false;
        }
    }
    true
}

/// Whether this request is the one by which a fresh entry is fetched again: the likelier the nearer its end
/// is and the longer a fetch takes (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede
/// Prevention, VLDB 2015).
fn is_due(entry: &Entry, rule: &Rule, now_ms: u64, worker: &mut Worker) -> bool {
    let meta = entry.meta();
    let weight = f64::from(meta.took_ms) * rule.early_refresh;
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let left_ms = meta.fresh_until_ms.saturating_sub(now_ms) as f64;
    // Of most hits this is all that is asked.
    left_ms < MOST * weight && left_ms <= weight * -(1.0 - worker.random.f64()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Meta;
    use crate::http::fields::FieldsBuf;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Of ten thousand requests, those that refresh an entry whose fetch takes 100 ms.
    fn refreshed(left_ms: u64, early_refresh: f64) -> usize {
        let meta = Meta { fresh_until_ms: 10_000, took_ms: 100, ..Meta::default() };
        let fields = FieldsBuf::default().to_block();
        let entry = Entry::new(meta, Key::new(b"k"), fields, Box::default());
        let rule = Rule { early_refresh, ..Rule::default() };
        let mut worker = Worker::new(7);
        let due = |_: &u32| is_due(&entry, &rule, 10_000 - left_ms, &mut worker);
        (0..10_000).filter(due).count()
    }

    #[test]
    fn the_nearer_the_end_the_likelier() {
        // e^(-left / took)
        for (left_ms, expected) in [(10, 9_048), (100, 3_679), (300, 498), (1_000, 0)] {
            let found = refreshed(left_ms, 1.0);
            assert!(found.abs_diff(expected) < 200, "{left_ms} ms left: {found}");
        }
        assert!(refreshed(300, 3.0).abs_diff(3_679) < 200);
        assert_eq!((refreshed(1_401, 1.0), refreshed(1, 0.0)), (0, 0));
    }
}
