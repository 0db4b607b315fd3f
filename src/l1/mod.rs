//! L1: what a worker answers from its own memory.

mod sketch;
mod store;

pub use sketch::Sketch;
pub use store::{Store, Stored};

use std::rc::Rc;

use crate::entry::Entry;

/// What an entry costs beyond its bytes: slot, table, sketch, counters and allocator headers.
/// Checked against the memory of a real VM by the memory drill.
const ENTRY_OVERHEAD: usize = 224;

/// L1's store: shared ownership, because a hit or a pending write may outlive an eviction.
pub type EntryStore = Store<Rc<Entry>>;

impl Stored for Rc<Entry> {
    fn key(&self) -> &[u8] {
        Entry::key(self)
    }

    fn weight(&self) -> usize {
        self.len() + ENTRY_OVERHEAD
    }
}
