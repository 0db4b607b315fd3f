//! The checked configuration in the form the cache works with.

use std::fmt;
use std::rc::Rc;

use ipnet::IpNet;
use xxhash_rust::xxh3::xxh3_64;

use super::router::Router;
use super::schema::{Role, Transport};
use crate::coherence::{Pointer, TagKey, Template};
use crate::collapse::Limits;
use crate::entry::Bounds;
use crate::existence::{Carried, Created, SpacePolicy};
use crate::health::HealthPolicy;
use crate::http::field_set::FieldSet;
use crate::http::key::KeyRules;
use crate::http::normalise::Normalisers;
use crate::http::query::QueryRule;
use crate::http::storable::StoreRule;
use crate::http::vary::Names;
use crate::l1::Tier;
use crate::secrets::Secrets;

/// What one filter instance does, checked and ready.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What this filter instance does.
    pub role: Role,
    /// Bytes per worker for L1.
    pub l1_budget: usize,
    /// Bytes per worker for negative answers.
    pub negative_budget: usize,
    /// The largest entry kept in L1, in bytes.
    pub l1_max_entry: usize,
    /// Bytes per worker for responses being copied.
    pub fill_budget: usize,
    /// Bytes per worker for requests that are not answered yet.
    pub held_budget: usize,
    /// The tier that the process's workers share, if there is one.
    pub tier: Option<Tier>,
    /// L2, if there is one.
    pub l2: Option<L2Policy>,
    /// How long what is stale may be served while L2 fails, in ms.
    pub stale_for_ms: u64,
    /// What makes two requests the same resource.
    pub key: KeyRules,
    /// This cache's name in `Cache-Status`.
    pub cache_name: String,
    /// Whether to add `X-Cache-Status`.
    pub x_cache_status: bool,
    /// Whether to add `X-Cache-Key`.
    pub x_cache_key: bool,
    /// Whether to add the key to `Cache-Status`.
    pub cache_status_key: bool,
    /// Names of fields that are not stored, in lower case.
    pub not_stored: Vec<Box<[u8]>>,
    /// Targeted cache-control fields, in lower case, the most important first.
    pub targets: Vec<Box<[u8]>>,
    /// Request fields that every resource varies by.
    pub keyed: Option<Names>,
    /// Request fields that keep a request from the cache.
    pub distrusted: FieldSet,
    /// Whether `X-Forwarded-Proto` is one of those that every resource varies by.
    pub forwarded_scheme_keyed: bool,
    /// Whether responses are stored whose end nothing but that of their stream tells.
    pub store_unframed: bool,
    /// What is kept of a resource whose responses vary.
    pub variants: Bounds,
    /// What counts of request fields.
    pub normalisers: Normalisers,
    /// How what writes make stale becomes known.
    pub coherence: CoherencePolicy,
    /// How much may wait for what others are fetching.
    pub waiting: Limits,
    /// What is done so that origins are not overwhelmed.
    pub protection: ProtectionPolicy,
    /// Who may purge, if anybody.
    pub purge: Option<PurgePolicy>,
    /// What names of tags are hashed with.
    pub tag_key: TagKey,
    /// Tells which tags routes name: what was stored by others may lack some.
    pub tagging: u64,
    /// Response fields that name tags, in lower case.
    pub tag_fields: Vec<Box<[u8]>>,
    /// How to fetch again what is served stale meanwhile.
    pub origin: Option<OriginPolicy>,
    /// Spaces of ids.
    pub spaces: Vec<Rc<SpacePolicy>>,
    pub(super) router: Router,
    pub(super) rules: Vec<Rc<Rule>>,
    pub(super) unmatched: Rc<Rule>,
}

/// How what writes make stale becomes known.
#[derive(Clone, Copy, Debug)]
pub struct CoherencePolicy {
    /// Slots for tags.
    pub slots: usize,
    /// Between two questions to Redis what is new, in ms.
    pub feed_interval_ms: u64,
    /// How long a write of unknown outcome may be carried out still, in ms.
    pub guard_ms: u64,
    /// The largest body that is read for tags, in bytes.
    pub max_body: usize,
}

/// What is done so that origins are not overwhelmed, in a worker.
#[derive(Clone, Copy, Debug)]
pub struct ProtectionPolicy {
    /// Fetches from one origin at the same time.
    pub max_fetches: u32,
    /// What a request is told for which there is none, in s.
    pub retry_after_s: u64,
    /// Failures in a row from which on it counts as failing; 0 for never.
    pub failures: u32,
    /// How often it is asked whether it still does, in ms.
    pub probe_ms: u64,
}

/// Who may purge.
#[derive(Clone, Debug)]
pub struct PurgePolicy {
    /// Clients with these addresses.
    pub networks: Vec<IpNet>,
    /// Requests that know this.
    pub secret: Option<Secret>,
}

