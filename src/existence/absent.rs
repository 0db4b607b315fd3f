//! What a request gets whose id does not exist: what the origin itself would say.

use std::time::{Duration, UNIX_EPOCH};

use super::FieldPairs;
use crate::coherence::{Filling, Gap, canonical};

/// Characters of a request that go into an answer, at most.
const MOST: usize = 256;

/// An answer with gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: FieldPairs,
    body: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// The time.
    Now,
    /// What the request has there, or what stands in.
    Value(Gap, Box<str>),
    /// A number that the request has there, within bounds, or what stands in.
    Number(Gap, Box<str>, i64, i64),
}

impl Absent {
    /// An answer for requests to a route with this path template. In the body `{now}` is the time, and gaps are
    /// filled by what the request has: `{gid}`, `{query:name}`, `{header:name}`, with `|text` for what stands in, and
    /// `|1..100` for the bounds of a number. All other braces are themselves: it may be JSON.
    ///
    /// # Errors
    /// One sentence on what is wrong.
    pub fn parse(status: u16, fields: FieldPairs, body: &str, path: &str) -> Result<Self, String> {
        let (mut parts, mut text) = (Vec::new(), String::new());
        let mut rest = body;
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let gap = after.split_once('}').filter(|(gap, _)| is_gap(gap, path));
            let Some((gap, behind)) = gap else {
                text.push('{');
                rest = after;
                continue;
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text).into()));
            }
            parts.push(part(gap, path)?);
            rest = behind;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        let absent = Self { status, fields, body: parts };
        absent.check(body.is_empty())?;
        Ok(absent)
    }

    /// Whether no request can make the body mean something else: values are escaped for JSON alone, and stand in quotes
    /// there.
    fn check(&self, is_empty: bool) -> Result<(), String> {
        let kind = self.fields.iter().find(|(name, _)| **name == *b"content-type");
        let Some((_, kind)) = kind.filter(|_| !is_empty) else { return Ok(()) };
        let kind = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        if !kind.ends_with(b"/json") && !kind.ends_with(b"+json") {
            let is_safe = |part: &Part| !matches!(part, Part::Value(..));
            let message = "has gaps for text of the request, and so must be JSON";
            return if self.body.iter().all(is_safe) { Ok(()) } else { Err(message.into()) };
        }
        // A number may be in the place of another one's sign, digits or fraction.
        for raw in [&b"x"[..], b"", b"0", b"7", b"-7"] {
            serde_json::from_slice::<serde::de::IgnoredAny>(&self.fill(|_| raw.to_vec(), 0))
                .map_err(|error| {
                    format!(
                        "is no JSON once its gaps are filled ({error}): text belongs in quotes, and a number needs \
                         bounds: {{query:page|1|1..}}"
                    )
                })?;
        }
        Ok(())
    }

    /// Whether the origin finds the id if it answers well.
    #[must_use]
    pub fn is_proof(&self) -> bool {
        !(200..300).contains(&self.status)
    }

    /// The body for a request at this time, in ms since the epoch.
    #[must_use]
    pub fn body(&self, with: &Filling<'_>, now_ms: u64) -> Vec<u8> {
        self.fill(|gap| gap.raw(with), now_ms)
    }

    fn fill(&self, raw: impl Fn(&Gap) -> Vec<u8>, now_ms: u64) -> Vec<u8> {
        let mut out = String::new();
        for part in &self.body {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Now => {
                    let time = UNIX_EPOCH + Duration::from_millis(now_ms);
                    let time = humantime::format_rfc3339_micros(time).to_string();
                    out.push_str(time.trim_end_matches('Z'));
                    out.push_str("+00:00");
                }
                Part::Value(gap, otherwise) => {
                    let text = canonical(&raw(gap));
                    escape(&mut out, if text.is_empty() { otherwise } else { &text });
                }
                Part::Number(gap, otherwise, least, most) => {
                    match number(&String::from_utf8_lossy(&raw(gap))) {
                        Some(number) => out.push_str(&number.max(*least).min(*most).to_string()),
                        None => out.push_str(otherwise),
                    }
                }
            }
        }
        out.into_bytes()
    }
}

/// Whether what stands in braces is meant to be filled.
fn is_gap(gap: &str, path: &str) -> bool {
    let name = gap.split('|').next().unwrap_or_default();
    let is_segment = || path.split('/').any(|segment| segment == format!("{{{name}}}"));
    gap == "now" || name.starts_with("query:") || name.starts_with("header:") || is_segment()
}

