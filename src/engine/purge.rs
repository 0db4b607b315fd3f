//! Purging on the data path, for tools that expect it: `PURGE <url>`, `PURGE <prefix>*`, and by the tags
//! that the request names. What it makes stale goes the way of a write's: to all workers and instances.

use std::net::{IpAddr, SocketAddr};

use subtle::ConstantTimeEq;

use super::Worker;
use super::invalidation::tag_of;
use crate::closed_enum::closed_enum;
use crate::coherence::{Bump, Tag, Tags};
use crate::config::{Policy, PurgePolicy};
use crate::entry::MAX_TAGS;
use crate::http::fields::Fields;
use crate::http::key::write_key;
use crate::http::percent::normalise;
use crate::http::query::QueryRule;
use crate::http::request::RequestHead;

closed_enum! {
    /// What became of a purge.
    pub enum Purged {
        /// One resource is purged.
        Url => "url",
        /// Everything below a path is.
        Prefix => "prefix",
        /// Everything with certain tags is.
        Tags => "tags",
        /// Its client may not purge.
        Refused => "refused",
        /// It is not clear what to purge: a prefix must end in `/*`, and there are not too many tags.
        Malformed => "malformed",
    }
}

/// Fields by which tools ask for what is purged to become stale and no more.
const SOFT: [&[u8]; 2] = [b"fastly-soft-purge", b"x-soft-purge"];

/// Purges what a request with these fields asks for, and whether softly. `source` is its client's address,
/// as the host writes it.
pub fn purge(
    policy: &Policy,
    fields: Fields<'_>,
    source: Option<&[u8]>,
    worker: &mut Worker,
) -> (Purged, bool) {
    let head = RequestHead::read(fields);
    let soft = SOFT.iter().any(|name| matches!(fields.get(name), Some(b"1" | b"true")));
    if !policy.purge.as_ref().is_some_and(|purge| is_allowed(purge, fields, source)) {
        return (Purged::Refused, soft);
    }
    let (purged, tags) = match named(policy, fields) {
        Some(tags) if tags.as_slice().len() <= MAX_TAGS => (Purged::Tags, Some(tags)),
        Some(_) => (Purged::Malformed, None),
        None => {
            let (purged, tag) = match head.target.strip_suffix(b"*") {
                Some(prefix) => (Purged::Prefix, prefix_of(policy, &head, prefix)),
                None => (Purged::Url, tag_of(policy, &head, worker)),
            };
            (purged, tag.map(|tag| [tag].into_iter().collect()))
        }
    };
    let Some(tags) = tags else { return (Purged::Malformed, soft) };
    worker.generations.bump(Bump { tags, soft, uncertain_until_ms: 0 });
    (purged, soft)
}

fn is_allowed(purge: &PurgePolicy, fields: Fields<'_>, source: Option<&[u8]>) -> bool {
    let address = source.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let from = address.map(|address: SocketAddr| match address.ip() {
        IpAddr::V6(v6) => v6.to_canonical(),
        v4 @ IpAddr::V4(_) => v4,
    });
    let is_near = from.is_some_and(|ip| purge.networks.iter().any(|network| network.contains(&ip)));
    is_near
        || purge.secret.as_ref().is_some_and(|secret| {
            fields.get(&secret.field).is_some_and(|given| given.ct_eq(&secret.value).into())
        })
}

/// The tags that the request names; none if it names none.
fn named(policy: &Policy, fields: Fields<'_>) -> Option<Tags> {
    let all = fields.iter().filter(|(name, _)| policy.tag_fields.iter().any(|n| **n == **name));
    let tags: Tags =
        all.flat_map(|(_, value)| policy.tag_key.list(value)).take(MAX_TAGS + 1).collect();
    (!tags.is_empty()).then_some(tags)
}

