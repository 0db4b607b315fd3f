//! The tier that all workers of a process share: entries in the host's shared data.
//!
//! Values there can be set and read as a whole, and never be deleted. So there are a fixed number of
//! slots, [`WAYS`] to a set; a key's hash says which set. Each set has an index, which says what lies in
//! its slots, is replaced by compare-and-swap, and costs a miss one small read. A value is written in one
//! step and ends in the mark of its key: whoever finds another's reads a miss, never a mix of two. A worker
//! remembers the indexes it has seen, and looks where its key was before it reads the index anew.

use std::cell::RefCell;

use hashbrown::HashMap;

use crate::coherence::SharedData;

/// Slots of a set.
pub const WAYS: usize = 8;
/// Bytes of a slot in the index.
const SLOT: usize = 16;
/// How exactly the time of the last use is kept, in steps of 16 ms: a write to the index for each hit would
/// cost more than the hit.
const USE_STEP: u32 = 512;

/// The slot of a set that negative answers compete for.
const NEGATIVE: usize = 0;
/// Bytes of the mark behind a value.
const MARK: usize = 8;

/// How many entries there may be, and how large, and where some were last seen.
#[derive(Clone, Debug)]
pub struct Tier {
    sets: u32,
    max_entry: usize,
    seen: RefCell<HashMap<u32, [Slot; WAYS]>>,
}

/// What a set's index says of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    /// A part of the key's hash; 0 if the slot is free.
    mark: u64,
    /// Until when its entry is of any use, in s since the epoch.
    until_s: u32,
    /// When it was last used, about, in steps of 16 ms; so fine because in a burst of puts the oldest
    /// goes, and it may run over.
    used: u32,
}

impl Slot {
    /// How long ago it was last used, in steps of 16 ms.
    const fn age(&self, now: u32) -> u32 {
        let age = now.wrapping_sub(self.used);
        // A clock that was set back makes nothing old.
        if age > u32::MAX / 2 { 0 } else { age }
    }
}

impl Tier {
    /// As many slots as `budget` has room for entries of `max_entry` bytes; none if there is no room for
    /// a set of them.
    #[must_use]
    pub fn new(budget: usize, max_entry: usize) -> Option<Self> {
        let sets = budget / max_entry.max(1) / WAYS;
        let sets = u32::try_from(sets).unwrap_or(u32::MAX);
        (sets > 0).then(|| Self { sets, max_entry, seen: RefCell::default() })
    }

    /// The largest entry it takes, in bytes as they are stored.
    #[must_use]
    pub const fn max_entry(&self) -> usize {
        self.max_entry.saturating_sub(MARK)
    }

    /// What may be the entry for a key with this hash. A worker that is `alone` knows what is in the indexes
    /// it has seen.
    pub fn get(
        &self,
        shared: &impl SharedData,
        hash: u128,
        alone: bool,
        now_ms: impl FnOnce() -> u64,
    ) -> Option<Vec<u8>> {
        let (set, mark) = self.place(hash);
        let now = steps(now_ms());
        let is_it = |slot: &Slot| slot.mark == mark;
        let seen = self.seen.borrow().get(&set).copied();
        if let Some(slots) = seen {
            let slot = slots.iter().enumerate().find(|(_, slot)| is_it(slot));
            if alone && slot.is_none() {
                return None;
            }
            let recent = slot.filter(|(_, slot)| slot.age(now) < USE_STEP);
            let value = recent.and_then(|(way, _)| self.value(shared, (set, way), mark));
            if value.is_some() {
                return value;
            }
        }
        let index_name = self.name(set, None);
        let (index, token) = shared.get(&index_name)?;
        let mut slots = read(&index)?;
        let way = slots.iter().position(is_it)?;
        if let Some(slot) = slots.get_mut(way)
            && slot.age(now) >= USE_STEP
        {
            slot.used = now;
            // Somebody else changed it: then that counts.
            let _ = shared.set(&index_name, &write(&slots), token);
        }
        self.seen.borrow_mut().insert(set, slots);
        self.value(shared, (set, way), mark)
    }

