//! Where the store's values live: one growing array of slots, and two FIFO queues threaded
//! through it, so that a value moves between queues without being copied.

/// No slot.
const NONE: u32 = u32::MAX;
/// Slots added at least when there is no room.
const MIN_GROWTH: usize = 16;

/// The queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// Newcomers on probation.
    Small,
    /// What was asked for again.
    Main,
}

/// A value and its standing.
#[derive(Debug)]
pub(super) struct Slot<V> {
    /// The value; none while the slot is free.
    pub(super) value: Option<V>,
    /// The key's hash, kept so that neither the table nor the sketch reads the key again.
    pub(super) hash: u64,
    /// Bytes charged.
    pub(super) weight: u32,
    /// Hits since it was put in its queue, up to a cap.
    pub(super) uses: u8,
    queue: Queue,
    previous: u32,
    next: u32,
}

impl<V> Slot<V> {
    /// The queue it waits in.
    pub(super) const fn queue(&self) -> Queue {
        self.queue
    }
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
    weight: usize,
}

/// The slots, each in one queue or free.
#[derive(Debug)]
pub(super) struct Slots<V> {
    all: Vec<Slot<V>>,
    small: List,
    main: List,
    /// The first free slot; the others follow by `next`.
    free: u32,
}

impl<V> Slots<V> {
    /// No slots.
    pub(super) const fn new() -> Self {
        let empty = List { first: NONE, last: NONE, weight: 0 };
        Self { all: Vec::new(), small: empty, main: empty, free: NONE }
    }

    /// Slots there are, in use or free.
    pub(super) const fn count(&self) -> usize {
        self.all.len()
    }

    /// A slot.
    pub(super) fn get(&self, index: u32) -> Option<&Slot<V>> {
        self.all.get(index as usize)
    }

