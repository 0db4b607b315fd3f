//! The configuration as its users write it: plain types for serde and for the JSON Schema.
//!
//! Every field has a default or is optional, so that one wrong value never hides another; what
//! must be there, and what must fit together, is checked by [`super::policy`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{ByteSize, Millis};

/// What one filter instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Caches the requests of a public listener.
    Cache,
    /// First filter of the L2 tunnel: ends the request body with a trailer instead of a half-close.
    TunnelOpen,
    /// Second filter of the L2 tunnel: holds that trailer back.
    TunnelHold,
}

/// The whole plugin configuration.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What this filter instance does. Required.
    pub role: Option<Role>,
    /// The store in each worker's VM memory.
    pub l1: L1,
    /// Redis behind Envoy; without it the cache is L1 only.
    pub l2: Option<L2>,
    /// What makes two requests the same resource.
    pub key: Key,
    /// Response fields for people and tools.
    pub headers: Headers,
    /// What holds where no route says otherwise.
    pub defaults: Defaults,
    /// Ordered rules; the first whose method and path fit decides.
    pub routes: Vec<Route>,
}

/// L1: one store per Envoy worker.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct L1 {
    /// Bytes per worker for keys, headers, bodies and bookkeeping; `0B` switches L1 off.
    pub budget: ByteSize,
    /// The largest response kept in L1.
    pub max_entry: ByteSize,
    /// Bytes per worker for responses being copied while they stream through.
    pub fill_budget: ByteSize,
}

impl Default for L1 {
    fn default() -> Self {
        Self {
            budget: ByteSize(64 << 20),
            max_entry: ByteSize(1 << 20),
            fill_budget: ByteSize(16 << 20),
        }
    }
}

/// How the bytes reach Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Through Envoy's `redis_proxy`: pooled connections, Cluster slots, AUTH by Envoy.
    #[default]
    RedisProxy,
    /// Straight to one plain Redis, a connection per batch: the smaller configuration.
    Direct,
}

/// Credentials for the `direct` transport.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// ACL user; none means the default user.
    pub username: Option<String>,
    /// Password. Required.
    pub password: String,
}

/// L2: Redis or Redis Cluster.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct L2 {
    /// Envoy cluster that leads to the L2 tunnel listener. Required.
    pub cluster: String,
    /// How the bytes reach Redis.
    pub transport: Transport,
    /// Credentials, for `direct` only (with `redis_proxy` Envoy's cluster holds them).
    pub auth: Option<Auth>,
    /// The longest a request waits for L2.
    pub timeout: Millis,
    /// Put in front of every Redis key.
    pub key_prefix: String,
    /// Calls in flight per worker; beyond it requests skip L2 and are counted.
    pub max_in_flight: u32,
    /// Look-ups in one call.
    pub max_batch: u32,
    /// Bytes of stores waiting to be written, per worker; beyond it stores are skipped and counted.
    pub write_budget: ByteSize,
    /// The largest response kept in L2. As many as fit in a batch must fit in 32MiB.
    pub max_entry: ByteSize,
    /// Bodies from this size on are compressed (lz4) in Redis.
    pub compress_above: ByteSize,
    /// How long Redis keeps an entry, as a multiple of the freshness it has left (at least 1).
    pub ttl_factor: f64,
}

impl Default for L2 {
    fn default() -> Self {
        Self {
            cluster: String::new(),
            transport: Transport::default(),
            auth: None,
            timeout: Millis(50),
            key_prefix: "tiercel:".into(),
            max_in_flight: 32,
            max_batch: 64,
            write_budget: ByteSize(4 << 20),
            max_entry: ByteSize(256 << 10),
            compress_above: ByteSize(2 << 10),
            ttl_factor: 1.0,
        }
    }
}

/// What belongs to a resource's identity besides path and query.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Key {
    /// Whether the scheme is part of it.
    pub scheme: bool,
    /// Whether the authority (host and port) is part of it.
    pub authority: bool,
    /// Free text that keeps APIs with equal URLs apart.
    pub namespace: String,
}

impl Default for Key {
    fn default() -> Self {
        Self { scheme: true, authority: true, namespace: String::new() }
    }
}

/// Response fields the cache adds.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Headers {
    /// This cache's name in `Cache-Status` (RFC 9211): a token.
    pub cache_name: String,
    /// Adds `X-Cache-Status: HIT|MISS|BYPASS`.
    pub x_cache_status: bool,
    /// Adds `X-Cache-Key`: the first eight hex digits of the key's hash.
    pub x_cache_key: bool,
    /// Response fields that are not stored: those that Envoy's routes add, and add to hits again.
    pub not_stored: Vec<String>,
}

impl Default for Headers {
    fn default() -> Self {
        Self {
            cache_name: "tiercel".into(),
            x_cache_status: false,
            x_cache_key: false,
            not_stored: Vec::new(),
        }
    }
}

/// What happens to a request that no route names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// Stored only if the response itself says how long it is fresh.
    #[default]
    Explicit,
    /// Never stored, never looked up.
    Bypass,
}

/// What cookies mean for a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cookies {
    /// A request with `Cookie` bypasses the cache; a response with `Set-Cookie` is not stored.
    #[default]
    Respect,
    /// Cookies do not shape the answer: they are no part of the identity, and `Set-Cookie` and
    /// `Vary: Cookie` are dropped from what is stored.
    Ignore,
}

/// How long answers such as 404 are kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Negative {
    /// Freshness lifetime.
    pub ttl: Millis,
    /// The statuses meant.
    pub statuses: Vec<u16>,
}

impl Default for Negative {
    fn default() -> Self {
        Self { ttl: Millis(60_000), statuses: vec![404] }
    }
}

/// Settings for whatever no route decides.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// What happens to a request that no route names.
    pub unmatched: Unmatched,
    /// Freshness lifetime of routes without their own; none means the response must say.
    pub ttl: Option<Millis>,
    /// Negative answers of routes without their own setting; none means they are not stored.
    pub negative: Option<Negative>,
    /// Cookies on routes without their own setting, and on requests that no route names.
    pub cookies: Cookies,
}

/// Which query parameters make a resource.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// The parameters that count, compared sorted, first of duplicates; all others are ignored.
    pub include: Vec<String>,
    /// Cached only if each of these is present and not empty; they count as included.
    pub require: Vec<String>,
    /// Those of both lists that are ids: cached only if a value is a positive decimal number.
    pub ids: Vec<String>,
}

/// One rule.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// Path template: `/api/games/{gid}`; `{*rest}` as the last segment takes any tail. Required.
    pub path: String,
    /// Methods; none means `GET`, and `GET` covers `HEAD`.
    pub methods: Vec<String>,
    /// The rule is only for requests that carry each of these query parameters, not empty.
    pub with_query: Vec<String>,
    /// Passes requests straight through.
    pub bypass: bool,
    /// Freshness lifetime where the response does not say; none means `defaults.ttl`.
    pub ttl: Option<Millis>,
    /// Negative answers; none means `defaults.negative`.
    pub negative: Option<Negative>,
    /// Query parameters; none means the whole query string as it stands.
    pub query: Option<Query>,
    /// Cookies; none means `defaults.cookies`.
    pub cookies: Option<Cookies>,
}
