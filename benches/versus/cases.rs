//! What is measured.

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The listener of this name in the one Envoy.
    Envoy(&'static str),
    Nginx,
    Varnish,
}

/// Which resources are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// Always the same one.
    One,
    /// One of [`KEYS`], picked at random.
    Known,
    /// Each only once.
    Unique,
}

/// How many resources [`Paths::Known`] has.
pub const KEYS: u32 = 1_000;

/// One line of the table.
#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    pub server: Server,
    pub connections: u32,
    pub paths: Paths,
    /// What `Cache-Status` has to contain once the case is warm.
    pub cache_status: Option<&'static str>,
    /// Tiercel's counter of requests that ended this way.
    pub outcome: Option<&'static str>,
}

const fn plain(name: &'static str, server: Server) -> Case {
    Case { name, server, connections: 32, paths: Paths::One, cache_status: None, outcome: None }
}

const fn tiercel(
    name: &'static str,
    (listener, connections): (&'static str, u32),
    paths: Paths,
    cache_status: &'static str,
    outcome: &'static str,
) -> Case {
    Case {
        name,
        server: Server::Envoy(listener),
        connections,
        paths,
        cache_status: Some(cache_status),
        outcome: Some(outcome),
    }
}

/// Every case; those that are compared stand close together.
pub const CASES: &[Case] = &[
    plain("direct_response", Server::Envoy("direct_response")),
    tiercel("l1_hit", ("public", 32), Paths::One, "detail=l1", "l1_hit"),
    tiercel("shared_hit", ("shared_hit", 32), Paths::One, "detail=shared", "shared_hit"),
    tiercel("reject", ("reject", 32), Paths::One, "detail=absent", "absent"),
    plain("envoy_cache", Server::Envoy("envoy_cache")),
    plain("noop_wasm", Server::Envoy("noop_wasm")),
    tiercel("l2_hit_c64", ("l2_hit", 64), Paths::Known, "detail=l2", "l2_hit"),
    tiercel("l2_hit_c32", ("l2_hit", 32), Paths::Known, "detail=l2", "l2_hit"),
    tiercel("l2_hit_c1", ("l2_hit", 1), Paths::Known, "detail=l2", "l2_hit"),
    // What the way to anything outside of Envoy costs on this machine.
    Case { connections: 1, ..plain("plain_proxy_c1", Server::Envoy("plain_proxy")) },
    plain("plain_proxy", Server::Envoy("plain_proxy")),
    tiercel("bypass", ("bypass", 32), Paths::One, "fwd=bypass", "bypass"),
    tiercel("miss_fill", ("miss_fill", 32), Paths::Unique, "fwd=uri-miss", "miss"),
    tiercel("miss_fill_l2", ("miss_fill_l2", 32), Paths::Unique, "fwd=uri-miss", "miss"),
    plain("nginx", Server::Nginx),
    plain("varnish", Server::Varnish),
];

/// What a hit is made of (`--steps`): the modules of [`crate::steps`] between Envoy alone and Tiercel.
pub const STEP_CASES: &[Case] = &[
    plain("enter", Server::Envoy("enter")),
    plain("enter_create", Server::Envoy("enter_create")),
    plain("enter_read", Server::Envoy("enter_read")),
    plain("enter_clock", Server::Envoy("enter_clock")),
    plain("answer_1", Server::Envoy("answer_1")),
    plain("answer_5", Server::Envoy("answer_5")),
    plain("answer_response", Server::Envoy("answer_response")),
    plain("answer_all", Server::Envoy("answer_all")),
    plain("proxy_noop", Server::Envoy("proxy_noop")),
    plain("proxy_read", Server::Envoy("proxy_read")),
    plain("proxy_read_add", Server::Envoy("proxy_read_add")),
    plain("proxy_copy", Server::Envoy("proxy_copy")),
];

/// What the project promises: the first case's rate over the second's.
pub const PROMISES: &[(&str, &str, f64)] = &[
    ("l1_hit", "envoy_cache", 0.92),
    ("l1_hit", "direct_response", 0.72),
    ("shared_hit", "l1_hit", 0.85),
    ("reject", "l1_hit", 1.0),
    ("l2_hit_c64", "l1_hit", 0.45),
    ("bypass", "plain_proxy", 0.85),
    ("miss_fill", "plain_proxy", 0.75),
    ("miss_fill_l2", "plain_proxy", 0.35),
];

/// The slowest 1 % of look-ups in an idle L2 is faster than this.
pub const L2_P99_MS: f64 = 5.0;
