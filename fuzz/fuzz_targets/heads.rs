//! Request heads: the same says the same again, the origin is sent what the key says, and requests with one key ask for
//! one thing.
//!
//! Input: two heads, each a line `method target` and its fields.

#![no_main]

#[path = "../../tests/existence/memory.rs"]
mod memory;

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use memory::Memory;
use serde::de::IgnoredAny;
use tiercel::config::Policy;
use tiercel::engine::{Begin, Bypass, Exchange, Worker};
use tiercel::existence::Space;
use tiercel::http::fields::{Fields, FieldsBuf};
use tiercel::http::key::MAX_KEY;
use tiercel::http::percent::{decode, normalise};
use tiercel::http::query::{QueryRule, parameter};
use tiercel::http::request::RequestHead;
use tiercel_fuzz::{head, parts, policy};

const NOW_MS: u64 = 1_783_684_800_000;

thread_local! {
    static POLICY: Rc<Policy> = policy();
}

fuzz_target!(|input: &[u8]| POLICY.with(|policy| {
    let (shared, mut worker) = (Memory::default(), Worker::new(7));
    for of in &policy.spaces {
        let mut space = Space::new(Rc::clone(of), None, 200, 7);
        space.open(&shared);
        (0..4).for_each(|_| _ = space.tick(&shared, Some(true), NOW_MS));
        worker.spaces.insert(of.scope, space);
    }
    let mut begin = |block: &[u8], ended| {
        let process = (&shared, |_| None);
        told(&Exchange::begin(policy, block.into(), ended, || NOW_MS, process, &mut worker))
    };
    let heads = parts::<2>(input).map(head);
    let mut keys = Vec::new();
    for block in &heads {
        let first = begin(block, true);
        assert_eq!(begin(block, true), first, "the same again");
        assert!(!matches!(begin(block, false), Told::Key(_)), "what has a body has no key");
        let read = RequestHead::read(Fields::new(block));
        let Told::Key(key) = first else { continue };
        let sent = sent(policy, &read);
        assert_eq!(begin(&sent, true), Told::Key(key.clone()), "as the origin sees it");
        let sent = RequestHead::read(Fields::new(&sent));
        assert_eq!(rule(policy, &sent).normalised_target(sent.target), None);
        assert_eq!(meaning(policy, &sent), meaning(policy, &read));
        keys.push((key, meaning(policy, &read)));
    }
    if let [(one, first), (other, second)] = &keys[..] {
        assert!(one != other || first == second, "{first:?} and {second:?} are one");
    }
}));

#[derive(Clone, Debug, PartialEq)]
enum Told {
    Key(Vec<u8>),
    Bypass(Bypass),
    Absent(usize),
    Purge,
    OnlyIfCached,
}

fn told(begin: &Begin) -> Told {
    match begin {
        Begin::Miss(exchange) => {
            assert!(exchange.key().as_bytes().len() <= MAX_KEY);
            Told::Key(exchange.key().as_bytes().into())
        }
        Begin::Bypass(reason, _) => Told::Bypass(*reason),
        Begin::Absent(_, index, body) => {
            serde_json::from_slice::<IgnoredAny>(body).expect("JSON");
            Told::Absent(*index)
        }
        Begin::Purge(_) => Told::Purge,
        Begin::OnlyIfCached => Told::OnlyIfCached,
        Begin::Hit(..) | Begin::Serve(..) => panic!("nothing is stored"),
    }
}

fn rule<'a>(policy: &'a Policy, head: &RequestHead<'_>) -> &'a QueryRule {
    let ((path, query), mut normal) = (head.path_and_query(), Vec::new());
    normalise(&mut normal, path);
    &policy.rule(head.method, &normal, query.unwrap_or_default()).query
}

/// The request as the origin gets it.
fn sent(policy: &Policy, head: &RequestHead<'_>) -> Box<[u8]> {
    let target = rule(policy, head).normalised_target(head.target);
    let authority = policy.key.normalised_authority(head);
    let fields = head.fields.iter().map(|(name, value)| match name {
        b":path" => (name, target.as_deref().unwrap_or(value)),
        b":authority" => (name, authority.as_deref().unwrap_or(value)),
        _ => (name, value),
    });
    fields.collect::<FieldsBuf>().to_block()
}

/// What a request asks for, in the plainest form.
fn meaning(policy: &Policy, head: &RequestHead<'_>) -> Vec<Option<Vec<u8>>> {
    let (path, query) = head.path_and_query();
    let port: &[u8] = if head.scheme == b"https" { b":443" } else { b":80" };
    let authority = head.authority.to_ascii_lowercase();
    let authority = authority.strip_suffix(port).unwrap_or(&authority).to_vec();
    let mut all = vec![Some(head.scheme.into()), Some(authority), Some(decode(path, false))];
    match rule(policy, head) {
        QueryRule::All => all.push(query.map(|query| decode(query, false))),
        QueryRule::Only(names) => all.extend(names.iter().map(|wanted| {
            parameter(query.unwrap_or_default(), &wanted.name).map(|value| decode(value, false))
        })),
    }
    all
}
