//! What serde cannot see: what must be there, and what must fit together.

use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64;

use super::parse::{ConfigError, Removed};
use super::policy::{
    CoherencePolicy, L2Policy, OriginPolicy, Policy, PurgePolicy, Rule, Secret, WriteRule,
};
use super::router::Router;
use super::schema::{
    self, Authorization, Config, Cookies, Negative, RequestDirectives, Role, Route, Transport,
    Unmatched,
};
use super::units::{ByteSize, Millis};
use crate::coherence::{Pointer, Template};
use crate::entry::{Bounds, MAX_PLACES};
use crate::http::field_set::FieldSet;
use crate::http::freshness::Lifetime;
use crate::http::key::KeyRules;
use crate::http::normalise::{Normaliser, Normalisers};
use crate::http::query::QueryRule;
use crate::http::storable::{StoreRule, is_never_stored};
use crate::http::vary::{MAX_NAMES, Names, is_credential};
use crate::l1::{Tier, WAYS};

/// Tags that a route may name.
const MAX_TEMPLATES: usize = 32;

/// Characters of a secret, at least.
const MIN_SECRET: usize = 16;

/// What Envoy buffers of the answer to a callout, in bytes.
const MAX_REPLY: u64 = 32 << 20;

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
        let writes = check.writes(&path, route);
        let tags = check.templates(&format!("{path}.tags"), route, &route.tags, false);
        rules.push(Rc::new(Rule { tags, writes, ..rule(route, &config.defaults) }));
    }
    let keyed = check.fields("key.fields", &config.key.fields);
    let mut distrusted = check.fields("key.distrusted", &config.key.distrusted);
    distrusted.retain(|name| !keyed.contains(name));
    Policy {
        role: config.role.unwrap_or(Role::Cache),
        l1_budget: check.bytes("l1.budget", config.l1.budget),
        l1_max_entry: check.bytes("l1.max_entry", config.l1.max_entry),
        fill_budget: check.bytes("l1.fill_budget", config.l1.fill_budget),
        tier: check.tier(&config.shared),
        l2: config.l2.as_ref().map(|l2| check.l2(l2)),
        key: KeyRules {
            scheme: config.key.scheme,
            authority: config.key.authority,
            namespace: config.key.namespace.as_bytes().into(),
        },
        cache_name: config.headers.cache_name.clone(),
        x_cache_status: config.headers.x_cache_status,
        x_cache_key: config.headers.x_cache_key,
        cache_status_key: config.headers.cache_status_key,
        not_stored: {
            let mut names = check.fields("headers.not_stored", &config.headers.not_stored);
            names.extend(check.fields("coherence.tag_fields", &config.coherence.tag_fields));
            names
        },
        purge: config.purge.as_ref().map(|purge| check.purge(purge)),
        tagging: tagging(config),
        tag_fields: check.fields("coherence.tag_fields", &config.coherence.tag_fields),
        targets: check.targets(&config.targets),
        forwarded_scheme_keyed: keyed.iter().any(|name| **name == *b"x-forwarded-proto"),
        keyed: check.keyed(keyed),
        distrusted: FieldSet::new(distrusted),
        store_unframed: config.defaults.store_unframed,
        variants: check.variants(&config.vary),
        normalisers: check.normalisers(&config.vary),
        coherence: check.coherence(&config.coherence),
        origin: config.origin.as_ref().map(|origin| check.origin(origin)),
        router,
        rules,
        // What a response does not say the policy of routes does not say either.
        unmatched: Rc::new(Rule {
            bypass: config.defaults.unmatched == Unmatched::Bypass,
            query: QueryRule::All,
            store: StoreRule {
                cookies_ignored: config.defaults.cookies == Cookies::Ignore,
                authorization_ignored: config.defaults.authorization == Authorization::Ignore,
                ..StoreRule::default()
            },
            directives_ignored: config.defaults.request_directives == RequestDirectives::Ignore,
            synthesise_etag: false,
            tags: Vec::new(),
            writes: WriteRule::default(),
        }),
    }
}

