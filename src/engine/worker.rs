//! What one worker keeps between requests.

use crate::http::fields::FieldsBuf;
use crate::l1::EntryStore;
use crate::observe::Counters;

/// A worker's state: one per VM, shared by every filter of the VM, kept when the configuration
/// is reloaded.
#[derive(Debug)]
pub struct Worker {
    /// L1.
    pub l1: EntryStore,
    /// Counts not yet handed over.
    pub counters: Counters,
    /// Bytes of responses being copied.
    pub filling: usize,
    /// The normalised path of the request at hand.
    pub(super) path: Vec<u8>,
    /// The key of the request at hand.
    pub(super) key: Vec<u8>,
    /// The fields to store of the response at hand.
    pub(super) fields: FieldsBuf,
}

impl Worker {
    /// A worker with an empty L1 of no size; `seed` is random.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            l1: EntryStore::new(0, seed),
            counters: Counters::default(),
            filling: 0,
            path: Vec::new(),
            key: Vec::new(),
            fields: FieldsBuf::default(),
        }
    }
}
