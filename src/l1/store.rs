//! The worker store: an exact byte budget under a scan-resistant policy.
//!
//! Two FIFO queues as in S3-FIFO (Yang et al., SOSP 2023): newcomers wait in the small one and move
//! to the main one only if they were asked for meanwhile; the main one is a clock. A frequency
//! sketch takes the ghost queue's part as in TinyUFO: a newcomer must have been asked for at least
//! as often as what it would push out, so a scan passes through without washing the store away.

use foldhash::quality::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::sketch::Sketch;

/// What the store keeps.
pub trait Stored {
    /// The full key.
    fn key(&self) -> &[u8];
    /// Bytes charged to the budget.
    fn weight(&self) -> usize;
}

/// Uses beyond this are not counted: it bounds how long an entry circles in the main queue.
const USES_CAP: u8 = 3;
/// Uses that carry an entry from the small to the main queue.
const PROMOTE: u8 = 2;
/// The small queue's share of the budget, in percent.
const SMALL_SHARE: usize = 10;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Small,
    Main,
}

#[derive(Debug)]
struct Slot<V> {
    value: Option<V>,
    hash: u64,
    weight: usize,
    previous: u32,
    next: u32,
    queue: Queue,
    uses: u8,
}

/// A FIFO queue threaded through the slots.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
    weight: usize,
}

/// A bounded map from full keys to values.
#[derive(Debug)]
pub struct Store<V> {
    table: HashTable<u32>,
    slots: Vec<Slot<V>>,
    free: Vec<u32>,
    small: List,
    main: List,
    sketch: Sketch,
    hasher: FixedState,
    budget: usize,
    evictions: u64,
}

impl<V: Stored> Store<V> {
    /// An empty store of `budget` bytes; `seed` keeps outsiders from choosing colliding keys.
    #[must_use]
    pub fn new(budget: usize, seed: u64) -> Self {
        let empty = List { first: NONE, last: NONE, weight: 0 };
        Self {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            small: empty,
            main: empty,
            sketch: Sketch::new(0),
            hasher: FixedState::with_seed(seed),
            budget,
            evictions: 0,
        }
    }

