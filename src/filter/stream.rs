//! One HTTP request: what the filter knows of it between callbacks. A request that was answered or
//! needs nothing more is forgotten at once.

use crate::engine::{Bypass, Exchange, Invalidation};

/// Where a request stands.
#[derive(Debug)]
pub(super) enum Stream {
    /// A call to Redis on its way through the tunnel.
    Tunnelled,
    /// Paused until L2 answers.
    AwaitingL2(Box<Exchange>),
    /// Paused until what another request fetches is there.
    Following(Box<Exchange>),
    /// Paused until it is clear who of the fleet fetches.
    Claiming(Box<Exchange>),
    /// With the origin; and whether the response's body is to be taken out.
    Forwarded(Box<Exchange>, bool),
    /// Answered by a 304 made of a response whose body still streams by and is taken out.
    Emptied,
    /// Passed through, perhaps to make something stale.
    Bypassed(Bypass, Option<Box<Invalidation>>),
    /// Answered from the cache; `Content-Type` is to be as it was stored, not as the host supposes.
    Retyped(Option<Vec<u8>>),
}
