//! Ordered routes: the first rule whose method, path template and parameters fit decides.
//!
//! Crates such as matchit rank templates by how specific they are and know one value a template;
//! rules here are ordered and differ by more than the path. Rules are grouped by their number of segments,
//! so a request is compared with few of them, and nothing is allocated.

use crate::http::percent::normalise;
use crate::http::query::parameter;

/// One segment of a path template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<[u8]>),
    Any,
}

#[derive(Clone, Debug)]
struct Template {
    methods: Vec<Box<[u8]>>,
    /// Query parameters that must be there and not empty.
    parameters: Vec<Box<[u8]>>,
    segments: Vec<Segment>,
    rest: bool,
}

/// Maps a request's method and path to the index of the first rule that fits.
#[derive(Clone, Debug, Default)]
pub struct Router {
    rules: Vec<Template>,
    /// `by_length[n]`: rules, in order, that a path of `n` segments can fit.
    by_length: Vec<Vec<usize>>,
}

/// Paths of more segments fit only `{*rest}` templates, found through the last group.
const MAX_SEGMENTS: usize = 32;

impl Router {
    /// Adds the next rule, for requests that carry every one of `parameters`. `methods` empty means
    /// `GET` and `HEAD`, and `GET` covers `HEAD`.
    ///
    /// # Errors
    /// One sentence on what is wrong with the template. The rule then takes its index but never fits.
    pub fn push(
        &mut self,
        methods: &[String],
        path: &str,
        parameters: &[String],
    ) -> Result<(), String> {
        let parsed = parse(path);
        let index = self.rules.len();
        let (segments, rest) = parsed.clone().unwrap_or_default();
        let mut names: Vec<Box<[u8]>> = methods.iter().map(|m| m.as_bytes().into()).collect();
        if names.is_empty() {
            names.push((*b"GET").into());
        }
        if names.iter().any(|name| **name == *b"GET") {
            names.push((*b"HEAD").into());
        }
        if parsed.is_ok() {
            self.by_length.resize(MAX_SEGMENTS + 1, Vec::new());
            let longest = if rest { MAX_SEGMENTS } else { segments.len() };
            let fitting = self.by_length.iter_mut().take(longest + 1).skip(segments.len());
            fitting.for_each(|group| group.push(index));
        }
        let parameters = parameters.iter().map(|name| name.as_bytes().into()).collect();
        self.rules.push(Template { methods: names, parameters, segments, rest });
        parsed.map(|_| ())
    }

    /// The index of the first rule that fits `method`, `path` (normalised) and `query`.
    #[must_use]
    pub fn find(&self, method: &[u8], path: &[u8], query: &[u8]) -> Option<usize> {
        let path = path.strip_prefix(b"/")?;
        let length = path.iter().filter(|b| **b == b'/').count() + 1;
        let group = self.by_length.get(length.min(MAX_SEGMENTS))?;
        group.iter().copied().find(|index| {
            self.rules.get(*index).is_some_and(|rule| rule.fits(method, path, length, query))
        })
    }
}

impl Template {
    fn fits(&self, method: &[u8], path: &[u8], length: usize, query: &[u8]) -> bool {
        let lengths = if self.rest {
            // {*rest} stands for at least one segment.
            length > self.segments.len()
        } else {
            length == self.segments.len()
        };
        let mut parts = path.split(|b| *b == b'/');
        lengths
            && self.segments.iter().all(|segment| match (segment, parts.next()) {
                (Segment::Literal(text), Some(part)) => **text == *part,
                (Segment::Any, Some(part)) => !part.is_empty(),
                (_, None) => false,
            })
            && self.methods.iter().any(|name| **name == *method)
            && self
                .parameters
                .iter()
                .all(|name| parameter(query, name).is_some_and(|value| !value.is_empty()))
    }
}

