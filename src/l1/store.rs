//! The worker store: an exact byte budget under a scan-resistant policy.
//!
//! Two FIFO queues as in S3-FIFO (Yang et al., SOSP 2023): newcomers wait in the small one and move
//! to the main one only if they were asked for meanwhile; the main one is a clock. A frequency
//! sketch takes the ghost queue's part as in TinyUFO: it counts misses, and a newcomer must have
//! been missed at least as often as what it would push out, so a scan passes through without
//! washing the store away. A hit touches the table and one slot; the sketch is for misses alone.

use foldhash::quality::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::share::Share;
use super::sketch::Sketch;
use super::slots::{Queue, Slots};

/// What the store keeps.
pub trait Stored {
    /// The full key.
    fn key(&self) -> &[u8];
    /// Bytes charged to the budget.
    fn weight(&self) -> usize;
}

/// So many slots are not given back.
const FEW: usize = 1 << 10;
/// Uses beyond this are not counted: it bounds how long an entry circles in the main queue.
const USES_CAP: u8 = 3;

/// A bounded map from full keys to values.
#[derive(Debug)]
pub struct Store<V> {
    table: HashTable<u32>,
    slots: Slots<V>,
    sketch: Sketch,
    share: Share,
    hasher: FixedState,
    budget: usize,
    evictions: u64,
    /// Slots that a newcomer would take the place of, with their queues; kept for its memory.
    leaving: Vec<(u32, Queue)>,
}

impl<V: Stored> Store<V> {
    /// An empty store of `budget` bytes; `seed` keeps outsiders from choosing colliding keys.
    #[must_use]
    pub fn new(budget: usize, seed: u64) -> Self {
        Self::with_hasher(budget, FixedState::with_seed(seed))
    }

    fn with_hasher(budget: usize, hasher: FixedState) -> Self {
        Self {
            table: HashTable::new(),
            slots: Slots::new(),
            sketch: Sketch::new(0),
            share: Share::new(),
            hasher,
            budget,
            evictions: 0,
            leaving: Vec::new(),
        }
    }

    /// Bytes charged now; never more than the budget.
    #[must_use]
    pub const fn weight(&self) -> usize {
        self.slots.weight(Queue::Small) + self.slots.weight(Queue::Main)
    }

    /// Values held now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Values pushed out for others since the start.
    #[must_use]
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Changes the budget; a smaller one evicts at once.
    pub fn set_budget(&mut self, budget: usize) {
        self.budget = budget;
        while self.weight() > self.budget {
            let Some((victim, _)) = self.victim() else { break };
            self.evict(victim);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        let budget = self.budget;
        self.set_budget(0);
        self.budget = budget;
    }

    /// The value for `key`, counted as used.
    pub fn get(&mut self, key: &[u8]) -> Option<&V> {
        let hash = self.hash(key);
        let index = self.find(hash, key)?;
        self.share.hit();
        let slot = self.slots.get_mut(index)?;
        slot.uses = (slot.uses + 1).min(USES_CAP);
        slot.value.as_ref()
    }

    /// How much `key` is asked for, held or not: a rank, not counted as a use.
    #[must_use]
    pub fn heat(&self, key: &[u8]) -> u8 {
        let hash = self.hash(key);
        let slot = self.find(hash, key).and_then(|index| self.slots.get(index));
        // A use of what is held is seen only until it is looked at for its place.
        self.sketch.estimate(hash) + slot.map_or(0, |slot| 4 * slot.uses)
    }

    /// Stores `value` under its key, replacing what was there. A newcomer may be refused if what it
    /// would push out is asked for more often; what is larger than the budget always is. Returns
    /// whether it is held now.
    pub fn insert(&mut self, value: V) -> bool {
        let (hash, weight) = (self.hash(value.key()), value.weight());
        let present = self.find(hash, value.key());
        match (present, u32::try_from(weight)) {
            (_, Ok(charged)) if weight <= self.budget => match present {
                Some(index) => self.replace(index, value, charged),
                None => self.admit(value, hash, charged),
            },
            (Some(index), _) => {
                self.evict(index);
                false
            }
            (None, _) => false,
        }
    }

    /// Takes the value for `key` out. Returns whether there was one.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let found = self.find(self.hash(key), key);
        if let Some(index) = found {
            self.slots.detach(index);
            self.forget(index);
        }
        found.is_some()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |index: &u32| {
            let slot = self.slots.get(*index);
            slot.is_some_and(|s| {
                s.hash == hash && s.value.as_ref().is_some_and(|value| value.key() == key)
            })
        };
        self.table.find(hash, same).copied()
    }

    /// Puts a newer value in a slot. It keeps the standing its predecessor earned: a hot key that
    /// is fetched again must not compete as a newcomer.
    fn replace(&mut self, index: u32, value: V, weight: u32) -> bool {
        self.slots.replace(index, value, weight);
        self.set_budget(self.budget);
        true
    }

