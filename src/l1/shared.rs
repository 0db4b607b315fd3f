//! The tier that all workers of a process share: entries in the host's shared data.
//!
//! Values there can be set and read as a whole, and never be deleted. So there are a fixed number of
//! slots, [`WAYS`] to a set; a key's hash says which set. Each set has an index, which says what lies in
//! its slots, is replaced by compare-and-swap, and costs a miss one small read. A value is written in one
//! step and holds its full key: whoever finds another's reads a miss, never a mix of two.

use crate::coherence::SharedData;

/// Slots of a set.
pub const WAYS: usize = 8;
/// Bytes of a slot in the index.
const SLOT: usize = 16;
/// How exactly the time of the last use is kept, in steps of 16 ms: a write to the index for each hit would
/// cost more than the hit.
const USE_STEP: u32 = 512;

/// How many entries there may be, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    sets: u32,
    max_entry: usize,
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
        (sets > 0).then_some(Self { sets, max_entry })
    }

    /// The largest entry it takes, in bytes as they are stored.
    #[must_use]
    pub const fn max_entry(&self) -> usize {
        self.max_entry
    }

    /// What may be the entry for a key with this hash.
    pub fn get(
        &self,
        shared: &impl SharedData,
        hash: u128,
        now_ms: impl FnOnce() -> u64,
    ) -> Option<Vec<u8>> {
        let (set, mark) = self.place(hash);
        let index_name = self.name(set, None);
        let (index, token) = shared.get(&index_name)?;
        let mut slots = read(&index)?;
        let way = slots.iter().position(|slot| slot.mark == mark)?;
        let now = steps(now_ms());
        if let Some(slot) = slots.get_mut(way)
            && slot.age(now) >= USE_STEP
        {
            slot.used = now;
            // Somebody else changed it: then that counts.
            let _ = shared.set(&index_name, &write(&slots), token);
        }
        let (bytes, _) = shared.get(&self.name(set, Some(way)))?;
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Puts the entry for a key with this hash into a slot: the one it has, a free one, one whose entry is
    /// of no use any more, or the one that was not used for longest. Whether it is there now.
    pub fn put(
        &self,
        shared: &impl SharedData,
        hash: u128,
        bytes: &[u8],
        until_ms: u64,
        now_ms: u64,
    ) -> bool {
        if bytes.len() > self.max_entry {
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
            let ways = slots.iter().enumerate();
            let Some(way) = ways.min_by_key(|(_, slot)| rank(slot)).map(|(way, _)| way) else {
                return false;
            };
            let until_s = seconds(until_ms).saturating_add(1);
            if let Some(slot) = slots.get_mut(way) {
                *slot = Slot { mark, until_s, used: now };
            }
            if shared.set(&index_name, &write(&slots), token) {
                return shared.set(&self.name(set, Some(way)), bytes, 0);
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
    let slot = |place: &[u8; SLOT]| {
        let (mark, times) = place.split_first_chunk()?;
        let (until, used) = times.split_first_chunk()?;
        Some(Slot {
            mark: u64::from_le_bytes(*mark),
            until_s: u32::from_le_bytes(*until),
            used: u32::from_le_bytes(*used.first_chunk()?),
        })
    };
    let slots: Option<Vec<Slot>> = places.iter().map(slot).collect();
    slots?.try_into().ok().filter(|_| rest.is_empty())
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
        Tier::new(1_600, 100).unwrap()
    }

    #[test]
    fn what_is_put_is_got() {
        let (tier, shared) = (tier(), Memory::default());
        assert_eq!(tier.get(&shared, hash(1), || 0), None);
        assert!(tier.put(&shared, hash(1), b"one", 10_000, 0));
        assert!(tier.put(&shared, hash(2), b"two", 10_000, 0));
        assert!(tier.put(&shared, hash(1), b"newer", 10_000, 0));
        assert_eq!(tier.get(&shared, hash(1), || 0).as_deref(), Some(&b"newer"[..]));
        assert_eq!(tier.get(&shared, hash(2), || 0).as_deref(), Some(&b"two"[..]));
        assert_eq!(tier.get(&shared, hash(3), || 0), None);
        assert!(!tier.put(&shared, hash(3), &[0; 101], 10_000, 0));
        assert_eq!((Tier::new(799, 100), Tier::new(0, 0)), (None, None));
    }

    #[test]
    fn the_least_useful_makes_room() {
        let (tier, shared) = (tier(), Memory::default());
        let has = |n, now_ms| tier.get(&shared, hash(n), || now_ms).is_some();
        for n in 0..8 {
            let until_ms = if n == 5 { 50_000 } else { 900_000 };
            assert!(tier.put(&shared, hash(n), b"x", until_ms, n * 1_000));
        }
        // The oldest is used again.
        assert!(has(0, 60_000));
        assert!(tier.put(&shared, hash(8), b"x", 900_000, 61_000));
        assert!(!has(5, 61_000), "of no use any more");
        assert!(tier.put(&shared, hash(9), b"x", 900_000, 62_000));
        assert!(has(0, 62_000) && !has(1, 62_000), "not used for longest");
        assert!(has(8, 62_000) && has(9, 62_000));
    }

    #[test]
    fn in_a_burst_what_came_first_goes_first_whatever_the_clock_does() {
        for start_ms in [0, 16 * u64::from(u32::MAX) - 1_000] {
            let (tier, shared) = (tier(), Memory::default());
            for n in 0..100 {
                assert!(tier.put(&shared, hash(n), b"x", u64::MAX, start_ms + n * 16));
            }
            for n in 0..100 {
                let kept = tier.get(&shared, hash(n), || start_ms + 2_000).is_some();
                assert_eq!(kept, n >= 92, "{n}");
            }
        }
        let (tier, shared) = (tier(), Memory::default());
        for n in 0..=8 {
            let now_ms = if n == 0 { 50_000 } else { 20_000 + n * 16 };
            assert!(tier.put(&shared, hash(n), b"x", u64::MAX, now_ms));
        }
        let has = |n| tier.get(&shared, hash(n), || 20_500).is_some();
        assert!(has(0) && !has(1) && has(2));
    }

    #[test]
    fn a_lost_race_costs_a_place_and_mixes_nothing() {
        let (tier, shared) = (tier(), Memory::default());
        assert!(tier.put(&shared, hash(1), b"one", 10_000, 0));
        // Somebody takes the slot in the index, and has not written yet.
        let index = tier.name(0, None);
        let (bytes, token) = shared.get(&index).unwrap();
        let mut slots = read(&bytes).unwrap();
        slots[0].mark = 77;
        assert!(shared.set(&index, &write(&slots), token));
        // The old value, whole: its key tells that it is another's.
        assert_eq!(tier.get(&shared, 77, || 0).as_deref(), Some(&b"one"[..]));
        assert!(shared.set(&index, b"nonsense", 0));
        assert_eq!(tier.get(&shared, 77, || 0), None);
        assert!(tier.put(&shared, 77, b"two", 10_000, 0));
        assert_eq!(tier.get(&shared, 77, || 0).as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn memory_is_bounded_by_the_slots() {
        let (tier, shared) = (Tier::new(6_400, 100).unwrap(), Memory::default());
        for n in 0..2_000_u64 {
            let hash = u128::from(n) << 96 | hash(n);
            assert!(tier.put(&shared, hash, &[0; 100], 10_000, n));
        }
        assert_eq!((shared.len(), shared.bytes()), (8 + 64, 8 * SLOT * WAYS + 6_400));
    }
}