/// A hash of what says which tags a response has.
fn tagging(config: &Config) -> u64 {
    let mut text = config.coherence.tag_fields.join(" ");
    for route in &config.routes {
        for part in [&[route.path.clone()][..], &route.methods, &route.with_query, &route.tags] {
            text = text + "\n" + &part.join(" ");
        }
    }
    xxh3_64(text.as_bytes())
}

fn rule(route: &Route, defaults: &schema::Defaults) -> Rule {
    let negative = route.negative.as_ref().or(defaults.negative.as_ref());
    let seconds = |ms: Millis| u32::try_from(ms.0 / 1000).unwrap_or(u32::MAX);
    let revalidate = route.stale_while_revalidate.unwrap_or(defaults.stale_while_revalidate);
    let authorization = route.authorization.unwrap_or(defaults.authorization);
    let directives = route.request_directives.unwrap_or(defaults.request_directives);
    Rule {
        bypass: route.bypass,
        query: route.query.as_ref().map_or(QueryRule::All, |query| {
            QueryRule::only(&query.include, &query.require, &query.ids)
        }),
        store: StoreRule {
            lifetime: Lifetime {
                ttl_ms: route.ttl.or(defaults.ttl).map(|ttl| ttl.0),
                negative_ttl_ms: negative.map_or(0, |n| n.ttl.0),
                negative_statuses: negative.map(|n| n.statuses.clone()).unwrap_or_default(),
                overrides: route.override_freshness,
                heuristic: route.heuristic.0,
            },
            stale_while_revalidate_s: seconds(revalidate),
            stale_if_error_s: seconds(route.stale_if_error.unwrap_or(defaults.stale_if_error)),
            cookies_ignored: route.cookies.unwrap_or(defaults.cookies) == Cookies::Ignore,
            authorization_ignored: authorization == Authorization::Ignore,
        },
        directives_ignored: directives == RequestDirectives::Ignore,
        synthesise_etag: route.synthesise_etag,
        tags: Vec::new(),
        writes: WriteRule::default(),
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
            let message = match status {
                400..=499 if is_never_stored(*status) => "must not be stored by a shared cache",
                400..=499 => continue,
                _ => "is not a negative status (400 to 499)",
            };
            self.fail(&format!("{path}.statuses[{index}]"), &format!("{status} {message}"));
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
        if !cacheable && !route.bypass && !route.safe && route.invalidates.is_empty() {
            self.fail(
                &format!("{path}.methods"),
                "only GET and HEAD can be cached: set invalidates, safe or bypass for other methods",
            );
        }
        if cacheable && !route.bypass && !route.invalidates.is_empty() {
            let message = "is for routes that are not cached: set bypass, or other methods";
            self.fail(&format!("{path}.invalidates"), message);
        }
        if let Some(negative) = &route.negative {
            self.negative(&format!("{path}.negative"), negative);
        }
        if let Some(query) = &route.query {
            self.names(&format!("{path}.query.include"), &query.include);
            self.names(&format!("{path}.query.require"), &query.require);
            self.names(&format!("{path}.query.ids"), &query.ids);
            // What picks the rule must tell its resources from those of another.
            for (of, names) in [("query.ids", &query.ids), ("with_query", &route.with_query)] {
                let known = |name| query.include.contains(name) || query.require.contains(name);
                let others = names.iter().enumerate().filter(|(_, name)| !known(name));
                for (index, name) in others.filter(|(_, name)| !name.is_empty()) {
                    self.fail(
                        &format!("{path}.{of}[{index}]"),
                        &format!("{name:?} is neither in query.include nor in query.require"),
                    );
                }
            }
        }
        self.names(&format!("{path}.with_query"), &route.with_query);
    }

    fn writes(&mut self, path: &str, route: &Route) -> WriteRule {
        if route.safe && !route.invalidates.is_empty() {
            self.fail(&format!("{path}.safe"), "what is safe invalidates nothing");
        }
        let when = route.when.as_ref().and_then(|when| {
            let pointer = Pointer::parse(&when.request);
            if pointer.is_none() {
                let message = format!("{:?} is not a JSON pointer: /query", when.request);
                self.fail(&format!("{path}.when.request"), &message);
            }
            if when.contains.is_empty() {
                self.missing(&format!("{path}.when.contains"), "a text");
            }
            Some((pointer?, when.contains.as_str().into()))
        });
        let at = format!("{path}.invalidates");
        let invalidates = self.templates(&at, route, &route.invalidates, true);
        WriteRule { safe: route.safe, invalidates, when }
    }

    /// Templates of a route; those of writes must always make a tag.
    fn templates(
        &mut self,
        path: &str,
        route: &Route,
        texts: &[String],
        of_writes: bool,
    ) -> Vec<Template> {
        let mut all = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let at = format!("{path}[{index}]");
            match Template::parse(text, &route.path) {
                Err(message) => self.fail(&at, &message),
                Ok(template) => {
                    if of_writes && !template.is_total() {
                        let message =
                            format!("{text:?} must say what stands in: {{request:/id|any}}");
                        self.fail(&at, &message);
                    }
                    if !of_writes && (template.needs_request() || template.needs_response()) {
                        self.fail(&at, "bodies name tags in invalidates only");
                    }
                    all.push(template);
                }
            }
        }
        if texts.len() > MAX_TEMPLATES {
            self.fail(path, &format!("must be at most {MAX_TEMPLATES}"));
        }
        all
    }

    fn fields(&mut self, path: &str, names: &[String]) -> Vec<Box<[u8]>> {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !is_token(name)) {
            self.fail(&format!("{path}[{index}]"), &format!("{name:?} is not the name of a field"));
        }
        names.iter().map(|name| name.to_ascii_lowercase().into_bytes().into()).collect()
    }

    fn targets(&mut self, names: &[String]) -> Vec<Box<[u8]>> {
        for (index, name) in names.iter().enumerate() {
            let lower = name.to_ascii_lowercase();
            if !lower.ends_with("cache-control") || lower == "cache-control" {
                let message = format!("{name:?} does not end in -Cache-Control");
                self.fail(&format!("targets[{index}]"), &message);
            }
        }
        self.fields("targets", names)
    }

    fn keyed(&mut self, names: Vec<Box<[u8]>>) -> Option<Names> {
        for (index, name) in names.iter().enumerate() {
            if is_credential(name) {
                let message = "is a credential, and no key may hold one";
                self.fail(&format!("key.fields[{index}]"), message);
            }
        }
        if names.is_empty() {
            return None;
        }
        let names = Names::new(names);
        if names.is_none() {
            self.fail("key.fields", &format!("must be at most {MAX_NAMES} names of 64 bytes"));
        }
        names
    }

    fn variants(&mut self, vary: &schema::Vary) -> Bounds {
        if !(1..=MAX_PLACES).contains(&vary.max_variants) {
            self.fail("vary.max_variants", &format!("must be between 1 and {MAX_PLACES}"));
        }
        Bounds { variants: vary.max_variants, bytes: self.bytes("vary.max_bytes", vary.max_bytes) }
    }

    fn normalisers(&mut self, vary: &schema::Vary) -> Normalisers {
        let mut all = Vec::with_capacity(vary.fields.len());
        for (name, field) in &vary.fields {
            let path = format!("vary.fields.{name}");
            if !is_token(name) {
                self.fail(&path, &format!("{name:?} is not the name of a field"));
            }
            if field.ignore != field.one_of.is_empty() || field.ignore && field.otherwise.is_some()
            {
                self.fail(&path, "must have either ignore: true or one_of");
            }
            let lower = name.to_ascii_lowercase();
            if !field.one_of.is_empty() && (is_credential(lower.as_bytes()) || lower == "host") {
                self.fail(&path, "cannot be one_of: it would be set on requests to the origin");
            }
            let member = |text: &String| is_token(&text.replace('/', "-")) && text != "*";
            for (index, text) in field.one_of.iter().enumerate().filter(|(_, t)| !member(t)) {
                let message = format!("{text:?} is not a value without parameters");
                self.fail(&format!("{path}.one_of[{index}]"), &message);
            }
            let bytes = |text: &String| text.as_bytes().into();
            let normaliser = if field.ignore {
                Normaliser::Ignore
            } else {
                Normaliser::OneOf {
                    values: field.one_of.iter().map(bytes).collect(),
                    otherwise: field.otherwise.as_ref().map(bytes),
                }
            };
            all.push((lower.into_bytes().into(), normaliser));
        }
        Normalisers::new(all)
    }

    fn tier(&mut self, shared: &schema::Shared) -> Option<Tier> {
        let budget = self.bytes("shared.budget", shared.budget);
        let tier = Tier::new(budget, self.bytes("shared.max_entry", shared.max_entry));
        if tier.is_none() && budget > 0 {
            let message = format!("has no room for {WAYS} entries of shared.max_entry");
            self.fail("shared.budget", &message);
        }
        tier
    }

    fn coherence(&mut self, coherence: &schema::Coherence) -> CoherencePolicy {
        let slots = coherence.slots;
        if !slots.is_power_of_two() || !(256..=16_384).contains(&slots) {
            self.fail("coherence.slots", "must be a power of two between 256 and 16384");
        }
        if !(50..=60_000).contains(&coherence.feed_interval.0) {
            self.fail("coherence.feed_interval", "must be between 50ms and 60s");
        }
        if coherence.guard > Millis(600_000) {
            self.fail("coherence.guard", "must be at most 10m");
        }
        CoherencePolicy {
            slots: slots as usize,
            feed_interval_ms: coherence.feed_interval.0,
            guard_ms: coherence.guard.0,
            max_body: self.bytes("coherence.max_body", coherence.max_body),
        }
    }

    fn purge(&mut self, purge: &schema::Purge) -> PurgePolicy {
        if purge.networks.is_empty() && purge.secret.is_none() {
            self.fail("purge", "allows nobody: name networks or a secret");
        }
        let mut networks = Vec::with_capacity(purge.networks.len());
        for (index, text) in purge.networks.iter().enumerate() {
            match text.parse() {
                Ok(network) => networks.push(network),
                Err(_) => self.fail(
                    &format!("purge.networks[{index}]"),
                    &format!("{text:?} is not a network: 10.0.0.0/8"),
                ),
            }
        }
        let secret = purge.secret.as_ref().map(|secret| {
            if !is_token(&secret.field) {
                self.fail("purge.secret.field", "is not the name of a field");
            }
            if secret.value.len() < MIN_SECRET {
                let message = format!("must have at least {MIN_SECRET} characters");
                self.fail("purge.secret.value", &message);
            }
            let field = secret.field.to_ascii_lowercase().into_bytes().into();
            Secret { field, value: secret.value.as_bytes().into() }
        });
        PurgePolicy { networks, secret }
    }

    fn origin(&mut self, origin: &schema::Origin) -> OriginPolicy {
        if origin.cluster.is_empty() {
            self.missing("origin.cluster", "the Envoy cluster of the origin");
        }
        if origin.timeout.0 == 0 || origin.timeout > Millis(600_000) {
            self.fail("origin.timeout", "must be more than 0 and at most 10m");
        }
        OriginPolicy {
            cluster: origin.cluster.clone(),
            timeout_ms: u32::try_from(origin.timeout.0).unwrap_or(u32::MAX),
        }
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
