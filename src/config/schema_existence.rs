//! Which ids exist: plain types, as in [`super::schema`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Millis;

/// A space of ids of which a complete list can be had.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Space {
    /// Regular expression for the whole of a well-formed id, with characters, classes, groups, `|` and repetitions; what
    /// does not match passes. Required.
    pub pattern: String,
    /// Where the list comes from. Required.
    pub source: Source,
    /// Bits of the filter's fingerprints: 16 (about 18 bits an id, of absent ids one in 65,536 passes) or 8 (9
    /// bits, one in 256).
    pub width: u8,
    /// The most ids; a longer list is not used.
    pub max_ids: u32,
    /// How old a list may be; an older one is not used.
    pub max_age: Millis,
    /// How old it is when it is read anew.
    pub refresh: Millis,
    /// How old it is when it is read anew as soon as somebody asks for an id that it lacks: what was created
    /// elsewhere is found after that. None means 10s, or `refresh` if that is less.
    pub grace: Option<Millis>,
    /// Each new id is a higher number than all before: those above all of the list pass.
    pub monotonic: bool,
    /// How far above it they pass; none means however far.
    pub ahead: Option<u64>,
    /// Ids that came into being since the list was read, at most; beyond that everything passes until it is read
    /// anew.
    pub recent: u32,
    /// Nothing is refused, only counted.
    pub shadow: bool,
}

impl Default for Space {
    fn default() -> Self {
        Self {
            pattern: String::new(),
            source: Source::default(),
            width: 16,
            max_ids: 1_000_000,
            max_age: Millis(86_400_000),
            refresh: Millis(300_000),
            grace: None,
            monotonic: false,
            ahead: None,
            recent: 4_096,
            shadow: false,
        }
    }
}

/// Where a list comes from: one of these.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// The API.
    pub http: Option<HttpList>,
    /// A set in L2's Redis.
    pub redis: Option<RedisList>,
    /// These.
    pub ids: Option<Vec<Id>>,
}

/// A list that the API gives, as JSON.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpList {
    /// Its Envoy cluster; none means that of `origin`.
    pub cluster: Option<String>,
    /// Path and query. Required.
    pub path: String,
    /// Host of the request; none means the cluster's name.
    pub authority: Option<String>,
    /// Further fields of the request.
    pub headers: BTreeMap<String, String>,
    /// The longest that a page may take.
    pub timeout: Millis,
    /// JSON pointer to the ids, with `*` for every element: `/data/*/id`. Required.
    pub ids: String,
    /// JSON pointer to the number of all ids: a list that has fewer is not used.
    pub total: Option<String>,
    /// Pages by numbers. Needs `total`.
    pub page: Option<Page>,
    /// Pages by what the one before says.
    pub cursor: Option<Cursor>,
    /// Pages that are asked for at the same time.
    pub concurrency: u8,
}

impl Default for HttpList {
    fn default() -> Self {
        Self {
            cluster: None,
            path: String::new(),
            authority: None,
            headers: BTreeMap::new(),
            timeout: Millis(15_000),
            ids: String::new(),
            total: None,
            page: None,
            cursor: None,
            concurrency: 2,
        }
    }
}

/// Pages by numbers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Page {
    /// Query parameter. Required.
    pub parameter: String,
    /// Of the first page.
    pub first: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self { parameter: String::new(), first: 1 }
    }
}

/// Pages by what the one before says.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cursor {
    /// Query parameter. Required.
    pub parameter: String,
    /// JSON pointer to its value for the next page; null, empty or missing on the last one. Required.
    pub next: String,
}

/// A set in Redis.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisList {
    /// Its key, as it stands in Redis. Required.
    pub key: String,
    /// What it is.
    pub kind: SetKind,
}

/// What a set in Redis is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetKind {
    /// A set.
    #[default]
    Set,
    /// A sorted set.
    SortedSet,
}

/// An id, as text or as a number.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Id {
    /// Text.
    Text(String),
    /// A number.
    Number(u64),
}

/// An id that requests carry.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exists {
    /// Its space. Required.
    pub space: String,
    /// Where it is: `{gid}`, `{query:name}` or `{header:name}`. Required.
    pub id: String,
    /// What a request gets if it does not exist.
    pub absent: AbsentAnswer,
}

/// An answer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AbsentAnswer {
    /// 200 to 299 or 400 to 499.
    pub status: u16,
    /// Its fields; `Content-Type` is `application/json` if there is a body and this does not say otherwise.
    pub headers: BTreeMap<String, String>,
    /// Its body. `{now}` is the time (RFC 3339, UTC), and gaps are filled by what the request has: `{gid}`,
    /// `{query:name|text}`, `{header:name|text}`, where the text stands in for what is missing; `{query:n|20|1..100}`
    /// is a number put within bounds. Values are escaped for JSON; all other braces are themselves.
    pub body: String,
}

impl Default for AbsentAnswer {
    fn default() -> Self {
        Self { status: 404, headers: BTreeMap::new(), body: String::new() }
    }
}

/// Ids that requests bring into being.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Creates {
    /// Their space. Required.
    pub space: String,
    /// Where they are: `{gid}`, `{request:/ids/*}` or `{response:/data/id}`. Required.
    pub id: String,
}