    /// A slot, to change.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Slot<V>> {
        self.all.get_mut(index as usize)
    }

    /// Bytes charged to a queue.
    pub(super) const fn weight(&self, queue: Queue) -> usize {
        match queue {
            Queue::Small => self.small.weight,
            Queue::Main => self.main.weight,
        }
    }

    /// The slot longest in a queue.
    pub(super) const fn first(&self, queue: Queue) -> Option<u32> {
        let first = match queue {
            Queue::Small => self.small.first,
            Queue::Main => self.main.first,
        };
        if first == NONE { None } else { Some(first) }
    }

    /// Puts a value at the end of the small queue; none if there are too many to number.
    pub(super) fn add(&mut self, value: V, hash: u64, weight: u32) -> Option<u32> {
        let slot = Slot {
            value: Some(value),
            hash,
            weight,
            uses: 0,
            queue: Queue::Small,
            previous: NONE,
            next: NONE,
        };
        let index = if let Some(place) = self.all.get_mut(self.free as usize) {
            let index = std::mem::replace(&mut self.free, place.next);
            *place = slot;
            index
        } else {
            let index = u32::try_from(self.all.len()).ok().filter(|index| *index != NONE)?;
            if self.all.len() == self.all.capacity() {
                // Not doubled, as a Vec would: a quarter more wastes less of the VM's memory.
                self.all.reserve_exact((self.all.len() / 4).max(MIN_GROWTH));
            }
            self.all.push(slot);
            index
        };
        self.push_back(index, Queue::Small);
        Some(index)
    }

    /// Frees a slot that is in no queue and returns its value.
    pub(super) fn release(&mut self, index: u32) -> Option<V> {
        let free = self.free;
        let slot = self.get_mut(index)?;
        slot.next = free;
        let value = slot.value.take();
        self.free = index;
        value
    }

    /// Puts a newer value in a slot, which goes to the end of its queue and keeps its uses.
    pub(super) fn replace(&mut self, index: u32, value: V, weight: u32) {
        let Some(queue) = self.get(index).map(Slot::queue) else { return };
        self.detach(index);
        if let Some(slot) = self.get_mut(index) {
            (slot.value, slot.weight) = (Some(value), weight);
        }
        self.push_back(index, queue);
    }

    /// Moves a slot to the end of a queue.
    pub(super) fn requeue(&mut self, index: u32, queue: Queue, uses: u8) {
        self.detach(index);
        self.push_back(index, queue);
        if let Some(slot) = self.get_mut(index) {
            slot.uses = uses;
        }
    }

    fn list(&mut self, queue: Queue) -> &mut List {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    /// Puts a slot that is in no queue at the end of one.
    pub(super) fn push_back(&mut self, index: u32, queue: Queue) {
        let last = self.list(queue).last;
        let Some(slot) = self.get_mut(index) else { return };
        (slot.queue, slot.previous, slot.next) = (queue, last, NONE);
        let weight = slot.weight as usize;
        if let Some(before) = self.get_mut(last) {
            before.next = index;
        }
        let list = self.list(queue);
        list.last = index;
        list.weight += weight;
        if list.first == NONE {
            list.first = index;
        }
    }

    /// Takes a slot out of its queue.
    pub(super) fn detach(&mut self, index: u32) {
        let Some(slot) = self.get(index) else { return };
        let (queue, previous, next, weight) = (slot.queue, slot.previous, slot.next, slot.weight);
        if let Some(before) = self.get_mut(previous) {
            before.next = next;
        }
        if let Some(after) = self.get_mut(next) {
            after.previous = previous;
        }
        let list = self.list(queue);
        list.weight -= weight as usize;
        if list.first == index {
            list.first = next;
        }
        if list.last == index {
            list.last = previous;
        }
    }

    /// Leaves no slot free: each gets another number, in the order of the queues.
    pub(super) fn compact(&mut self) {
        let mut before = std::mem::take(&mut self.all);
        let used = before.iter().filter(|slot| slot.value.is_some()).count();
        let mut all: Vec<Slot<V>> = Vec::with_capacity(used);
        for queue in [Queue::Small, Queue::Main] {
            let list = self.list(queue);
            let mut index = std::mem::replace(&mut list.first, NONE);
            list.last = NONE;
            while let Some(slot) = before.get_mut(index as usize) {
                index = slot.next;
                let Ok(number) = u32::try_from(all.len()) else { break };
                let previous = list.last;
                if let Some(last) = all.get_mut(previous as usize) {
                    last.next = number;
                } else {
                    list.first = number;
                }
                list.last = number;
                all.push(Slot { value: slot.value.take(), previous, next: NONE, ..*slot });
            }
        }
        (self.all, self.free) = (all, NONE);
    }

    /// Each slot that is in use, with its number, and its hash.
    pub(super) fn hashes(&self) -> impl Iterator<Item = (u32, u64)> {
        (0..)
            .zip(&self.all)
            .filter(|(_, slot)| slot.value.is_some())
            .map(|(n, slot)| (n, slot.hash))
    }

    /// Checks that every slot is in one queue or free, and shows those in use to `check`.
    #[cfg(test)]
    pub(super) fn validate(&self, mut check: impl FnMut(u32, &Slot<V>)) {
        let mut seen = 0;
        for (list, queue) in [(&self.small, Queue::Small), (&self.main, Queue::Main)] {
            let (mut index, mut previous, mut weight) = (list.first, NONE, 0);
            while let Some(slot) = self.get(index) {
                assert_eq!((slot.queue, slot.previous), (queue, previous));
                assert!(slot.value.is_some());
                check(index, slot);
                weight += slot.weight as usize;
                seen += 1;
                (previous, index) = (index, slot.next);
            }
            assert_eq!((list.last, list.weight), (previous, weight));
        }
        let mut index = self.free;
        while let Some(slot) = self.get(index) {
            assert!(slot.value.is_none());
            seen += 1;
            index = slot.next;
        }
        assert_eq!(seen, self.all.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn queues_keep_order_and_freed_slots_are_used_again() {
        let mut slots = Slots::new();
        let index: Vec<_> = (0..40).map(|n| slots.add(n, 0, 10).unwrap()).collect();
        assert_eq!(slots.first(Queue::Small), Some(index[0]));
        slots.requeue(index[0], Queue::Main, 2);
        slots.replace(index[1], 100, 30);
        assert_eq!((slots.first(Queue::Small), slots.first(Queue::Main)), (Some(2), Some(0)));
        assert_eq!((slots.weight(Queue::Small), slots.weight(Queue::Main)), (410, 10));
        for n in [5, index[0]] {
            slots.detach(n);
            assert_eq!(slots.release(n), Some(n));
        }
        slots.validate(|_, _| ());
        assert_eq!((slots.add(7, 0, 1), slots.add(8, 0, 1)), (Some(0), Some(5)));
        assert_eq!((slots.count(), slots.get(0).unwrap().uses), (40, 0));
        slots.validate(|index, slot| assert_eq!(slot.queue() == Queue::Main, index == 99));
    }

    #[test]
    fn a_slot_is_compact() {
        assert_eq!(size_of::<Slot<std::rc::Rc<u8>>>(), 32);
    }
}
