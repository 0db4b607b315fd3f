//! Which worker keeps: it asks Redis what is new, and whether it is well, for all workers of the process.
//!
//! The keeper holds a lease and renews it at ticks; whoever comes first takes one that has run out. Each holding has
//! a number: who stood still and lost the lease finds another number there, and what it began counts no more.

use super::Reach;
use super::shared::{SharedData, numbers, update, value_of};

const NAME: &[u8] = b"tiercel/generations/keeper";
/// How long a lease holds without being renewed, and when it is.
const HOLDS_MS: u64 = 300;
const RENEWED_MS: u64 = HOLDS_MS / 2;
/// How often everything is compared, whatever is new.
const FULL_MS: u64 = 30_000;

/// What the workers of a process tell each other of the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    /// When it was last asked.
    asked_ms: u64,
    /// When it last answered.
    heard_ms: u64,
    /// When everything was last compared.
    compared_ms: u64,
    /// The process's epoch when it was last asked.
    epoch: u64,
    /// Who keeps, until when, and how often that changed.
    holder: u64,
    until_ms: u64,
    term: u64,
}

/// A worker's turn to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// How far back to ask.
    pub reach: Reach,
    /// Bumps of this epoch and before it should have been confirmed by now.
    pub dirty_until: u64,
    /// The number of its holding.
    pub term: u64,
}

impl Record {
    fn read(bytes: &[u8]) -> Self {
        let mut next = numbers(bytes);
        Self {
            asked_ms: next(),
            heard_ms: next(),
            compared_ms: next(),
            epoch: next(),
            holder: next(),
            until_ms: next(),
            term: next(),
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        let Self { asked_ms, heard_ms, compared_ms, epoch, holder, until_ms, term } = self;
        value_of(&[asked_ms, heard_ms, compared_ms, epoch, holder, until_ms, term])
    }

    /// Whether it is held at that time; a clock that was set back does not make it last.
    const fn is_held(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms && self.until_ms <= now_ms + HOLDS_MS
    }
}

/// Keeps, or goes on to keep, if nobody else does. Takes the turn to ask, if `interval_ms` have passed since the last.
/// Who does not know whether its questions reach Redis only takes turns: `stays` is false.
pub fn take_turn(
    shared: &impl SharedData,
    (own, stays): (u64, bool),
    now_ms: u64,
    interval_ms: u64,
    epoch: u64,
) -> Option<Turn> {
    let (bytes, token) = shared.get(NAME).unwrap_or_default();
    let known = Record::read(&bytes);
    let is_held = known.is_held(now_ms);
    let is_own = is_held && known.holder == own;
    if is_held && !is_own {
        return None;
    }
    // A clock that was set back does not stop it.
    let is_due = known.asked_ms > now_ms || now_ms - known.asked_ms >= interval_ms;
    let renews = stays && (!is_own || known.until_ms < now_ms + RENEWED_MS);
    if !is_due && !renews {
        return None;
    }
    let failed = known.heard_ms < known.asked_ms;
    let full = failed || now_ms.abs_diff(known.compared_ms) >= FULL_MS;
    let term = known.term.saturating_add(u64::from(!is_own));
    let (asked_ms, epoch) = if is_due { (now_ms, epoch) } else { (known.asked_ms, known.epoch) };
    // Who does not stay keeps nobody waiting.
    let until_ms = if stays { now_ms + HOLDS_MS } else { now_ms };
    let next = Record { asked_ms, epoch, holder: own, until_ms, term, ..known };
    let taken = shared.set(NAME, &next.to_bytes(), token);
    let reach = if full { Reach::All } else { Reach::Recent };
    (taken && is_due).then_some(Turn { reach, dirty_until: known.epoch, term })
}

/// This worker waits for an answer to what it asked: it goes on to keep, if it does still.
pub fn renew(shared: &impl SharedData, own: u64, now_ms: u64) {
    update(shared, NAME, |bytes| {
        let known = Record::read(bytes);
        let is_due = known.is_held(now_ms) && known.until_ms < now_ms + RENEWED_MS;
        let next = Record { until_ms: now_ms + HOLDS_MS, ..known };
        (is_due && known.holder == own).then(|| next.to_bytes())
    });
}

/// Whether this worker keeps still, as it did in this holding.
pub fn keeps(shared: &impl SharedData, own: u64, term: u64) -> bool {
    let record = shared.get(NAME).map(|(bytes, _)| Record::read(&bytes)).unwrap_or_default();
    (record.holder, record.term) == (own, term)
}

/// Redis answered a question that this worker asked in its turn.
pub fn heard(shared: &impl SharedData, own: u64, now_ms: u64, full: bool) {
    update(shared, NAME, |bytes| {
        let known = Record::read(bytes);
        let compared_ms = if full { now_ms } else { known.compared_ms };
        let next = Record { heard_ms: now_ms, compared_ms, ..known };
        (known.holder == own).then(|| next.to_bytes())
    });
}

/// When Redis last answered, in ms since the epoch; 0 if it never did.
pub fn last_heard_ms(shared: &impl SharedData) -> u64 {
    shared.get(NAME).map_or(0, |(bytes, _)| Record::read(&bytes).heard_ms)
}

#[cfg(test)]
mod tests {
    use super::super::shared::Memory;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn one_turn_at_a_time_and_everything_after_trouble() {
        let shared = Memory::default();
        let take = |now_ms, epoch| take_turn(&shared, (1, true), now_ms, 200, epoch);
        let turn = Turn { reach: Reach::All, dirty_until: 0, term: 1 };
        assert_eq!(take(100_000, 5), Some(turn));
        assert_eq!((take(100_000, 5), take(100_199, 5)), (None, None));
        heard(&shared, 1, 100_001, true);
        let recent = Turn { reach: Reach::Recent, dirty_until: 5, term: 1 };
        assert_eq!(take(100_200, 9), Some(recent));
        // No answer to that one.
        assert_eq!(take(100_400, 9), Some(Turn { dirty_until: 9, ..turn }));
        heard(&shared, 1, 100_401, true);
        assert_eq!(last_heard_ms(&shared), 100_401);
        assert_eq!(take(100_600, 9).map(|turn| turn.reach), Some(Reach::Recent));
        heard(&shared, 1, 100_601, false);
        assert_eq!(take(130_401, 9).map(|turn| turn.reach), Some(Reach::All));
        heard(&shared, 1, 130_402, true);
        // The clock was set back: nobody knows when that was.
        assert_eq!(take(1_000, 9).map(|turn| turn.reach), Some(Reach::All));
        assert!(take(1_100, 9).is_none());
    }

