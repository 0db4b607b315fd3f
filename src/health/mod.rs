//! How L2 fares, as all workers of a process agree on it, and what is asked of it therefore
//! (docs/resilience.md).
//!
//! Whoever finds that Redis fails says so to all; that it is well again only the keeper may find, by probes
//! that read and write. Nothing here does I/O: shared data holds the record, the caller makes the calls.

mod policy;
mod record;
mod watch;
#[cfg(test)]
mod watch_tests;
mod window;

pub use policy::{Force, HealthPolicy};
pub use record::{Cause, Record, State};
pub use watch::{Change, Health, Probe};

use crate::l2::L2Error;

/// What may be said to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Anything at all, but for the keeper's probes.
    pub table: bool,
    /// Look-ups, which requests wait for.
    pub reads: bool,
    /// Stores and deletes.
    pub writes: bool,
}

impl Gate {
    /// Everything.
    pub const OPEN: Self = Self { table: true, reads: true, writes: true };
    /// Nothing.
    pub const SHUT: Self = Self { table: false, reads: false, writes: false };

    /// Why nothing is looked up.
    #[must_use]
    pub const fn refusal(self) -> Option<L2Error> {
        match self {
            Self { reads: true, .. } => None,
            Self { table: true, .. } => Some(L2Error::Slow),
            Self { table: false, .. } => Some(L2Error::Degraded),
        }
    }
}
