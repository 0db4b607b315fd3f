//! In which form a stored response answers a request: whole, as a 304, in parts (RFC 9110, 13.2.2).

use super::conditional::Conditions;
use super::fields::Fields;
use super::multipart::{Multipart, multipart};
use super::range::{Ranged, requested};

/// The form of an answer.
#[derive(Clone, Debug)]
pub enum Form {
    /// As it is stored.
    Whole,
    /// 304: the client has it.
    NotModified,
    /// 206, these bytes, both inclusive.
    Part(usize, usize),
    /// 206, several parts.
    Parts(Multipart),
    /// 416.
    Unsatisfiable,
}

/// A stored response, as far as its form goes.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: Fields<'a>,
    /// Its body.
    pub body: &'a [u8],
    /// When it was received, in ms since the epoch.
    pub received_ms: u64,
    /// Anything: makes the boundary between parts.
    pub hash: u128,
}

/// The form in which `stored` answers a request with these fields, GET or HEAD.
#[must_use]
pub fn form(request: Fields<'_>, stored: Stored<'_>, now_ms: u64) -> Form {
    // 13.2.1: conditions are for what would be a success without them.
    if stored.status != 200 {
        return Form::Whole;
    }
    let conditions = Conditions::read(request);
    if conditions.not_modified(stored.fields, Some(stored.received_ms), now_ms) {
        return Form::NotModified;
    }
    match requested(request, stored.fields, stored.body.len(), now_ms) {
        Ranged::Whole => Form::Whole,
        Ranged::Part { first, last } => Form::Part(first, last),
        Ranged::Unsatisfiable => Form::Unsatisfiable,
        Ranged::Parts(parts) => {
            let content_type = stored.fields.get(b"content-type");
            multipart(stored.body, &parts, content_type, stored.hash)
                .map_or(Form::Whole, Form::Parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::block;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn rfc9110_13_2_2_conditions_come_before_ranges() {
        let bytes = block(&[("etag", "\"a\""), ("content-type", "text/plain")]);
        let stored = Stored {
            status: 200,
            fields: Fields::new(&bytes),
            body: b"0123456789",
            received_ms: 0,
            hash: 7,
        };
        let check = |fields: &[(&str, &str)], status| {
            let mut all = vec![(":method", "GET")];
            all.extend(fields);
            format!("{:?}", form(Fields::new(&block(&all)), Stored { status, ..stored }, 0))
        };
        let (same, other) = (("if-none-match", "\"a\""), ("if-none-match", "\"b\""));
        let (part, parts) = (("range", "bytes=1-2"), ("range", "bytes=0-0,5-5"));
        assert_eq!(check(&[], 200), "Whole");
        assert_eq!(check(&[same, part], 200), "NotModified");
        assert_eq!(check(&[other, part], 200), "Part(1, 2)");
        assert_eq!(check(&[part, ("if-range", "\"b\"")], 200), "Whole");
        assert_eq!(check(&[("range", "bytes=10-")], 200), "Unsatisfiable");
        assert!(check(&[parts], 200).starts_with("Parts("));
        assert_eq!(check(&[same, part], 404), "Whole");
    }
}
