//! Names of tags with gaps that a request fills: `game:{gid}`, `events:{request:/game_gid|any}`.

use serde_json::Value;

use super::pointer::Pointer;
use super::{TagKey, Tags};
use crate::http::fields::Fields;
use crate::http::percent::decode;
use crate::http::query::{parameter, parameters};

/// Tags that one template makes, at most, and the bytes of their names together: a long value is in each of them.
const MOST: usize = 256;
const MOST_BYTES: usize = 1 << 20;

/// A tag's name with gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Gap { source: Gap, otherwise: Option<Box<str>> },
}

/// What fills a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap(Source);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// A segment of the path.
    Path(usize),
    /// A query parameter.
    Query(Box<[u8]>),
    /// A field of the request.
    Field(Box<[u8]>),
    /// The JSON body of the request.
    Request(Pointer),
    /// The JSON body of the response.
    Response(Pointer),
}

/// A request, as far as it fills gaps.
#[derive(Clone, Copy, Debug)]
pub struct Filling<'a> {
    /// Its normalised path.
    pub path: &'a [u8],
    /// Its query.
    pub query: &'a [u8],
    /// Its fields.
    pub fields: Fields<'a>,
    /// Its body, if that is JSON and known.
    pub request: Option<&'a Value>,
    /// The response's body, if that is JSON and known.
    pub response: Option<&'a Value>,
}

impl<'a> Filling<'a> {
    /// A request of which there is the head.
    #[must_use]
    pub fn of_head(path: &'a [u8], query: Option<&'a [u8]>, fields: Fields<'a>) -> Self {
        Self { path, query: query.unwrap_or_default(), fields, request: None, response: None }
    }
}