fn part(gap: &str, path: &str) -> Result<Part, String> {
    if gap == "now" {
        return Ok(Part::Now);
    }
    let mut parts = gap.split('|');
    let source = Gap::parse(parts.next().unwrap_or_default(), path)?;
    let otherwise = parts.next().unwrap_or_default().into();
    let Some(bounds) = parts.next() else { return Ok(Part::Value(source, otherwise)) };
    let wrong = || format!("{bounds:?} is no range of numbers: 1..100");
    let (least, most) = bounds.split_once("..").ok_or_else(wrong)?;
    let bound = |text: &str, none| if text.is_empty() { Ok(none) } else { text.parse() };
    match (bound(least, i64::MIN), bound(most, i64::MAX), parts.next()) {
        (Ok(least), Ok(most), None) if least <= most => {
            Ok(Part::Number(source, otherwise, least, most))
        }
        _ => Err(wrong()),
    }
}

/// A whole number, however large.
fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let bound = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    is_number.then(|| text.parse().unwrap_or(bound))
}

/// Appends text as it may stand in a JSON string, and in a page.
fn escape(out: &mut String, text: &str) {
    for char in text.chars().take(MOST) {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '<' | '>' | '&' | '\'' | '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
                use std::fmt::Write;
                let _ = write!(out, "\\u{:04x}", u32::from(char)); // writing to a String cannot fail
            }
            _ => out.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fields::{Fields, block};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn body(template: &str, path: &str, query: &str) -> String {
        let fields = block(&[("x-tenant", "t\"1")]);
        let with = Filling::of_head(path.as_bytes(), Some(query.as_bytes()), Fields::new(&fields));
        let absent = Absent::parse(404, Vec::new(), template, "/api/games/{gid}").unwrap();
        String::from_utf8(absent.body(&with, 1_771_574_400_123)).unwrap()
    }

    #[test]
    fn gaps_are_filled_and_all_else_stays() {
        for (template, query, expected) in [
            ("{\"a\":{\"b\":{}}}", "", "{\"a\":{\"b\":{}}}"),
            ("{{gid}}{gid}", "", "{7}7"),
            ("{other} {now", "", "{other} {now"),
            ("{now}", "", "2026-02-20T08:00:00.123000+00:00"),
            ("{query:a}|{query:b|x}|{header:x-tenant}", "a=1%202", "1 2|x|t\\\"1"),
            (
                "{\"p\":{query:p|1|1..},\"n\":{query:n|20|1..100}}",
                "p=3&n=500",
                "{\"p\":3,\"n\":100}",
            ),
            ("{query:p|1|1..} {query:n|20|1..100}", "p=-3&n=abc", "1 20"),
            ("{query:p|1|1..} {query:n|20|..100}", "p=+5+&n=-0", "5 0"),
            ("{query:p|1|1..}", "p=99999999999999999999", "9223372036854775807"),
            ("{query:p|1|1..}", "p=-99999999999999999999", "1"),
            ("{query:p|1|1..}", "p=1.5", "1"),
        ] {
            assert_eq!(body(template, "/api/games/007", query), expected, "{template}");
        }
    }

    #[test]
    fn a_request_cannot_say_more_than_text() {
        let hostile = "/api/games/%22,%22x%22:%3C%2Fscript%3E%0D%0A%00%5C%FF";
        let text = body("{\"gid\":\"{gid}\"}", hostile, "");
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["gid"], "\",\"x\":</script>\r\n\0\\\u{fffd}");
        assert!(!text.contains(['<', '>', '\r', '\n']), "{text}");
        let long = format!("/api/games/{}", "x".repeat(1_000));
        assert_eq!(body("{gid}", &long, "").len(), MOST);
    }

    #[test]
    fn wrong_gaps_are_named() {
        for (template, message) in [
            ("{query:}", "none of query:"),
            ("{query:p|1|x..}", "no range"),
            ("{query:p|1|5..1}", "no range"),
            ("{query:p|1|1..2|3}", "no range"),
        ] {
            let error = Absent::parse(404, Vec::new(), template, "/").unwrap_err();
            assert!(error.contains(message), "{template}: {error}");
        }
        for (kind, template, is_right) in [
            ("application/json", "{\"a\":\"{query:a}\",\"n\":{query:n|1|1..}}", true),
            ("application/problem+json; charset=utf-8", "{\"a\":{query:a}}", false),
            ("application/json", "{\"a\":{query:a|1}}", false),
            ("application/json", "{\"n\":{query:n||1..}}", false),
            ("application/json", "{\"a\":1", false),
            ("application/json", "[-{query:a|0|..}]", false),
            ("application/json", "[{query:a|0|..}5]", false),
            ("application/json", "[-{query:a|1|1..}]", true),
            ("text/html", "<p>{now} {query:n|1|1..}</p>", true),
            ("text/html", "<p>{header:a}</p>", false),
        ] {
            let fields = vec![(b"content-type"[..].into(), kind.as_bytes().into())];
            let absent = Absent::parse(404, fields, template, "/");
            assert_eq!(absent.is_ok(), is_right, "{kind}: {template}: {absent:?}");
        }
    }
}
