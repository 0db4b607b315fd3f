//! What the parts of a request cost: key, store, entry codec and RESP, each on its own.

use criterion::{BatchSize, Criterion, Throughput};
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use tiercel::coherence::Stamp;
use tiercel::entry::{Entry, Meta, decode, encode};
use tiercel::http::fields::FieldsBuf;
use tiercel::http::key::{Key, KeyRules, write_key};
use tiercel::http::percent::normalise;
use tiercel::http::query::QueryRule;
use tiercel::http::request::RequestHead;
use tiercel::l1::{Store, Stored as _};
use tiercel::l2::resp::{command, next_reply};
use tiercel::secrets::Secrets;

const BODY: usize = 4 << 10;
const PIPELINE: usize = 64;
/// Entries of the store.
const ENTRIES: usize = 10_000;

/// JSON as an API sends it, about as compressible.
fn json(len: usize) -> Vec<u8> {
    let mut out = b"[".to_vec();
    let mut state = 1_u32;
    while out.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (id, level) = (state >> 8, state >> 27);
        let text =
            format!(r#"{{"id":{id},"name":"player-{id:x}","level":{level},"active":true}},"#);
        out.extend_from_slice(text.as_bytes());
    }
    out.truncate(len);
    out
}

fn key_of(n: usize) -> Vec<u8> {
    format!("http://api.example/api/games/{n}/events?page=2").into_bytes()
}

fn entry(n: usize, body: &[u8]) -> Rc<Entry> {
    let mut fields = FieldsBuf::default();
    fields.push(b"content-type", b"application/json");
    fields.push(b"etag", b"\"5d41402abc4b2a76\"");
    let meta =
        Meta { status: 200, stored_ms: 1_000_000, fresh_until_ms: 1_060_000, ..Meta::default() };
    Rc::new(Entry::new(meta, Key::new(&key_of(n)), fields.to_block(), body.into()))
}

fn keys(c: &mut Criterion) {
    let names = ["game_gid", "lang", "page", "size", "sort"].map(String::from);
    let only = QueryRule::only(&names[1..], &names[..1], &[]);
    let rules = KeyRules { scheme: true, authority: true, namespace: (*b"").into() };
    let plain = "/api/games/12345/events";
    let rich = "/api/games/%31234/caf%c3%a9?utm_source=x&sort=-created&page=2&size=50&\
        lang=pt%2dBR&game_gid=10000147&session=0123456789abcdef";
    let (mut path, mut key) = (Vec::new(), Vec::new());
    let mut group = c.benchmark_group("key");
    for (name, target, query) in [("plain", plain, &QueryRule::All), ("selected", rich, &only)] {
        let head = RequestHead {
            method: b"GET",
            scheme: b"http",
            authority: b"api.example",
            target: target.as_bytes(),
            ..RequestHead::default()
        };
        group.bench_function(name, |b| {
            b.iter(|| {
                let head = black_box(&head);
                path.clear();
                normalise(&mut path, head.path_and_query().0);
                write_key(&mut key, head, &path, &rules, query).unwrap();
                key.len()
            });
        });
    }
    group.bench_function("hash", |b| b.iter(|| Key::new(black_box(&key)).hash()));
    group.finish();
}

fn store(c: &mut Criterion) {
    let body = json(BODY);
    let fresh = || {
        let mut store = Store::new(ENTRIES * entry(0, &body).weight(), 1);
        for n in 0..ENTRIES {
            store.insert(entry(n, &body));
        }
        store
    };
    let mut group = c.benchmark_group("store");
    let (mut full, mut n) = (fresh(), 0);
    let held: Vec<_> = (0..ENTRIES).map(key_of).filter(|key| full.get(key).is_some()).collect();
    // Out of the processor's caches, and in them.
    for (name, among) in [("hit_of_10000", held.len()), ("hit_of_100", 100)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                n += 7_919;
                full.get(black_box(&held[n % among])).is_some()
            });
        });
    }
    let (mut full, mut n) = (fresh(), ENTRIES);
    group.bench_function("insert_with_eviction", |b| {
        let next = || {
            n += 1;
            entry(n, &body)
        };
        b.iter_batched(next, |entry| full.insert(entry), BatchSize::SmallInput);
    });
    group.finish();
}

fn codec(c: &mut Criterion) {
    let entry = entry(1, &json(BODY));
    let mut group = c.benchmark_group("entry");
    group.throughput(Throughput::Bytes(entry.len() as u64));
    let (none, one) = (Secrets::default(), Secrets::new(["a secret of thirty-two characters"]));
    for (name, compress_above, secrets) in
        [("plain", usize::MAX, &none), ("lz4", 0, &none), ("signed", usize::MAX, &one)]
    {
        let bytes = encode(&entry, Stamp::default(), compress_above, secrets);
        assert_eq!(bytes.len() < BODY, name == "lz4");
        group.bench_function(format!("encode_{name}"), |b| {
            b.iter(|| encode(black_box(&entry), Stamp::default(), compress_above, secrets));
        });
        group.bench_function(format!("decode_{name}"), |b| {
            b.iter(|| decode(black_box(&bytes), Entry::key(&entry), 1 << 20, secrets).unwrap());
        });
    }
    group.finish();
}

fn resp(c: &mut Criterion) {
    let keys: Vec<_> = (0..PIPELINE).map(key_of).collect();
    let mut replies = Vec::new();
    for _ in 0..PIPELINE {
        replies.extend_from_slice(format!("${BODY}\r\n").as_bytes());
        replies.extend_from_slice(&json(BODY));
        replies.extend_from_slice(b"\r\n");
    }
    let mut group = c.benchmark_group("resp");
    group.throughput(Throughput::Elements(PIPELINE as u64));
    let mut out = Vec::new();
    group.bench_function("build_64_gets", |b| {
        b.iter(|| {
            out.clear();
            keys.iter().for_each(|key| command(&mut out, &[b"GET", black_box(key)]));
            out.len()
        });
    });
    group.bench_function("parse_64_replies", |b| {
        b.iter(|| {
            let mut rest = black_box(&replies[..]);
            for _ in 0..PIPELINE {
                black_box(next_reply(&mut rest).unwrap());
            }
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
        .without_plots()
        .configure_from_args();
    keys(&mut criterion);
    store(&mut criterion);
    codec(&mut criterion);
    resp(&mut criterion);
    criterion.final_summary();
}
