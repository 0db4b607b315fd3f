//! Spaces of ids, whose origin and Redis say what they like: nothing is asked without end, and nothing fails.
//!
//! Input: a letter for the source, `o`ne page, `n`umbered pages, a `c`ursor, a `s`et or a sorted set (`z`), and `f` for a
//! fleet, on a line; what is answered, one part after the other, over and over.

#![no_main]

#[path = "../../tests/existence/memory.rs"]
mod memory;

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use memory::Memory;
use tiercel::coherence::Pointer;
use tiercel::existence::source::{Ask, Asking, Came};
use tiercel::existence::{
    HttpSource, Paging, Pattern, RedisSource, SourcePolicy, Space, SpacePolicy, Width,
};
use tiercel::http::fields::{Fields, FieldsBuf};
use tiercel_fuzz::parts;

/// Questions in one tick, at most: pages twice, and pieces.
const MOST: usize = 4_000;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|b| *b == b'\n').unwrap_or(input.len());
    let (kind, rest) = input.split_at(end);
    let mut rest = rest.strip_prefix(b"\n").unwrap_or(rest);
    // There is one at least.
    let mut answers = vec![&[][..]; usize::from(rest.is_empty())];
    while !rest.is_empty() {
        let [answer, behind] = parts(rest);
        answers.push(answer);
        rest = behind;
    }
    let fleet = kind.contains(&b'f').then_some(("p:", 200));
    let (shared, mut now_ms) = (Memory::default(), 1_700_000_000_000);
    let mut space = Space::new(Rc::new(policy(kind)), fleet, 200, 7);
    space.open(&shared);
    let mut answers = answers.iter().cycle();
    let mut fields = FieldsBuf::default();
    fields.push(b":status", b"200");
    let fields = fields.to_block();
    for _ in 0..40 {
        now_ms += 200;
        let mut asks = space.tick(&shared, Some(true), now_ms);
        let mut asked = 0;
        while let Some(Ask { ticket, what }) = asks.pop() {
            asked += 1;
            assert!(asked < MOST, "it asks without end");
            let answer = answers.next().expect("a cycle");
            let came = match what {
                Asking::Http(_) => Came::Http(Fields::new(&fields), answer),
                Asking::Redis(_) => Came::Redis(answer),
            };
            asks.extend(space.came(&shared, ticket, came, now_ms));
        }
        let _ = space.standing(&shared, now_ms);
        let _ = space.verdict(&shared, b"5", now_ms);
        space.take_lines();
        space.take_counts();
    }
});

fn policy(kind: &[u8]) -> SpacePolicy {
    let pointer = |text| Pointer::parse(text).expect("a pointer");
    let is = |letter| kind.contains(&letter);
    let paging = if is(b'n') {
        Paging::Numbers { parameter: "page".into(), first: 1 }
    } else if is(b'c') {
        Paging::Cursor { parameter: "after".into(), next: pointer("/next") }
    } else {
        Paging::One
    };
    let source = if is(b's') || is(b'z') {
        SourcePolicy::Redis(RedisSource { key: "ids".into(), sorted: is(b'z') })
    } else {
        SourcePolicy::Http(HttpSource {
            cluster: "origin".into(),
            timeout_ms: 1_000,
            path: "/ids".into(),
            fields: vec![(b":authority"[..].into(), b"a"[..].into())],
            total: is(b'n').then(|| pointer("/total")),
            paging,
            ids: pointer("/ids/*"),
            concurrency: 2,
        })
    };
    SpacePolicy {
        name: "thing".into(),
        scope: 7,
        pattern: Some(Pattern::parse("[0-9]+").expect("a pattern")),
        width: Width::Eight,
        max_ids: 1_000,
        max_age_ms: 3_600_000,
        refresh_ms: 1_000,
        grace_ms: 500,
        monotonic: false,
        ahead: u64::MAX,
        recent: 32,
        shadow: false,
        source,
    }
}
