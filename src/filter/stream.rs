//! One HTTP request: what the filter knows of it between callbacks.

use crate::engine::{Bypass, Exchange};

/// Where a request stands.
#[derive(Debug)]
pub(super) enum Stream {
    /// Nothing seen yet, or nothing more to do.
    Idle,
    /// Paused until L2 answers.
    AwaitingL2(Box<Exchange>),
    /// With the origin.
    Forwarded(Box<Exchange>),
    /// Passed through.
    Bypassed(Bypass),
}