/// A field that proves a right.
#[derive(Clone)]
pub struct Secret {
    /// Its name, in lower case.
    pub field: Box<[u8]>,
    /// Its value.
    pub value: Box<[u8]>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("field", &self.field).finish_non_exhaustive()
    }
}

/// The origin, for requests that no client waits for.
#[derive(Clone, Debug)]
pub struct OriginPolicy {
    /// Its Envoy cluster.
    pub cluster: String,
    /// The longest such a request may take, in ms.
    pub timeout_ms: u32,
}

/// L2 settings, checked.
#[derive(Clone, Debug)]
pub struct L2Policy {
    /// Envoy cluster of the tunnel.
    pub cluster: String,
    /// How the bytes reach Redis.
    pub transport: Transport,
    /// User (may be empty) and password, for `direct`.
    pub auth: Option<(String, String)>,
    /// The longest a request waits, in ms.
    pub timeout_ms: u32,
    /// The longest anything takes that no request waits for, in ms.
    pub background_timeout_ms: u32,
    /// When it counts as failed.
    pub health: HealthPolicy,
    /// Bytes of stores that wait for it to be well again.
    pub write_back: usize,
    /// Put in front of every Redis key.
    pub key_prefix: String,
    /// Calls in flight per worker.
    pub max_in_flight: usize,
    /// Look-ups in one call.
    pub max_batch: usize,
    /// Bytes of stores waiting to be written.
    pub write_budget: usize,
    /// The largest entry kept in L2, in bytes.
    pub max_entry: usize,
    /// Bodies from this size on are compressed.
    pub compress_above: usize,
    /// Redis expiry as a multiple of the remaining freshness.
    pub ttl_factor: f64,
    /// Tell entries of this fleet from others'.
    pub secrets: Secrets,
    /// Tells the fleet's key of tags from others'.
    pub tag_mark: String,
}

impl L2Policy {
    /// Tells this fleet's table of generations from others': the same for every instance.
    #[must_use]
    pub fn scope(&self, slots: usize) -> u64 {
        let Self { cluster, key_prefix, tag_mark, .. } = self;
        xxh3_64(format!("{cluster}\n{key_prefix}\n{slots}{tag_mark}").as_bytes())
    }
}

/// What holds for one request.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Passes the request straight through.
    pub bypass: bool,
    /// Which query parameters count.
    pub query: QueryRule,
    /// What is stored, and for how long.
    pub store: StoreRule,
    /// Whether directives of requests mean nothing, but for `no-store`.
    pub directives_ignored: bool,
    /// Whether stored responses without `ETag` get one.
    pub synthesise_etag: bool,
    /// Whether requests for the same thing become one.
    pub collapse: bool,
    /// Whether that holds for all instances.
    pub fleet: bool,
    /// Whether what clients wait for is fetched whether they stay or not.
    pub detached: bool,
    /// The most of its lifetime that a response loses which does not say it itself, in percent.
    pub jitter_percent: u8,
    /// How early hits lead to a refresh, as a multiple of what the fetch took; 0 for not at all.
    pub early_refresh: f64,
    /// Tags of what is returned.
    pub tags: Vec<Template>,
    /// Ids that requests carry.
    pub exists: Vec<Carried>,
    /// What requests make stale.
    pub writes: WriteRule,
}

/// What requests make stale.
#[derive(Clone, Debug, Default)]
pub struct WriteRule {
    /// Ids that come into being.
    pub creates: Vec<Created>,
    /// Nothing, whatever their method.
    pub safe: bool,
    /// These tags.
    pub invalidates: Vec<Template>,
    /// Only if this text is in this string of the request's JSON body.
    pub when: Option<(Pointer, Box<str>)>,
}

impl WriteRule {
    /// Whether it needs the body of the request.
    #[must_use]
    pub fn needs_request(&self) -> bool {
        self.when.is_some()
            || self.invalidates.iter().any(Template::needs_request)
            || self.creates.iter().any(|created| created.id.needs_request())
    }

    /// Whether it needs the body of the response.
    #[must_use]
    pub fn needs_response(&self) -> bool {
        self.invalidates.iter().any(Template::needs_response)
            || self.creates.iter().any(|created| created.id.needs_response())
    }
}

impl Policy {
    /// The rule for a request; `path` is normalised and has no query.
    #[must_use]
    pub fn rule(&self, method: &[u8], path: &[u8], query: &[u8]) -> &Rc<Rule> {
        let index = self.router.find(method, path, query);
        index.and_then(|index| self.rules.get(index)).unwrap_or(&self.unmatched)
    }

    /// The largest response worth copying, in bytes.
    #[must_use]
    pub fn max_fill(&self) -> usize {
        let shared = self.tier.as_ref().map_or(0, Tier::max_entry);
        let l1 = self.l1_max_entry.min(self.l1_budget).max(shared);
        self.l2.as_ref().map_or(l1, |l2| l2.max_entry.max(l1))
    }
}
