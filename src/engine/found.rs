//! What is found on the read path, and where.

use std::rc::Rc;

use super::Outcome;
use crate::closed_enum::closed_enum;
use crate::entry::Entry;
use crate::observe::L1Lookup;

closed_enum! {
    /// Where a stored response was found.
    pub enum Level {
        /// The worker's store.
        L1 => "l1",
        /// The store that the process's workers share.
        Shared => "shared",
        /// Redis.
        L2 => "l2",
    }
}

impl Level {
    /// What a fresh response on this level is to L1, and to the request.
    pub(super) const fn fresh(self) -> (L1Lookup, Outcome) {
        match self {
            Self::L1 => (L1Lookup::Hit, Outcome::L1Hit),
            Self::Shared => (L1Lookup::Shared, Outcome::SharedHit),
            Self::L2 => (L1Lookup::Miss, Outcome::L2Hit),
        }
    }
}

/// A stored response to answer with.
#[derive(Debug)]
pub struct Found {
    /// The response.
    pub entry: Rc<Entry>,
    /// Where it was found.
    pub level: Level,
    /// How the request ends by it.
    pub outcome: Outcome,
    /// Whether it is to be fetched again meanwhile.
    pub refresh: bool,
    /// The time, in ms since the epoch.
    pub now_ms: u64,
}

/// What follows from L2's answer.
#[derive(Debug)]
pub enum FromL2 {
    /// Answer the request.
    Serve(Found),
    /// Ask L2 again: the hash has changed.
    AskAgain,
    /// Ask the origin.
    Forward,
}
