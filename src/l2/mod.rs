//! L2: Redis, reached through Envoy itself.
//!
//! Look-ups and stores are queued, sent as pipelined RESP in the body of an HTTP callout, and
//! answered in order (docs/design.md, 3). Nothing here does I/O: [`Client`] says what to send and is
//! told what came back.

mod answers;
mod calls;
mod claims;
mod client;
#[cfg(test)]
mod client_tests;
mod error;
mod gate;
mod missed;
pub mod resp;
mod table;

pub use answers::{Answer, Ticket, verdict};
pub use claims::{Claim, Claimant, Holder};
pub use client::{Call, Client, Question};
pub use error::{L2Error, Severity};

use std::fmt::Write;

/// The Redis key of a cache key's hash: the prefix and 32 hex digits.
#[must_use]
pub fn redis_key(prefix: &str, hash: u128) -> String {
    let mut key = String::with_capacity(prefix.len() + 32);
    key.push_str(prefix);
    let _ = write!(key, "{hash:032x}"); // writing to a String cannot fail
    key
}