    /// Bytes charged now; never more than the budget.
    #[must_use]
    pub const fn weight(&self) -> usize {
        self.small.weight + self.main.weight
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
            let Some(victim) = self.victim() else { break };
            self.evict(victim);
        }
    }

    /// The value for `key`, counted as used.
    pub fn get(&mut self, key: &[u8]) -> Option<&V> {
        let hash = self.hash(key);
        let index = self.find(hash, key)?;
        let slot = self.slots.get_mut(index as usize)?;
        slot.uses = (slot.uses + 1).min(USES_CAP);
        slot.value.as_ref()
    }

    /// Takes the value for `key` out.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        let index = self.find(self.hash(key), key)?;
        self.drop_slot(index)
    }

    /// Stores `value` under its key, replacing what was there. A newcomer may be refused if what it
    /// would push out is asked for more often; what is larger than the budget always is.
    pub fn insert(&mut self, value: V) {
        let (hash, weight) = (self.hash(value.key()), value.weight());
        let frequency = self.sketch.increment(hash);
        let present = self.find(hash, value.key());
        if weight > self.budget {
            present.map(|index| self.drop_slot(index));
            return;
        }
        if let Some(index) = present {
            self.replace(index, value, weight);
            return;
        }
        while self.weight() + weight > self.budget {
            let Some(victim) = self.victim() else { return };
            let fame = self.slot(victim).map_or(0, |slot| self.sketch.estimate(slot.hash));
            if fame > frequency {
                // The victim stays, with a fresh wait in the small queue.
                self.requeue(victim, Queue::Small);
                return;
            }
            self.evict(victim);
        }
        self.add(value, hash, weight);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        let seed = self.hasher.clone();
        let (budget, evictions) = (self.budget, self.evictions);
        *self = Self { hasher: seed, evictions, ..Self::new(budget, 0) };
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn slot(&self, index: u32) -> Option<&Slot<V>> {
        self.slots.get(index as usize)
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |index: &u32| {
            let slot = self.slot(*index);
            slot.is_some_and(|s| {
                s.hash == hash && s.value.as_ref().is_some_and(|value| value.key() == key)
            })
        };
        self.table.find(hash, same).copied()
    }

    fn add(&mut self, value: V, hash: u64, weight: usize) {
        let slot = Slot {
            value: Some(value),
            hash,
            weight,
            previous: NONE,
            next: NONE,
            queue: Queue::Small,
            uses: 0,
        };
        let index = if let Some(index) = self.free.pop() {
            if let Some(place) = self.slots.get_mut(index as usize) {
                *place = slot;
            }
            index
        } else {
            let Ok(index) = u32::try_from(self.slots.len()) else { return };
            self.slots.push(slot);
            self.sketch.grow(self.slots.len());
            index
        };
        let slots = &self.slots;
        self.table.insert_unique(hash, index, |i| slots.get(*i as usize).map_or(0, |s| s.hash));
        self.push_back(index, Queue::Small);
    }

    /// Puts a newer value in a slot. It keeps the standing its predecessor earned: a hot key that
    /// is fetched again must not compete as a newcomer.
    fn replace(&mut self, index: u32, value: V, weight: usize) {
        let Some(queue) = self.slot(index).map(|slot| slot.queue) else { return };
        self.unlink(index);
        if let Some(slot) = self.slots.get_mut(index as usize) {
            (slot.value, slot.weight) = (Some(value), weight);
        }
        self.push_back(index, queue);
        self.set_budget(self.budget);
    }

    /// What would have to go next. Entries that earned a longer stay are moved on the way.
    fn victim(&mut self) -> Option<u32> {
        loop {
            let small_is_full = self.small.weight > self.budget / 100 * SMALL_SHARE;
            let queue =
                if small_is_full || self.main.first == NONE { Queue::Small } else { Queue::Main };
            let index = match queue {
                Queue::Small => self.small.first,
                Queue::Main => self.main.first,
            };
            let uses = self.slot(index)?.uses;
            match queue {
                Queue::Small if uses >= PROMOTE => self.requeue(index, Queue::Main),
                Queue::Main if uses > 0 => {
                    self.requeue(index, Queue::Main);
                    if let Some(slot) = self.slots.get_mut(index as usize) {
                        slot.uses = uses - 1;
                    }
                }
                _ => return Some(index),
            }
        }
    }

    fn evict(&mut self, index: u32) {
        self.drop_slot(index);
        self.evictions += 1;
    }

    /// Moves a slot to the end of a queue, its uses forgotten.
    fn requeue(&mut self, index: u32, queue: Queue) {
        self.unlink(index);
        self.push_back(index, queue);
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.uses = 0;
        }
    }

    fn drop_slot(&mut self, index: u32) -> Option<V> {
        self.unlink(index);
        let slot = self.slots.get_mut(index as usize)?;
        let (hash, value) = (slot.hash, slot.value.take());
        if let Ok(found) = self.table.find_entry(hash, |i| *i == index) {
            found.remove();
        }
        self.free.push(index);
        value
    }

    fn list(&mut self, queue: Queue) -> &mut List {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    fn push_back(&mut self, index: u32, queue: Queue) {
        let last = self.list(queue).last;
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        (slot.queue, slot.previous, slot.next) = (queue, last, NONE);
        let weight = slot.weight;
        if let Some(before) = self.slots.get_mut(last as usize) {
            before.next = index;
        }
        let list = self.list(queue);
        list.last = index;
        list.weight += weight;
        if list.first == NONE {
            list.first = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(slot) = self.slot(index) else { return };
        let (queue, previous, next, weight) = (slot.queue, slot.previous, slot.next, slot.weight);
        if let Some(before) = self.slots.get_mut(previous as usize) {
            before.next = next;
        }
        if let Some(after) = self.slots.get_mut(next as usize) {
            after.previous = previous;
        }
        let list = self.list(queue);
        list.weight -= weight;
        if list.first == index {
            list.first = next;
        }
        if list.last == index {
            list.last = previous;
        }
    }

    /// Checks every invariant; for tests and fuzzing.
    #[cfg(test)]
    fn validate(&self) {
        let mut seen = 0;
        for (list, queue) in [(&self.small, Queue::Small), (&self.main, Queue::Main)] {
            let (mut index, mut previous, mut weight) = (list.first, NONE, 0);
            while let Some(slot) = self.slot(index) {
                assert_eq!((slot.queue, slot.previous), (queue, previous));
                let value = slot.value.as_ref().expect("a linked slot holds a value");
                assert_eq!(self.find(slot.hash, value.key()), Some(index));
                assert_eq!((slot.weight, slot.hash), (value.weight(), self.hash(value.key())));
                weight += slot.weight;
                seen += 1;
                (previous, index) = (index, slot.next);
            }
            assert_eq!((list.last, list.weight), (previous, weight));
        }
        assert_eq!((seen, seen + self.free.len()), (self.table.len(), self.slots.len()));
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
    fn keeps_replaces_and_removes() {
        let mut store = Store::new(100, 1);
        store.insert(item(1, 10));
        store.insert(item(1, 20));
        assert_eq!((store.len(), store.weight()), (1, 20));
        assert_eq!(store.remove(&1_u64.to_le_bytes()), Some(item(1, 20)));
        assert!(store.is_empty() && store.remove(&1_u64.to_le_bytes()).is_none());
        store.insert(item(2, 101));
        assert!(store.is_empty());
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
                0 => drop(store.remove(&key.to_le_bytes())),
                1..=5 => drop(has(&mut store, key)),
                _ => store.insert(item(key, 1 + usize::try_from(random(400)).unwrap())),
            }
            if step % 500 == 0 {
                store.set_budget(usize::try_from(1_000 + random(6_000)).unwrap());
                store.validate();
            }
        }
        store.set_budget(0);
        store.validate();
        assert!(store.is_empty() && store.evictions() > 1_000);
        store.set_budget(100);
        store.insert(item(1, 10));
        store.clear();
        assert!(store.is_empty() && store.weight() == 0);
        store.validate();
    }
}
