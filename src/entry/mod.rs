//! One stored response: its parts, and its binary form for the levels outside the VM.

mod codec;

pub use codec::{DecodeError, decode, encode, encoded_len_limit};

use crate::http::fields::Fields;
use crate::http::key::Key;

/// How far the clocks of two instances may be apart.
const SKEW_MS: u64 = 1_000;

/// What an entry knows besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The response's status.
    pub status: u16,
    /// When it was received, in ms since the epoch.
    pub stored_ms: u64,
    /// Until when it is fresh, in ms since the epoch.
    pub fresh_until_ms: u64,
    /// Its age when it was received, in seconds.
    pub age_s: u32,
}

/// A stored response, its parts as they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    meta: Meta,
    key: Key,
    fields: Box<[u8]>,
    body: Box<[u8]>,
}

impl Entry {
    /// Puts an entry together; `fields` is a sound block.
    #[must_use]
    pub const fn new(meta: Meta, key: Key, fields: Box<[u8]>, body: Box<[u8]>) -> Self {
        Self { meta, key, fields, body }
    }

    /// Status and times.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The full key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// The stored fields, ready to send.
    #[must_use]
    pub const fn fields(&self) -> Fields<'_> {
        Fields::new(&self.fields)
    }

    /// The body.
    #[must_use]
    pub const fn body(&self) -> &[u8] {
        &self.body
    }

    /// Bytes of fields and body: what a level's limit on entries counts.
    #[must_use]
    pub const fn content_len(&self) -> usize {
        self.fields.len() + self.body.len()
    }

    /// Bytes of key, fields and body.
    #[must_use]
    pub fn len(&self) -> usize {
        self.key.as_bytes().len() + self.content_len()
    }

    /// Whether there is neither key nor field nor body.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Seconds of freshness left; negative when stale.
    #[must_use]
    pub fn ttl_s(&self, now_ms: u64) -> i64 {
        self.meta.fresh_until_ms.cast_signed().saturating_sub(now_ms.cast_signed()).div_euclid(1000)
    }

    /// Whether it may be served without asking anyone. One that seems to come from the future is
    /// not: a clock was set back, and how old it is cannot be told.
    #[must_use]
    pub const fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms < self.meta.fresh_until_ms && now_ms.saturating_add(SKEW_MS) >= self.meta.stored_ms
    }

    /// Its `Age` in seconds (RFC 9111, 4.2.3); a clock set back counts as no time passed.
    #[must_use]
    pub fn age_s(&self, now_ms: u64) -> u64 {
        u64::from(self.meta.age_s) + now_ms.saturating_sub(self.meta.stored_ms) / 1000
    }
}

#[cfg(test)]
pub(crate) fn sample(key: &str, body: &[u8]) -> Entry {
    let fields = [(&b"content-type"[..], &b"application/json"[..])];
    let fields = fields.into_iter().collect::<crate::http::fields::FieldsBuf>().to_block();
    let meta = Meta { status: 200, stored_ms: 1_000_000, fresh_until_ms: 1_060_000, age_s: 2 };
    Entry::new(meta, Key::new(key.as_bytes()), fields, body.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn parts_come_back_apart() {
        let entry = sample("http://a/x", b"{}");
        assert_eq!((entry.key().as_bytes(), entry.body()), (&b"http://a/x"[..], &b"{}"[..]));
        assert!(entry.fields().is_sound());
        assert_eq!(entry.fields().get(b"content-type"), Some(&b"application/json"[..]));
    }

    #[test]
    fn freshness_and_age_follow_the_clock() {
        let entry = sample("k", b"");
        assert_eq!((entry.age_s(1_010_500), entry.ttl_s(1_010_500)), (12, 49));
        assert!(entry.is_fresh(1_059_999) && !entry.is_fresh(1_060_000));
        assert!(entry.is_fresh(999_000) && !entry.is_fresh(998_999));
        assert_eq!((entry.age_s(0), entry.ttl_s(1_061_000)), (2, -1));
    }
}