    fn admit(&mut self, value: V, hash: u64, weight: u32) -> bool {
        let frequency = self.sketch.increment(hash);
        let room = self.budget - weight as usize; // not larger than the budget
        if self.weight() > room {
            self.share.miss(self.len());
        } else {
            self.share.restart();
        }
        let fits = self.make_room(room, frequency);
        let mut leaving = std::mem::take(&mut self.leaving);
        for (index, queue) in leaving.drain(..) {
            if fits {
                self.forget(index);
                self.evictions += 1;
            } else {
                self.slots.push_back(index, queue); // a fresh wait where it was
            }
        }
        self.leaving = leaving;
        if !fits {
            return false;
        }
        let Some(index) = self.slots.add(value, hash, weight) else { return false };
        self.sketch.grow(self.slots.count());
        let slots = &self.slots;
        self.table.insert_unique(hash, index, |i| slots.get(*i).map_or(0, |slot| slot.hash));
        if self.slots.count() > FEW.max(2 * self.len()) {
            self.compact();
        }
        true
    }

    /// Gives back what many small entries needed: the large ones in their place are not charged for it.
    fn compact(&mut self) {
        self.slots.compact();
        self.sketch.shrink(self.slots.count());
        self.table = HashTable::with_capacity(self.slots.count());
        let slots = &self.slots;
        for (index, hash) in slots.hashes() {
            self.table.insert_unique(hash, index, |i| slots.get(*i).map_or(0, |slot| slot.hash));
        }
    }

    /// Takes out of their queues those whose place a newcomer asked for `frequency` times would
    /// take; false if one of them is asked for more often. Nobody is gone yet.
    fn make_room(&mut self, room: usize, frequency: u8) -> bool {
        while self.weight() > room {
            let Some((victim, queue)) = self.victim() else { return false };
            let fame = self.slots.get(victim).map_or(0, |slot| self.sketch.estimate(slot.hash));
            self.slots.detach(victim);
            self.leaving.push((victim, queue));
            if fame > frequency {
                return false;
            }
        }
        true
    }

    /// What would have to go next, and from where. Entries that earned a longer stay are moved on
    /// the way.
    fn victim(&mut self) -> Option<(u32, Queue)> {
        loop {
            let small_is_full = self.slots.weight(Queue::Small) > self.share.of(self.budget);
            let main = self.slots.first(Queue::Main).filter(|_| !small_is_full);
            let (index, queue) = match main {
                Some(index) => (index, Queue::Main),
                None => (self.slots.first(Queue::Small)?, Queue::Small),
            };
            match (queue, self.slots.get(index)?.uses) {
                (_, 0) => return Some((index, queue)),
                (Queue::Small, _) => self.slots.requeue(index, Queue::Main, 0),
                (Queue::Main, uses) => self.slots.requeue(index, Queue::Main, uses - 1),
            }
        }
    }

    fn evict(&mut self, index: u32) {
        self.slots.detach(index);
        self.forget(index);
        self.evictions += 1;
    }

    /// Drops a value whose slot is in no queue.
    fn forget(&mut self, index: u32) {
        let Some(hash) = self.slots.get(index).map(|slot| slot.hash) else { return };
        if let Ok(found) = self.table.find_entry(hash, |i| *i == index) {
            found.remove();
        }
        self.slots.release(index);
    }

