//! The configuration as its users write it: plain types for serde and for the JSON Schema.
//!
//! Every field has a default or is optional, so that one wrong value never hides another; what
//! must be there, and what must fit together, is checked by [`super::policy`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{ByteSize, Millis};

pub use super::schema_existence::{
    AbsentAnswer, Creates, Exists, HttpList, Id, RedisList, SetKind, Source, Space,
};
pub use super::schema_health::{Degraded, Health};
pub use super::schema_origin::{Origin, Protection, Waiting};
pub use super::schema_routes::{
    Authorization, Collapse, Cookies, Defaults, Fetch, Negative, Query, RequestDirectives, Route,
    Unmatched, When,
};

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
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What this filter instance does. Required.
    pub role: Option<Role>,
    /// The store in each worker's VM memory.
    pub l1: L1,
    /// The store that all workers of the process share.
    pub shared: Shared,
    /// Redis behind Envoy; without it the cache is L1 only.
    pub l2: Option<L2>,
    /// What is done while Redis fails.
    pub degraded: Degraded,
    /// What makes two requests the same resource.
    pub key: Key,
    /// Response fields for people and tools.
    pub headers: Headers,
    /// Responses that differ by fields of the request.
    pub vary: Vary,
    /// Targeted cache-control fields that count in place of `Cache-Control`, the most important first
    /// (RFC 9213). Their names end in `cache-control`.
    pub targets: Vec<String>,
    /// How what writes make stale becomes known to all workers and instances.
    pub coherence: Coherence,
    /// How requests wait for what others are fetching.
    pub waiting: Waiting,
    /// What is done so that origins are not overwhelmed.
    pub protection: Protection,
    /// Who may purge with the method `PURGE`; without it nobody may, and such requests go to the origin.
    pub purge: Option<Purge>,
    /// The Envoy cluster of the origin, to fetch again what is served stale meanwhile. Without it such
    /// responses are fetched while the client waits.
    pub origin: Option<Origin>,
    /// Which ids exist, by the name of their space: requests for others need not reach the origin.
    pub spaces: BTreeMap<String, Space>,
    /// What holds where no route says otherwise.
    pub defaults: Defaults,
    /// Ordered rules; the first whose method and path fit decides.
    pub routes: Vec<Route>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: None,
            l1: L1::default(),
            shared: Shared::default(),
            l2: None,
            degraded: Degraded::default(),
            key: Key::default(),
            headers: Headers::default(),
            vary: Vary::default(),
            targets: vec!["Tiercel-Cache-Control".into(), "CDN-Cache-Control".into()],
            coherence: Coherence::default(),
            waiting: Waiting::default(),
            protection: Protection::default(),
            purge: None,
            origin: None,
            spaces: BTreeMap::new(),
            defaults: Defaults::default(),
            routes: Vec::new(),
        }
    }
}

/// L1: one store per Envoy worker.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct L1 {
    /// Bytes per worker for keys, headers, bodies and bookkeeping; `0B` switches L1 off.
    pub budget: ByteSize,
    /// Bytes per worker for negative answers (status 400 and above), besides `budget`; `0B` keeps none.
    pub negative_budget: ByteSize,
    /// The largest response kept in L1.
    pub max_entry: ByteSize,
    /// Bytes per worker for responses being copied while they stream through.
    pub fill_budget: ByteSize,
}

impl Default for L1 {
    fn default() -> Self {
        Self {
            budget: ByteSize(64 << 20),
            negative_budget: ByteSize(4 << 20),
            max_entry: ByteSize(1 << 20),
            fill_budget: ByteSize(16 << 20),
        }
    }
}

/// The part of L1 that all workers of the process share: it serves a worker whose own store misses, and
/// outlives a VM.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shared {
    /// Bytes per process, outside the VMs: as many slots as there is room for entries of `max_entry`.
    /// `0B` switches it off.
    pub budget: ByteSize,
    /// The largest response kept in it, with its key and bookkeeping.
    pub max_entry: ByteSize,
}

