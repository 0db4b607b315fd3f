//! What a request gets whose id does not exist: what the origin itself would say.

use crate::coherence::Filling;

/// An answer with gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Its status.
    pub status: u16,
    /// Its fields, in lower case.
    pub fields: Vec<(Box<[u8]>, Box<[u8]>)>,
}

impl Absent {
    /// The body for a request at this time, in ms since the epoch.
    #[must_use]
    pub fn body(&self, with: &Filling<'_>, now_ms: u64) -> Vec<u8> {
        let _ = (with, now_ms);
        Vec::new()
    }
}
