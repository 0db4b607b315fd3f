//! When Redis counts as failed, and what is done then: plain types, as in [`super::schema`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{ByteSize, Millis};
use crate::health::Force;

/// When Redis counts as failed, slow, and well again (docs/resilience.md).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Failures in a row (timeouts, resets, nonsense) from which on Redis is not asked any more. What says clearly
    /// that it is of no use (refused, wrong password, loading, read-only, full) does so at once.
    pub failures: u32,
    /// The share of a worker's calls within `window` that does so too, more than 0, at most 1.
    pub failure_rate: f64,
    /// For how long calls are counted for `failure_rate`.
    pub window: Millis,
    /// How long after a failure the keeper probes first; then ever more rarely.
    pub probe_interval: Millis,
    /// The most that `probe_interval` grows to.
    pub probe_ceiling: Millis,
    /// The longest a probe, a store or anything else that no request waits for may take; at least
    /// `l2.timeout` is allowed.
    pub probe_timeout: Millis,
    /// When answers take longer than this, three times in a row, requests do not ask Redis until it is prompt
    /// again; at most `l2.timeout` counts.
    pub slow_above: Millis,
    /// A state that holds whatever Redis does: `degraded`, not asked at all, or `normal`, always asked.
    pub force: Option<Force>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            failures: 3,
            failure_rate: 0.5,
            window: Millis(2_000),
            probe_interval: Millis(200),
            probe_ceiling: Millis(400),
            probe_timeout: Millis(200),
            slow_above: Millis(100),
            force: None,
        }
    }
}

/// What is done while Redis fails.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Degraded {
    /// For how long after its freshness ended a response of L1 is served, and fetched again meanwhile. `0s`: TTLs
    /// hold as ever. Needs `origin`.
    pub stale_for: Millis,
    /// Bytes per worker of responses that are written to Redis once it is well again: those that are asked for most.
    /// The rest is skipped and counted.
    pub write_back: ByteSize,
}

impl Default for Degraded {
    fn default() -> Self {
        Self { stale_for: Millis(0), write_back: ByteSize(4 << 20) }
    }
}