impl Default for Shared {
    fn default() -> Self {
        Self { budget: ByteSize(64 << 20), max_entry: ByteSize(32 << 10) }
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
    /// When Redis counts as failed, slow, and well again.
    pub health: Health,
    /// Entries are signed (HMAC-SHA256) with the first of these, and count only if they were with one of them: for
    /// a Redis that others write to. At most 4, each of at least 32 characters.
    pub secrets: Vec<String>,
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
            health: Health::default(),
            secrets: Vec::new(),
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
    /// Request fields that are part of it, as if every response named them in `Vary`.
    pub fields: Vec<String>,
    /// Request fields that may shape a response unseen: a request that carries one bypasses the cache,
    /// unless `fields` names it. `_` counts as `-`.
    pub distrusted: Vec<String>,
}

impl Default for Key {
    fn default() -> Self {
        let distrusted = [
            "Forwarded",
            "Front-End-Https",
            "X-Envoy-Original-Host",
            "X-Envoy-Original-Path",
            "X-Forwarded-Host",
            "X-Forwarded-Path",
            "X-Forwarded-Port",
            "X-Forwarded-Prefix",
            "X-Forwarded-Scheme",
            "X-Forwarded-Server",
            "X-Forwarded-Ssl",
            "X-Forwarded-Uri",
            "X-Host",
            "X-HTTP-Host-Override",
            "X-HTTP-Method",
            "X-HTTP-Method-Override",
            "X-Method-Override",
            "X-Original-Host",
            "X-Original-URL",
            "X-Rewrite-URL",
        ];
        Self {
            scheme: true,
            authority: true,
            namespace: String::new(),
            fields: Vec::new(),
            distrusted: distrusted.map(Into::into).into(),
        }
    }
}

/// How responses that differ by fields of the request are kept apart (`Vary`).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Vary {
    /// Responses kept for one resource, 1 to 64; beyond it the oldest gives way.
    pub max_variants: u8,
    /// Bytes of fields and bodies kept for one resource; beyond them the oldest give way, but for the
    /// newest.
    pub max_bytes: ByteSize,
    /// What counts of a request field, by its name.
    pub fields: BTreeMap<String, Field>,
}

impl Default for Vary {
    fn default() -> Self {
        Self { max_variants: 16, max_bytes: ByteSize(4 << 20), fields: BTreeMap::new() }
    }
}

/// What counts of a request field in `Vary`: nothing, or which of a few values it asks for.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Field {
    /// It does not count at all, whatever `Vary` says.
    pub ignore: bool,
    /// The values that are told apart: the one that the client likes best is what the origin gets, too.
    pub one_of: Vec<String>,
    /// What counts, and what the origin gets, when the client likes none of them; none means no such
    /// field.
    pub otherwise: Option<String>,
}

/// How what writes make stale becomes known (docs/design.md, 10).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Coherence {
    /// Slots that tags fall into, a power of two from 256 to 16384, the same in every instance: tags that
    /// share one are invalidated together.
    pub slots: u32,
    /// How often each process asks Redis what other instances made stale.
    pub feed_interval: Millis,
    /// How long the origin may still carry out a write whose outcome is unknown (reset, timed out, client
    /// gone): what is fetched meanwhile is not stored.
    pub guard: Millis,
    /// Response fields in which the origin names tags, separated by spaces or commas. They are not sent
    /// to clients.
    pub tag_fields: Vec<String>,
    /// Keeps from clients which tags share a slot, at least 16 characters, the same in every instance: without it
    /// whoever can make up names can find some that make other things stale as well.
    pub tag_key: Option<String>,
    /// The largest body that is read for `{request:}` and `{response:}` in `invalidates`.
    pub max_body: ByteSize,
}

impl Default for Coherence {
    fn default() -> Self {
        Self {
            slots: 4_096,
            feed_interval: Millis(200),
            guard: Millis(5_000),
            tag_fields: vec!["Surrogate-Key".into(), "Cache-Tag".into()],
            tag_key: None,
            max_body: ByteSize(64 << 10),
        }
    }
}

/// Who may purge: clients from certain networks, and those who know a secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Purge {
    /// Addresses of clients, as Envoy sees them (`10.0.0.0/8`).
    pub networks: Vec<String>,
    /// A request field that proves the right to purge.
    pub secret: Option<Secret>,
}

/// A secret in a request field.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Secret {
    /// Its name. Required.
    pub field: String,
    /// Its value, at least 16 characters. Required.
    pub value: String,
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
    /// Adds the key to `Cache-Status`: URLs of other clients' requests are never shown, but what the key
    /// is made of is.
    pub cache_status_key: bool,
    /// Response fields that are not stored: those that Envoy's routes add, and add to hits again.
    pub not_stored: Vec<String>,
}

impl Default for Headers {
    fn default() -> Self {
        Self {
            cache_name: "tiercel".into(),
            x_cache_status: false,
            x_cache_key: false,
            cache_status_key: false,
            not_stored: Vec::new(),
        }
    }
}
