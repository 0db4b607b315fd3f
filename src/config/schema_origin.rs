//! How the origin is asked, and how it is spared: plain types, as in [`super::schema`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Millis;

/// The origin, for requests that no client waits for.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Origin {
    /// Its Envoy cluster. Required.
    pub cluster: String,
    /// The longest such a request may take.
    pub timeout: Millis,
}

impl Default for Origin {
    fn default() -> Self {
        Self { cluster: String::new(), timeout: Millis(15_000) }
    }
}

/// How requests wait for what others are fetching (docs/design.md, 11).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Waiting {
    /// The longest a request waits for another's fetch; then it asks the origin for itself.
    pub longest: Millis,
    /// Requests that wait at the same time, per worker; beyond it they ask the origin.
    pub max: u32,
    /// Requests that wait for the same fetch, per worker.
    pub max_per_key: u32,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { longest: Millis(10_000), max: 4_096, max_per_key: 2_048 }
    }
}

/// What is done so that origins are not overwhelmed (docs/design.md, 11).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Protection {
    /// Fetches from one origin at the same time, per worker. Beyond it stale responses are served that may
    /// hide an error, and 503 where there are none. What is known not to be stored is not counted.
    pub max_fetches: u32,
    /// What such a 503 says in `Retry-After`: whole seconds.
    pub retry_after: Millis,
    /// Failures of an origin in a row (500, 502 to 504, reset, no healthy host) from which on stale responses
    /// that may hide an error are served without asking it; 0 for never.
    pub failures: u32,
    /// How often it is asked all the same, per worker, until it answers as it should.
    pub probe_interval: Millis,
}

impl Default for Protection {
    fn default() -> Self {
        Self {
            max_fetches: 1_024,
            retry_after: Millis(1_000),
            failures: 5,
            probe_interval: Millis(500),
        }
    }
}
