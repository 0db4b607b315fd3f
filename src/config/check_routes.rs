//! What serde cannot see of routes.

use xxhash_rust::xxh3::xxh3_64;

use super::check::{Check, is_token};
use super::policy::{Rule, WriteRule};
use super::schema::{
    self, Authorization, Collapse, Config, Cookies, Fetch, Negative, RequestDirectives, Route,
};
use super::units::Millis;
use crate::coherence::{Pointer, TagKey, Template};
use crate::http::freshness::Lifetime;
use crate::http::query::QueryRule;
use crate::http::storable::{StoreRule, is_never_stored};

/// Tags that a route may name.
const MAX_TEMPLATES: usize = 32;

/// A hash of what says which tags a response has.
pub(super) fn tagging(config: &Config, tag_key: &TagKey) -> u64 {
    let mut text = config.coherence.tag_fields.join(" ") + &tag_key.mark();
    for route in &config.routes {
        for part in [&[route.path.clone()][..], &route.methods, &route.with_query, &route.tags] {
            text = text + "\n" + &part.join(" ");
        }
    }
    xxh3_64(text.as_bytes())
}

pub(super) fn rule(route: &Route, defaults: &schema::Defaults) -> Rule {
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
        jitter_percent: route.jitter.unwrap_or(defaults.jitter),
        early_refresh: route.early_refresh.unwrap_or(defaults.early_refresh),
        collapse: route.collapse.unwrap_or(defaults.collapse) != Collapse::None,
        fleet: route.collapse.unwrap_or(defaults.collapse) == Collapse::Fleet,
        detached: route.fetch.unwrap_or(defaults.fetch) == Fetch::Detached,
        tags: Vec::new(),
        exists: Vec::new(),
        writes: WriteRule::default(),
    }
}

impl Check<'_> {
    pub(super) fn negative(&mut self, path: &str, negative: &Negative) {
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

    pub(super) fn route(&mut self, path: &str, route: &Route) {
        for (index, method) in route.methods.iter().enumerate() {
            if !is_token(method) || method.bytes().any(|b| b.is_ascii_lowercase()) {
                self.fail(
                    &format!("{path}.methods[{index}]"),
                    &format!("{method:?} is not a method (they are case-sensitive: GET)"),
                );
            }
        }
        let cacheable = route.methods.iter().all(|method| method == "GET" || method == "HEAD");
        let changes = !route.invalidates.is_empty() || !route.creates.is_empty();
        if !cacheable && !route.bypass && !route.safe && !changes {
            self.fail(
                &format!("{path}.methods"),
                "only GET and HEAD can be cached: set invalidates, creates, safe or bypass for other methods",
            );
        }
        for (what, is_empty) in
            [("invalidates", route.invalidates.is_empty()), ("creates", route.creates.is_empty())]
        {
            if cacheable && !route.bypass && !is_empty {
                let message = "is for routes that are not cached: set bypass, or other methods";
                self.fail(&format!("{path}.{what}"), message);
            }
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
        self.chances(path, route.jitter, route.early_refresh);
    }

    pub(super) fn chances(&mut self, path: &str, jitter: Option<u8>, early_refresh: Option<f64>) {
        if jitter.is_some_and(|percent| percent > 50) {
            self.fail(&format!("{path}.jitter"), "must be at most 50 (percent)");
        }
        if early_refresh.is_some_and(|weight| !(0.0..=100.0).contains(&weight)) {
            self.fail(&format!("{path}.early_refresh"), "must be between 0 and 100");
        }
    }

    pub(super) fn writes(&mut self, path: &str, route: &Route) -> WriteRule {
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
        WriteRule { creates: Vec::new(), safe: route.safe, invalidates, when }
    }

    /// Templates of a route; those of writes must always make a tag.
    pub(super) fn templates(
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

    fn names(&mut self, path: &str, names: &[String]) {
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() {
                self.fail(&format!("{path}[{index}]"), "is empty");
            }
        }
    }
}