fn prefix_of(policy: &Policy, head: &RequestHead<'_>, prefix: &[u8]) -> Option<Tag> {
    let (mut path, mut key) = (Vec::new(), Vec::new());
    normalise(&mut path, prefix);
    let head = RequestHead { target: prefix, ..*head };
    write_key(&mut key, &head, &path, &policy.key, &QueryRule::All).ok()?;
    let whole = path.ends_with(b"/") && !path.contains(&b'?');
    whole.then(|| policy.tag_key.of_prefix(&key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coherence::{TagKey, Validity};
    use crate::config::load;
    use crate::http::fields::block;
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const NEAR: &[u8] = b"10.1.2.3:4567";

    fn policy() -> Policy {
        let config = json!({
            "role": "cache",
            "purge": {
                "networks": ["10.0.0.0/8", "fd00::/8"],
                "secret": {"field": "X-Purge-Secret", "value": "0123456789abcdef"},
            },
            "routes": [{"path": "/q", "ttl": "1s", "query": {"require": ["a"]}}],
        });
        load(config.to_string().as_bytes()).unwrap()
    }

    /// What becomes of a purge, and of a few things stored.
    fn purged(path: &str, more: &[(&str, &str)], source: &[u8]) -> (Purged, Vec<&'static str>) {
        let head =
            [(":method", "PURGE"), (":scheme", "http"), (":authority", "a"), (":path", path)];
        let fields = block(&[&head, more].concat());
        let mut worker = Worker::new(1);
        let epoch = worker.generations.epoch();
        let (result, _) = purge(&policy(), Fields::new(&fields), Some(source), &mut worker);
        let stored = ["http://a/x/1", "http://a/x/y/2?z", "http://a/other", "http://a/q?a=1"];
        let is_gone = |key: &&&'static str| {
            let mut tags = TagKey::default().of_resource(key.as_bytes());
            tags.extend((**key == "http://a/other").then(|| TagKey::default().named(b"red")));
            worker.generations.validity(tags.as_slice(), epoch) != Validity::Current
        };
        (result, stored.iter().filter(is_gone).copied().collect())
    }

    #[test]
    fn urls_prefixes_and_tags_are_purged() {
        let (x, y, other, q) =
            ("http://a/x/1", "http://a/x/y/2?z", "http://a/other", "http://a/q?a=1");
        for (path, tags, result, gone) in [
            ("/x/1", None, Purged::Url, vec![x]),
            ("/x/%31", None, Purged::Url, vec![x]),
            ("/q?a=1&b=2", None, Purged::Url, vec![q]),
            ("/q", None, Purged::Malformed, vec![]),
            ("/x/*", None, Purged::Prefix, vec![x, y]),
            ("/x/y/*", None, Purged::Prefix, vec![y]),
            ("/*", None, Purged::Prefix, vec![x, y, other, q]),
            ("/x*", None, Purged::Malformed, vec![]),
            ("/x/1", Some("blue, red"), Purged::Tags, vec![other]),
            ("/x/1", Some(" ,"), Purged::Url, vec![x]),
        ] {
            let fields: Vec<_> = tags.map(|tags| ("surrogate-key", tags)).into_iter().collect();
            assert_eq!(purged(path, &fields, NEAR), (result, gone), "{path} {tags:?}");
        }
        let many = (0..200).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(purged("/x/1", &[("cache-tag", &many)], NEAR).0, Purged::Malformed);
    }

    #[test]
    fn only_those_who_may() {
        let secret = |value| [("x-purge-secret", value)];
        for (source, fields, allowed) in [
            (&b"10.255.0.1:1"[..], &[][..], true),
            (b"[::ffff:10.0.0.1]:1", &[], true),
            (b"[fd00::1]:1", &[], true),
            (b"11.0.0.1:1", &[], false),
            (b"[fe80::1]:1", &[], false),
            (b"/tmp/socket", &[], false),
            (b"", &[], false),
            (b"\xff", &[], false),
            (b"11.0.0.1:1", &secret("0123456789abcdef"), true),
            (b"11.0.0.1:1", &secret("0123456789abcdeF"), false),
            (b"11.0.0.1:1", &secret("0123456789abcde"), false),
            (b"11.0.0.1:1", &secret(""), false),
        ] {
            let (result, gone) = purged("/x/1", fields, source);
            assert_eq!((result == Purged::Url, !gone.is_empty()), (allowed, allowed), "{source:?}");
        }
    }

    #[test]
    fn a_soft_purge_makes_stale_alone() {
        for (name, value, validity) in [
            ("fastly-soft-purge", "1", Validity::Stale),
            ("x-soft-purge", "true", Validity::Stale),
            ("x-soft-purge", "0", Validity::Invalid),
        ] {
            let fields = block(&[(":path", "/x"), (":method", "PURGE"), (name, value)]);
            let mut worker = Worker::new(1);
            let epoch = worker.generations.epoch();
            purge(&policy(), Fields::new(&fields), Some(NEAR), &mut worker);
            let tags = TagKey::default().of_resource(b":///x");
            assert_eq!(
                worker.generations.validity(tags.as_slice(), epoch),
                validity,
                "{name} {value}"
            );
        }
    }
}
