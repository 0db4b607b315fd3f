//! Every parser of bytes from outside, on arbitrary bytes: no panic, and what is written is read.

#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use redis_protocol::resp2::decode::decode as other_decode;
use redis_protocol::resp2::types::OwnedFrame;
use tiercel::entry::{self, Entry, Meta};
use tiercel::http::cache_control::CacheControl;
use tiercel::http::fields::{Fields, FieldsBuf};
use tiercel::http::key::{self, Key, KeyRules, QueryRule, normalise_path, write_key};
use tiercel::http::request::RequestHead;
use tiercel::http::response::ResponseHead;
use tiercel::http::storable::{CookieRule, Lifetime, storable, stored_fields};
use tiercel::l2::resp::{self, Reply};

/// Bytes that look like RESP often enough to get into its corners.
fn almost_resp() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"$".to_vec()),
        Just(b"+OK\r\n".to_vec()),
        Just(b"-ERR x\r\n".to_vec()),
        Just(b"$3\r\nabc\r\n".to_vec()),
        Just(b"$-1\r\n".to_vec()),
        Just(b":12\r\n".to_vec()),
        Just(b"99999999999".to_vec()),
        vec(any::<u8>(), 0..8),
    ];
    vec(parts, 0..12).prop_map(|parts| parts.concat())
}

/// Header values as they come in the wild, and worse.
fn almost_directives() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop_oneof![
        Just(b"max-age".to_vec()),
        Just(b"private".to_vec()),
        Just(b"no-cache".to_vec()),
        Just(b"=".to_vec()),
        Just(b",".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\\".to_vec()),
        Just(b" ".to_vec()),
        Just(b"4294967296".to_vec()),
        vec(any::<u8>(), 0..6),
    ];
    vec(parts, 0..16).prop_map(|parts| parts.concat())
}

fn list() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    vec((vec(any::<u8>(), 0..12), vec(any::<u8>(), 0..24)), 0..8)
}

fn buf(fields: &[(Vec<u8>, Vec<u8>)]) -> FieldsBuf {
    fields.iter().map(|(name, value)| (&name[..], &value[..])).collect()
}

