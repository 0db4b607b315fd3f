//! What serde cannot see of when Redis counts as failed, and of what is done then.

use super::check::Check;
use super::schema::{Config, L2};
use super::units::Millis;
use crate::health::HealthPolicy;

impl Check<'_> {
    pub(super) fn health(&mut self, l2: &L2) -> HealthPolicy {
        let health = &l2.health;
        if health.failures == 0 {
            self.fail("l2.health.failures", "must be more than 0");
        }
        if !(health.failure_rate > 0.0 && health.failure_rate <= 1.0) {
            self.fail("l2.health.failure_rate", "must be more than 0 and at most 1");
        }
        for (name, value, least, most) in [
            ("window", health.window, 100, 600_000),
            ("probe_interval", health.probe_interval, 50, 60_000),
            ("probe_ceiling", health.probe_ceiling, 50, 60_000),
            ("probe_timeout", health.probe_timeout, 10, 60_000),
            ("slow_above", health.slow_above, 1, 60_000),
        ] {
            if !(least..=most).contains(&value.0) {
                let (least, most) = (Millis(least), Millis(most));
                let message = format!("must be between {least} and {most}");
                self.fail(&format!("l2.health.{name}"), &message);
            }
        }
        if health.probe_ceiling < health.probe_interval {
            self.fail("l2.health.probe_ceiling", "must not be less than l2.health.probe_interval");
        }
        HealthPolicy {
            failures: u64::from(health.failures),
            failure_rate: health.failure_rate,
            window_ms: health.window.0,
            probe_ms: health.probe_interval.0,
            probe_ceiling_ms: health.probe_ceiling.0,
            slow_ms: health.slow_above.min(l2.timeout).0,
            force: health.force,
        }
    }

    pub(super) fn stale_for(&mut self, config: &Config) -> u64 {
        let stale_for = config.degraded.stale_for;
        if stale_for.0 > 0 && (config.origin.is_none() || config.l2.is_none()) {
            let message = "needs origin, to fetch again what is stale, and l2, which may fail";
            self.fail("degraded.stale_for", message);
        }
        if stale_for > Millis(86_400_000) {
            self.fail("degraded.stale_for", "must be at most 1day");
        }
        stale_for.0
    }
}
