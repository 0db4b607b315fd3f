//! What is still valid: a worker's copy of the cells, and how it and the process's table change.

use super::cells::{self, CHUNKS, Cell, Layout, Plane};
use super::head::Head;
use super::publish::values;
use super::shared::SharedData;
use super::{Cells, Tag, Tags};

/// Whether something stored may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Validity {
    /// Nothing has made it stale.
    Current,
    /// It is stale, whatever its freshness.
    Stale,
    /// It must not be used in any way.
    Invalid,
}

/// What is to be bumped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bump {
    /// What a write made stale.
    pub tags: Tags,
    /// Whether it is stale only, and not invalid.
    pub soft: bool,
    /// Until when the write may be carried out still, in ms since the epoch; 0 if it is over.
    pub uncertain_until_ms: u64,
}

/// The worker's copy of the process's table, and the bumps that are not in it yet.
#[derive(Debug)]
pub struct Generations {
    pub(super) layout: Layout,
    pub(super) head: Head,
    pub(super) cells: Vec<Cell>,
    /// The highest number of a cell, and the cells that are not below the number synced up to.
    pub(super) highest: u64,
    pub(super) tail: Vec<usize>,
    bell: Option<u64>,
    pub(super) names: Names,
    /// Whether it is the copy of a table that others see.
    is_shared: bool,
    pub(super) bumps: Vec<Bump>,
}

/// What the parts of the table are called in shared data.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) head: Vec<u8>,
    pub(super) chunks: Vec<Vec<u8>>,
}

impl Names {
    fn new(layout: Layout) -> Self {
        let name =
            |part: &str| format!("tiercel/generations/{}/{part}", layout.slots()).into_bytes();
        let chunks = (0..CHUNKS).map(|chunk| name(&chunk.to_string())).collect();
        Self { head: name("head"), chunks }
    }
}

impl Default for Generations {
    /// A table of one worker alone.
    fn default() -> Self {
        let layout = Layout::new(4_096);
        let cells = vec![Cell::default(); layout.cells()];
        let names = Names::new(layout);
        Self {
            layout,
            head: Head::new(1),
            cells,
            highest: 0,
            tail: Vec::new(),
            bell: None,
            names,
            is_shared: false,
            bumps: Vec::new(),
        }
    }
}

impl Generations {
    /// Joins the table of the process with `slots` for tags, or makes it: that must happen before there
    /// are workers. A worker that had another one trusts nothing from before: what was bumped meanwhile is
    /// not in it.
    pub fn open(&mut self, shared: &impl SharedData, slots: usize, now_ms: u64) {
        let had_another = self.is_shared && self.layout.slots() != slots;
        self.layout = Layout::new(slots);
        self.names = Names::new(self.layout);
        self.is_shared = true;
        if self.read_head(shared).is_none() {
            // Later than every epoch of an earlier table, unless there are a million bumps a second.
            let head = Head::new(now_ms.saturating_mul(1_000).max(1));
            let cell = Cell { local: head.epoch, ..Cell::default() };
            let chunk = vec![cell; self.layout.per_chunk()];
            let chunk = cells::to_bytes(&chunk);
            // Uncertain until long ago.
            let certain = cells::to_bytes(&vec![Cell::default(); self.layout.per_chunk()]);
            for (number, name) in self.names.chunks.iter().enumerate() {
                let first = number * self.layout.per_chunk();
                let bytes = if self.layout.is_uncertain(first) { &certain } else { &chunk };
                shared.set(name, bytes, 0);
            }
            shared.set(&self.names.head, &head.to_bytes(), 0);
        }
        self.cells = vec![Cell::default(); self.layout.cells()];
        self.head = Head { marks: [u32::MAX; CHUNKS], ..Head::new(0) };
        self.reload(shared);
        if had_another {
            self.distrust(shared, now_ms);
        }
    }

    /// Makes invalid whatever the process has stored.
    pub fn distrust(&mut self, shared: &impl SharedData, now_ms: u64) {
        // Later than every epoch of another table.
        let epoch = self.next_epoch(shared).max(now_ms.saturating_mul(1_000));
        let certain = (0..self.cells.len()).filter(|index| !self.layout.is_uncertain(*index));
        let all: Cells = certain.map(|index| (index, epoch)).collect();
        self.change_to(shared, &all, epoch, |_, cell, epoch| cell.local = cell.local.max(epoch));
        shared.ring();
        self.reload(shared);
    }

    /// Whether it is the copy of a table with so many slots.
    #[must_use]
    pub const fn is_open(&self, slots: usize) -> bool {
        self.is_shared && self.layout.slots() == slots
    }