/// Parses `/api/games/{gid}` or `/static/{*rest}`.
fn parse(path: &str) -> Result<(Vec<Segment>, bool), String> {
    let Some(inner) = path.strip_prefix('/') else {
        return Err(format!("{path:?} is not a path template: it must start with /"));
    };
    let mut segments = Vec::new();
    let mut parts = inner.split('/').peekable();
    if parts.clone().count() > MAX_SEGMENTS {
        return Err(format!("{path:?} has more than {MAX_SEGMENTS} segments"));
    }
    while let Some(part) = parts.next() {
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) if name.starts_with('*') && parts.peek().is_none() => {
                return Ok((segments, true));
            }
            Some(name) if !name.is_empty() && !name.contains(['{', '}', '*']) => {
                segments.push(Segment::Any);
            }
            None if !part.contains(['{', '}', '?', '#']) => {
                segments.push(Segment::Literal(as_requested(part)));
            }
            _ => return Err(format!("{path:?} is not a path template: {part:?} is not a segment")),
        }
    }
    Ok((segments, false))
}

/// A literal as a normalised path holds it: `café` and `caf%c3%a9` are both `caf%C3%A9`.
fn as_requested(literal: &str) -> Box<[u8]> {
    let escaped = |byte: u8| match byte {
        b'!'..=b'~' => (byte as char).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let text: String = literal.bytes().map(escaped).collect();
    let mut normalised = Vec::with_capacity(text.len());
    normalise(&mut normalised, text.as_bytes());
    normalised.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn router(rules: &[(&[&str], &str)]) -> Router {
        let mut router = Router::default();
        for (methods, path) in rules {
            let methods: Vec<String> = methods.iter().map(ToString::to_string).collect();
            router.push(&methods, path, &[]).unwrap();
        }
        router
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let router = router(&[
            (&[], "/api/games"),
            (&["POST"], "/api/games"),
            (&[], "/api/{kind}/list"),
            (&[], "/api/games/{gid}"),
            (&["PUT"], "/api/games/batch"),
            (&[], "/api/{*rest}"),
            (&[], "/"),
        ]);
        for (method, path, index) in [
            ("GET", "/api/games", Some(0)),
            ("HEAD", "/api/games", Some(0)),
            ("POST", "/api/games", Some(1)),
            ("PUT", "/api/games", None),
            ("GET", "/api/games/list", Some(2)),
            ("GET", "/api/games/7", Some(3)),
            ("GET", "/api/games/batch", Some(3)),
            ("PUT", "/api/games/batch", Some(4)),
            ("GET", "/api/games/", Some(5)),
            ("GET", "/api/games/7/x/y", Some(5)),
            ("GET", "/api", None),
            ("GET", "/", Some(6)),
            ("GET", "", None),
            ("GET", "*", None),
        ] {
            let found = router.find(method.as_bytes(), path.as_bytes(), b"");
            assert_eq!(found, index, "{method} {path}");
        }
        let deep = "/api".to_string() + &"/x".repeat(100);
        assert_eq!(router.find(b"GET", deep.as_bytes(), b""), Some(5));
    }

    #[test]
    fn a_rule_may_be_for_requests_with_certain_parameters() {
        let mut router = Router::default();
        router.push(&[], "/api/events", &["search".into()]).unwrap();
        router.push(&[], "/api/events", &[]).unwrap();
        for (query, index) in [
            ("search=x&page=2", 0),
            ("page=2&%73earch=x", 0),
            ("search=", 1),
            ("search", 1),
            ("", 1),
        ] {
            let found = router.find(b"GET", b"/api/events", query.as_bytes());
            assert_eq!(found, Some(index), "{query}");
        }
    }

    #[test]
    fn literals_are_normalised_as_paths_are() {
        for template in ["/caf\u{e9}~/{*rest}", "/caf%c3%a9~/{*rest}", "/%63af%C3%A9%7e/{*rest}"] {
            assert_eq!(router(&[(&[], template)]).find(b"GET", b"/caf%C3%A9~/x", b""), Some(0));
        }
    }

    #[test]
    fn wrong_templates_are_refused() {
        for path in ["", "api", "/a/{", "/a/{}", "/a/x{y}", "/{*rest}/b", "/a?b", "/{a}{b}"] {
            assert!(Router::default().push(&[], path, &[]).is_err(), "{path}");
        }
        let deep = "/x".repeat(MAX_SEGMENTS) + "/{*rest}";
        assert!(Router::default().push(&[], &deep, &[]).is_err());
    }
}
