//! Bodies of writes and of their answers: how they are cut says nothing, they make no more stale than there may be tags,
//! and where one cannot be read what stands in for it counts.
//!
//! Input: the head, a line `method target` and its fields; the sizes of chunks, on a line; the body; the answer's fields,
//! `:status` among them; its body.

#![no_main]

#[path = "../../tests/existence/memory.rs"]
mod memory;

use std::collections::HashMap;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use memory::Memory;
use tiercel::coherence::{Filling, Generations, Tags, Validity};
use tiercel::config::{Policy, Rule};
use tiercel::engine::{Begin, Exchange, News, Worker};
use tiercel::http::fields::Fields;
use tiercel::http::percent::normalise;
use tiercel::http::request::RequestHead;
use tiercel::http::response::status;
use tiercel::observe::Counters;
use tiercel_fuzz::{block, head, parts, policy};

const NOW_MS: u64 = 1_783_684_800_000;
/// Tags of one template.
const MOST: usize = 256;
/// Tags of the resources that a write and its answer name.
const TARGETS: usize = 3;
const SLOTS: usize = 256;

thread_local! {
    static POLICY: Rc<Policy> = policy();
}

fuzz_target!(|input: &[u8]| POLICY.with(|policy| {
    let [request, sizes, body, answer, answered] = parts(input);
    let (request, answer) = (head(request), block(answer));
    let sizes: Vec<usize> = String::from_utf8_lossy(sizes)
        .split(' ')
        .filter_map(|size| size.parse().ok().filter(|size| *size > 0))
        .collect();
    let run = |body: &[Option<&[u8]>], answered: &[Option<&[u8]>]| {
        write(policy, &request, body, &answer, answered)
    };
    let Some((whole, ..)) = run(&[Some(body)], &[Some(answered)]) else { return };
    let (cut, ..) = run(&chunks(body, &sizes), &chunks(answered, &sizes)).expect("a write");
    assert_eq!(cut, whole);
    let rule = rule(policy, &request);
    let templates = rule.writes.invalidates.len();
    assert!(whole.counted <= 2 * (MOST * templates + TARGETS) as u64, "{whole:?}");

    let unread = [Some(&b"{"[..]), None];
    let (unread, generations, epoch) = run(&unread, &unread).expect("a write");
    if matches!(status(Fields::new(&answer)), 400..=407 | 409..=499) {
        return;
    }
    let read = RequestHead::read(Fields::new(&request));
    let ((path, query), mut normal) = (read.path_and_query(), Vec::new());
    normalise(&mut normal, path);
    let (with, mut tags) = (Filling::of_head(&normal, query, read.fields), Tags::default());
    rule.writes
        .invalidates
        .iter()
        .for_each(|template| template.fill(&with, &policy.tag_key, &mut tags));
    for tag in tags.as_slice() {
        assert_ne!(generations.validity(&[*tag], epoch), Validity::Current, "{unread:?}");
    }
    for created in &rule.writes.creates {
        let lost = (policy.spaces[created.space].scope, News::Lost);
        let of_body = created.id.needs_request() || created.id.needs_response();
        assert!(!of_body || unread.news.contains(&lost), "{unread:?}");
    }
}));

/// What came of a write: cells of the table, tags as they were counted, ids.
#[derive(Debug, PartialEq)]
struct Made {
    cells: Vec<usize>,
    counted: u64,
    news: Vec<(u64, News)>,
}

/// Cut into pieces of these sizes, over and over.
fn chunks<'a>(mut body: &'a [u8], sizes: &[usize]) -> Vec<Option<&'a [u8]>> {
    let mut all = Vec::new();
    for size in sizes.iter().cycle() {
        if body.is_empty() {
            break;
        }
        let (chunk, rest) = body.split_at((*size).min(body.len()));
        all.push(Some(chunk));
        body = rest;
    }
    all.extend((!body.is_empty()).then_some(Some(body)));
    all
}

fn rule<'a>(policy: &'a Policy, request: &[u8]) -> &'a Rule {
    let head = RequestHead::read(Fields::new(request));
    let ((path, query), mut normal) = (head.path_and_query(), Vec::new());
    normalise(&mut normal, path);
    policy.rule(head.method, &normal, query.unwrap_or_default())
}

/// Lets a write take its course; none if the request is none. A chunk that is none cannot be copied.
fn write(
    policy: &Rc<Policy>,
    request: &[u8],
    body: &[Option<&[u8]>],
    answer: &[u8],
    answered: &[Option<&[u8]>],
) -> Option<(Made, Generations, u64)> {
    let (shared, mut worker) = (Memory::default(), Worker::new(7));
    worker.generations.open(&shared, SLOTS, 1);
    let epoch = worker.generations.epoch();
    let process = (&shared, |_| None);
    let begin = Exchange::begin(policy, request.into(), false, || NOW_MS, process, &mut worker);
    let Begin::Bypass(_, Some(mut write)) = begin else { return None };
    let copy = |chunk: &Option<&[u8]>| chunk.map(<[u8]>::to_vec);
    for chunk in body.iter().filter(|_| write.wants_request()).map(copy).collect::<Vec<_>>() {
        write.request_chunk(chunk, &mut worker);
    }
    write.request_ended(&mut worker);
    let fields = Fields::new(answer);
    write.respond(status(fields), fields, NOW_MS, &mut worker);
    for chunk in answered.iter().filter(|_| write.wants_response()).map(copy).collect::<Vec<_>>() {
        write.response_chunk(chunk, &mut worker);
    }
    assert!(worker.filling <= 2 * policy.coherence.max_body);
    write.end(NOW_MS, &mut worker);
    assert_eq!(worker.filling, 0, "all is given back");
    let counts: HashMap<_, _> = worker.counters.take().collect();
    let place = Counters::names().iter().position(|name| name == "invalidations");
    let counted = counts.get(&place.expect("a counter")).copied().unwrap_or_default();
    let cells = worker.generations.publish(&shared, NOW_MS).expect("memory that takes them");
    let cells = cells.into_iter().map(|(cell, _)| cell).collect();
    Some((Made { cells, counted, news: worker.news }, worker.generations, epoch))
}
