//! L1: what a worker answers from its own memory, or from that of its process.

mod entries;
mod share;
mod shared;
mod sketch;
mod slots;
mod store;

pub use entries::Entries;
pub use shared::{Tier, WAYS};
pub use sketch::Sketch;
pub use store::{Store, Stored};

use std::rc::Rc;

use crate::entry::Entry;

/// What an entry costs beyond its bytes, on wasm32, at most:
/// - its slot: 32, and a quarter more, as the slots grow by a quarter: 40;
/// - the table: 4 and a control byte, at least 7 in 16 buckets taken: 12;
/// - the sketch: a word of 8 for each slot, up to a power of two: 16;
/// - the shared entry: two counts and [`Entry`], 120, with the allocator's header: 128;
/// - the headers of its four parts' allocations, and what the alignment to 16 loses: 48;
/// - copies while slots and table grow: 32.
///
/// Checked against the memory of a real VM by the memory drill.
const ENTRY_OVERHEAD: usize = 276;

#[cfg(target_arch = "wasm32")]
const _: () = assert!(2 * size_of::<usize>() + size_of::<Entry>() <= 120);

/// Shared ownership, because a hit or a pending write may outlive an eviction.
impl Stored for Rc<Entry> {
    fn key(&self) -> &[u8] {
        Entry::key(self).as_bytes()
    }

    fn weight(&self) -> usize {
        self.len() + ENTRY_OVERHEAD
    }
}
