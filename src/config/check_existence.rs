//! What serde cannot see of ids that exist.

use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64;

use super::check::{Check, is_token};
use super::schema::{
    Config, Creates, Exists, HttpList, Id, RedisList, Route, SetKind, Source, Space,
};
use super::units::Millis;
use crate::coherence::{Gap, Pointer, canonical};
use crate::existence::{
    Absent, Carried, Created, FieldPairs, HttpSource, Paging, Pattern, RedisSource, SourcePolicy,
    SpacePolicy, Width,
};
use crate::http::query::parameter;

/// Spaces of a configuration, at most.
const MAX_SPACES: usize = 16;
/// Bytes of a space's name, at most.
const MAX_NAME: usize = 32;

impl Check<'_> {
    /// The spaces, in the order of their names.
    pub(super) fn spaces(&mut self, config: &Config) -> Vec<Rc<SpacePolicy>> {
        if config.spaces.len() > MAX_SPACES {
            self.fail("spaces", &format!("must be at most {MAX_SPACES}"));
        }
        let spaces = config.spaces.iter();
        spaces.map(|(name, space)| Rc::new(self.space(name, space, config))).collect()
    }

    fn space(&mut self, name: &str, space: &Space, config: &Config) -> SpacePolicy {
        let path = format!("spaces.{name}");
        let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_name) {
            let message = format!("{name:?} is no name: up to {MAX_NAME} of a-z, 0-9, _");
            self.fail(&path, &message);
        }
        if !matches!(space.width, 8 | 16) {
            self.fail(&format!("{path}.width"), "must be 8 or 16");
        }
        let grace = space.grace.unwrap_or(Millis(10_000.min(space.refresh.0)));
        for (what, value, least, most) in [
            ("max_ids", u64::from(space.max_ids), 1, 20_000_000),
            ("recent", u64::from(space.recent), 16, 32_768),
            ("refresh", space.refresh.0, 1_000, space.max_age.0),
            ("grace", grace.0, 100, space.refresh.0),
        ] {
            if !(least..=most).contains(&value) {
                let unit = if matches!(what, "refresh" | "grace") { " (ms)" } else { "" };
                let message = format!("must be between {least} and {most}{unit}");
                self.fail(&format!("{path}.{what}"), &message);
            }
        }
        if space.ahead.is_some() && !space.monotonic {
            self.fail(&format!("{path}.ahead"), "is for spaces that are monotonic");
        }
        let most = space.max_ids as usize;
        let source = self.source(&format!("{path}.source"), &space.source, most, config);
        SpacePolicy {
            name: name.into(),
            scope: scope(name, space, &source, config),
            pattern: self.pattern(&format!("{path}.pattern"), &space.pattern),
            width: if space.width == 8 { Width::Eight } else { Width::Sixteen },
            max_ids: most,
            max_age_ms: space.max_age.0,
            refresh_ms: space.refresh.0,
            grace_ms: grace.0,
            monotonic: space.monotonic,
            ahead: space.ahead.unwrap_or(u64::MAX),
            recent: space.recent as usize,
            shadow: space.shadow,
            source,
        }
    }

    fn pattern(&mut self, path: &str, text: &str) -> Option<Pattern> {
        if text.is_empty() {
            self.missing(path, "a regular expression: [0-9]+");
        }
        let pattern = Pattern::parse(text);
        if let Err(error) = &pattern {
            self.fail(path, &format!("{text:?} is no pattern: it {error}"));
        }
        pattern.ok()
    }

    /// Where a list of up to `most` ids comes from.
    fn source(
        &mut self,
        path: &str,
        source: &Source,
        most: usize,
        config: &Config,
    ) -> SourcePolicy {
        match source {
            Source { http: Some(http), redis: None, ids: None } => {
                SourcePolicy::Http(self.http_list(&format!("{path}.http"), http, config))
            }
            Source { http: None, redis: Some(RedisList { key, kind }), ids: None } => {
                if config.l2.is_none() {
                    self.fail(&format!("{path}.redis"), "needs l2: it leads to Redis");
                }
                if key.is_empty() {
                    self.missing(&format!("{path}.redis.key"), "a key");
                }
                let sorted = *kind == SetKind::SortedSet;
                SourcePolicy::Redis(RedisSource { key: key.clone(), sorted })
            }
            Source { http: None, redis: None, ids: Some(ids) } => {
                if ids.len() > most {
                    let message = format!("has {} ids, more than max_ids", ids.len());
                    self.fail(&format!("{path}.ids"), &message);
                }
                let ids = ids.iter().map(|id| match id {
                    Id::Text(text) => canonical(text.as_bytes()).into(),
                    Id::Number(number) => number.to_string().into(),
                });
                SourcePolicy::Static(ids.collect())
            }
            _ => {
                self.fail(path, "must be one of http, redis, ids");
                SourcePolicy::Static(Rc::new([]))
            }
        }
    }

    fn http_list(&mut self, path: &str, http: &HttpList, config: &Config) -> HttpSource {
        let origin = config.origin.as_ref().map(|origin| origin.cluster.clone());
        let cluster = http.cluster.clone().or(origin).unwrap_or_default();
        if cluster.is_empty() {
            self.missing(&format!("{path}.cluster"), "the Envoy cluster of the list, or origin");
        }
        if !http.path.starts_with('/') || http.path.bytes().any(|b| !b.is_ascii_graphic()) {
            self.fail(&format!("{path}.path"), "must be a path, with a query or without: /ids");
        }
        if !(1..=16).contains(&http.concurrency) {
            self.fail(&format!("{path}.concurrency"), "must be between 1 and 16");
        }
        if http.timeout.0 == 0 || http.timeout > Millis(600_000) {
            self.fail(&format!("{path}.timeout"), "must be more than 0 and at most 10m");
        }
        let total = http.total.as_ref().map(|text| self.pointer(&format!("{path}.total"), text));
        let paging = match (&http.page, &http.cursor) {
            (Some(_), Some(_)) => {
                self.fail(&format!("{path}.cursor"), "cannot be together with page");
                Paging::One
            }
            (Some(page), None) => {
                if total.is_none() {
                    self.missing(&format!("{path}.total"), "it tells how many pages there are");
                }
                let of = format!("{path}.page.parameter");
                let parameter = self.parameter(&of, &page.parameter, &http.path);
                Paging::Numbers { parameter, first: page.first }
            }
            (None, Some(cursor)) => {
                let of = format!("{path}.cursor.parameter");
                let parameter = self.parameter(&of, &cursor.parameter, &http.path);
                let next = self.pointer(&format!("{path}.cursor.next"), &cursor.next);
                Paging::Cursor { parameter, next }
            }
            (None, None) => Paging::One,
        };
        let authority = http.authority.as_ref().unwrap_or(&cluster);
        let mut fields = vec![(b":authority"[..].into(), authority.as_bytes().into())];
        fields.extend(self.headers(&format!("{path}.headers"), &http.headers));
        HttpSource {
            timeout_ms: u32::try_from(http.timeout.0).unwrap_or(u32::MAX),
            path: http.path.clone(),
            fields,
            paging,
            ids: self.ids(&format!("{path}.ids"), &http.ids),
            total,
            concurrency: usize::from(http.concurrency),
            cluster,
        }
    }

    /// Fields, names in lower case.
    fn headers(
        &mut self,
        path: &str,
        headers: &std::collections::BTreeMap<String, String>,
    ) -> FieldPairs {
        for (name, value) in headers {
            let is_framing = ["connection", "content-length", "host", "te", "transfer-encoding"]
                .contains(&name.to_ascii_lowercase().as_str());
            if !is_token(name) || is_framing {
                self.fail(&format!("{path}.{name}"), "is not a field that can be set");
            }
            if value.bytes().any(|b| b.is_ascii_control()) {
                self.fail(&format!("{path}.{name}"), "has control characters");
            }
        }
        let lower = |name: &String| name.to_ascii_lowercase().into_bytes().into();
        headers.iter().map(|(name, value)| (lower(name), value.as_bytes().into())).collect()
    }

    /// A parameter that tells pages apart, of a list with this target.
    fn parameter(&mut self, path: &str, text: &str, target: &str) -> Box<str> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        if text.is_empty() {
            self.missing(path, "a query parameter");
        } else if !text.bytes().all(is_plain) {
            self.fail(path, &format!("{text:?} is not made of letters, digits, -, ., _ and ~"));
        }
        let query = target.split_once('?').map_or("", |(_, query)| query);
        if parameter(query.as_bytes(), text.as_bytes()).is_some() {
            self.fail(path, &format!("{text:?} is in the path already"));
        }
        text.into()
    }

    /// Where a page has its ids.
    fn ids(&mut self, path: &str, text: &str) -> Pointer {
        let pointer = self.pointer(path, text);
        if text.starts_with('/') && !text.split('/').any(|step| step == "*") {
            self.fail(path, &format!("{text:?} has no `*`, and so names one id alone"));
        }
        pointer
    }

    fn pointer(&mut self, path: &str, text: &str) -> Pointer {
        Pointer::parse(text).unwrap_or_else(|| {
            self.fail(path, &format!("{text:?} is not a JSON pointer: /data/*/id"));
            Pointer::default()
        })
    }

    /// Ids that requests of a route carry.
    pub(super) fn exists(&mut self, path: &str, route: &Route, config: &Config) -> Vec<Carried> {
        let reads = route.methods.iter().all(|method| method == "GET" || method == "HEAD");
        if !reads && !route.exists.is_empty() {
            self.fail(&format!("{path}.exists"), "is for routes of GET and HEAD alone");
        }
        let mut all = Vec::with_capacity(route.exists.len());
        for (index, Exists { space, id: text, absent }) in route.exists.iter().enumerate() {
            let path = format!("{path}.exists[{index}]");
            let space = self.space_named(&format!("{path}.space"), space, config);
            let id = self.gap(&format!("{path}.id"), text, &route.path, |gap| {
                !gap.needs_request() && !gap.needs_response()
            });
            // The origin does not get others.
            let counts = |name: &str| {
                let query = route.query.as_ref().filter(|_| !route.bypass);
                let has = |names: &[String]| names.iter().any(|known| known == name);
                query.is_none_or(|query| has(&query.include) || has(&query.require))
            };
            let parameter = text.strip_prefix("{query:").and_then(|text| text.strip_suffix('}'));
            if parameter.is_some_and(|name| !counts(name)) {
                let message = format!("{text:?} is neither in query.include nor in query.require");
                self.fail(&format!("{path}.id"), &message);
            }
            if !matches!(absent.status, 200..=203 | 205 | 400..=499)
                && (absent.status != 204 || !absent.body.is_empty())
            {
                self.fail(&format!("{path}.absent.status"), "must be a whole answer: 200, 404");
            }
            let mut fields = self.headers(&format!("{path}.absent.headers"), &absent.headers);
            let is_typed = fields.iter().any(|(name, _)| **name == *b"content-type");
            if !absent.body.is_empty() && !is_typed {
                fields.push((b"content-type"[..].into(), b"application/json"[..].into()));
            }
            match Absent::parse(absent.status, fields, &absent.body, &route.path) {
                Err(message) => self.fail(&format!("{path}.absent.body"), &message),
                Ok(absent) => {
                    all.extend(space.zip(id).map(|(space, id)| Carried { space, id, absent }));
                }
            }
        }
        all
    }

    /// Ids that requests of a route bring into being.
    pub(super) fn creates(&mut self, path: &str, route: &Route, config: &Config) -> Vec<Created> {
        if route.safe && !route.creates.is_empty() {
            self.fail(&format!("{path}.safe"), "what is safe creates nothing");
        }
        let mut all = Vec::with_capacity(route.creates.len());
        for (index, Creates { space, id }) in route.creates.iter().enumerate() {
            let path = format!("{path}.creates[{index}]");
            let space = self.space_named(&format!("{path}.space"), space, config);
            let id = self.gap(&format!("{path}.id"), id, &route.path, |gap| {
                gap.is_segment() || gap.needs_request() || gap.needs_response()
            });
            all.extend(space.zip(id).map(|(space, id)| Created { space, id }));
        }
        all
    }

    fn space_named(&mut self, path: &str, name: &str, config: &Config) -> Option<usize> {
        let place = config.spaces.keys().position(|known| known == name);
        match place {
            None if name.is_empty() => self.missing(path, "the name of a space"),
            None => self.fail(path, &format!("there is no space {name:?}")),
            Some(_) => {}
        }
        place
    }

    /// The one gap that a text consists of, if it is of the right kind.
    fn gap(
        &mut self,
        path: &str,
        text: &str,
        template: &str,
        is_right: impl Fn(&Gap) -> bool,
    ) -> Option<Gap> {
        let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let Some(name) = name else {
            self.fail(path, &format!("{text:?} is not one gap: {{id}}"));
            return None;
        };
        match Gap::parse(name, template) {
            Ok(gap) if is_right(&gap) => return Some(gap),
            Ok(_) => self.fail(path, &format!("{text:?} is not known here")),
            Err(message) => self.fail(path, &message),
        }
        None
    }
}

/// Tells a space from others, of this process and, in Redis, of the fleet.
fn scope(name: &str, space: &Space, source: &SourcePolicy, config: &Config) -> u64 {
    let text = serde_json::to_string(&space.source).unwrap_or_default();
    // Where it is not said it is the filter's own origin.
    let cluster = match source {
        SourcePolicy::Http(http) => &*http.cluster,
        SourcePolicy::Redis(_) | SourcePolicy::Static(_) => "",
    };
    let l2 = config.l2.as_ref().map(|l2| (&l2.cluster, &l2.key_prefix));
    let Space { width, recent, monotonic, ahead, .. } = space;
    let rest = format!("{cluster}\n{width}\n{recent}\n{monotonic}\n{ahead:?}\n{l2:?}");
    xxh3_64(format!("{name}\n{text}\n{rest}").as_bytes())
}
