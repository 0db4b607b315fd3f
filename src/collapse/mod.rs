//! Collapse: requests for what another request is fetching already wait for it (RFC 9111, 4; docs/design.md,
//! 11). In a worker by [`Flights`], between the workers of a process by leases.
//!
//! Nothing here does I/O: it is told of requests and their ends, and says who may go on.

mod between;
mod flights;
mod lease;
mod peers;
#[cfg(test)]
mod simulation;

pub use flights::{Alone, Ended, Flights, Joined, Limits, Ticket, Verdict};
pub use lease::open;
pub use peers::Peers;
