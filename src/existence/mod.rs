//! Which ids there are: requests for others need not reach the origin.
//!
//! Nothing here does I/O. A list of ids becomes a filter that says of each of them that it is there, always, and of
//! others with a small chance (Graf, Lemire: Binary Fuse Filters, JEA 2022).

mod absent;
mod filter;
mod ids;
mod known;
mod overlay;
mod policy;
mod shard;
pub mod source;

pub use absent::Absent;
pub use filter::{Build, DecodeError, Filter};
pub use ids::{Ids, hash};
pub use known::{Known, Limits, Verdict};
pub use overlay::Overlay;
pub use policy::{Carried, Created, HttpSource, Paging, RedisSource, SourcePolicy, SpacePolicy};
pub use shard::Width;
