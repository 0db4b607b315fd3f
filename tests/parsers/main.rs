//! Every parser of bytes from outside, on arbitrary bytes: no panic, and what is written is read.

#![allow(clippy::unwrap_used)]

mod ranges;
mod vary;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use redis_protocol::resp2::decode::decode as other_decode;
use redis_protocol::resp2::types::OwnedFrame;
use tiercel::coherence::{Stamp, Tag};
use tiercel::entry::{self, Entry, Meta};
use tiercel::existence::Pattern;
use tiercel::http::cache_control::{CacheControl, FieldNames};
use tiercel::http::conditional::{Conditions, not_modified_fields};
use tiercel::http::etag::{self, EntityTag};
use tiercel::http::fields::{Fields, FieldsBuf};
use tiercel::http::freshness::{Lifetime, Times};
use tiercel::http::key::{self, Key, KeyRules, write_key};
use tiercel::http::percent::normalise;
use tiercel::http::query::QueryRule;
use tiercel::http::request::RequestHead;
use tiercel::http::response::ResponseHead;
use tiercel::http::storable::{Asked, StoreRule, storable};
use tiercel::http::stored_fields::Excluded;
use tiercel::http::validation::{freshen, head_agrees, selects, validators};
use tiercel::http::{date, targeted};
use tiercel::l2::resp::{self, Reply};
use tiercel::secrets::Secrets;

/// The same cases every time: what is tested does not depend on luck. `make fuzz` looks for new ones.
fn config() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(9_111);
    ProptestConfig {
        cases: 2_000,
        rng_seed,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

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

/// Lists of entity tags, and worse.
fn almost_tags() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop_oneof![
        Just(b"W/".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\"a\"".to_vec()),
        Just(b",".to_vec()),
        Just(b" ".to_vec()),
        Just(b"*".to_vec()),
        vec(any::<u8>(), 0..4),
    ];
    vec(parts, 0..16).prop_map(|parts| parts.concat())
}

/// HTTP-dates with something else in them here and there.
fn almost_date() -> impl Strategy<Value = Vec<u8>> {
    let date = any::<u32>().prop_map(|seconds| date::format(u64::from(seconds) * 1000));
    let texts = prop_oneof![
        date,
        Just("Sunday, 06-Nov-94 08:49:37 GMT".to_owned()),
        Just("Sun Nov  6 08:49:37 1994".to_owned()),
    ];
    (texts, any::<prop::sample::Index>(), vec(any::<u8>(), 0..3)).prop_map(|(text, at, bytes)| {
        let mut text = text.into_bytes();
        let at = at.index(text.len());
        text.splice(at..text.len().min(at + bytes.len()), bytes);
        text
    })
}

/// A directive of a response, sound both in `Cache-Control` and as a Structured Field.
fn directive() -> impl Strategy<Value = (&'static str, String)> {
    let flags = "no-store no-transform must-revalidate proxy-revalidate must-understand public \
                 immutable no-cache private none";
    let flags = select(flags.split_ascii_whitespace().collect::<Vec<_>>());
    let seconds =
        select(vec!["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error", "x"]);
    prop_oneof![
        flags.prop_map(|name| (name, String::new())),
        (seconds, -9_i64..1_000_000_000_000).prop_map(|(name, n)| (name, format!("={n}"))),
        (select(vec!["no-cache", "private", "y"]), "[ ,a-zA-Z-]{0,20}")
            .prop_map(|(name, fields)| (name, format!("=\"{fields}\""))),
    ]
}

/// Bytes that look like a Structured Field often enough to get into its corners.
fn almost_structured() -> impl Strategy<Value = Vec<u8>> {
    let parts = r#"max-age|private|no-cache|a|=|,|, |;|"|\|(|)| |?1|?0|:|aGk=|-|1|999999999999999|.|@|%"|%c3|*|é"#;
    let parts = select(parts.split('|').collect::<Vec<_>>());
    vec(parts, 0..20).prop_map(|parts| parts.concat().into_bytes())
}

