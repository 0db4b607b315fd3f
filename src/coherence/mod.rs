//! Coherence: what a write makes stale stops being valid, in every worker, process and instance
//! (docs/design.md, 10).
//!
//! Nothing here does I/O: [`Generations`] works on whatever [`SharedData`] it is given, and is told what
//! the table in Redis says.

mod cells;
mod follow;
#[cfg(test)]
mod follow_tests;
mod generations;
mod head;
mod intents;
pub mod keeper;
#[cfg(test)]
mod lost_tests;
mod pointer;
mod publish;
mod shared;
mod stamps;
mod tags;
mod template;

pub use cells::{Layout, Plane};
pub use follow::{Asked, Bumped, Cells, Followed, Reach, Verdict};
pub use generations::{Bump, Generations, Validity};
pub use head::Stamp;
pub use intents::{Intent, Intents};
pub use pointer::Pointer;
pub use shared::SharedData;
pub use tags::{Tag, TagKey, Tags};
pub use template::{Filling, Gap, Template, canonical, canonical_json};

#[cfg(test)]
pub(crate) use shared::Memory;
pub(crate) use shared::{ATTEMPTS, numbers, update, value_of};
