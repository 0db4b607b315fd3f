//! Somebody else writes to Redis: nothing of it is served, and each is counted for what it is.

use serde_json::json;
use tiercel::coherence::Stamp;
use tiercel::entry::{Entry, Meta, decode, encode};
use tiercel::http::fields::FieldsBuf;
use tiercel::http::key::Key;
use tiercel::secrets::Secrets;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::harness::scene::{echo_routes, l2_only};
use crate::harness::{Envoy, Origin, Redis, Scene};

const OURS: &str = "the secret of this fleet, long enough";
const OLD: &str = "the secret that it had before, as long";
const THEIRS: &str = "a secret that nobody here has heard of";
/// Where what is forged lies.
const PATH: &str = "/echo/a?plain=1&size=100";

struct Forger {
    envoy: Envoy,
    origin: Origin,
    redis: Redis,
    secrets: Secrets,
    stored: u64,
}

impl Forger {
    fn new(name: &str, secrets: &[&str]) -> Self {
        let (envoy, origin, redis) = Scene::usual(name, |config| {
            echo_routes(config);
            l2_only(config);
            config["l2"]["secrets"] = json!(secrets);
        });
        let secrets = Secrets::new(secrets.iter().copied());
        Self { envoy, origin, redis, secrets, stored: 0 }
    }

    fn name(path: &str) -> String {
        tiercel::l2::redis_key("e2t:", key(path).hash())
    }

    /// Has the origin's answer stored; returns its bytes in Redis.
    fn store(&mut self, path: &str) -> Vec<u8> {
        assert!(!self.envoy.client().get(path).is_hit());
        self.stored += 1;
        self.envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", self.stored);
        self.redis.get(&Self::name(path))
    }

    /// The entry in Redis, with its stamp.
    fn entry(&self) -> (Entry, Stamp) {
        let bytes = self.redis.get(&Self::name(PATH));
        decode(&bytes, &key(PATH), 1 << 20, &self.secrets).expect("a sound entry")
    }

    fn put(&self, bytes: &[u8]) {
        self.redis.command(&[b"SET", Self::name(PATH).as_bytes(), bytes]);
    }

    /// These bytes are not served, and are counted as `kind`.
    fn is_refused(&mut self, what: &str, bytes: &[u8], kind: &str) {
        self.put(bytes);
        let metric = format!("tiercel_l2_corrupt{{kind=\"{kind}\"}}");
        let (before, asked) = (self.envoy.metric(&metric), self.origin.total());
        let response = self.envoy.client().get(PATH);
        assert_eq!((response.status, response.is_hit()), (200, false), "{what}: {response:?}");
        assert!(response.field("x-forged").is_none() && !response.body.starts_with(b"forged"));
        assert_eq!(self.origin.total(), asked + 1, "{what}");
        self.envoy.expect_metric(&metric, before + 1);
        self.stored += 1;
        self.envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", self.stored);
    }

    /// What was stored in their place is served still, and nothing has broken.
    fn is_well(&self) {
        assert!(self.envoy.client().get(PATH).cache_status().ends_with("detail=l2"));
        assert!(!self.envoy.process.log().contains("panicked"));
    }
}

fn key(path: &str) -> Key {
    Key::new(format!("http://api.test{path}").as_bytes())
}

/// An entry that would be served, were it believed.
fn forged(real: &Entry, fields: &[(&str, &str)]) -> Entry {
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let block = fields.collect::<FieldsBuf>().to_block();
    let body = (*b"forged").into();
    Entry::new(*real.meta(), real.key().clone(), block, body).with_tags(real.tags().into(), 0)
}

fn repair(bytes: &mut [u8]) {
    let seed = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    let sum = xxh3_64_with_seed(&bytes[16..], seed);
    bytes[8..16].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn who_knows_no_secret_writes_no_entries() {
    let mut forger = Forger::new("forged-signed", &[OURS, OLD]);
    let other = forger.store("/echo/other?plain=1&size=100");
    let good = forger.store(PATH);
    let (real, stamp) = forger.entry();
    forger.is_refused("of another key", &other, "other_key");
    forger.is_refused("truncated", &good[..good.len() - 1], "truncated");
    for at in [4, 20, 70, 90, good.len() - 40, good.len() - 1] {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        forger.is_refused(&format!("byte {at} flipped"), &flipped, "forged");
    }
    let forged = forged(&real, &[("x-forged", "1")]);
    let theirs = encode(&forged, stamp, usize::MAX, &Secrets::new([THEIRS]));
    forger.is_refused("signed with another secret", &theirs, "forged");
    let unsigned = encode(&forged, stamp, usize::MAX, &Secrets::default());
    forger.is_refused("not signed", &unsigned, "forged");
    let signature = [unsigned, good[good.len() - 32..].to_vec()].concat();
    let mut flagged = signature;
    flagged[3] |= 64;
    forger.is_refused("with the signature of another entry", &flagged, "forged");
    // What the secret before has signed counts until everybody has the new one.
    forger.put(&encode(&forged, stamp, usize::MAX, &Secrets::new([OLD])));
    let response = forger.envoy.client().get(PATH);
    assert!(response.is_hit() && response.body == b"forged", "{response:?}");
    forger.put(&good);
    forger.is_well();
}

#[test]
fn what_is_signed_is_not_for_those_without_a_secret() {
    let mut forger = Forger::new("forged-unknown", &[]);
    forger.store(PATH);
    let (real, stamp) = forger.entry();
    let signed = encode(&forged(&real, &[]), stamp, usize::MAX, &Secrets::new([OURS]));
    forger.is_refused("signed", &signed, "forged");
    forger.is_well();
}

#[test]
fn a_checksum_proves_nothing() {
    let mut forger = Forger::new("forged-checksum", &[]);
    let good = forger.store(PATH);
    let (real, stamp) = forger.entry();
    // That it would be served is what makes the rest mean anything.
    let text = |entry: &Entry| encode(entry, stamp, usize::MAX, &Secrets::default());
    forger.put(&text(&forged(&real, &[("x-forged", "1")])));
    assert!(forger.envoy.client().get(PATH).is_hit());
    for (name, value) in [
        ("x-forged", "1\r\nset-cookie: a=b"),
        ("x-forged", "1\r\n\r\nforged"),
        ("x-forged", "1\0"),
        ("x-forged\r\nx", "1"),
        (":status", "500"),
        ("content-length", "1"),
        ("transfer-encoding", "chunked"),
        ("X-Forged", "1"),
    ] {
        let bytes = text(&forged(&real, &[(name, value)]));
        forger.is_refused(&format!("{name:?}: {value:?}"), &bytes, "malformed");
    }
    for status in [0, 101, 206, 304, 600, 65_535] {
        let meta = Meta { status, ..*real.meta() };
        let fields = real.fields().as_bytes().into();
        let entry = Entry::new(meta, real.key().clone(), fields, (*b"forged").into());
        forger.is_refused(&format!("status {status}"), &text(&entry), "malformed");
    }
    // Lengths of key, fields, body and packed body.
    for (at, kind) in [(36, "truncated"), (40, "truncated"), (44, "too_large"), (48, "truncated")] {
        let mut long = good.clone();
        long[at..at + 4].copy_from_slice(&(1_u32 << 30).to_le_bytes());
        repair(&mut long);
        forger.is_refused(&format!("a gigabyte at {at}"), &long, kind);
    }
    // Says that it is packed, and is not.
    let mut packed = good;
    packed[3] |= 1;
    repair(&mut packed);
    forger.is_refused("packed", &packed, "malformed");
    forger.is_well();
}