/// Fields that cannot but meet.
fn few_fields() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let names =
        vec!["a", "b", "ab", "c", "etag", "last-modified", "content-length", "if-none-match"];
    let names = select(names).prop_map(|name| name.as_bytes().to_vec());
    vec((names, prop_oneof![almost_tags(), almost_date()]), 0..9)
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

/// The directives in their plainest form.
fn print(parsed: &CacheControl) -> Vec<u8> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for (name, seconds) in [
        ("max-age", parsed.max_age),
        ("s-maxage", parsed.s_maxage),
        ("max-stale", parsed.max_stale),
        ("min-fresh", parsed.min_fresh),
        ("stale-while-revalidate", parsed.stale_while_revalidate),
        ("stale-if-error", parsed.stale_if_error),
    ] {
        all.extend(seconds.map(|seconds| format!("{name}={seconds}").into_bytes()));
    }
    for (name, fields) in [("no-cache", &parsed.no_cache), ("private", &parsed.private)] {
        match fields {
            None => {}
            Some(FieldNames::All) => all.push(name.into()),
            Some(FieldNames::Only(names)) => {
                let names = names.join(&b","[..]);
                let quoted = names.iter().flat_map(|byte| match byte {
                    b'"' | b'\\' => vec![b'\\', *byte],
                    _ => vec![*byte],
                });
                all.push([name.as_bytes(), b"=\"", &quoted.collect::<Vec<_>>(), b"\""].concat());
            }
        }
    }
    for (name, on) in [
        ("no-store", parsed.no_store),
        ("no-transform", parsed.no_transform),
        ("only-if-cached", parsed.only_if_cached),
        ("must-revalidate", parsed.must_revalidate),
        ("proxy-revalidate", parsed.proxy_revalidate),
        ("must-understand", parsed.must_understand),
        ("public", parsed.public),
        ("immutable", parsed.immutable),
    ] {
        all.extend(on.then(|| name.into()));
    }
    all.join(&b", "[..])
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn patterns_agree_with_another_engine(
        pattern in "[abc.|()?*+0-2-]{0,8}|([ab]|\\[\\^?[a-c-]{1,3}\\]|\\([ab|]{0,3}\\))(\\{[0-3],?[0-3]?\\}|[?*+]?[ab|]?){1,4}|\\PC{0,6}",
        ids in vec("[abc01-]{0,8}|\\PC{0,3}", 1..8),
    ) {
        let other = regex_lite::Regex::new(&format!("^(?:{pattern})$"));
        if let (Ok(one), Ok(other)) = (Pattern::parse(&pattern), other) {
            for id in ids.iter().filter(|id| id.is_ascii()) {
                prop_assert_eq!(one.is_match(id.as_bytes()), other.is_match(id), "{} {}", pattern, id);
            }
        }
    }

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
        prop_assert!(entry::decode(&bytes, &Key::new(&key), 10_000, &Secrets::default()).is_err());
    }

    #[test]
    fn entries_come_back(
        key in vec(any::<u8>(), 0..40), body in vec(any::<u8>(), 0..600),
        fields in vec(("b[a-z]{1,9}", "[^\r\n\0]{0,24}"), 0..8),
        repeat in 1_usize..9, above in 0_usize..2_000, status in 200_u16..206, at in any::<u64>(),
        secrets in vec("[a-z]{32}", 0..4), flip in any::<proptest::sample::Index>(),
        tags in vec(any::<u32>().prop_map(Tag::from_bits), 0..20), number in any::<u64>(),
    ) {
        let meta = Meta {
            status,
            stored_ms: at,
            fresh_until_ms: at.wrapping_add(77),
            age_s: 3,
            stale_if_error_s: 9,
            shared: true,
            ..Meta::default()
        };
        let key = Key::new(&key);
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let fields = fields.collect::<FieldsBuf>().to_block();
        let one = Entry::new(meta, key.clone(), fields, body.repeat(repeat).into());
        let one = one.with_tags(tags.into(), 0);
        let stamp = Stamp { incarnation: at, number };
        let secrets = Secrets::new(secrets.iter().map(String::as_str));
        let mut bytes = entry::encode(&one, stamp, above, &secrets);
        prop_assert_eq!(entry::decode(&bytes, &key, 100_000, &secrets), Ok((one, stamp)));
        let at = flip.index(bytes.len());
        bytes[at] ^= 1;
        prop_assert!(entry::decode(&bytes, &key, 100_000, &secrets).is_err());
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
    fn printed_directives_mean_the_same(lines in vec(almost_directives(), 0..3), more in vec(directive(), 0..9)) {
        let more: Vec<_> = more.iter().map(|(name, value)| format!("{name}{value}")).collect();
        let lines = lines.iter().map(Vec::as_slice).chain(more.iter().map(String::as_bytes));
        let parsed = CacheControl::parse(lines);
        let again = CacheControl::parse([&print(&parsed)[..]]);
        prop_assert_eq!(again, parsed);
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
        let rule = StoreRule { lifetime, cookies_ignored: true, ..StoreRule::default() };
        let times = Times { asked_ms: 0, received_ms: 7 };
        let head = ResponseHead::read(Fields::new(&block), &[]);
        let _ = storable(&head, &rule, Asked::default(), times);
        let mut stored = FieldsBuf::default();
        Excluded::new(&head, true, &[]).stored_fields(&mut stored, 7);
        prop_assert!(Fields::new(&stored.to_block()).is_sound());
    }

    #[test]
    fn printed_entity_tags_are_read_back(
        lines in vec(vec((any::<bool>(), "[!#-~\u{80}-\u{ff} ]{0,9}"), 0..4), 0..3),
        between in select(vec![",", ", ", " ,\t", ",,", " , ,"]),
    ) {
        let print = |(weak, tag): &(bool, String)| format!("{}\"{tag}\"", if *weak { "W/" } else { "" });
        let printed: Vec<_> =
            lines.iter().map(|tags| tags.iter().map(print).collect::<Vec<_>>().join(between)).collect();
        let read: Vec<_> = etag::list(printed.iter().map(String::as_bytes)).collect();
        let tags = lines.iter().flatten();
        let expected: Vec<_> =
            tags.map(|(weak, tag)| EntityTag { weak: *weak, opaque: tag.as_bytes() }).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn entity_tags_never_panic(lines in vec(almost_tags(), 0..3)) {
        etag::is_any(lines.iter().map(Vec::as_slice));
        for tag in etag::list(lines.iter().map(Vec::as_slice)) {
            prop_assert!(!tag.opaque.contains(&b'"'));
        }
        for line in &lines {
            let tag = EntityTag::parse(line);
            // What is one tag is a list of one.
            prop_assert!(tag.is_none() || etag::list([&line[..]]).eq(tag));
        }
    }

    #[test]
    fn dates_are_what_another_parser_reads(text in almost_date(), seconds in 0..253_402_300_800_u64) {
        let now = 1_783_684_800_000;
        let read = date::parse(&text, now);
        let other = std::str::from_utf8(&text).ok().and_then(|t| httpdate::parse_http_date(t.trim()).ok());
        let since = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).unwrap();
        // Each reads what the other does not; a year of two digits is another matter.
        if let (Some(read), Some(other), false) = (read, other, text.contains(&b'-')) {
            prop_assert_eq!(u128::from(read), since(other).as_millis());
        }
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let written = date::format(seconds * 1000);
        prop_assert_eq!(&written, &httpdate::fmt_http_date(time));
        prop_assert_eq!(date::parse(written.as_bytes(), now), Some(seconds * 1000));
    }

    #[test]
    fn a_targeted_field_means_what_cache_control_means(directives in vec(directive(), 1..9)) {
        // Of duplicates Cache-Control takes the stricter, a Structured Field the last.
        let mut directives = directives;
        let mut seen = Vec::new();
        directives.retain(|(name, _)| !seen.contains(name) && { seen.push(*name); true });
        let lines = directives.chunks(2).map(|pair| {
            pair.iter().map(|(name, value)| format!("{name}{value}")).collect::<Vec<_>>().join(", ")
        });
        let lines: Vec<_> = lines.collect();
        let fields: Vec<_> = lines.iter().map(|l| (b"t".to_vec(), l.clone().into_bytes())).collect();
        let block = buf(&fields).to_block();
        let read = targeted::read(Fields::new(&block), &[(*b"u").into(), (*b"t").into()]);
        prop_assert_eq!(read, Some(CacheControl::parse(lines.iter().map(String::as_bytes))));
    }

    #[test]
    fn targeted_fields_never_panic(lines in vec(almost_structured(), 0..3)) {
        let fields: Vec<_> = lines.into_iter().map(|line| (b"t".to_vec(), line)).collect();
        let block = buf(&fields).to_block();
        let _ = targeted::read(Fields::new(&block), &[(*b"t").into()]);
    }

    #[test]
    fn conditions_never_panic(tags in vec(almost_tags(), 0..3), since in vec(almost_date(), 0..3), stored in few_fields()) {
        let mut request: Vec<_> = tags.into_iter().map(|tag| (b"if-none-match".to_vec(), tag)).collect();
        request.extend(since.into_iter().map(|date| (b"if-modified-since".to_vec(), date)));
        let (request, stored) = (buf(&request).to_block(), buf(&stored).to_block());
        let stored = Fields::new(&stored);
        let _ = Conditions::read(Fields::new(&request)).not_modified(stored, Some(0), 0);
        let _ = validators(stored);
        let mut out = FieldsBuf::default();
        not_modified_fields(&mut out, stored);
        prop_assert!(Fields::new(&out.to_block()).is_sound());
    }

    #[test]
    fn an_update_replaces_what_it_names_and_nothing_else(stored in few_fields(), update in few_fields()) {
        let blocks = (buf(&stored).to_block(), buf(&update).to_block());
        let (old, new) = (Fields::new(&blocks.0), Fields::new(&blocks.1));
        let _ = (selects(old, new), head_agrees(old, 3, new));
        prop_assert!(head_agrees(old, 3, Fields::default()));
        let mut out = FieldsBuf::default();
        freshen(&mut out, old, new, |name| name == b"b");
        let updates: Vec<_> =
            update.iter().filter(|(name, _)| !matches!(&name[..], b"b" | b"content-length")).collect();
        let mut expected: Vec<&(Vec<u8>, Vec<u8>)> = Vec::new();
        let kept = stored.iter().filter(|(name, _)| *name != b"b");
        for field in kept.chain(updates.iter().copied()) {
            let mut named = updates.iter().filter(|(name, _)| *name == field.0).peekable();
            if named.peek().is_none() {
                expected.push(field);
            } else if !expected.iter().any(|(name, _)| *name == field.0) {
                expected.extend(named);
            }
        }
        let expected: FieldsBuf = expected.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        prop_assert_eq!(out.to_block(), expected.to_block());
    }

    #[test]
    fn normalising_changes_no_meaning(path in "[/a%0-9A-Fz.~ ]{0,40}") {
        let (mut once, mut twice) = (Vec::new(), Vec::new());
        normalise(&mut once, path.as_bytes());
        normalise(&mut twice, &once);
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(decoded(path.as_bytes()), decoded(&once));
    }

    #[test]
    fn any_target_has_a_key_or_a_reason(target in vec(any::<u8>(), 0..60), authority in vec(any::<u8>(), 0..20)) {
        let head = RequestHead { scheme: b"https", authority: &authority, target: &target, ..RequestHead::default() };
        let rules = KeyRules { scheme: true, authority: true, namespace: (*b"n").into() };
        let mut path = Vec::new();
        normalise(&mut path, head.path_and_query().0);
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
