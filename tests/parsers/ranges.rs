//! Ranges on arbitrary bytes: what is sent lies inside the body, and comes apart again.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tiercel::http::fields::{Fields, FieldsBuf};
use tiercel::http::multipart::multipart;
use tiercel::http::range::{MAX_RANGES, Ranged, evaluate, if_range};

/// Range fields as they come in the wild, and worse.
fn almost_ranges() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop_oneof![
        Just(b"-".to_vec()),
        Just(b",".to_vec()),
        Just(b" ".to_vec()),
        Just(b"18446744073709551616".to_vec()),
        "[0-9]{1,2}-[0-9]{0,2},".prop_map(String::into_bytes),
        "-[0-9]{1,2},".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..3),
    ];
    (select(vec!["bytes=", "Bytes=", "bytes", "lines=", ""]), vec(parts, 0..20))
        .prop_map(|(unit, parts)| [unit.as_bytes(), &parts.concat()].concat())
}

/// Entity tags and dates in all three forms, and what looks like them.
fn almost_validator() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "(W/)?\"[a-b]{0,1}\"?",
        "Sat, 29 Oct 1994 19:43:3[0-9] GMT",
        "Saturday, 29-Oct-94 19:43:3[0-9] GMT",
        "Sat Oct 29 19:43:3[0-9] 1994",
        "[A-Z][a-z]{2,7}, [0-9]{2}[ -][A-Z][a-z]{2}[ -][0-9]{2,4} [0-9:]{8} GMT",
        "\\PC{0,30}",
    ]
    .prop_map(String::into_bytes)
}

/// What lies between the occurrences of `by`.
fn split_by<'a>(mut text: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while let Some(at) = text.windows(by.len()).position(|here| here == by) {
        let (piece, rest) = text.split_at(at);
        pieces.push(piece);
        text = rest.strip_prefix(by).unwrap();
    }
    pieces.push(text);
    pieces
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn ranges_lie_inside_the_body(range in almost_ranges(), len in 0_usize..60, huge: bool) {
        let len = if huge { usize::MAX - len } else { len };
        let parts = match evaluate(&range, len) {
            Ranged::Part { first, last } => vec![(first, last)],
            Ranged::Parts(parts) => parts,
            Ranged::Whole | Ranged::Unsatisfiable => vec![],
        };
        prop_assert!(parts.iter().all(|(first, last)| first <= last && *last < len));
        prop_assert!(parts.len() <= MAX_RANGES);
        prop_assert!(parts.iter().map(|(first, last)| (last - first) as u128 + 1).sum::<u128>() <= len as u128);
    }

    #[test]
    fn ranges_come_back(ends in btree_set(0_usize..1_000, 2..=32), above in 1_usize..9) {
        let ends: Vec<_> = ends.into_iter().collect();
        let ranges: Vec<_> = ends.chunks_exact(2).map(|ends| (ends[0], ends[1])).rev().collect();
        let text: Vec<_> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let expected = match *ranges {
            [(first, last)] => Ranged::Part { first, last },
            _ => Ranged::Parts(ranges.clone()),
        };
        let range = format!("bytes={}", text.join(", "));
        prop_assert_eq!(evaluate(range.as_bytes(), ranges[0].1 + above), expected);
    }

    #[test]
    fn if_range_never_panics(value in almost_validator(), other in almost_validator()) {
        let stored = |fields: &[(&[u8], &[u8])]| fields.iter().copied().collect::<FieldsBuf>().to_block();
        let tagged = stored(&[(b"etag", &other)]);
        let holds = if_range(&value, Fields::new(&tagged), 0);
        prop_assert!(!holds || value == other && value.starts_with(b"\""));
        let sent_later = |modified: &[u8], sent: &[u8]| {
            let dated = stored(&[(b"last-modified", modified), (b"date", sent)]);
            if_range(modified, Fields::new(&dated), 0)
        };
        prop_assert!(!(sent_later(&value, &other) && sent_later(&other, &value)));
    }

    #[test]
    fn multipart_comes_apart(
        text in vec(select(vec![&b"\r\n"[..], b"--", b"\0\xff", b"x"]), 1..40),
        planted in proptest::option::weighted(0.1, 0_usize..40),
        cuts in vec((any::<Index>(), any::<Index>()), 1..5), typed: bool, hash: u128,
    ) {
        let boundary = format!("{hash:032x}");
        let mut text = text;
        if let Some(at) = planted {
            text.insert(at.min(text.len()), boundary.as_bytes());
        }
        let body = text.concat();
        let order = |(a, b): (usize, usize)| (a.min(b), a.max(b));
        let parts = cuts.iter().map(|(a, b)| order((a.index(body.len()), b.index(body.len()))));
        let parts: Vec<_> = parts.collect();
        let part_type = typed.then_some(&b"text/plain"[..]);
        let piece = |(first, last): &(usize, usize)| {
            let kind = if typed { "\r\nContent-Type: text/plain" } else { "" };
            let range = format!("\r\nContent-Range: bytes {first}-{last}/{}\r\n\r\n", body.len());
            [kind.as_bytes(), range.as_bytes(), &body[*first..=*last]].concat()
        };
        if let Some(made) = multipart(&body, &parts, part_type, hash) {
            prop_assert!(made.content_type.ends_with(boundary.as_bytes()));
            let text = [b"\r\n", &made.payload[..]].concat(); // the first delimiter needs no line end
            let mut expected = vec![vec![]];
            expected.extend(parts.iter().map(piece));
            expected.push(b"--\r\n".to_vec());
            prop_assert_eq!(split_by(&text, format!("\r\n--{boundary}").as_bytes()), expected);
        } else {
            prop_assert!(planted.is_some());
        }
    }
}
