//! What serde cannot see: what must be there, and what must fit together.

use std::rc::Rc;

use super::check_memory::held_budget;
use super::check_routes::{rule, tagging};
use super::parse::{ConfigError, Removed};
use super::policy::{CoherencePolicy, L2Policy, Policy, PurgePolicy, Rule, Secret, WriteRule};
use super::router::Router;
use super::schema::{
    self, Authorization, Collapse, Config, Cookies, Fetch, RequestDirectives, Role, Transport,
    Unmatched,
};
use super::units::{ByteSize, Millis};
use crate::coherence::TagKey;
use crate::entry::{Bounds, MAX_PLACES};
use crate::http::field_set::FieldSet;
use crate::http::key::KeyRules;
use crate::http::normalise::{Normaliser, Normalisers};
use crate::http::query::QueryRule;
use crate::http::storable::StoreRule;
use crate::http::vary::{MAX_NAMES, Names, is_credential};
use crate::l1::{Tier, WAYS};
use crate::secrets::Secrets;

/// Characters of a secret, at least.
const MIN_SECRET: usize = 16;
/// Characters of a secret that signs, at least.
const MIN_SIGNING_SECRET: usize = 32;
/// Secrets that sign or verify.
const MAX_SIGNING_SECRETS: usize = 4;

/// What Envoy buffers of the answer to a callout, in bytes.
pub(super) const MAX_REPLY: u64 = 32 << 20;

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
    let defaults = &config.defaults;
    check.chances("defaults", Some(defaults.jitter), Some(defaults.early_refresh));
    let mut router = Router::default();
    let mut rules = Vec::with_capacity(config.routes.len());
    for (index, route) in config.routes.iter().enumerate() {
        let path = format!("routes[{index}]");
        check.route(&path, route);
        check.needs(config, &path, route.fetch, route.collapse);
        match router.push(&route.methods, &route.path, &route.with_query) {
            Err(_) if route.path.is_empty() => check.missing(&format!("{path}.path"), "a path"),
            Err(message) => check.fail(&format!("{path}.path"), &message),
            Ok(()) => {}
        }
        let writes = check.writes(&path, route);
        let tags = check.templates(&format!("{path}.tags"), route, &route.tags, false);
        let exists = check.exists(&path, route, config);
        let writes = WriteRule { creates: check.creates(&path, route, config), ..writes };
        rules.push(Rc::new(Rule { tags, exists, writes, ..rule(route, &config.defaults) }));
    }
    check.needs(config, "defaults", Some(defaults.fetch), Some(defaults.collapse));
    let keyed = check.fields("key.fields", &config.key.fields);
    let mut distrusted = check.fields("key.distrusted", &config.key.distrusted);
    distrusted.retain(|name| !keyed.contains(name));
    let tag_key = check.tag_key(config.coherence.tag_key.as_deref());
    let tag_fields = check.fields("coherence.tag_fields", &config.coherence.tag_fields);
    let policy = Policy {
        role: config.role.unwrap_or(Role::Cache),
        l1_budget: check.bytes("l1.budget", config.l1.budget),
        negative_budget: check.bytes("l1.negative_budget", config.l1.negative_budget),
        l1_max_entry: check.bytes("l1.max_entry", config.l1.max_entry),
        fill_budget: check.bytes("l1.fill_budget", config.l1.fill_budget),
        held_budget: held_budget(config),
        tier: check.tier(&config.shared),
        l2: config.l2.as_ref().map(|l2| check.l2(l2, &config.degraded, tag_key.mark())),
        stale_for_ms: check.stale_for(config),
        key: KeyRules {
            scheme: config.key.scheme,
            authority: config.key.authority,
            namespace: config.key.namespace.as_bytes().into(),
        },
        cache_name: config.headers.cache_name.clone(),
        x_cache_status: config.headers.x_cache_status,
        x_cache_key: config.headers.x_cache_key,
        cache_status_key: config.headers.cache_status_key,
        not_stored: [
            check.fields("headers.not_stored", &config.headers.not_stored),
            tag_fields.clone(),
        ]
        .concat(),
        purge: config.purge.as_ref().map(|purge| check.purge(purge)),
        tagging: tagging(config, &tag_key),
        tag_key,
        tag_fields,
        targets: check.targets(&config.targets),
        forwarded_scheme_keyed: keyed.iter().any(|name| **name == *b"x-forwarded-proto"),
        keyed: check.keyed(keyed),
        distrusted: FieldSet::new(distrusted),
        store_unframed: config.defaults.store_unframed,
        variants: check.variants(&config.vary),
        normalisers: check.normalisers(&config.vary),
        coherence: check.coherence(&config.coherence),
        waiting: check.waiting(&config.waiting),
        protection: check.protection(&config.protection),
        origin: config.origin.as_ref().map(|origin| check.origin(origin)),
        router,
        rules,
        spaces: check.spaces(config),
        unmatched: Rc::new(unmatched(&config.defaults)),
    };
    // Last: a setting that is wrong by itself is told as such.
    check.memory(config);
    policy
}

