//! Ranges: what is sent lies inside the body, asked for again it is the same, and a multipart holds
//! just that.
//!
//! Input: lines of `Range`; lines of `If-Range`; the stored fields; the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::http::date;
use tiercel::http::fields::{Fields, FieldsBuf};
use tiercel::http::multipart::multipart;
use tiercel::http::range::{MAX_RANGES, Ranged, content_range, evaluate, if_range, requested};
use tiercel_fuzz::{block, lines, parts};

const NOW_MS: u64 = 1_783_684_800_000;
const HASH: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;

fuzz_target!(|input: &[u8]| {
    let [ranges, conditions, stored, body] = parts(input);
    let fields = lines(ranges).map(|line| (&b"range"[..], line));
    let fields = fields.chain(lines(conditions).map(|line| (&b"if-range"[..], line)));
    let fields = fields.chain([(&b":method"[..], &b"GET"[..])]);
    let request = fields.collect::<FieldsBuf>().to_block();
    let stored = block(stored);
    let stored = Fields::new(&stored);
    let asked = requested(Fields::new(&request), stored, body.len(), NOW_MS);
    for value in lines(conditions) {
        if if_range(value, stored, NOW_MS) {
            // Strong: the very tag, or a date that cannot mean two versions.
            let read = |name| stored.get(name).and_then(|text| date::parse(text, NOW_MS));
            let dated = || read(b"date") > read(b"last-modified");
            assert!(stored.get(b"etag") == Some(value) || dated());
        } else {
            assert_eq!(asked, Ranged::Whole);
        }
    }
    let parts = match asked {
        Ranged::Whole => return,
        Ranged::Unsatisfiable => return assert!(!body.is_empty()),
        Ranged::Part { first, last } => vec![(first, last)],
        Ranged::Parts(ref parts) => parts.clone(),
    };
    assert!((1..=MAX_RANGES).contains(&parts.len()));
    assert!(parts.iter().all(|(first, last)| first <= last && *last < body.len()));
    assert!(parts.iter().map(|(first, last)| last - first + 1).sum::<usize>() <= body.len());
    let text: Vec<_> = parts.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    assert_eq!(evaluate(format!("bytes={}", text.join(",")).as_bytes(), body.len()), asked);

    let Some(whole) = multipart(body, &parts, stored.get(b"content-type"), HASH) else { return };
    let mut rest = &whole.payload[..];
    for (first, last) in parts {
        let mut head = b"Content-Range: ".to_vec();
        content_range(&mut head, first, last, body.len());
        head.extend(b"\r\n\r\n");
        head.extend(&body[first..=last]);
        head.extend(b"\r\n--");
        head.extend(format!("{HASH:032x}").as_bytes());
        let at = rest.windows(head.len()).position(|here| here == head).expect("the part");
        rest = &rest[at + head.len()..];
    }
    assert_eq!(rest, b"--\r\n");
});
