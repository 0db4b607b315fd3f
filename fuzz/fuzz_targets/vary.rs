//! `Vary`: the order of names says nothing, values come apart again, and the form in which a value
//! counts is final.
//!
//! Input: lines of `Vary`; the fields of a request.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::http::fields::{Fields, FieldsBuf};
use tiercel::http::normalise::{Normal, Normaliser, Normalisers};
use tiercel::http::vary::{self, Names, Varies, VaryRefusal, is_credential, write_values};
use tiercel_fuzz::{block, block_of, parts};

fuzz_target!(|input: &[u8]| {
    let [vary, request] = parts(input);
    let response = block_of(b"vary", vary);
    let varies = vary::read(Fields::new(&response), |name| name == b"origin");
    let mut reversed: Vec<_> = vary.split(|byte| matches!(byte, b',' | b'\n')).collect();
    reversed.reverse();
    let reversed = block_of(b"vary", &reversed.join(&b'\n'));
    assert_eq!(vary::read(Fields::new(&reversed), |name| name == b"origin"), varies);
    let Varies::On(names) = varies else { return };
    assert_eq!(Names::from_bytes(&names.to_bytes()), Some(names.clone()));

    let request = block(request);
    let request = Fields::new(&request);
    let one_of = Normaliser::OneOf {
        values: ["en", "zh-CN", "gzip"].map(|value| value.as_bytes().into()).into(),
        otherwise: request.get(b"otherwise").map(|_| (*b"de").into()),
    };
    let configured = [(b"one-of".as_slice(), one_of), (b"ignore", Normaliser::Ignore)];
    let configured = Normalisers::new(configured.map(|(name, kind)| (name.into(), kind)));
    let mut values = Vec::new();
    let written = write_values(&mut values, &names, request, &configured);
    let mut rest = &values[..];
    for name in names.to_bytes().split(|byte| *byte == b',') {
        let normal = configured.apply(name, request);
        if written.is_ok() {
            assert_eq!(take(&mut rest), value(&normal));
        }
        if let Some(value) = value(&normal) {
            assert!(written != Ok(()) || !is_credential(name));
            let name = if name == b"host" { b":authority" } else { name };
            let again = [(name, value)].into_iter().collect::<FieldsBuf>().to_block();
            let again = Fields::new(&again);
            // One line has no space around it, which two lines put together may.
            let again = configured.apply(name, again);
            assert_eq!(self::value(&again), Some(value.trim_ascii()));
        }
    }
    assert!(rest.is_empty() || written.is_err());
    let credential = written == Err(VaryRefusal::Credential);
    assert!(!credential || request.iter().any(|(name, _)| is_credential(name)));
});

fn value<'a>(normal: &'a Normal<'_>) -> Option<&'a [u8]> {
    match normal {
        Normal::Value(value) => Some(value),
        Normal::Absent | Normal::Ignored => None,
    }
}

/// Takes a value, or that there is none, off the front.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk().expect("a length");
    let length = usize::from(u16::from_le_bytes(*length));
    let (value, after) = after.split_at(length.saturating_sub(1));
    *rest = after;
    (length > 0).then_some(value)
}
