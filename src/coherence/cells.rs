//! The cells: for each slot of tags, when it was last bumped, in the process and in the fleet.

use super::Tag;

/// Chunks of a table. Each of the three planes takes a third.
pub(super) const CHUNKS: usize = 48;
/// Bytes of a cell.
const CELL: usize = 32;

/// What a bump does to what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// It is not valid any more.
    Hard = 0,
    /// It is stale.
    Soft = 1,
    /// What is fetched for a while is not stored: a write may be carried out still.
    Uncertain = 2,
}

/// How tags fall into slots, and cells into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    slots: usize,
}

impl Layout {
    /// A layout with so many slots for tags, a power of two from 256 on, and an eighth as many for
    /// prefixes.
    #[must_use]
    pub const fn new(slots: usize) -> Self {
        Self { slots }
    }

    /// Slots for tags that are no prefixes.
    #[must_use]
    pub const fn slots(self) -> usize {
        self.slots
    }

    /// Cells in all.
    #[must_use]
    pub const fn cells(self) -> usize {
        3 * self.per_plane()
    }

    /// Cells in a chunk.
    pub(super) const fn per_chunk(self) -> usize {
        self.cells() / CHUNKS
    }

    const fn per_plane(self) -> usize {
        self.slots + self.slots / 8
    }

    /// The cell of a tag.
    #[must_use]
    pub const fn cell(self, plane: Plane, tag: Tag) -> usize {
        let bits = tag.bits() as usize;
        let slot = if tag.is_prefix() {
            self.slots + (bits & (self.slots / 8 - 1))
        } else {
            bits & (self.slots - 1)
        };
        plane as usize * self.per_plane() + slot
    }

    /// Whether a cell says until when a slot is uncertain.
    pub(super) const fn is_uncertain(self, cell: usize) -> bool {
        cell >= 2 * self.per_plane()
    }
}

/// What is known of one slot in one plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    /// The epoch of the last bump; in the uncertain plane, until when, in ms since the epoch.
    pub local: u64,
    /// The sequence number of the last bump that is known from Redis; 0 if there is none.
    pub number: u64,
    /// The epoch of the last bump of this process that Redis has not confirmed; 0 if there is none.
    pub dirty: u64,
    /// When this process last bumped it, in ms since the epoch.
    pub bumped_ms: u64,
}

impl Cell {
    fn to_bytes(self) -> [u8; CELL] {
        let mut bytes = [0; CELL];
        let numbers = [self.local, self.number, self.dirty, self.bumped_ms];
        let (places, _) = bytes.as_chunks_mut::<8>();
        places.iter_mut().zip(numbers).for_each(|(place, n)| *place = n.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; CELL]) -> Self {
        let (places, _) = bytes.as_chunks::<8>();
        let mut numbers = places.iter().map(|place| u64::from_le_bytes(*place));
        let mut next = || numbers.next().unwrap_or_default();
        Self { local: next(), number: next(), dirty: next(), bumped_ms: next() }
    }
}

/// A chunk's cells as shared data holds them.
pub(super) fn to_bytes(cells: &[Cell]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_bytes()).collect()
}

/// The cells of a chunk; none if the bytes are no chunk of this layout.
pub(super) fn from_bytes(bytes: &[u8], layout: Layout) -> Option<Vec<Cell>> {
    let (cells, rest) = bytes.as_chunks::<CELL>();
    (rest.is_empty() && cells.len() == layout.per_chunk())
        .then(|| cells.iter().map(Cell::from_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::super::TagKey;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn every_tag_has_a_cell_in_each_plane_and_no_id_meets_a_prefix() {
        for slots in [256, 4_096, 16_384] {
            let (layout, key) = (Layout::new(slots), TagKey::default());
            assert_eq!(layout.per_chunk() * CHUNKS, layout.cells());
            for n in 0..50_000_u32 {
                let (tag, prefix) = (key.named(&n.to_le_bytes()), key.prefix(&n.to_le_bytes()));
                let cells = [Plane::Hard, Plane::Soft, Plane::Uncertain].map(|plane| {
                    let cell = layout.cell(plane, prefix);
                    assert_ne!(cell, layout.cell(plane, tag));
                    assert!(cell % layout.per_plane() >= slots && cell < layout.cells());
                    layout.cell(plane, tag)
                });
                assert!(cells[2] < layout.cells() && layout.is_uncertain(cells[2]));
                assert!(
                    cells[0] < cells[1] && cells[1] < cells[2] && !layout.is_uncertain(cells[1])
                );
            }
        }
    }

    #[test]
    fn chunks_keep_their_cells() {
        let layout = Layout::new(256);
        let cell = Cell { local: 1, number: u64::MAX, dirty: 3, bumped_ms: 4 };
        let cells = vec![cell; layout.per_chunk()];
        let bytes = to_bytes(&cells);
        assert_eq!(from_bytes(&bytes, layout), Some(cells));
        assert_eq!(from_bytes(&bytes[1..], layout), None);
        assert_eq!(from_bytes(&[], layout), None);
    }
}
