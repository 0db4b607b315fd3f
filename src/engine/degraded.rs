//! What the policy allows while L2 fails, and only then.

use super::exchange::Exchange;
use super::found::{Found, Level};
use super::{Outcome, Worker};
use crate::health::Force;
use crate::http::cache_status::Forward;
use crate::observe::Counter;

impl Exchange {
    /// What is stored, though it is stale: for so long after its end the policy lets it be served while L2 fails. It is
    /// fetched again behind the client's back.
    pub fn bridges(&self, now_ms: u64, worker: &mut Worker) -> Option<Found> {
        let force = self.policy.l2.as_ref()?.health.force;
        let is_degraded = force == Some(Force::Degraded) || worker.is_degraded && force.is_none();
        let entry = self.stored.as_deref().filter(|_| is_degraded && self.why == Forward::Stale)?;
        let (standing, wanted) = (entry.standing(now_ms), self.wanted());
        let asks_for_more =
            wanted.no_cache.is_some() || wanted.max_age.is_some() || wanted.min_fresh.is_some();
        let late_ms = standing.ttl_ms.saturating_neg();
        let allowed = late_ms <= i64::try_from(self.policy.stale_for_ms).unwrap_or(i64::MAX);
        if !allowed || standing.never_stale || asks_for_more || self.asked().no_store {
            return None;
        }
        let entry = Some(entry).filter(|entry| worker.may_use(entry))?.clone();
        let outcome = Outcome::StaleHit;
        worker.counters.count(Counter::Request(outcome));
        Some(Found { entry, level: Level::L1, outcome, refresh: true, now_ms })
    }
}