    /// Checks every invariant; for tests and fuzzing.
    #[cfg(test)]
    fn validate(&self) {
        let mut seen = 0;
        self.slots.validate(|index, slot| {
            let value = slot.value.as_ref().expect("a linked slot holds a value");
            assert_eq!(self.find(slot.hash, value.key()), Some(index));
            assert_eq!(slot.weight as usize, value.weight());
            assert_eq!(slot.hash, self.hash(value.key()));
            assert!(slot.uses <= USES_CAP);
            seen += 1;
        });
        assert_eq!(seen, self.table.len());
        assert!(self.weight() <= self.budget);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    impl Stored for (Vec<u8>, usize) {
        fn key(&self) -> &[u8] {
            &self.0
        }
        fn weight(&self) -> usize {
            self.1
        }
    }

    fn item(key: u64, weight: usize) -> (Vec<u8>, usize) {
        (key.to_le_bytes().to_vec(), weight)
    }

    fn has(store: &mut Store<(Vec<u8>, usize)>, key: u64) -> bool {
        store.get(&key.to_le_bytes()).is_some()
    }

    #[test]
    fn keys_that_collide_in_one_vm_do_not_in_another() {
        let hash =
            |seed, n: u32| Store::<(Vec<u8>, usize)>::new(0, seed).hash(&n.to_le_bytes()) % 64;
        let together: Vec<u32> = (0..10_000).filter(|n| hash(1, *n) == 0).collect();
        assert!(together.len() > 100);
        let still = together.iter().filter(|n| hash(2, **n) == hash(2, together[0])).count();
        assert!(still < together.len() / 4, "{still} of {}", together.len());
    }

    #[test]
    fn keeps_and_replaces() {
        let mut store = Store::new(100, 1);
        store.insert(item(1, 10));
        store.insert(item(1, 20));
        assert_eq!((store.len(), store.weight()), (1, 20));
        // What no longer fits goes, and nothing takes its place.
        assert!(!store.insert(item(1, 101)) && !store.insert(item(2, 101)));
        assert!(store.is_empty());
        store.insert(item(3, 10));
        let (evictions, key) = (store.evictions(), 3_u64.to_le_bytes());
        assert!(store.remove(&key) && !store.remove(&key));
        assert!(store.is_empty() && store.evictions() == evictions);
        store.validate();
    }

    #[test]
    fn a_newcomer_that_is_refused_costs_nobody_the_place() {
        let mut store = Store::new(100, 1);
        for key in 0..10 {
            store.insert(item(key, 10));
        }
        // The second to go is asked for more often than the newcomer, the first is not.
        let hash = store.hash(&1_u64.to_le_bytes());
        for _ in 0..5 {
            store.sketch.increment(hash);
        }
        assert!(!store.insert(item(99, 50)));
        assert_eq!((store.len(), store.evictions()), (10, 0));
        store.validate();
    }

    #[test]
    fn a_scan_does_not_wash_the_store_away() {
        let mut store = Store::new(1_000, 1);
        for key in 0..100 {
            store.insert(item(key, 10));
        }
        for _ in 0..3 {
            (0..90).for_each(|key| assert!(has(&mut store, key)));
        }
        for key in 1_000..5_000 {
            store.insert(item(key, 10));
        }
        store.validate();
        let kept = (0..90).filter(|key| has(&mut store, *key)).count();
        assert!(kept >= 85, "{kept}");
    }

    #[test]
    fn a_value_fetched_again_keeps_its_standing() {
        let mut store = Store::new(1_000, 1);
        for key in 0..100 {
            store.insert(item(key, 10));
        }
        (0..50).for_each(|key| assert!(has(&mut store, key)));
        assert!((0..50).all(|key| store.insert(item(key, 10))));
        for key in 1_000..1_090 {
            store.insert(item(key, 10));
        }
        store.validate();
        assert!((0..50).all(|key| has(&mut store, key)));
    }

    #[test]
    fn what_is_missed_more_often_gets_in() {
        let mut store = Store::new(1_000, 1);
        for round in 0..3 {
            for key in 0..100 {
                store.insert(item(key + round % 2 * 1_000, 10));
            }
        }
        let mut misses = 0;
        while !has(&mut store, 7_777) {
            store.insert(item(7_777, 10));
            misses += 1;
        }
        assert!(misses <= 3, "{misses}");
        store.validate();
    }

    #[test]
    fn nothing_grows_with_the_keys_ever_seen() {
        let mut store = Store::new(1_000, 1);
        for key in 0..100_000 {
            store.insert(item(key, 10));
        }
        assert_eq!((store.slots.count(), store.len()), (100, 100));
        assert!(store.table.capacity() < 300);
        store.validate();
    }

    /// Slots, table and sketch are charged to entries: the small ones that are gone by now paid for them.
    #[test]
    fn what_small_entries_needed_is_given_back() {
        let mut store = Store::new(1_000_000, 1);
        (0..100_000).for_each(|key| _ = store.insert(item(key, 10)));
        (100_000..101_000).for_each(|key| {
            (0..20).for_each(|_| _ = store.insert(item(key, 1_000)));
        });
        store.validate();
        let (len, table) = (store.len(), store.table.capacity());
        assert!(
            len < 10_000 && store.slots.count() <= 2 * len && table <= 4 * len,
            "{len} {table}"
        );
    }

    #[test]
    fn the_budget_holds_whatever_happens() {
        let mut store = Store::new(5_000, 7);
        let mut state = 1_u64;
        let mut random = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % limit
        };
        for step in 0..20_000 {
            let key = random(300);
            match random(10) {
                0..=4 => {
                    has(&mut store, key);
                }
                5 => {
                    store.remove(&key.to_le_bytes());
                }
                _ => {
                    store.insert(item(key, 1 + usize::try_from(random(400)).unwrap()));
                }
            }
            if step % 500 == 0 {
                store.set_budget(usize::try_from(1_000 + random(6_000)).unwrap());
                store.validate();
            }
        }
        store.set_budget(0);
        store.validate();
        assert!(store.is_empty() && store.evictions() > 1_000);
    }
}
