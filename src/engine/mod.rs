//! What to do with a request: the read path L1, L2, origin, without any I/O.

mod behind;
mod body;
mod claim;
mod collapse;
mod degraded;
mod early;
mod elsewhere;
mod exchange;
mod existence;
#[cfg(test)]
mod existence_tests;
mod fill;
mod found;
mod freshen;
mod held;
mod invalidation;
#[cfg(test)]
mod invalidation_tests;
mod origin;
mod protection;
mod purge;
mod refused;
mod stored;
mod storing;
mod worker;

pub use exchange::{Begin, Exchange};
pub use existence::News;
pub use found::{Found, FromL2, Level};
pub use invalidation::Invalidation;
pub use origin::Respond;
pub use protection::{Admission, Origins};
pub use purge::{Purged, purge};
pub use worker::{Worker, Write};

use std::rc::Rc;

use crate::closed_enum::closed_enum;
use crate::config::Policy;
use crate::entry::Entry;
use crate::http::key::KeyRefusal;
use crate::observe::Counter;

closed_enum! {
    /// How a request ended.
    pub enum Outcome {
        /// Answered from the worker's store.
        L1Hit => "l1_hit",
        /// Answered from the store that the process's workers share.
        SharedHit => "shared_hit",
        /// Answered from Redis.
        L2Hit => "l2_hit",
        /// Answered with what another request fetched meanwhile.
        Collapsed => "collapsed",
        /// Answered with a stale response that the client or the response itself allows.
        StaleHit => "stale_hit",
        /// Answered with a stored response that the origin said is still good.
        Revalidated => "revalidated",
        /// Answered with a stale response in place of the origin's error.
        StaleIfError => "stale_if_error",
        /// Answered without a look at anything, for an id in it does not exist.
        Absent => "absent",
        /// Not stored, and the client wanted nothing else.
        OnlyIfCached => "only_if_cached",
        /// Not stored, and too much is being fetched already.
        Limited => "limited",
        /// Asked of the origin; the answer may have been stored.
        Miss => "miss",
        /// Passed through.
        Bypass => "bypass",
    }
}

impl Outcome {
    /// What `X-Cache-Status` calls it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::L1Hit | Self::SharedHit | Self::L2Hit | Self::Collapsed => "HIT",
            Self::StaleHit | Self::StaleIfError => "STALE",
            Self::Revalidated => "REVALIDATED",
            Self::Absent => "ABSENT",
            Self::OnlyIfCached | Self::Limited | Self::Miss => "MISS",
            Self::Bypass => "BYPASS",
        }
    }
}

closed_enum! {
    /// Why a request was passed through.
    pub enum Bypass {
        /// Neither GET nor HEAD.
        Method => "method",
        /// The route says so.
        Route => "route",
        /// A GET with a body.
        Body => "body",
        /// `If-Match` or `If-Unmodified-Since`: only the origin can tell.
        Precondition => "precondition",
        /// `Cookie`, on a route that respects cookies.
        Cookie => "cookie",
        /// A field that may shape the answer without being part of its identity.
        Distrusted => "distrusted_field",
        /// No path.
        NoPath => "no_path",
        /// The key would be too long.
        KeyTooLong => "key_too_long",
        /// A query parameter that the route requires is missing or empty.
        ParameterMissing => "parameter_missing",
        /// A query parameter that should be an id is none.
        NotAnId => "not_an_id",
        /// There is no room to remember it.
        Memory => "memory",
    }
}

impl From<KeyRefusal> for Bypass {
    fn from(refusal: KeyRefusal) -> Self {
        match refusal {
            KeyRefusal::NoPath => Self::NoPath,
            KeyRefusal::TooLong => Self::KeyTooLong,
            KeyRefusal::ParameterMissing => Self::ParameterMissing,
            KeyRefusal::NotAnId => Self::NotAnId,
        }
    }
}

/// Puts an entry into L1, and offers it to the other workers.
fn keep(policy: &Policy, entry: &Rc<Entry>, worker: &mut Worker) {
    // A worker alone that has it waits for who asks for it again: then it is worth something to the next VM.
    let waits = worker.is_alone && is_for_l1(policy, entry);
    if policy.tier.is_some() && !waits && is_of_now(policy, worker) && entry.offer() {
        worker.shares.push(Rc::clone(entry));
    }
    keep_here(policy, entry, worker);
}

/// Whether a policy names the tags that writes make stale by now: that of a filter that has been replaced,
/// and serves its last connections, may not.
fn is_of_now(policy: &Policy, worker: &Worker) -> bool {
    worker.tagging.is_none_or(|tagging| tagging == policy.tagging)
}

fn is_for_l1(policy: &Policy, entry: &Entry) -> bool {
    policy.l1_budget > 0 && entry.content_len() <= policy.l1_max_entry
}

/// Puts an entry into the worker's store, if it is for it.
fn keep_here(policy: &Policy, entry: &Rc<Entry>, worker: &mut Worker) {
    if !is_for_l1(policy, entry) || !is_of_now(policy, worker) {
        // What it replaces is not the answer any more.
        worker.l1.remove(entry.key().as_bytes());
        return;
    }
    let before = worker.l1.evictions();
    if !worker.l1.insert(Rc::clone(entry)) {
        worker.counters.count(Counter::Refusal);
    }
    worker.counters.add(Counter::Eviction, worker.l1.evictions() - before);
}