    /// What lies in a slot, if it is of the key with this mark.
    fn value(
        &self,
        shared: &impl SharedData,
        (set, way): (u32, usize),
        mark: u64,
    ) -> Option<Vec<u8>> {
        let (mut bytes, _) = shared.get(&self.name(set, Some(way)))?;
        let (entry, of) = bytes.split_last_chunk::<MARK>()?;
        let len = entry.len();
        (u64::from_le_bytes(*of) == mark).then(|| {
            bytes.truncate(len);
            bytes
        })
    }

    /// Puts the entry for a key with this hash into a slot: the one it has, a free one, one whose entry is
    /// of no use any more, or the one that was not used for longest; of negative answers there is one in a
    /// set. Whether it is there now.
    pub fn put(
        &self,
        shared: &impl SharedData,
        hash: u128,
        mut bytes: Vec<u8>,
        (negative, until_ms): (bool, u64),
        now_ms: u64,
    ) -> bool {
        if bytes.len() > self.max_entry() {
            return false;
        }
        let (set, mark) = self.place(hash);
        let (now, now_s, index_name) = (steps(now_ms), seconds(now_ms), self.name(set, None));
        // Two rounds: whoever loses both races has others' newer entries in its place.
        for _ in 0..2 {
            let (index, token) = shared.get(&index_name).unwrap_or_default();
            let mut slots = read(&index).unwrap_or_default();
            let rank = |slot: &Slot| {
                let class = if slot.mark == mark {
                    0
                } else if slot.mark == 0 {
                    1
                } else {
                    2 + u8::from(slot.until_s > now_s)
                };
                (class, u32::MAX - slot.age(now))
            };
            let is_for_it =
                |(way, slot): &(usize, &Slot)| !negative || *way == NEGATIVE || slot.mark == mark;
            let ways = slots.iter().enumerate().filter(is_for_it);
            let Some(way) = ways.min_by_key(|(_, slot)| rank(slot)).map(|(way, _)| way) else {
                return false;
            };
            let until_s = seconds(until_ms).saturating_add(1);
            if let Some(slot) = slots.get_mut(way) {
                *slot = Slot { mark, until_s, used: now };
            }
            if shared.set(&index_name, &write(&slots), token) {
                self.seen.borrow_mut().insert(set, slots);
                bytes.extend_from_slice(&mark.to_le_bytes());
                return shared.set(&self.name(set, Some(way)), &bytes, 0);
            }
        }
        false
    }

    #[allow(clippy::cast_possible_truncation)] // parts of the hash
    fn place(&self, hash: u128) -> (u32, u64) {
        ((hash >> 96) as u32 % self.sets, (hash as u64).max(1))
    }

    /// The name of a set's index, or of one of its slots.
    fn name(&self, set: u32, way: Option<usize>) -> Vec<u8> {
        let mut name = Vec::with_capacity(32);
        name.extend_from_slice(b"tiercel/l1/");
        for number in [self.sets, u32::try_from(self.max_entry).unwrap_or(u32::MAX), set] {
            name.extend_from_slice(&number.to_le_bytes());
        }
        name.extend(way.and_then(|way| u8::try_from(way).ok()));
        name
    }
}

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1_000).unwrap_or(u32::MAX)
}

#[allow(clippy::cast_possible_truncation)] // runs over every two years
const fn steps(ms: u64) -> u32 {
    (ms >> 4) as u32
}

