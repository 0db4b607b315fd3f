//! The checked configuration in the form the cache works with.

use std::rc::Rc;

use super::parse::{ConfigError, Removed};
use super::router::Router;
use super::schema::{self, Config, Cookies, Negative, Role, Route, Transport, Unmatched};
use super::units::{ByteSize, Millis};
use crate::http::key::{KeyRules, QueryRule};
use crate::http::storable::Lifetime;

/// What Envoy buffers of the answer to a callout, in bytes.
const MAX_REPLY: u64 = 32 << 20;

/// What one filter instance does, checked and ready.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What this filter instance does.
    pub role: Role,
    /// Bytes per worker for L1.
    pub l1_budget: usize,
    /// The largest entry kept in L1, in bytes.
    pub l1_max_entry: usize,
    /// Bytes per worker for responses being copied.
    pub fill_budget: usize,
    /// L2, if there is one.
    pub l2: Option<L2Policy>,
    /// What makes two requests the same resource.
    pub key: KeyRules,
    /// This cache's name in `Cache-Status`.
    pub cache_name: String,
    /// Whether to add `X-Cache-Status`.
    pub x_cache_status: bool,
    /// Whether to add `X-Cache-Key`.
    pub x_cache_key: bool,
    /// Names of fields that are not stored, in lower case.
    pub not_stored: Vec<Box<[u8]>>,
    router: Router,
    rules: Vec<Rc<Rule>>,
    unmatched: Rc<Rule>,
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
}

/// What holds for one request.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Passes the request straight through.
    pub bypass: bool,
    /// Freshness.
    pub lifetime: Lifetime,
    /// Which query parameters count.
    pub query: QueryRule,
    /// What cookies mean.
    pub cookies: Cookies,
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
        let l1 = self.l1_max_entry.min(self.l1_budget);
        self.l2.as_ref().map_or(l1, |l2| l2.max_entry.max(l1))
    }
}

/// Checks what serde cannot see and builds the policy; every error is added to `errors`.
pub(super) fn compile(config: &Config, errors: &mut Vec<ConfigError>, removed: &Removed) -> Policy {
    let mut check = Check { errors, removed };
    if config.role.is_none() {
        check.missing("role", "one of cache, tunnel_open, tunnel_hold");
    }
    if !is_token(&config.headers.cache_name) {
        check.fail("headers.cache_name", "must be a token (RFC 9110, 5.6.2)");
    }
    if config.l1.max_entry > config.l1.budget && config.l1.budget.0 > 0 {
        check.fail("l1.max_entry", "must not be larger than l1.budget");
    }
    if let Some(negative) = &config.defaults.negative {
        check.negative("defaults.negative", negative);
    }
    let mut router = Router::default();
    let mut rules = Vec::with_capacity(config.routes.len());
    for (index, route) in config.routes.iter().enumerate() {
        let path = format!("routes[{index}]");
        check.route(&path, route);
        match router.push(&route.methods, &route.path, &route.with_query) {
            Err(_) if route.path.is_empty() => check.missing(&format!("{path}.path"), "a path"),
            Err(message) => check.fail(&format!("{path}.path"), &message),
            Ok(()) => {}
        }
        rules.push(Rc::new(rule(route, &config.defaults)));
    }
    Policy {
        role: config.role.unwrap_or(Role::Cache),
        l1_budget: check.bytes("l1.budget", config.l1.budget),
        l1_max_entry: check.bytes("l1.max_entry", config.l1.max_entry),
        fill_budget: check.bytes("l1.fill_budget", config.l1.fill_budget),
        l2: config.l2.as_ref().map(|l2| check.l2(l2)),
        key: KeyRules {
            scheme: config.key.scheme,
            authority: config.key.authority,
            namespace: config.key.namespace.as_bytes().into(),
        },
        cache_name: config.headers.cache_name.clone(),
        x_cache_status: config.headers.x_cache_status,
        x_cache_key: config.headers.x_cache_key,
        not_stored: check.fields("headers.not_stored", &config.headers.not_stored),
        router,
        rules,
        unmatched: Rc::new(Rule {
            bypass: config.defaults.unmatched == Unmatched::Bypass,
            lifetime: Lifetime::default(),
            query: QueryRule::All,
            cookies: config.defaults.cookies,
        }),
    }
}

fn rule(route: &Route, defaults: &schema::Defaults) -> Rule {
    let negative = route.negative.as_ref().or(defaults.negative.as_ref());
    Rule {
        bypass: route.bypass,
        lifetime: Lifetime {
            ttl_ms: route.ttl.or(defaults.ttl).map(|ttl| ttl.0),
            negative_ttl_ms: negative.map_or(0, |n| n.ttl.0),
            negative_statuses: negative.map(|n| n.statuses.clone()).unwrap_or_default(),
        },
        query: route.query.as_ref().map_or(QueryRule::All, |query| {
            QueryRule::only(&query.include, &query.require, &query.ids)
        }),
        cookies: route.cookies.unwrap_or(defaults.cookies),
    }
}