    #[test]
    fn who_stands_still_is_followed_by_another_and_counts_no_more() {
        let shared = Memory::default();
        let take = |own, now_ms| take_turn(&shared, (own, true), now_ms, 200, 0);
        let first = take(1, 10_000).unwrap();
        for now_ms in (10_050..12_000).step_by(50) {
            assert!(take(2, now_ms).is_none(), "the first keeps, {now_ms}");
            take(1, now_ms);
            heard(&shared, 1, now_ms, false);
        }
        assert!(keeps(&shared, 1, first.term));
        assert!(take(2, 12_050).is_none());
        let second = take(2, 12_300).unwrap();
        assert!(!keeps(&shared, 1, first.term) && keeps(&shared, 2, second.term));
        heard(&shared, 1, 12_310, true);
        assert!(last_heard_ms(&shared) < 12_000, "the first says what it heard when it kept");
        assert!(take(1, 12_320).is_none() && take(1, 12_599).is_none());
        let again = take(1, 12_600).unwrap();
        assert!(again.term > second.term && !keeps(&shared, 1, first.term));
    }

    #[test]
    fn who_may_not_reach_redis_only_takes_turns() {
        let shared = Memory::default();
        assert!(take_turn(&shared, (1, false), 10_000, 0, 0).is_some());
        assert!(take_turn(&shared, (2, true), 10_200, 200, 0).is_some(), "nobody waits for it");
        assert!(take_turn(&shared, (1, false), 10_499, 100, 0).is_none(), "nor does it disturb");
        assert!(take_turn(&shared, (1, false), 10_500, 100, 0).is_some());
    }
}