fn read(bytes: &[u8]) -> Option<[Slot; WAYS]> {
    let (places, rest) = bytes.as_chunks::<SLOT>();
    let mut slots = [Slot::default(); WAYS];
    if places.len() != WAYS || !rest.is_empty() {
        return None;
    }
    for (slot, place) in slots.iter_mut().zip(places) {
        let (mark, times) = place.split_first_chunk()?;
        let (until, used) = times.split_first_chunk()?;
        *slot = Slot {
            mark: u64::from_le_bytes(*mark),
            until_s: u32::from_le_bytes(*until),
            used: u32::from_le_bytes(*used.first_chunk()?),
        };
    }
    Some(slots)
}

fn write(slots: &[Slot; WAYS]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT * WAYS);
    for slot in slots {
        bytes.extend_from_slice(&slot.mark.to_le_bytes());
        bytes.extend_from_slice(&slot.until_s.to_le_bytes());
        bytes.extend_from_slice(&slot.used.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coherence::Memory;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Hashes of one set.
    fn hash(n: u64) -> u128 {
        u128::from(n + 1)
    }

    fn tier() -> Tier {
        Tier::new(1_600, 100).unwrap() // two sets
    }

    #[test]
    fn what_is_put_is_got() {
        let (tier, shared) = (tier(), Memory::default());
        assert_eq!(tier.get(&shared, hash(1), false, || 0), None);
        assert!(tier.put(&shared, hash(1), b"one".to_vec(), (false, 10_000), 0));
        assert!(tier.put(&shared, hash(2), b"two".to_vec(), (false, 10_000), 0));
        assert!(tier.put(&shared, hash(1), b"newer".to_vec(), (false, 10_000), 0));
        assert_eq!(tier.get(&shared, hash(1), false, || 0).as_deref(), Some(&b"newer"[..]));
        assert_eq!(tier.get(&shared, hash(2), false, || 0).as_deref(), Some(&b"two"[..]));
        assert_eq!(tier.get(&shared, hash(3), false, || 0), None);
        assert!(!tier.put(&shared, hash(3), [0; 93].to_vec(), (false, 10_000), 0));
        assert!(Tier::new(799, 100).is_none() && Tier::new(0, 0).is_none());
    }

    #[test]
    fn the_least_useful_makes_room() {
        let (tier, shared) = (tier(), Memory::default());
        let has = |n, now_ms| tier.get(&shared, hash(n), false, || now_ms).is_some();
        for n in 0..8 {
            let until_ms = if n == 5 { 50_000 } else { 900_000 };
            assert!(tier.put(&shared, hash(n), b"x".to_vec(), (false, until_ms), n * 1_000));
        }
        // The oldest is used again.
        assert!(has(0, 60_000));
        assert!(tier.put(&shared, hash(8), b"x".to_vec(), (false, 900_000), 61_000));
        assert!(!has(5, 61_000), "of no use any more");
        assert!(tier.put(&shared, hash(9), b"x".to_vec(), (false, 900_000), 62_000));
        assert!(has(0, 62_000) && !has(1, 62_000), "not used for longest");
        assert!(has(8, 62_000) && has(9, 62_000));
    }

    #[test]
    fn negative_answers_leave_the_rest_alone() {
        let (tier, shared) = (tier(), Memory::default());
        let has = |n| tier.get(&shared, hash(n), false, || 0).is_some();
        (0..8)
            .for_each(|n| assert!(tier.put(&shared, hash(n), b"x".to_vec(), (false, 900_000), n)));
        for n in 100..200 {
            assert!(tier.put(&shared, hash(n), b"-".to_vec(), (true, 900_000), n) && has(n));
        }
        assert_eq!((0..200).filter(|n| has(*n)).count(), 8);
        assert!((1..8).all(has) && has(199));
        // What was there before turns out to be gone, and takes nobody's place.
        assert!(tier.put(&shared, hash(3), b"-".to_vec(), (true, 900_000), 300));
        assert!((1..8).all(has) && has(199));
    }

    #[test]
    fn in_a_burst_what_came_first_goes_first_whatever_the_clock_does() {
        for start_ms in [0, 16 * u64::from(u32::MAX) - 1_000] {
            let (tier, shared) = (tier(), Memory::default());
            for n in 0..100 {
                assert!(tier.put(
                    &shared,
                    hash(n),
                    b"x".to_vec(),
                    (false, u64::MAX),
                    start_ms + n * 16
                ));
            }
            for n in 0..100 {
                let kept = tier.get(&shared, hash(n), false, || start_ms + 2_000).is_some();
                assert_eq!(kept, n >= 92, "{n}");
            }
        }
        let (tier, shared) = (tier(), Memory::default());
        for n in 0..=8 {
            let now_ms = if n == 0 { 50_000 } else { 20_000 + n * 16 };
            assert!(tier.put(&shared, hash(n), b"x".to_vec(), (false, u64::MAX), now_ms));
        }
        let has = |n| tier.get(&shared, hash(n), false, || 20_500).is_some();
        assert!(has(0) && !has(1) && has(2));
    }

    #[test]
    fn a_lost_race_costs_a_place_and_mixes_nothing() {
        let (tier, shared) = (tier(), Memory::default());
        assert!(tier.put(&shared, hash(1), b"one".to_vec(), (false, 10_000), 0));
        // Somebody takes the slot in the index, and has not written yet.
        let index = tier.name(0, None);
        let (bytes, token) = shared.get(&index).unwrap();
        let mut slots = read(&bytes).unwrap();
        slots[0].mark = 77;
        assert!(shared.set(&index, &write(&slots), token));
        // The old value, whole: its mark tells that it is another's.
        assert_eq!(tier.get(&shared, 77, false, || 0), None);
        assert!(shared.set(&index, b"nonsense", 0));
        assert_eq!(tier.get(&shared, 77, false, || 0), None);
        assert!(tier.put(&shared, 77, b"two".to_vec(), (false, 10_000), 0));
        assert_eq!(tier.get(&shared, 77, false, || 0).as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn a_worker_that_has_seen_it_looks_there_first_and_finds_it_wherever_it_is() {
        let (one, other, shared) = (tier(), tier(), Memory::default());
        assert!(one.put(&shared, hash(0), b"a".to_vec(), (false, u64::MAX), 0));
        assert!(one.get(&shared, hash(0), false, || 0).is_some());
        // Without an index it knows where to look, for as long as its use need not be told.
        let index = one.name(0, None);
        let (text, _) = shared.get(&index).unwrap();
        assert!(shared.set(&index, b"", 0));
        assert!(one.get(&shared, hash(0), false, || 8_191).is_some());
        assert!(one.get(&shared, hash(0), false, || 8_192).is_none());
        assert!(shared.set(&index, &text, 0));
        // Alone it needs not look for what is not there.
        assert!(shared.set(&index, b"", 0));
        assert_eq!(one.get(&shared, hash(99), true, || 0), None);
        assert!(shared.set(&index, &text, 0));
        // Others take its place, and put it elsewhere.
        for n in 1..=8 {
            assert!(other.put(&shared, hash(n), b"b".to_vec(), (false, u64::MAX), n * 16));
        }
        assert_eq!(one.get(&shared, hash(0), false, || 200), None);
        assert!(other.put(&shared, hash(0), b"c".to_vec(), (false, u64::MAX), 400));
        assert_eq!(one.get(&shared, hash(0), false, || 400).as_deref(), Some(&b"c"[..]));
        assert!(one.get(&shared, hash(8), false, || 400).is_some());
    }

    #[test]
    fn memory_is_bounded_by_the_slots() {
        let (tier, shared) = (Tier::new(6_400, 100).unwrap(), Memory::default());
        for n in 0..2_000_u64 {
            let hash = u128::from(n) << 96 | hash(n);
            assert!(tier.put(&shared, hash, [0; 92].to_vec(), (false, 10_000), n));
        }
        assert_eq!((shared.len(), shared.bytes()), (8 + 64, 8 * SLOT * WAYS + 6_400));
    }
}
