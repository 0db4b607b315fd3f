//! When L2 counts as failed, slow, and well again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A state that holds whatever Redis does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Force {
    /// Redis is not asked at all; what writes make stale is told once it is again.
    Degraded,
    /// Redis is asked however it fares.
    Normal,
}

/// Settings of L2's health, checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthPolicy {
    /// Failures in a row that degrade it where one alone says nothing.
    pub failures: u64,
    /// The share of calls in `window_ms` that does so, too.
    pub failure_rate: f64,
    /// For how long calls are counted for that, in ms.
    pub window_ms: u64,
    /// Between the first probes of what is degraded, in ms, and the most that grows to.
    pub probe_ms: u64,
    /// See `probe_ms`.
    pub probe_ceiling_ms: u64,
    /// An answer that takes longer than this is slow, in ms.
    pub slow_ms: u64,
    /// The state that holds whatever happens.
    pub force: Option<Force>,
}
