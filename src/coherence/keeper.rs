//! Which worker asks Redis what is new, and when.

use super::Reach;
use super::shared::{SharedData, numbers, update, value_of};

const NAME: &[u8] = b"tiercel/generations/keeper";
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
}

/// A worker's turn to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// How far back to ask.
    pub reach: Reach,
    /// Bumps of this epoch and before it should have been confirmed by now.
    pub dirty_until: u64,
}

impl Record {
    fn read(bytes: &[u8]) -> Self {
        let mut next = numbers(bytes);
        Self { asked_ms: next(), heard_ms: next(), compared_ms: next(), epoch: next() }
    }

    fn to_bytes(self) -> Vec<u8> {
        value_of(&[self.asked_ms, self.heard_ms, self.compared_ms, self.epoch])
    }
}

/// Takes the turn to ask, if it is due and no other worker has it.
pub fn take_turn(
    shared: &impl SharedData,
    now_ms: u64,
    interval_ms: u64,
    epoch: u64,
) -> Option<Turn> {
    let (bytes, token) = shared.get(NAME).unwrap_or_default();
    let known = Record::read(&bytes);
    // A clock that was set back does not stop it.
    if known.asked_ms <= now_ms && now_ms - known.asked_ms < interval_ms {
        return None;
    }
    let failed = known.heard_ms < known.asked_ms;
    let full = failed || now_ms.saturating_sub(known.compared_ms) >= FULL_MS;
    let next = Record { asked_ms: now_ms, epoch, ..known };
    let taken = shared.set(NAME, &next.to_bytes(), token);
    let reach = if full { Reach::All } else { Reach::Recent };
    taken.then_some(Turn { reach, dirty_until: known.epoch })
}

/// Redis answered a question that was asked in turn.
pub fn heard(shared: &impl SharedData, now_ms: u64, full: bool) {
    update(shared, NAME, |bytes| {
        let known = Record::read(bytes);
        let compared_ms = if full { now_ms } else { known.compared_ms };
        Some(Record { heard_ms: now_ms, compared_ms, ..known }.to_bytes())
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
    fn one_worker_at_a_time_and_everything_after_trouble() {
        let shared = Memory::default();
        let take = |now_ms, epoch| take_turn(&shared, now_ms, 200, epoch);
        assert_eq!(take(100_000, 5), Some(Turn { reach: Reach::All, dirty_until: 0 }));
        assert_eq!((take(100_000, 5), take(100_199, 5)), (None, None));
        heard(&shared, 100_001, true);
        assert_eq!(take(100_200, 9), Some(Turn { reach: Reach::Recent, dirty_until: 5 }));
        // No answer to that one.
        assert_eq!(take(100_400, 9), Some(Turn { reach: Reach::All, dirty_until: 9 }));
        heard(&shared, 100_401, true);
        assert_eq!(last_heard_ms(&shared), 100_401);
        assert_eq!(take(100_600, 9).map(|turn| turn.reach), Some(Reach::Recent));
        heard(&shared, 100_601, false);
        assert_eq!(take(130_401, 9).map(|turn| turn.reach), Some(Reach::All));
        heard(&shared, 130_402, true);
        // The clock was set back.
        assert!(take(1_000, 9).is_some() && take(1_100, 9).is_none());
    }
}