/// The rule where no route fits. What a response does not say the policy of routes does not say either.
fn unmatched(defaults: &schema::Defaults) -> Rule {
    Rule {
        bypass: defaults.unmatched == Unmatched::Bypass,
        query: QueryRule::All,
        store: StoreRule {
            cookies_ignored: defaults.cookies == Cookies::Ignore,
            authorization_ignored: defaults.authorization == Authorization::Ignore,
            ..StoreRule::default()
        },
        directives_ignored: defaults.request_directives == RequestDirectives::Ignore,
        early_refresh: defaults.early_refresh,
        collapse: defaults.collapse != Collapse::None,
        fleet: defaults.collapse == Collapse::Fleet,
        detached: defaults.fetch == Fetch::Detached,
        ..Rule::default()
    }
}

pub(super) struct Check<'a> {
    errors: &'a mut Vec<ConfigError>,
    removed: &'a Removed,
}

impl Check<'_> {
    pub(super) fn fail(&mut self, path: &str, message: &str) {
        let path = &self.removed.written(path);
        // A value that serde already complained about was taken out: do not complain twice.
        if !self.errors.iter().any(|error| error.path == *path) {
            self.errors.push(ConfigError::new(path, message));
        }
    }

    pub(super) fn missing(&mut self, path: &str, what: &str) {
        self.fail(path, &format!("is required: {what}"));
    }

    fn bytes(&mut self, path: &str, size: ByteSize) -> usize {
        // A VM has at most 1 GiB, and 32-bit addresses.
        if size.0 > 1 << 30 {
            self.fail(path, &format!("{size} is more than a VM can have (1GiB)"));
        }
        usize::try_from(size.0).unwrap_or(usize::MAX)
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

    fn tag_key(&mut self, text: Option<&str>) -> TagKey {
        if text.is_some_and(|text| text.len() < MIN_SECRET) {
            let message = format!("must have at least {MIN_SECRET} characters");
            self.fail("coherence.tag_key", &message);
        }
        TagKey::new(text)
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

    fn l2(&mut self, l2: &schema::L2, degraded: &schema::Degraded, tag_mark: String) -> L2Policy {
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
            background_timeout_ms: u32::try_from(l2.health.probe_timeout.max(l2.timeout).0)
                .unwrap_or(u32::MAX),
            health: self.health(l2),
            write_back: self.bytes("degraded.write_back", degraded.write_back),
            key_prefix: l2.key_prefix.clone(),
            max_in_flight: l2.max_in_flight as usize,
            max_batch: l2.max_batch as usize,
            write_budget: self.bytes("l2.write_budget", l2.write_budget),
            max_entry: self.bytes("l2.max_entry", l2.max_entry),
            compress_above: self.bytes("l2.compress_above", l2.compress_above),
            ttl_factor: l2.ttl_factor,
            secrets: self.secrets(&l2.secrets),
            tag_mark,
        }
    }

    fn secrets(&mut self, secrets: &[String]) -> Secrets {
        if secrets.len() > MAX_SIGNING_SECRETS {
            self.fail("l2.secrets", &format!("must be at most {MAX_SIGNING_SECRETS}"));
        }
        for (index, _) in secrets.iter().enumerate().filter(|(_, s)| s.len() < MIN_SIGNING_SECRET) {
            let message = format!("must have at least {MIN_SIGNING_SECRET} characters");
            self.fail(&format!("l2.secrets[{index}]"), &message);
        }
        Secrets::new(secrets.iter().map(String::as_str))
    }
}

/// RFC 9110, 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
