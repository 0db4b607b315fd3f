//! Entity tags and conditions: what is read is written again as the same, every listed tag matches,
//! and a later date makes no response modified.
//!
//! Input: lines of `If-None-Match`; lines of `If-Modified-Since`; the stored fields.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::http::conditional::Conditions;
use tiercel::http::date;
use tiercel::http::etag::{EntityTag, is_any, list};
use tiercel::http::fields::{Fields, FieldsBuf};
use tiercel_fuzz::{block, block_of, lines, parts};

const NOW_MS: u64 = 1_783_684_800_000;

fuzz_target!(|input: &[u8]| {
    let [matches, since, stored] = parts(input);
    let stored = block(stored);
    let stored = Fields::new(&stored);
    let tags: Vec<_> = list(lines(matches)).collect();
    let printed = tags.iter().map(print).collect::<Vec<_>>().join(&b","[..]);
    assert!(list([&printed[..]]).eq(tags.iter().copied()));

    let request = block_of(b"if-none-match", matches);
    let request = Conditions::read(Fields::new(&request));
    let of_stored = EntityTag::of(stored);
    let listed = of_stored.is_some_and(|tag| tags.iter().any(|other| other.opaque == tag.opaque));
    let any = is_any(lines(matches));
    assert_eq!(request.not_modified(stored, Some(NOW_MS), NOW_MS), any || listed);
    for tag in &tags {
        let text = print(tag);
        assert_eq!(EntityTag::parse(&text), Some(*tag));
        assert_eq!(tag.is_strongly(*tag), !tag.weak);
        let tagged = [(&b"etag"[..], &text[..])].into_iter().collect::<FieldsBuf>().to_block();
        assert!(request.not_modified(Fields::new(&tagged), Some(NOW_MS), NOW_MS));
    }

    let not_modified = |text: &[u8]| {
        let request = block_of(b"if-modified-since", text);
        Conditions::read(Fields::new(&request)).not_modified(stored, Some(NOW_MS), NOW_MS)
    };
    if not_modified(since) {
        let time = date::parse(since, NOW_MS).expect("one date");
        assert!(not_modified(date::format(time + 1000).as_bytes()));
    }
});

fn print(tag: &EntityTag<'_>) -> Vec<u8> {
    [if tag.weak { &b"W/\""[..] } else { b"\"" }, tag.opaque, b"\""].concat()
}