    /// Makes the copy current, if the bell says that it is not.
    pub fn refresh(&mut self, shared: &impl SharedData) {
        let bell = shared.bell();
        if bell.is_none() || bell != self.bell {
            self.reload(shared);
        }
    }

    /// Makes the copy current.
    pub fn reload(&mut self, shared: &impl SharedData) {
        // What is rung from here on is seen the next time.
        self.bell = shared.bell();
        let Some(head) = self.read_head(shared).filter(|head| *head != self.head) else { return };
        let per_chunk = self.layout.per_chunk();
        let chunks = self.cells.chunks_mut(per_chunk).zip(&self.names.chunks);
        let marks = head.marks.iter().zip(&self.head.marks);
        for ((copy, name), _) in chunks.zip(marks).filter(|(_, (new, known))| new != known) {
            let bytes = shared.get(name).map(|(bytes, _)| bytes).unwrap_or_default();
            if let Some(cells) = cells::from_bytes(&bytes, self.layout) {
                copy.copy_from_slice(&cells);
            }
        }
        let synced = head.synced.number.max(1);
        self.head = head;
        self.highest = self.cells.iter().map(|cell| cell.number).max().unwrap_or(0);
        let cells = self.cells.iter().enumerate();
        self.tail.clear();
        self.tail.extend(cells.filter(|(_, cell)| cell.number >= synced).map(|(index, _)| index));
    }

