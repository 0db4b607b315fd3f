//! What is still valid: a worker's copy of the cells, and how it and the process's table change.

use super::cells::{self, CHUNKS, Cell, Layout, Plane};
use super::head::{Head, Stamp};
use super::shared::{SharedData, update};
use super::{Cells, Tag, Tags};

/// Whether something stored may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    names: Names,
    /// Whether it is the copy of a table that others see.
    is_shared: bool,
    bumps: Vec<Bump>,
}

#[derive(Debug)]
struct Names {
    head: Vec<u8>,
    chunks: Vec<Vec<u8>>,
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
    /// are workers.
    pub fn open(&mut self, shared: &impl SharedData, slots: usize, now_ms: u64) {
        self.layout = Layout::new(slots);
        self.names = Names::new(self.layout);
        self.is_shared = true;
        if shared.get(&self.names.head).and_then(|(bytes, _)| Head::from_bytes(&bytes)).is_none() {
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
        let bytes = shared.get(&self.names.head);
        let Some(head) = bytes.and_then(|(bytes, _)| Head::from_bytes(&bytes)) else { return };
        if head == self.head {
            return;
        }
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
        let bumped = |plane| {
            let mut cells = tags.iter().map(|tag| self.cell(plane, *tag));
            cells.any(|cell| cell.local > epoch)
        };
        if bumped(Plane::Hard) {
            Validity::Invalid
        } else if bumped(Plane::Soft) {
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

    /// Tells every worker of the process what this one bumped. Returns the cells, each with its bump's
    /// epoch, for Redis to hear of, or none if it could not be told.
    pub fn publish(&mut self, shared: &impl SharedData, now_ms: u64) -> Option<Cells> {
        let bumps = std::mem::take(&mut self.bumps);
        let has_fleet = self.head.scope != 0;
        let epoch = self.next_epoch(shared);
        let all = bumps.iter().flat_map(|bump| values(bump, self.layout, epoch));
        let mut all: Cells = all.collect();
        all.sort_unstable_by_key(|(index, value)| (*index, u64::MAX - value));
        all.dedup_by_key(|(index, _)| *index);
        let told = self.change(shared, &all, true, |cell, value| {
            cell.local = cell.local.max(value);
            cell.bumped_ms = now_ms;
            if has_fleet {
                cell.dirty = epoch;
            }
        });
        self.reload(shared);
        told.then(|| all.into_iter().map(|(index, _)| (index, epoch)).collect())
    }

    /// The epoch of a bump that begins now. Whatever captures it began later.
    pub(super) fn next_epoch(&self, shared: &impl SharedData) -> u64 {
        let head = shared.get(&self.names.head).and_then(|(bytes, _)| Head::from_bytes(&bytes));
        head.map_or(self.head.epoch, |head| head.epoch) + 1
    }

    /// Changes cells in the process's table, which `all` names in order, each with a value; then the
    /// head; then rings, if workers must hear of it at once. Whether all of it was done.
    pub(super) fn change(
        &self,
        shared: &impl SharedData,
        all: &[(usize, u64)],
        ring: bool,
        mut change: impl FnMut(&mut Cell, u64),
    ) -> bool {
        let per_chunk = self.layout.per_chunk();
        let mut chunks = Vec::new();
        let mut told = true;
        for group in all.chunk_by(|(a, _), (b, _)| a / per_chunk == b / per_chunk) {
            let Some(number) = group.first().map(|(index, _)| index / per_chunk) else { continue };
            let Some(name) = self.names.chunks.get(number) else { continue };
            told &= update(shared, name, |bytes| {
                let mut cells = cells::from_bytes(bytes, self.layout)
                    .unwrap_or_else(|| vec![Cell::default(); per_chunk]);
                for (index, value) in group {
                    if let Some(cell) = cells.get_mut(index % per_chunk) {
                        change(cell, *value);
                    }
                }
                Some(cells::to_bytes(&cells))
            });
            chunks.push(number);
        }
        // Only now: whoever sees the new head must find the new cells.
        told &= self.change_head(shared, |head| head.advance(&chunks));
        if ring {
            shared.ring();
        }
        told
    }

    /// Changes the head in the process's table, if there is one.
    pub(super) fn change_head(
        &self,
        shared: &impl SharedData,
        mut change: impl FnMut(&mut Head),
    ) -> bool {
        update(shared, &self.names.head, |bytes| {
            let mut head = Head::from_bytes(bytes)?;
            let before = head.clone();
            change(&mut head);
            (head != before).then(|| head.to_bytes())
        })
    }

    /// The fleet's number up to which the copy knows everything.
    #[must_use]
    pub const fn synced(&self) -> Stamp {
        self.head.synced
    }
}

/// The cells of a bump and what they become.
fn values(bump: &Bump, layout: Layout, epoch: u64) -> impl Iterator<Item = (usize, u64)> {
    let plane = if bump.soft { Plane::Soft } else { Plane::Hard };
    let until = bump.uncertain_until_ms;
    bump.tags.as_slice().iter().flat_map(move |tag| {
        let uncertain = (until > 0).then(|| (layout.cell(Plane::Uncertain, *tag), until));
        std::iter::once((layout.cell(plane, *tag), epoch)).chain(uncertain)
    })
}

#[cfg(test)]
mod tests {
    use super::super::shared::Memory;
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
            one.bump(bump(Tag::named(&n.to_le_bytes())));
            one.publish(&shared, 1_000).unwrap();
        }
        let bytes: usize =
            one.names.chunks.iter().map(|name| shared.get(name).unwrap().0.len()).sum();
        assert_eq!(bytes, Layout::new(256).cells() * 32);
    }
}