struct Check<'a> {
    errors: &'a mut Vec<ConfigError>,
    removed: &'a Removed,
}

impl Check<'_> {
    fn fail(&mut self, path: &str, message: &str) {
        let path = &self.removed.written(path);
        // A value that serde already complained about was taken out: do not complain twice.
        if !self.errors.iter().any(|error| error.path == *path) {
            self.errors.push(ConfigError::new(path, message));
        }
    }

    fn missing(&mut self, path: &str, what: &str) {
        self.fail(path, &format!("is required: {what}"));
    }

    fn bytes(&mut self, path: &str, size: ByteSize) -> usize {
        // A VM has at most 1 GiB, and 32-bit addresses.
        if size.0 > 1 << 30 {
            self.fail(path, &format!("{size} is more than a VM can have (1GiB)"));
        }
        usize::try_from(size.0).unwrap_or(usize::MAX)
    }

    fn negative(&mut self, path: &str, negative: &Negative) {
        for (index, status) in negative.statuses.iter().enumerate() {
            // Above these, what Envoy says itself could not be told from what the origin says.
            if !(400..=499).contains(status) {
                self.fail(
                    &format!("{path}.statuses[{index}]"),
                    &format!("{status} is not a negative status (400 to 499)"),
                );
            }
        }
    }

    fn route(&mut self, path: &str, route: &Route) {
        for (index, method) in route.methods.iter().enumerate() {
            if !is_token(method) || method.bytes().any(|b| b.is_ascii_lowercase()) {
                self.fail(
                    &format!("{path}.methods[{index}]"),
                    &format!("{method:?} is not a method (they are case-sensitive: GET)"),
                );
            }
        }
        let cacheable = route.methods.iter().all(|method| method == "GET" || method == "HEAD");
        if !cacheable && !route.bypass {
            self.fail(
                &format!("{path}.methods"),
                "only GET and HEAD can be cached: set bypass for other methods",
            );
        }
        if let Some(negative) = &route.negative {
            self.negative(&format!("{path}.negative"), negative);
        }
        if let Some(query) = &route.query {
            self.names(&format!("{path}.query.include"), &query.include);
            self.names(&format!("{path}.query.require"), &query.require);
            self.names(&format!("{path}.query.ids"), &query.ids);
            for (index, name) in query.ids.iter().enumerate() {
                if !query.include.contains(name) && !query.require.contains(name) {
                    self.fail(
                        &format!("{path}.query.ids[{index}]"),
                        &format!("{name:?} is neither in include nor in require"),
                    );
                }
            }
        }
        self.names(&format!("{path}.with_query"), &route.with_query);
    }

    fn fields(&mut self, path: &str, names: &[String]) -> Vec<Box<[u8]>> {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !is_token(name)) {
            self.fail(&format!("{path}[{index}]"), &format!("{name:?} is not the name of a field"));
        }
        names.iter().map(|name| name.to_ascii_lowercase().into_bytes().into()).collect()
    }

    fn names(&mut self, path: &str, names: &[String]) {
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() {
                self.fail(&format!("{path}[{index}]"), "is empty");
            }
        }
    }

    fn l2(&mut self, l2: &schema::L2) -> L2Policy {
        if l2.cluster.is_empty() {
            self.missing("l2.cluster", "the Envoy cluster of the L2 tunnel");
        }
        if l2.auth.is_some() && l2.transport == Transport::RedisProxy {
            self.fail("l2.auth", "is for transport: direct; redis_proxy authenticates by itself");
        }
        if l2.auth.as_ref().is_some_and(|auth| auth.password.is_empty()) {
            self.missing("l2.auth.password", "a password");
        }
        for (path, value) in [
            ("l2.max_in_flight", u64::from(l2.max_in_flight)),
            ("l2.max_batch", u64::from(l2.max_batch)),
            ("l2.timeout", l2.timeout.0),
        ] {
            if value == 0 {
                self.fail(path, "must be more than 0");
            }
        }
        if l2.timeout > Millis(60_000) {
            self.fail("l2.timeout", "must be at most 60s: a request waits that long");
        }
        let batch = u64::from(l2.max_batch).saturating_mul(l2.max_entry.0);
        if batch > MAX_REPLY {
            let (entries, each) = (l2.max_batch, l2.max_entry);
            let (all, most) = (ByteSize(batch), ByteSize(MAX_REPLY));
            self.fail(
                "l2.max_batch",
                &format!(
                    "{entries} entries of {each} are {all}: Envoy drops a reply of more than {most}"
                ),
            );
        }
        if !(1.0..=1000.0).contains(&l2.ttl_factor) {
            self.fail("l2.ttl_factor", "must be between 1 and 1000");
        }
        L2Policy {
            cluster: l2.cluster.clone(),
            transport: l2.transport,
            auth: l2
                .auth
                .as_ref()
                .map(|auth| (auth.username.clone().unwrap_or_default(), auth.password.clone())),
            timeout_ms: u32::try_from(l2.timeout.0).unwrap_or(u32::MAX),
            key_prefix: l2.key_prefix.clone(),
            max_in_flight: l2.max_in_flight as usize,
            max_batch: l2.max_batch as usize,
            write_budget: self.bytes("l2.write_budget", l2.write_budget),
            max_entry: self.bytes("l2.max_entry", l2.max_entry),
            compress_above: self.bytes("l2.compress_above", l2.compress_above),
            ttl_factor: l2.ttl_factor,
        }
    }
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn errors(config: &serde_json::Value) -> Vec<String> {
        load(config.to_string().as_bytes())
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn what_must_be_there_and_fit() {
        let found = errors(&json!({
            "headers": {"cache_name": "my cache", "not_stored": ["x a"]},
            "l1": {"budget": "2GiB"},
            "l2": {"auth": {}, "ttl_factor": 0.5, "timeout": "2m", "max_batch": 0},
            "routes": [
                {"path": "games"},
                {"methods": ["post"], "path": "/x"},
                7,
                {"path": "/y", "negative": {"statuses": ["x", 200]}, "query": {"include": [""]}},
                {"path": "/z", "with_query": [""], "query": {"ids": ["gid"], "require": ["id"]}},
                {},
            ],
        }));
        for expected in [
            "role: is required: one of cache, tunnel_open, tunnel_hold",
            "headers.cache_name: must be a token (RFC 9110, 5.6.2)",
            "headers.not_stored[0]: \"x a\" is not the name of a field",
            "l1.budget: 2GiB is more than a VM can have (1GiB)",
            "l2.cluster: is required: the Envoy cluster of the L2 tunnel",
            "l2.auth: is for transport: direct; redis_proxy authenticates by itself",
            "l2.auth.password: is required: a password",
            "l2.ttl_factor: must be between 1 and 1000",
            "l2.timeout: must be at most 60s: a request waits that long",
            "l2.max_batch: must be more than 0",
            "routes[0].path: \"games\" is not a path template: it must start with /",
            "routes[1].methods[0]: \"post\" is not a method (they are case-sensitive: GET)",
            "routes[1].methods: only GET and HEAD can be cached: set bypass for other methods",
            "routes[2]: invalid type: integer `7`, expected struct Route",
            "routes[3].negative.statuses[0]: invalid type: string \"x\", expected u16",
            "routes[3].negative.statuses[1]: 200 is not a negative status (400 to 499)",
            "routes[3].query.include[0]: is empty",
            "routes[4].query.ids[0]: \"gid\" is neither in include nor in require",
            "routes[4].with_query[0]: is empty",
            "routes[5].path: is required: a path",
        ] {
            assert!(found.iter().any(|e| e == expected), "{expected} not in {found:#?}");
        }
        assert_eq!(found.len(), 20, "{found:#?}");
    }

    #[test]
    fn one_mistake_is_told_once() {
        assert_eq!(errors(&json!({"role": "chache"})).len(), 1);
    }

    #[test]
    fn routes_inherit_the_defaults() {
        let config = json!({
            "role": "cache",
            "defaults": {"ttl": "5m", "cookies": "ignore", "negative": {"ttl": "9s"}},
            "routes": [{"path": "/a"}, {"path": "/b", "ttl": "1s", "cookies": "respect"}],
        });
        let policy = load(config.to_string().as_bytes()).unwrap();
        let a = policy.rule(b"GET", b"/a", b"");
        assert_eq!(a.lifetime.ttl_ms, Some(300_000));
        assert_eq!(
            (a.lifetime.negative_ttl_ms, &a.lifetime.negative_statuses[..]),
            (9_000, &[404][..])
        );
        let b = policy.rule(b"HEAD", b"/b", b"");
        assert_eq!((b.lifetime.ttl_ms, b.cookies), (Some(1_000), super::Cookies::Respect));
        // No rule: the response must say, whatever the defaults of routes are.
        assert_eq!(policy.rule(b"GET", b"/c", b"").lifetime.ttl_ms, None);
    }
}
