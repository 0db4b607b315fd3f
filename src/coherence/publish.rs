//! How the process's table is changed, so that every worker sees it.

use super::Cells;
use super::cells::{self, Cell, Layout, Plane};
use super::generations::{Bump, Generations};
use super::head::Head;
use super::shared::{SharedData, update};

/// Each attempt leaves others twice the room of the one before it.
const ATTEMPTS: u32 = 16;

/// Bumps that are kept if they cannot be told.
const MOST_KEPT: usize = 1_024;

impl Generations {
    /// Tells every worker of the process what this one bumped. Returns the cells, each with its bump's
    /// epoch, for Redis to hear of, or none if it could not be told.
    ///
    /// The head must go from below the epoch of the bump to it in one step. If another worker has raised it
    /// that far meanwhile, somebody may have taken from L2, under that epoch, what nobody yet knew to be
    /// stale: a later epoch is taken then.
    pub fn publish(&mut self, shared: &impl SharedData, now_ms: u64) -> Option<Cells> {
        let bumps = std::mem::take(&mut self.bumps);
        let has_fleet = self.head.scope != 0;
        let mut told = None;
        for attempt in 0..ATTEMPTS {
            let epoch = self.next_epoch(shared) - 1 + (1 << attempt);
            let all = bumps.iter().flat_map(|bump| values(bump, self.layout, epoch));
            let mut all: Cells = all.collect();
            all.sort_unstable_by_key(|(index, value)| (*index, u64::MAX - value));
            all.dedup_by_key(|(index, _)| *index);
            let (chunks, written) = self.change_cells(shared, &all, |_, cell, value| {
                cell.local = cell.local.max(value);
                cell.bumped_ms = now_ms;
                if has_fleet {
                    cell.dirty = cell.dirty.max(epoch);
                }
            });
            if self.raise_head(shared, epoch, &chunks) {
                all.iter_mut().for_each(|(_, value)| *value = epoch);
                told = written.then_some(all);
                break;
            }
        }
        if told.is_none() && bumps.len() < MOST_KEPT {
            // They count in this worker, and are told with the next.
            self.bumps = bumps;
        }
        shared.ring();
        self.reload(shared);
        told
    }

    /// The epoch of a bump that begins now. Whatever captures it began later.
    pub(super) fn next_epoch(&self, shared: &impl SharedData) -> u64 {
        self.read_head(shared).map_or(self.head.epoch, |head| head.epoch) + 1
    }

    /// Changes cells in the process's table, which `all` names in order, each with a value; then the
    /// head; then rings, if workers must hear of it at once. Whether all of it was done.
    pub(super) fn change(
        &self,
        shared: &impl SharedData,
        all: &[(usize, u64)],
        ring: bool,
        change: impl FnMut(usize, &mut Cell, u64),
    ) -> bool {
        let told = self.change_to(shared, all, 0, change);
        if ring {
            shared.ring();
        }
        told
    }

    /// As [`Self::change`], to `epoch` at least, and does not ring.
    pub(super) fn change_to(
        &self,
        shared: &impl SharedData,
        all: &[(usize, u64)],
        epoch: u64,
        change: impl FnMut(usize, &mut Cell, u64),
    ) -> bool {
        let (chunks, written) = self.change_cells(shared, all, change);
        // Only now: whoever sees the new head must find the new cells.
        let raise = |head: &mut Head| head.advance(epoch.max(head.epoch + 1), &chunks);
        self.change_head(shared, raise) && written
    }

    /// Changes cells in the process's table. Returns their chunks, and whether all of it was done.
    fn change_cells(
        &self,
        shared: &impl SharedData,
        all: &[(usize, u64)],
        mut change: impl FnMut(usize, &mut Cell, u64),
    ) -> (Vec<usize>, bool) {
        let per_chunk = self.layout.per_chunk();
        let mut chunks = Vec::new();
        let mut written = true;
        for group in all.chunk_by(|(a, _), (b, _)| a / per_chunk == b / per_chunk) {
            let Some(number) = group.first().map(|(index, _)| index / per_chunk) else { continue };
            let Some(name) = self.names.chunks.get(number) else { continue };
            written &= update(shared, name, |bytes| {
                let mut cells = cells::from_bytes(bytes, self.layout)
                    .unwrap_or_else(|| vec![Cell::default(); per_chunk]);
                for (index, value) in group {
                    if let Some(cell) = cells.get_mut(index % per_chunk) {
                        change(*index, cell, *value);
                    }
                }
                Some(cells::to_bytes(&cells))
            });
            chunks.push(number);
        }
        (chunks, written)
    }

    /// Raises the head to `epoch`, in which these chunks were changed; false if it is there already.
    fn raise_head(&self, shared: &impl SharedData, epoch: u64, chunks: &[usize]) -> bool {
        let mut raised = false;
        let set = self.change_head(shared, |head| {
            raised = head.epoch < epoch;
            if raised {
                head.advance(epoch, chunks);
            }
        });
        raised && set
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
}

/// The cells of a bump and what they become.
pub(super) fn values(
    bump: &Bump,
    layout: Layout,
    epoch: u64,
) -> impl Iterator<Item = (usize, u64)> {
    let plane = if bump.soft { Plane::Soft } else { Plane::Hard };
    let until = bump.uncertain_until_ms;
    bump.tags.as_slice().iter().flat_map(move |tag| {
        let uncertain = (until > 0).then(|| (layout.cell(Plane::Uncertain, *tag), until));
        std::iter::once((layout.cell(plane, *tag), epoch)).chain(uncertain)
    })
}