    /// The epoch now: what is fetched from here on is valid as long as nothing is bumped after it.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.head.epoch
    }

    /// Whether what was fetched from `epoch` on, with these tags, may be used.
    #[must_use]
    pub fn validity(&self, tags: &[Tag], epoch: u64) -> Validity {
        if epoch >= self.head.epoch && self.bumps.is_empty() {
            return Validity::Current;
        }
        self.judge(tags, |cell| cell.local > epoch)
    }

    /// What follows for something with these tags if cells of them are bumped in the sense of `is_bumped`.
    pub(super) fn judge(&self, tags: &[Tag], is_bumped: impl Fn(Cell) -> bool) -> Validity {
        let any = |plane| tags.iter().any(|tag| is_bumped(self.cell(plane, *tag)));
        if any(Plane::Hard) {
            Validity::Invalid
        } else if any(Plane::Soft) {
            Validity::Stale
        } else {
            Validity::Current
        }
    }

    /// Whether a write may be carried out still that makes these tags stale.
    #[must_use]
    pub fn is_uncertain(&self, tags: &[Tag], now_ms: u64) -> bool {
        tags.iter().any(|tag| now_ms < self.cell(Plane::Uncertain, *tag).local)
    }

    pub(super) fn cell(&self, plane: Plane, tag: Tag) -> Cell {
        self.cells.get(self.layout.cell(plane, tag)).copied().unwrap_or_default()
    }

    /// Makes something stale: in this worker at once, everywhere else with [`Self::publish`].
    pub fn bump(&mut self, bump: Bump) {
        if bump.tags.is_empty() {
            return;
        }
        for (index, value) in values(&bump, self.layout, self.head.epoch + 1) {
            if let Some(cell) = self.cells.get_mut(index) {
                cell.local = cell.local.max(value);
            }
        }
        if self.is_shared {
            self.bumps.push(bump);
        } else {
            self.head.epoch += 1;
        }
    }

    /// Whether there is something to publish.
    #[must_use]
    pub fn has_bumps(&self) -> bool {
        !self.bumps.is_empty()
    }

    pub(super) fn read_head(&self, shared: &impl SharedData) -> Option<Head> {
        shared.get(&self.names.head).and_then(|(bytes, _)| Head::from_bytes(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::TagKey;
    use super::super::shared::{Hook, Hooked, Memory};
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn worker(shared: &Memory) -> Generations {
        let mut generations = Generations::default();
        generations.open(shared, 256, 1_000);
        generations
    }

    fn bump(tag: Tag) -> Bump {
        Bump { tags: [tag].into_iter().collect(), ..Bump::default() }
    }

    const A: Tag = Tag::from_bits(1);
    const B: Tag = Tag::from_bits(2);

    #[test]
    fn a_bump_reaches_every_worker() {
        let shared = Memory::default();
        let (mut one, mut two) = (worker(&shared), worker(&shared));
        let epoch = two.epoch();
        assert_eq!(two.validity(&[A, B], epoch), Validity::Current);
        one.bump(bump(A));
        assert_eq!(one.validity(&[A], epoch), Validity::Invalid, "at once where it was made");
        two.refresh(&shared);
        assert_eq!(two.validity(&[A], epoch), Validity::Current);
        let cells = one.publish(&shared, 5).unwrap();
        assert_eq!(cells.len(), 1);
        two.refresh(&shared);
        for worker in [&one, &two] {
            assert_eq!(worker.validity(&[B, A], epoch), Validity::Invalid);
            assert_eq!(worker.validity(&[B], epoch), Validity::Current);
            assert_eq!(worker.validity(&[A], worker.epoch()), Validity::Current);
        }
        assert_eq!((one.epoch(), one.head), (two.epoch(), two.head));
        assert_eq!(one.cells, two.cells);
    }

    #[test]
    fn what_began_before_a_bump_is_not_valid_after_it() {
        let shared = Memory::default();
        let (mut one, mut two) = (worker(&shared), worker(&shared));
        for _ in 0..100 {
            let before = (one.epoch(), two.epoch());
            one.bump(bump(A));
            two.bump(bump(A));
            two.publish(&shared, 5).unwrap();
            one.publish(&shared, 5).unwrap();
            two.refresh(&shared);
            for (worker, before) in [(&one, before.0), (&two, before.1)] {
                assert_eq!(worker.validity(&[A], before), Validity::Invalid);
                assert_eq!(worker.validity(&[A], worker.epoch()), Validity::Current);
            }
        }
    }

    /// What came from L2 meanwhile may be old: nobody could know.
    #[test]
    fn what_began_before_a_bump_was_published_is_not_valid_after_it() {
        for times in [1, 2, 3, 20] {
            let memory = Memory::default();
            let (mut one, other) = (worker(&memory), RefCell::new(worker(&memory)));
            // Another worker bumps something just before one's own cells are written, so many times.
            let races = || {
                let mut other = other.borrow_mut();
                other.bump(bump(B));
                other.publish(&memory, 5).unwrap();
            };
            let hooks = (0..times).map(|_| Box::new(races) as Hook<'_>).collect();
            let (before_chunk, after_ring) = (RefCell::new(hooks), RefCell::default());
            let racing = Hooked { memory: memory.clone(), before_chunk, after_ring };
            one.bump(bump(A));
            let cells = one.publish(&racing, 5).unwrap();
            assert!(racing.before_chunk.borrow().is_empty());
            drop(racing);
            let other = other.into_inner();
            let mut third = worker(&memory);
            assert_eq!(third.validity(&[A], other.epoch()), Validity::Invalid, "{times}");
            assert_eq!(third.validity(&[A], third.epoch()), Validity::Current);
            assert_eq!(one.epoch(), cells[0].1);
            third.refresh(&memory);
            assert_eq!(one.cells, third.cells);
        }
    }

    #[test]
    fn soft_bumps_make_stale_and_uncertain_ones_last_a_while() {
        let shared = Memory::default();
        let (mut one, mut two) = (worker(&shared), worker(&shared));
        let epoch = one.epoch();
        one.bump(Bump { soft: true, ..bump(A) });
        one.bump(Bump { uncertain_until_ms: 6_000, ..bump(B) });
        one.publish(&shared, 1_000).unwrap();
        two.refresh(&shared);
        assert_eq!(two.validity(&[A], epoch), Validity::Stale);
        assert_eq!(two.validity(&[A, B], epoch), Validity::Invalid);
        assert!(two.is_uncertain(&[A, B], 5_999) && !two.is_uncertain(&[A, B], 6_000));
        assert!(!two.is_uncertain(&[A], 1_001));
    }

    #[test]
    fn a_new_vm_joins_and_another_table_starts_later() {
        let shared = Memory::default();
        let mut one = worker(&shared);
        let epoch = one.epoch();
        one.bump(bump(A));
        one.publish(&shared, 1_000).unwrap();
        let mut two = Generations::default();
        two.open(&shared, 256, 2_000);
        assert_eq!((two.epoch(), two.validity(&[A], epoch)), (one.epoch(), Validity::Invalid));
        assert!(two.is_open(256) && !two.is_open(512));
        two.open(&shared, 512, 3_000);
        assert_eq!(two.validity(&[B], one.epoch()), Validity::Invalid);
        assert_eq!(two.validity(&[B], two.epoch()), Validity::Current);
        assert!(!two.is_uncertain(&[A, B], 1));
    }

    #[test]
    fn memory_does_not_grow_with_the_tags() {
        let shared = Memory::default();
        let mut one = worker(&shared);
        for n in 0..2_000_u32 {
            one.bump(bump(TagKey::default().named(&n.to_le_bytes())));
            one.publish(&shared, 1_000).unwrap();
        }
        let bytes: usize =
            one.names.chunks.iter().map(|name| shared.get(name).unwrap().0.len()).sum();
        assert_eq!(bytes, Layout::new(256).cells() * 32);
    }
}