/// What an origin makes of a path: escapes decoded, whatever is none left alone.
fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), path);
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|d| *first == b'%' && d.bytes().all(|b| b.is_ascii_hexdigit()));
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            out.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn replies_agree_with_another_parser(bytes in almost_resp()) {
        let mut rest = &bytes[..];
        while let Ok(reply) = resp::next_reply(&mut rest) {
            let at = bytes.len() - rest.len();
            prop_assert!(at <= bytes.len());
            // What we take for a value, another parser takes for the same.
            if let Reply::Bulk(value) = reply {
                let start = value.as_ptr() as usize - bytes.as_ptr() as usize;
                let head = bytes[..start].iter().rposition(|b| *b == b'$').unwrap();
                let other = other_decode(&bytes[head..at]).unwrap();
                prop_assert_eq!(other.map(|(frame, _)| frame), Some(OwnedFrame::BulkString(value.to_vec())));
            }
        }
    }

    #[test]
    fn commands_are_what_another_parser_reads(parts in vec(vec(any::<u8>(), 0..40), 1..6)) {
        let mut out = Vec::new();
        resp::command(&mut out, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let (frame, read) = other_decode(&out).unwrap().unwrap();
        prop_assert_eq!(read, out.len());
        let expected = parts.into_iter().map(OwnedFrame::BulkString).collect();
        prop_assert_eq!(frame, OwnedFrame::Array(expected));
    }

    #[test]
    fn stored_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), key in vec(any::<u8>(), 0..9)) {
        prop_assert!(entry::decode(&bytes, &Key::new(&key), 10_000).is_err());
    }

    #[test]
    fn entries_come_back(
        key in vec(any::<u8>(), 0..40), fields in list(), body in vec(any::<u8>(), 0..600),
        repeat in 1_usize..9, above in 0_usize..2_000, status in any::<u16>(), at in any::<u64>(),
    ) {
        let meta = Meta { status, stored_ms: at, fresh_until_ms: at.wrapping_add(77), age_s: 3 };
        let key = Key::new(&key);
        let one = Entry::new(meta, key.clone(), buf(&fields).to_block(), body.repeat(repeat).into());
        let bytes = entry::encode(&one, above);
        prop_assert_eq!(entry::decode(&bytes, &key, 100_000), Ok(one));
    }

    #[test]
    fn field_blocks_never_panic(bytes in vec(any::<u8>(), 0..200), fields in list()) {
        Fields::new(&bytes).iter().for_each(drop);
        let block = buf(&fields).to_block();
        prop_assert!(Fields::new(&block).is_sound());
        let read: Vec<_> = Fields::new(&block).iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
        prop_assert_eq!(read, fields);
    }

    #[test]
    fn directives_never_panic(lines in vec(almost_directives(), 0..3)) {
        CacheControl::parse(lines.iter().map(Vec::as_slice));
        let mut fields: Vec<_> = lines.iter().map(|l| (b"cache-control".to_vec(), l.clone())).collect();
        fields.extend(lines.iter().map(|l| (b"expires".to_vec(), l.clone())));
        fields.extend(lines.iter().map(|l| (b"vary".to_vec(), l.clone())));
        fields.push((b":status".to_vec(), b"200".to_vec()));
        let block = buf(&fields).to_block();
        let lifetime = Lifetime { ttl_ms: Some(1), ..Lifetime::default() };
        let cookies = CookieRule { ignored: true, sent: false };
        let _ = storable(&ResponseHead::read(Fields::new(&block)), &lifetime, cookies);
        let mut stored = FieldsBuf::default();
        stored_fields(&mut stored, Fields::new(&block), true, &[]);
        prop_assert!(Fields::new(&stored.to_block()).is_sound());
    }

    #[test]
    fn normalising_changes_no_meaning(path in "[/a%0-9A-Fz.~ ]{0,40}") {
        let (mut once, mut twice) = (Vec::new(), Vec::new());
        normalise_path(&mut once, path.as_bytes());
        normalise_path(&mut twice, &once);
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(decoded(path.as_bytes()), decoded(&once));
    }

    #[test]
    fn any_target_has_a_key_or_a_reason(target in vec(any::<u8>(), 0..60), authority in vec(any::<u8>(), 0..20)) {
        let head = RequestHead { scheme: b"https", authority: &authority, target: &target, ..RequestHead::default() };
        let rules = KeyRules { scheme: true, authority: true, namespace: (*b"n").into() };
        let mut path = Vec::new();
        normalise_path(&mut path, head.path_and_query().0);
        let names = QueryRule::only(&["a".into(), "b".into()], &["c".into()], &["b".into()]);
        for query in [QueryRule::All, names] {
            let mut out = Vec::new();
            if write_key(&mut out, &head, &path, &rules, &query).is_ok() {
                prop_assert!(out.len() <= key::MAX_KEY && out.starts_with(b"n https://"));
            }
        }
    }

    #[test]
    fn configurations_never_panic(bytes in vec(any::<u8>(), 0..120), text in "[{}\\[\\]\":,a-z0-9 ]{0,80}") {
        let _ = tiercel::config::load(&bytes);
        let _ = tiercel::config::load(text.as_bytes());
    }

    #[test]
    fn json_of_any_shape_is_taken_or_refused(
        place in select(vec!["role", "l1", "l2", "key", "headers", "defaults", "routes"]),
        value in select(vec![
            "null", "7", "-1.5", "\"x\"", "[]", "[1,[2]]", "{}", "{\"ttl\":[]}", "[{\"path\":{}}]",
        ]),
    ) {
        let text = format!("{{\"role\": \"cache\", \"{place}\": {value}}}");
        let _ = tiercel::config::load(text.as_bytes());
    }
}
