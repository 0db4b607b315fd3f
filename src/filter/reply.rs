//! What a client is told: the hit itself, and what is added to the origin's answers.

use crate::config::Policy;
use crate::engine::Bypass;
use crate::entry::Entry;
use crate::host::{FieldMap, Host, HostResult};
use crate::http::cache_status::{self, Forward};

/// The answer at hand. Its memory is kept, so that a hit allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Reply {
    block: Vec<u8>,
    status: Vec<u8>,
}

impl Reply {
    /// Answers the stream at hand with an entry.
    pub(super) fn hit(
        &mut self,
        host: &impl Host,
        policy: &Policy,
        entry: &Entry,
        level: &str,
        now_ms: u64,
    ) -> HostResult<()> {
        let ttl_s = entry.ttl_s(now_ms);
        cache_status::write_hit(self.begin_status(), &policy.cache_name, ttl_s, level);
        let mut digits = itoa::Buffer::new();
        let age = digits.format(entry.age_s(now_ms)).as_bytes();
        let hash = policy.x_cache_key.then(|| short_hash(entry.key().hash()));
        let own: [Option<(&[u8], &[u8])>; 4] = [
            Some((b"cache-status", &self.status)),
            Some((b"age", age)),
            policy.x_cache_status.then_some((b"x-cache-status", b"HIT")),
            hash.as_ref().map(|hash| (&b"x-cache-key"[..], &hash[..])),
        ];
        self.block.clear();
        entry.fields().write_with(own.iter().flatten().copied(), &mut self.block);
        host.respond(entry.meta().status, &self.block, entry.body())
    }

    /// Corrects our own answer at hand: Envoy calls a local reply without a type `text/plain`, and takes
    /// the type away from one without a body.
    pub(super) fn retype(host: &impl Host, content_type: Option<&[u8]>) {
        // An answer that cannot be corrected goes out as it is.
        let _ = match content_type {
            Some(text) => host.set_field(FieldMap::Response, b"content-type", text),
            None => host.remove_field(FieldMap::Response, b"content-type"),
        };
    }

    /// Where the `Cache-Status` of the next answer is written.
    pub(super) fn begin_status(&mut self) -> &mut Vec<u8> {
        self.status.clear();
        &mut self.status
    }

    /// Adds to the origin's response at hand that, and why, the cache was not asked.
    pub(super) fn bypass(&mut self, host: &impl Host, policy: &Policy, reason: Bypass) {
        let why = match reason {
            Bypass::Method => Forward::Method,
            _ => Forward::Bypass,
        };
        let (name, detail) = (&policy.cache_name, Some(reason.as_str()));
        cache_status::write_forwarded(self.begin_status(), name, why, 0, false, detail);
        self.add_status(host, policy, b"BYPASS");
    }

    /// Adds the `Cache-Status` just written to the origin's response at hand.
    pub(super) fn miss(&self, host: &impl Host, policy: &Policy, hash: u128) {
        self.add_status(host, policy, b"MISS");
        if policy.x_cache_key {
            let _ = host.set_field(FieldMap::Response, b"x-cache-key", &short_hash(hash));
        }
    }

    fn add_status(&self, host: &impl Host, policy: &Policy, word: &[u8]) {
        // A response that cannot take a field goes out without it.
        let _ = host.add_field(FieldMap::Response, b"cache-status", &self.status);
        if policy.x_cache_status {
            let _ = host.set_field(FieldMap::Response, b"x-cache-status", word);
        }
    }
}

/// The first eight hex digits of a key's hash.
fn short_hash(hash: u128) -> [u8; 8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: usize| DIGITS.get((hash >> (124 - 4 * n) & 15) as usize);
    std::array::from_fn(|n| digit(n).copied().unwrap_or_default())
}
