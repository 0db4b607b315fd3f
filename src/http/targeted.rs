//! Targeted cache control (RFC 9213): `CDN-Cache-Control` and its kin, in the place of
//! `Cache-Control` and `Expires`.
//!
//! Unlike `Cache-Control` these are Structured Fields (RFC 8941): what does not parse to its last
//! byte is as if it were not there, and of duplicates the last counts.

use std::borrow::Cow;
use std::convert::Infallible;

use sfv::visitor::{DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor};
use sfv::{BareItemFromInput, KeyRef, Parser, Version};

use super::cache_control::CacheControl;
use super::fields::Fields;

/// Directives whose value is an Integer.
const SECONDS: [&str; 4] = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];
/// Directives that are true, or a String of field names.
const NAMES: [&str; 2] = ["no-cache", "private"];
/// Directives that are true.
const FLAGS: [&str; 7] = [
    "no-store",
    "no-transform",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "public",
    "immutable",
];

/// Reads the first of the `targets` (in lower case, most applicable first) that a response has,
/// valid and not empty (2.2). `Cache-Control` and `Expires` are then to be ignored; if there is
/// none, they count.
#[must_use]
pub fn read(response: Fields<'_>, targets: &[Box<[u8]>]) -> Option<CacheControl> {
    targets.iter().find_map(|name| {
        let mut lines = response.all(name);
        let mut value = Cow::Borrowed(lines.next()?);
        for line in lines {
            value.to_mut().extend_from_slice(b", ");
            value.to_mut().extend_from_slice(line);
        }
        // The version RFC 9213 names, which has neither dates nor display strings.
        let parser = Parser::new(&*value).with_version(Version::Rfc8941);
        parser.parse_dictionary_with_visitor(Members::default()).ok().flatten()
    })
}

/// The members of a dictionary.
#[derive(Default)]
struct Members<'a> {
    /// Those we know, each once.
    known: Vec<Member<'a>>,
    /// Whether there is any at all.
    any: bool,
}

struct Member<'a> {
    name: &'a str,
    /// None for an inner list, which no directive takes.
    value: Option<BareItemFromInput<'a>>,
}

impl<'a> DictionaryVisitor<'a> for Members<'a> {
    type Out = Option<CacheControl>;
    type Error = Infallible;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, Infallible> {
        self.any = true;
        let name = key.as_str();
        self.known.retain(|before| before.name != name);
        let known = [&SECONDS[..], &NAMES, &FLAGS].iter().any(|names| names.contains(&name));
        if known {
            self.known.push(Member { name, value: None });
        }
        Ok(self.known.last_mut().filter(|_| known))
    }

    /// None if it is empty, or if a value is not of its directive's type: that should be as bad as
    /// one that does not parse (RFC 8941, 2).
    fn finish(self) -> Result<Self::Out, Infallible> {
        let mut directives = CacheControl::default();
        let valid = self.any && self.known.iter().all(|member| member.apply(&mut directives));
        Ok(valid.then_some(directives))
    }
}

impl<'a> EntryVisitor<'a> for &mut Member<'a> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'a>, Infallible> {
        // Parameters are ignored (RFC 9213, 2.1).
        Ok(|value| {
            self.value = Some(value);
            Ok::<_, Infallible>(Ignored)
        })
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'a>, Infallible> {
        Ok(Ignored)
    }
}

