//! Which ids there are: requests for others need not reach the origin.
//!
//! Nothing here does I/O. A list of ids becomes a filter that says of each of them that it is there, always, and of
//! others with a small chance (Graf, Lemire: Binary Fuse Filters, JEA 2022).

mod absent;
mod filter;
mod fleet;
mod head;
mod ids;
mod keeper;
mod known;
mod names;
mod pattern;
mod policy;
mod recent;
mod shard;
pub mod source;
mod space;
#[cfg(test)]
mod space_tests;
mod telling;

pub use absent::Absent;
pub use filter::{Assembly, Build, DecodeError, Filter};
pub use ids::{Ids, hash};
pub use known::Verdict;
pub use pattern::Pattern;
pub use policy::{
    Carried, Created, FieldPairs, HttpSource, Paging, RedisSource, SourcePolicy, SpacePolicy,
};
pub use shard::Width;
pub use space::Space;
pub use telling::{Count, Standing};