impl Template {
    /// Reads a template for a route with this path template.
    ///
    /// # Errors
    /// One sentence on what is wrong.
    pub fn parse(text: &str, path: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (gap, after) =
                after.split_once('}').ok_or_else(|| format!("{text:?} has no }}"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            let (name, otherwise) = match gap.split_once('|') {
                Some((name, otherwise)) => (name, Some(otherwise.into())),
                None => (gap, None),
            };
            parts.push(Part::Gap { source: Gap::parse(name, path)?, otherwise });
            rest = after;
        }
        if rest.contains('}') {
            return Err(format!("{text:?} has a }} too many"));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        if parts.is_empty() { Err("is empty".into()) } else { Ok(Self(parts)) }
    }

    /// Whether every request fills every gap.
    #[must_use]
    pub fn is_total(&self) -> bool {
        self.gaps().all(|(source, otherwise)| otherwise || source.is_segment())
    }

    /// Whether it needs the body of the request.
    #[must_use]
    pub fn needs_request(&self) -> bool {
        self.gaps().any(|(source, _)| source.needs_request())
    }

    /// Whether it needs the body of the response.
    #[must_use]
    pub fn needs_response(&self) -> bool {
        self.gaps().any(|(source, _)| source.needs_response())
    }

    fn gaps(&self) -> impl Iterator<Item = (&Gap, bool)> {
        self.0.iter().filter_map(|part| match part {
            Part::Gap { source, otherwise } => Some((source, otherwise.is_some())),
            Part::Text(_) => None,
        })
    }

    /// Adds the tags that a request makes of it: none if a gap stays open, several if one has several
    /// values.
    pub fn fill(&self, with: &Filling<'_>, key: &TagKey, tags: &mut Tags) {
        let mut names = vec![String::new()];
        for part in &self.0 {
            match part {
                Part::Text(text) => names.iter_mut().for_each(|name| name.push_str(text)),
                Part::Gap { source, otherwise } => {
                    let mut values = source.values(with);
                    let is_much = values.len() * names.len() > MOST
                        || bytes(&values) * names.len() + bytes(&names) * values.len() > MOST_BYTES;
                    if values.is_empty() || is_much {
                        values = otherwise.iter().map(ToString::to_string).collect();
                    }
                    let each = |name: &String| {
                        let name = name.clone();
                        values.iter().map(move |value| format!("{name}{value}")).collect::<Vec<_>>()
                    };
                    names = names.iter().flat_map(each).collect();
                }
            }
        }
        tags.extend(names.iter().map(|name| key.named(name.as_bytes())));
    }
}

impl Gap {
    /// Reads `gid`, `query:name`, `header:name`, `request:/ids/*` or `response:/id`, for a route with this path
    /// template.
    ///
    /// # Errors
    /// One sentence on what is wrong.
    pub fn parse(name: &str, path: &str) -> Result<Self, String> {
        let pointer = |text: &str| {
            Pointer::parse(text).ok_or_else(|| format!("{text:?} is not a JSON pointer: /ids/*"))
        };
        Ok(Self(match name.split_once(':') {
            Some(("query", name)) if !name.is_empty() => Source::Query(name.as_bytes().into()),
            Some(("header", name)) if !name.is_empty() => {
                Source::Field(name.to_ascii_lowercase().into_bytes().into())
            }
            Some(("request", text)) => Source::Request(pointer(text)?),
            Some(("response", text)) => Source::Response(pointer(text)?),
            Some(_) => {
                return Err(format!("{name:?} is none of query:, header:, request:, response:"));
            }
            None => {
                let wanted = format!("{{{name}}}");
                let mut segments = path.split('/').skip(1);
                let found = segments.position(|segment| segment == wanted);
                Source::Path(found.ok_or_else(|| format!("the path has no {wanted}"))?)
            }
        }))
    }

    /// Whether it is a segment of the path: that is always there.
    #[must_use]
    pub const fn is_segment(&self) -> bool {
        matches!(self.0, Source::Path(_))
    }

    /// Whether it is a query parameter.
    #[must_use]
    pub const fn is_query(&self) -> bool {
        matches!(self.0, Source::Query(_))
    }

    /// Whether it needs the body of the request.
    #[must_use]
    pub const fn needs_request(&self) -> bool {
        matches!(self.0, Source::Request(_))
    }

    /// Whether it needs the body of the response.
    #[must_use]
    pub const fn needs_response(&self) -> bool {
        matches!(self.0, Source::Response(_))
    }

    /// What a request has there, decoded and otherwise as it came; none of it is in a body.
    #[must_use]
    pub fn raw(&self, with: &Filling<'_>) -> Vec<u8> {
        match &self.0 {
            Source::Path(index) => {
                let segment = with.path.split(|b| *b == b'/').nth(index + 1).unwrap_or_default();
                decode(segment, false)
            }
            Source::Query(name) => decode(parameter(with.query, name).unwrap_or_default(), true),
            Source::Field(name) => with.fields.get(name).unwrap_or_default().to_vec(),
            Source::Request(_) | Source::Response(_) => Vec::new(),
        }
    }

    /// As [`Self::raw`], each time that it is there.
    pub fn raws<'a>(&'a self, with: &'a Filling<'a>) -> Vec<Vec<u8>> {
        match &self.0 {
            Source::Query(name) => {
                parameters(with.query, name).map(|value| decode(value, true)).collect()
            }
            Source::Field(name) => with.fields.all(name).map(<[u8]>::to_vec).collect(),
            Source::Path(_) | Source::Request(_) | Source::Response(_) => vec![self.raw(with)],
        }
    }

    /// Its values, in the form of [`canonical`]. None of them is empty but a segment, which is always there.
    #[must_use]
    pub fn values(&self, with: &Filling<'_>) -> Vec<String> {
        let mut values = match &self.0 {
            Source::Path(_) => return vec![canonical(&self.raw(with))],
            Source::Query(_) | Source::Field(_) => vec![canonical(&self.raw(with))],
            Source::Request(pointer) => in_json(pointer, with.request),
            Source::Response(pointer) => in_json(pointer, with.response),
        };
        values.retain(|value| !value.is_empty());
        values
    }
}

fn bytes(texts: &[String]) -> usize {
    texts.iter().map(String::len).sum()
}

/// The values in a document; none if there are too many, or one that names nothing.
fn in_json(pointer: &Pointer, document: Option<&Value>) -> Vec<String> {
    let Some(document) = document else { return Vec::new() };
    let mut values = Vec::new();
    let complete = pointer.visit(document, &mut |value| {
        let value = canonical_json(value).filter(|value| !value.is_empty());
        let known = value.is_some();
        values.extend(value);
        known && values.len() <= MOST
    });
    if complete { values } else { Vec::new() }
}

/// A value of a JSON document as text, in the form of [`canonical`]; none if it is neither text nor a number, or a
/// number so large that it may be another one.
#[must_use]
pub fn canonical_json(value: &Value) -> Option<String> {
    match value {
        Value::String(string) => Some(canonical(string.as_bytes())),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            let is_whole = number.fract() == 0.0;
            // Beyond 2^53 it may be another one than was written.
            let is_exact = number.abs() < 9_007_199_254_740_992.0;
            is_exact.then(|| if is_whole { format!("{number:.0}") } else { number.to_string() })
        }
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Text as names are compared: `010` and ` 10` name what `10` names.
#[must_use]
pub fn canonical(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    let digits = text.strip_prefix('+').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.to_owned();
    }
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { "0".to_owned() } else { digits.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fields::block;
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const PATH: &str = "/api/games/{gid}/events/{id}/{blank}";

    fn filled(template: &str) -> Tags {
        let fields = block(&[("x-tenant", "t 1")]);
        let (request, response) = (
            json!({"game_gid": "010000147", "ids": [1, "2", 3.0], "bad": [1, null], "many": (0..300).collect::<Vec<_>>()}),
            json!({"data": {"event_id": 77}}),
        );
        let with = Filling {
            path: b"/api/games/%E4%B8%AD/events/007/%20",
            query: b"game_gid=+010&empty=",
            fields: Fields::new(&fields),
            request: Some(&request),
            response: Some(&response),
        };
        let mut tags = Tags::default();
        Template::parse(template, PATH).unwrap().fill(&with, &TagKey::default(), &mut tags);
        tags
    }

    /// 256 times a text of 64 KiB are 16 MiB, and `coherence.max_body` may be as large as the VM.
    #[test]
    fn names_are_not_multiplied_beyond_measure() {
        let tags = |text: &str, template: &str| {
            let request = json!({"ids": (0..200).collect::<Vec<_>>(), "text": text});
            let with = Filling {
                request: Some(&request),
                ..Filling::of_head(b"/", None, Fields::default())
            };
            let mut tags = Tags::default();
            Template::parse(template, "/").unwrap().fill(&with, &TagKey::default(), &mut tags);
            tags.as_slice().len()
        };
        for template in
            ["{request:/ids/*|a}{request:/text|a}", "{request:/text|a}{request:/ids/*|a}"]
        {
            assert_eq!(tags(&"x".repeat(1_000), template), 200);
            let most = if template.ends_with("ids/*|a}") { 1 } else { 200 };
            assert_eq!(tags(&"x".repeat(10_000), template), most, "{template}");
        }
    }

    #[test]
    fn gaps_are_filled() {
        for (template, names) in [
            ("games", &["games"][..]),
            ("game:{gid}", &["game:\u{4e2d}"]),
            ("blank:{blank}", &["blank:"]),
            ("{gid}/{id}", &["\u{4e2d}/7"]),
            ("g:{query:game_gid}", &["g:10"]),
            ("t:{header:X-Tenant}!", &["t:t 1!"]),
            ("g:{request:/game_gid|any}", &["g:10000147"]),
            ("e:{request:/ids/*|any}", &["e:1", "e:2", "e:3"]),
            ("e:{response:/data/event_id|any}", &["e:77"]),
            // What cannot be known is what stands behind the bar, or no tag at all.
            ("e:{request:/bad/*|any}", &["e:any"]),
            ("e:{request:/many/*|any}", &["e:any"]),
            ("e:{request:/none|any}", &["e:any"]),
            ("g:{query:empty|all}", &["g:all"]),
            ("g:{query:empty}", &[]),
            ("g:{query:none}:{id}", &[]),
        ] {
            let expected: Tags =
                names.iter().map(|name| TagKey::default().named(name.as_bytes())).collect();
            assert_eq!(filled(template), expected, "{template}");
        }
    }

    #[test]
    fn wrong_templates_are_named() {
        for (template, message) in [
            ("", "is empty"),
            ("a{gid", "has no }"),
            ("a}", "too many"),
            ("{nothing}", "the path has no {nothing}"),
            ("{cookie:x}", "none of query:"),
            ("{query:}", "none of query:"),
            ("{request:ids}", "not a JSON pointer"),
        ] {
            let error = Template::parse(template, PATH).unwrap_err();
            assert!(error.contains(message), "{template}: {error}");
        }
    }

    #[test]
    fn a_template_knows_what_it_needs() {
        let parse = |text| Template::parse(text, PATH).unwrap();
        assert!(parse("a:{gid}").is_total() && parse("a:{query:x|y}").is_total());
        assert!(!parse("a:{query:x}").is_total());
        assert!(
            parse("a:{request:/x}").needs_request() && !parse("a:{request:/x}").needs_response()
        );
        assert!(parse("a:{gid}{response:/x}").needs_response());
    }

    #[test]
    fn an_element_that_lacks_it_makes_all_unknown() {
        let request =
            json!({"events": [{"id": 5, "game_gid": 1}, {"id": 6}, {"id": 7, "game_gid": ""}]});
        let fields = block(&[]);
        let with = Filling {
            path: b"/",
            query: b"",
            fields: Fields::new(&fields),
            request: Some(&request),
            response: None,
        };
        let mut tags = Tags::default();
        Template::parse("events:{request:/events/*/game_gid|all}", "/").unwrap().fill(
            &with,
            &TagKey::default(),
            &mut tags,
        );
        let has = |name: &str| tags.as_slice().contains(&TagKey::default().named(name.as_bytes()));
        assert!(has("events:all"));
    }
}
