//! What serde cannot see of how the origin is asked, and spared.

use super::check::Check;
use super::policy::{OriginPolicy, ProtectionPolicy};
use super::schema::{self, Collapse, Config, Fetch};
use super::units::Millis;
use crate::collapse::Limits;

impl Check<'_> {
    /// What a route, or the defaults at `path`, can only have if there is something else.
    pub(super) fn needs(
        &mut self,
        config: &Config,
        path: &str,
        fetch: Option<Fetch>,
        collapse: Option<Collapse>,
    ) {
        if fetch == Some(Fetch::Detached) && config.origin.is_none() {
            self.fail(&format!("{path}.fetch"), "needs origin: the cache asks it itself");
        }
        if collapse == Some(Collapse::Fleet) && config.l2.is_none() {
            self.fail(&format!("{path}.collapse"), "needs l2: it knows who fetches");
        }
    }

    pub(super) fn waiting(&mut self, waiting: &schema::Waiting) -> Limits {
        if !(100..=600_000).contains(&waiting.longest.0) {
            self.fail("waiting.longest", "must be between 100ms and 10m");
        }
        if waiting.max > 65_536 {
            self.fail("waiting.max", "must be at most 65536");
        }
        if waiting.max_per_key > waiting.max {
            self.fail("waiting.max_per_key", "must not be more than waiting.max");
        }
        Limits {
            per_key: waiting.max_per_key as usize,
            in_all: waiting.max as usize,
            wait_ms: waiting.longest.0,
        }
    }

    pub(super) fn protection(&mut self, protection: &schema::Protection) -> ProtectionPolicy {
        if protection.max_fetches == 0 {
            self.fail("protection.max_fetches", "must be more than 0");
        }
        if !(1_000..=3_600_000).contains(&protection.retry_after.0) {
            self.fail("protection.retry_after", "must be between 1s and 1h");
        }
        if !(50..=60_000).contains(&protection.probe_interval.0) {
            self.fail("protection.probe_interval", "must be between 50ms and 60s");
        }
        ProtectionPolicy {
            max_fetches: protection.max_fetches,
            retry_after_s: protection.retry_after.0.div_ceil(1_000),
            failures: protection.failures,
            probe_ms: protection.probe_interval.0,
        }
    }

    pub(super) fn origin(&mut self, origin: &schema::Origin) -> OriginPolicy {
        if origin.cluster.is_empty() {
            self.missing("origin.cluster", "the Envoy cluster of the origin");
        }
        if origin.timeout.0 == 0 || origin.timeout > Millis(600_000) {
            self.fail("origin.timeout", "must be more than 0 and at most 10m");
        }
        OriginPolicy {
            cluster: origin.cluster.clone(),
            timeout_ms: u32::try_from(origin.timeout.0).unwrap_or(u32::MAX),
        }
    }
}
