//! Which query parameters belong to the identity of a resource, and how the origin sees them.

use super::key::KeyRefusal;
use super::percent::{decode_form, normalise, push_normalised};

/// Which query parameters belong to the identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryRule {
    /// The whole query string, in its order.
    #[default]
    All,
    /// Only these, sorted by name, first of duplicates.
    Only(Vec<Parameter>),
}

/// A query parameter that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, decoded.
    pub name: Box<[u8]>,
    /// Whether it must be present and not empty.
    pub required: bool,
    /// Whether its value must be an id: a positive decimal number.
    pub id: bool,
}

impl QueryRule {
    /// Parameters that count, those that must be there, and those of both that must be ids.
    #[must_use]
    pub fn only(include: &[String], require: &[String], ids: &[String]) -> Self {
        let parameter = |name: &String, required| Parameter {
            name: name.as_bytes().into(),
            required,
            id: ids.contains(name),
        };
        let mut all: Vec<_> = require.iter().map(|name| parameter(name, true)).collect();
        all.extend(include.iter().map(|name| parameter(name, false)));
        all.sort_by(|a, b| a.name.cmp(&b.name).then(b.required.cmp(&a.required)));
        all.dedup_by(|later, first| later.name == first.name);
        Self::Only(all)
    }

    /// The target as its key says it, if the request says it in another way. An origin that takes `%61`
    /// for something else than `a`, the last of two equal parameters, `;` for `&`, or a parameter that
    /// does not count here for one that does, must not answer for what it was not asked.
    #[must_use]
    pub fn normalised_target(&self, target: &[u8]) -> Option<Vec<u8>> {
        if !target.iter().any(|b| matches!(b, b'%' | b'?')) {
            return None;
        }
        let mut parts = target.splitn(2, |b| *b == b'?');
        let mut out = Vec::with_capacity(target.len());
        normalise(&mut out, parts.next().unwrap_or_default());
        self.write(&mut out, parts.next()).ok()?;
        (out != target).then_some(out)
    }

    /// Appends what belongs to a key of the query of a target, `?` included.
    pub(super) fn write(&self, out: &mut Vec<u8>, query: Option<&[u8]>) -> Result<(), KeyRefusal> {
        match (self, query) {
            (Self::All, None) => {}
            (Self::All, Some(text)) => {
                out.push(b'?');
                normalise(out, text);
            }
            (Self::Only(all), text) => selected(out, all, text.unwrap_or_default())?,
        }
        Ok(())
    }
}

/// The raw value of the first query parameter called `name`; empty if it has none.
#[must_use]
pub fn parameter<'a>(query: &'a [u8], name: &'a [u8]) -> Option<&'a [u8]> {
    parameters(query, name).next()
}

/// The raw values of all of them.
pub fn parameters<'a>(query: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    query.split(|b| *b == b'&').filter_map(move |pair| {
        let mut parts = pair.splitn(2, |b| *b == b'=');
        let raw = parts.next().unwrap_or_default();
        // Names rarely carry percent-encoding: decode only those that do.
        let same = if raw.contains(&b'%') || raw.contains(&b'+') {
            let mut decoded = Vec::new();
            decode_form(&mut decoded, raw);
            decoded == name
        } else {
            raw == name
        };
        same.then(|| parts.next().unwrap_or_default())
    })
}

/// Appends the parameters that count.
fn selected(out: &mut Vec<u8>, all: &[Parameter], query: &[u8]) -> Result<(), KeyRefusal> {
    let mut separator = b'?';
    for Parameter { name, required, id } in all {
        match parameter(query, name) {
            None | Some([]) if *required => return Err(KeyRefusal::ParameterMissing),
            Some(value) if *id && !is_id(value) => return Err(KeyRefusal::NotAnId),
            None => {}
            Some(value) => {
                out.push(separator);
                separator = b'&';
                encode_name(out, name);
                out.push(b'=');
                // Some take `;` for a separator: in this form nobody does.
                for (place, part) in value.split(|b| *b == b';').enumerate() {
                    out.extend_from_slice(if place == 0 { b"" } else { b"%3B" });
                    normalise(out, part);
                }
            }
        }
    }
    Ok(())
}

/// A positive decimal number.
fn is_id(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_digit) && value.iter().any(|digit| *digit != b'0')
}

/// A configured name may hold `=` or `&`: encoded, it cannot be taken for a separator.
fn encode_name(out: &mut Vec<u8>, name: &[u8]) {
    name.iter().for_each(|byte| push_normalised(out, *byte));
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn only(include: &[&str], require: &[&str]) -> QueryRule {
        let names = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        QueryRule::only(&names(include), &names(require), &names(&["game_gid"]))
    }

    fn key(target: &str, query: &QueryRule) -> Result<String, KeyRefusal> {
        let mut out = Vec::new();
        query.write(&mut out, target.split_once('?').map(|(_, query)| query.as_bytes()))?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_origin_sees_what_the_key_says() {
        for (target, all, some) in [
            ("/a?b=1", None, None),
            ("/a?b", None, Some("/a?b=")),
            ("/%61?%62=1", Some("/a?b=1"), Some("/a?b=1")),
            ("/a%2fb?%zz", Some("/a%2Fb?%zz"), Some("/a%2Fb")),
            ("/%zz%61", None, None),
            ("/a%2F", None, None),
            ("/a?b=1&x=2&x=3&&", None, Some("/a?b=1")),
            ("/a?b=%zz&b[]=2&B=3&%62=4", None, Some("/a?b=%zz")),
            ("/a?x=1;b=2&b=3;%3b4", Some("/a?x=1;b=2&b=3;%3B4"), Some("/a?b=3%3B%3B4")),
        ] {
            for (rule, expected) in [(QueryRule::All, all), (only(&["b"], &[]), some)] {
                let found = rule.normalised_target(target.as_bytes());
                assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{target}");
            }
        }
    }

    #[test]
    fn only_the_named_parameters_count() {
        let rule = only(&["page", "game_gid", "a=b"], &[]);
        for (target, expected) in [
            ("/e?utm=x", ""),
            ("/e", ""),
            ("/e?page=2&x=1&game_gid=7", "?game_gid=7&page=2"),
            ("/e?game_gid=7&page=2&page=3", "?game_gid=7&page=2"),
            ("/e?game%5fgid=7", "?game_gid=7"),
            ("/e?page=", "?page="),
            ("/e?page", "?page="),
            ("/e?page=%26x=1", "?page=%26x=1"),
            ("/e?a%3Db=1", "?a%3Db=1"),
        ] {
            assert_eq!(key(target, &rule).as_deref(), Ok(expected), "{target}");
        }
    }

    #[test]
    fn required_parameters_must_be_there() {
        let rule = only(&["page"], &["game_gid"]);
        assert_eq!(key("/e?game_gid=7", &rule).as_deref(), Ok("?game_gid=7"));
        for target in ["/e", "/e?page=1", "/e?game_gid=", "/e?game_gid&page=1"] {
            assert_eq!(key(target, &rule), Err(KeyRefusal::ParameterMissing), "{target}");
        }
    }

    #[test]
    fn what_should_be_an_id_is_one_or_has_no_key() {
        for rule in [only(&["game_gid"], &[]), only(&[], &["game_gid"])] {
            for value in ["abc", "0", "000", "10000147.0", "-1", "%31", "+1", " 1"] {
                let found = key(&format!("/e?game_gid={value}"), &rule);
                assert_eq!(found, Err(KeyRefusal::NotAnId), "{value}");
            }
            assert!(key("/e?game_gid=0010", &rule).is_ok());
        }
    }
}