impl Member<'_> {
    /// Adds the directive; false if the value is not of its type. A negative Integer is of the type
    /// of `max-age` and a bad number all the same: the response is stale (RFC 9111, 4.2.1).
    fn apply(&self, directives: &mut CacheControl) -> bool {
        let mut digits = itoa::Buffer::new();
        let argument = match &self.value {
            Some(BareItemFromInput::Integer(seconds)) if SECONDS.contains(&self.name) => {
                Some(digits.format(i64::from(*seconds)))
            }
            Some(BareItemFromInput::String(names)) if NAMES.contains(&self.name) => {
                Some(names.as_str())
            }
            Some(BareItemFromInput::Boolean(true)) if !SECONDS.contains(&self.name) => None,
            _ => return false,
        };
        directives.apply(self.name.as_bytes(), argument.map(str::as_bytes));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::cache_control::{FieldNames, MAX_DELTA};
    use super::super::fields::block;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn cdn(lines: &[&str]) -> Option<CacheControl> {
        let fields: Vec<_> = lines.iter().map(|line| ("cdn-cache-control", *line)).collect();
        let fields = block(&fields);
        read(Fields::new(&fields), &[(*b"cdn-cache-control").into()])
    }

    fn max_age(lines: &[&str]) -> Option<u32> {
        cdn(lines).and_then(|directives| directives.max_age)
    }

    #[test]
    fn directives_have_the_meaning_of_cache_control_2_2() {
        for line in [
            "max-age=60, s-maxage=7, stale-while-revalidate=3, stale-if-error=4",
            "no-store, no-transform, must-revalidate, proxy-revalidate, must-understand",
            "public,immutable\t,\tprivate, no-cache",
            r#"no-cache="X-A, x-b", private="set-cookie""#,
            r#"no-cache="", private="\"""#,
            "max-age=0, none, x-unknown=\"no-store\"",
        ] {
            assert_eq!(cdn(&[line]), Some(CacheControl::parse([line.as_bytes()])), "{line}");
        }
        let none = Some(CacheControl::default());
        assert_eq!(cdn(&["none"]), none, "3.1: in the place of Cache-Control, saying nothing");
        assert_eq!(cdn(&["only-if-cached, max-stale=1, min-fresh=x"]), none, "of requests");
    }

    #[test]
    fn values_and_parameters_2_1() {
        for (lines, expected) in [
            (&["max-age=60"][..], Some(60)),
            (&["max-age=60;x;y=\"z\""], Some(60)),
            (&["max-age=-1"], Some(0)),
            (&["max-age=999999999999999"], Some(MAX_DELTA)),
            (&["max-age=60, max-age=30"], Some(30)),
            (&["max-age=30, max-age=60"], Some(60)), // RFC 8941, 4.2.2: the last
            (&["max-age=\"x\", max-age=60"], Some(60)),
            (&["max-age=60, max-age=(1)"], None),
            (&["max-age=60", "public"], Some(60)),
        ] {
            assert_eq!(max_age(lines), expected, "{lines:?}");
        }
        let no_cache = cdn(&[r#"no-cache="X-A";x, no-store;y=1"#]).unwrap();
        assert_eq!(no_cache.no_cache, Some(FieldNames::Only(vec![b"x-a".to_vec()])));
        assert!(no_cache.no_store);
        assert_eq!(cdn(&["private=\"a\", private"]).unwrap().private, Some(FieldNames::All));
    }

    #[test]
    fn ignored_as_if_absent_2_1() {
        for lines in [
            &[][..],
            &[""],
            &["  "],
            &["max-age=60, &&&&&"],
            &["max-age=60,"],
            &["max-age=60,,public"],
            &["Max-Age=60"],
            &["max-age =60"],
            &["max-age= 60"],
            &["max-age=60; X=1"],
            &["max-age=9999999999999999"], // RFC 8941, 3.3.1: 15 digits
            &["max-age=60, x=@1"],         // RFC 9651's
            &["max-age=60, x=\u{fc}"],
            &["max-age=60", ""],
            &["no-cache=\"a"],
            // Not of their type.
            &["max-age=\"60\""],
            &["max-age=60.0"],
            &["max-age=sixty"],
            &["max-age"],
            &["max-age=?1"],
            &["max-age=(60)"],
            &["no-store=?0"],
            &["no-store=1, max-age=60"],
            &["no-cache=set-cookie"],
            &["private=(\"a\")"],
        ] {
            assert_eq!(cdn(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn the_first_valid_target_decides_2_2() {
        let targets: Vec<Box<[u8]>> =
            [&b"a-cache-control"[..], b"b-cache-control"].map(Into::into).into();
        for (fields, expected) in [
            (&[("b-cache-control", "max-age=2"), ("a-cache-control", "max-age=1")][..], Some(1)),
            (&[("a-cache-control", "max-age=x"), ("b-cache-control", "max-age=2")], Some(2)),
            (&[("a-cache-control", ""), ("b-cache-control", "max-age=2")], Some(2)),
            (&[("cache-control", "max-age=3"), ("c-cache-control", "max-age=4")], None),
        ] {
            let fields = block(fields);
            let read = read(Fields::new(&fields), &targets).and_then(|read| read.max_age);
            assert_eq!(read, expected);
        }
        assert_eq!(read(Fields::new(&block(&[("cache-control", "public")])), &[]), None);
    }
}
