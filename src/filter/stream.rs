//! One HTTP request: what the filter knows of it between callbacks. A request that was answered or
//! needs nothing more is forgotten at once.

use crate::engine::{Bypass, Exchange};

/// Where a request stands.
#[derive(Debug)]
pub(super) enum Stream {
    /// A call to Redis on its way through the tunnel.
    Tunnelled,
    /// Paused until L2 answers.
    AwaitingL2(Box<Exchange>),
    /// With the origin.
    Forwarded(Box<Exchange>),
    /// Passed through.
    Bypassed(Bypass),
    /// Answered from the cache; `Content-Type` is to be as it was stored, not as the host supposes.
    Retyped(Option<Vec<u8>>),
}
