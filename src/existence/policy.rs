//! What the configuration says of id spaces, checked.

use std::rc::Rc;

use super::{Pattern, Width};
use crate::coherence::{Gap, Pointer};

/// A set of ids of which it is known which exist.
#[derive(Clone, Debug)]
pub struct SpacePolicy {
    /// Its name: lower-case letters, digits and `_`.
    pub name: Box<str>,
    /// Tells it from every other one: made of its name, its source, the width of its filter, and L2's scope.
    pub scope: u64,
    /// The whole of a well-formed id; what is none may go on. None if nothing is one.
    pub pattern: Option<Pattern>,
    /// Bits of the filter's fingerprints.
    pub width: Width,
    /// The most ids of a list.
    pub max_ids: usize,
    /// How old a list may be, in ms.
    pub max_age_ms: u64,
    /// How old it is when the next one is read, in ms.
    pub refresh_ms: u64,
    /// How old it is when the next one is read as soon as somebody asks for an id that it lacks, in ms.
    pub grace_ms: u64,
    /// Whether each new id is above all before.
    pub monotonic: bool,
    /// How far above all of the list an id may then be.
    pub ahead: u64,
    /// Ids that came into being since the list was read, at most.
    pub recent: usize,
    /// Whether nothing is refused, only counted.
    pub shadow: bool,
    /// Where lists come from.
    pub source: SourcePolicy,
}

/// Fields: names in lower case, and values.
pub type FieldPairs = Vec<(Box<[u8]>, Box<[u8]>)>;

/// Where the list of all ids of a space comes from.
#[derive(Clone, Debug)]
pub enum SourcePolicy {
    /// The API itself.
    Http(HttpSource),
    /// A set, or a sorted set, in L2's Redis.
    Redis(RedisSource),
    /// The configuration. In the form of `coherence::canonical`.
    Static(Rc<[Box<str>]>),
}

/// A list that the API gives.
#[derive(Clone, Debug)]
pub struct HttpSource {
    /// Envoy's cluster.
    pub cluster: String,
    /// The longest that a page may take, in ms.
    pub timeout_ms: u32,
    /// Path and query of the first page, without the parameter that tells pages apart.
    pub path: String,
    /// Fields of the request besides: at least `:authority`.
    pub fields: FieldPairs,
    /// What there is beside the first page.
    pub paging: Paging,
    /// Where a page has its ids.
    pub ids: Pointer,
    /// Where it says how many there are in all.
    pub total: Option<Pointer>,
    /// Pages that are asked for at the same time.
    pub concurrency: usize,
}

/// How pages are told apart.
#[derive(Clone, Debug)]
pub enum Paging {
    /// There is but one.
    One,
    /// By a number in a query parameter; the first has this one. Needs `total`.
    Numbers {
        /// The parameter's name, as it is written into a query.
        parameter: Box<str>,
        /// Of the first page.
        first: u64,
    },
    /// By what the page before says in its body; the first has none, and behind the last there is no more.
    Cursor {
        /// The parameter's name, as it is written into a query.
        parameter: Box<str>,
        /// Where it is said.
        next: Pointer,
    },
}

/// A set in Redis.
#[derive(Clone, Debug)]
pub struct RedisSource {
    /// Its key.
    pub key: String,
    /// Whether it is a sorted set.
    pub sorted: bool,
}

/// An id that requests of a route carry, and what they get if it does not exist.
#[derive(Clone, Debug)]
pub struct Carried {
    /// The place of its space among those of the configuration.
    pub space: usize,
    /// Where it is.
    pub id: Gap,
    /// What is answered.
    pub absent: super::Absent,
}

/// Ids that requests of a route bring into being.
#[derive(Clone, Debug)]
pub struct Created {
    /// The place of their space among those of the configuration.
    pub space: usize,
    /// Where they are: in the path or the request's body, or in the response's.
    pub id: Gap,
}
