//! What routes say, and what holds for all of them: plain types, as in [`super::schema`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema_existence::{Creates, Exists};
use super::units::{Millis, Switch};

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

/// What `Authorization` means for a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Authorization {
    /// Only responses that say so are shared with requests that carry it (RFC 9111, 3.5).
    #[default]
    Respect,
    /// It does not shape the answer.
    Ignore,
}

/// What `Cache-Control` and `Pragma` of a request mean for a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestDirectives {
    /// The client gets what it asks for (RFC 9111, 5.2.1).
    #[default]
    Honour,
    /// Only `no-store` counts: clients cannot make the cache ask the origin.
    Ignore,
}

/// Which requests for the same thing become one request to the origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Collapse {
    /// None.
    None,
    /// Those that reach the same process.
    #[default]
    Process,
    /// Those that reach any instance with the same L2: a request that misses asks Redis who fetches. Needs
    /// `l2`.
    Fleet,
}

/// What becomes of a fetch whose client leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fetch {
    /// It ends; another request that waits for the same begins anew.
    #[default]
    Attached,
    /// It goes on and fills the cache: the cache asks on the client's behalf. Needs `origin`.
    Detached,
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
        Self { ttl: Millis(60_000), statuses: vec![404, 410] }
    }
}

/// Settings for whatever no route decides.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
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
    /// As `cookies`, for `Authorization`.
    pub authorization: Authorization,
    /// As `cookies`, for `Cache-Control` and `Pragma` of requests.
    pub request_directives: RequestDirectives,
    /// As `cookies`, for requests that wait for each other.
    pub collapse: Collapse,
    /// As `cookies`, for fetches whose clients leave.
    pub fetch: Fetch,
    /// Jitter of routes without their own, in percent.
    pub jitter: u8,
    /// Early refreshes on routes without their own setting, and on requests that no route names; 0 for
    /// none.
    pub early_refresh: f64,
    /// How long routes without their own setting serve stale responses while they are fetched again,
    /// where the response does not say (RFC 5861, 3).
    pub stale_while_revalidate: Millis,
    /// How long they serve stale responses in place of an error (RFC 5861, 4).
    pub stale_if_error: Millis,
    /// Whether responses are stored that have neither `Content-Length` nor `Transfer-Encoding`, on every
    /// route. Over HTTP/1 only the connection's end tells theirs, and Envoy reports a reset as such;
    /// over HTTP/2 they are sound.
    pub store_unframed: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            unmatched: Unmatched::default(),
            ttl: None,
            negative: None,
            cookies: Cookies::default(),
            authorization: Authorization::default(),
            request_directives: RequestDirectives::default(),
            collapse: Collapse::default(),
            fetch: Fetch::default(),
            jitter: 10,
            early_refresh: 1.0,
            stale_while_revalidate: Millis::default(),
            stale_if_error: Millis::default(),
            store_unframed: false,
        }
    }
}

/// Which query parameters make a resource.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// The parameters that count, compared sorted, first of duplicates; all others are ignored. The
    /// origin gets these alone.
    pub include: Vec<String>,
    /// Cached only if each of these is present and not empty; they count as included.
    pub require: Vec<String>,
    /// Those of both lists that are ids: cached only if a value is a positive decimal number.
    pub ids: Vec<String>,
}

/// Which requests make something stale, by their JSON body. One that cannot be read does.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// JSON pointer to a string. Required.
    pub request: String,
    /// What the string contains. Required.
    pub contains: String,
}

/// One rule.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// Path template: `/api/games/{gid}`; `{*rest}` as the last segment takes any tail. Required.
    pub path: String,
    /// Methods; none means `GET`, and `GET` covers `HEAD`.
    pub methods: Vec<String>,
    /// The rule is only for requests that carry each of these query parameters, not empty. If it has
    /// `query`, that must name them too.
    pub with_query: Vec<String>,
    /// Passes requests straight through.
    pub bypass: bool,
    /// Tags of what the route returns: `games`, `game:{gid}`. A gap is a segment of the path, or
    /// `{query:name}`, `{header:name}`; with `{query:name|text}` the text stands in for what is missing,
    /// without it there is no such tag then.
    pub tags: Vec<String>,
    /// Tags of what requests to the route make stale, whatever their status but for 4xx. Gaps as in `tags`,
    /// and `{request:/ids/*|text}`, `{response:/data/id|text}`: JSON pointers into the bodies, with `*` for
    /// every element. Gaps that may stay open must say what stands in.
    pub invalidates: Vec<String>,
    /// Ids that requests carry: one that does not exist is answered at once. The first counts. With `bypass`, too.
    pub exists: Vec<Exists>,
    /// Ids that requests bring into being, whatever their status but for 4xx.
    pub creates: Vec<Creates>,
    /// Only requests whose JSON body has a certain text make anything stale, or create anything.
    pub when: Option<When>,
    /// Requests to the route change nothing, whatever their method.
    pub safe: bool,
    /// Freshness lifetime where the response does not say; none means `defaults.ttl`.
    pub ttl: Option<Millis>,
    /// Negative answers; none means `defaults.negative`.
    pub negative: Option<Negative>,
    /// Query parameters; none means the whole query string as it stands.
    pub query: Option<Query>,
    /// Cookies; none means `defaults.cookies`.
    pub cookies: Option<Cookies>,
    /// `Authorization`; none means `defaults.authorization`.
    pub authorization: Option<Authorization>,
    /// `Cache-Control` and `Pragma` of requests; none means `defaults.request_directives`.
    pub request_directives: Option<RequestDirectives>,
    /// Which requests for the same thing become one; none means `defaults.collapse`.
    pub collapse: Option<Collapse>,
    /// What becomes of fetches whose clients leave; none means `defaults.fetch`. Like all requests that the cache
    /// makes itself a detached one skips Envoy's routes: no rewrites, no retries.
    pub fetch: Option<Fetch>,
    /// The most that is taken off `ttl`, `negative.ttl` and heuristic freshness by chance, in percent, so that
    /// what is stored together does not expire together; none means `defaults.jitter`.
    pub jitter: Option<u8>,
    /// How early a hit may lead to a refresh before the end of freshness, as a multiple of what the last
    /// fetch took, by chance; none means `defaults.early_refresh`. Needs `origin`.
    pub early_refresh: Option<f64>,
    /// `ttl` and `negative.ttl` count even if the response says something else.
    pub override_freshness: bool,
    /// `on`: a response that says nothing else is fresh for a tenth of the time since it last changed,
    /// a day at most (RFC 9111, 4.2.2).
    pub heuristic: Switch,
    /// How long a stale response is served while it is fetched again, where the response does not
    /// say (RFC 5861, 3); none means `defaults.stale_while_revalidate`. Needs `origin`.
    pub stale_while_revalidate: Option<Millis>,
    /// How long a stale response is served in place of an error, where the response does not say
    /// (RFC 5861, 4); none means `defaults.stale_if_error`.
    pub stale_if_error: Option<Millis>,
    /// Stored responses without `ETag` get one, made of their body.
    pub synthesise_etag: bool,
}
