//! One stored response: its parts, and its binary form for the levels outside the VM.

mod codec;
mod variants;

use std::borrow::Cow;
use std::cell::Cell;

pub use codec::{
    DecodeError, MAX_TAGS, decode, decode_unsealed, encode, encode_unsealed, encoded_len_limit,
};
pub use variants::{Added, Bounds, MAX_PLACES, Variants};

use crate::coherence::Tag;
use crate::http::fields::{Fields, FieldsBuf};
use crate::http::key::Key;
use crate::http::reuse::Standing;
use crate::http::validation::{self, Validators};

/// How far the clocks of two instances may be apart.
const SKEW_MS: u64 = 1_000;

/// How long after its end a stale entry with a validator is still worth asking about.
const VALIDATED_FOR_MS: u64 = 600_000;

/// What an entry knows besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The response's status.
    pub status: u16,
    /// When it was received, in ms since the epoch.
    pub stored_ms: u64,
    /// Until when it is fresh, in ms since the epoch.
    pub fresh_until_ms: u64,
    /// Its age when it was received, in seconds.
    pub age_s: u32,
    /// Seconds it is served stale while it is fetched again.
    pub stale_while_revalidate_s: u32,
    /// Seconds it is served stale in place of an error.
    pub stale_if_error_s: u32,
    /// It must never be served stale.
    pub never_stale: bool,
    /// It may answer requests with `Authorization` (RFC 9111, 3.5).
    pub shared: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// No response: it says by which request fields the responses for its key are told apart.
    pub variants: bool,
    /// Its `ETag` was made here: the origin does not know it.
    pub own_etag: bool,
    /// How long the origin took, in ms.
    pub took_ms: u32,
}

impl Meta {
    /// What the origin can be asked about a response with these fields.
    fn validators<'a>(&self, fields: Fields<'a>) -> Option<Validators<'a>> {
        let mut found = validation::validators(fields)?;
        if self.own_etag {
            found.if_none_match = None;
        }
        (found != Validators::default()).then_some(found)
    }

    /// Until when a response with these fields is of any use, fresh or stale.
    #[must_use]
    pub fn useful_until_ms(&self, fields: Fields<'_>) -> u64 {
        let stale_s = self.stale_while_revalidate_s.max(self.stale_if_error_s);
        let stale_ms = self.validators(fields).map_or(0, |_| VALIDATED_FOR_MS);
        let end_ms = self.fresh_until_ms.max(self.stored_ms);
        end_ms.saturating_add(stale_ms.max(u64::from(stale_s) * 1000))
    }
}

/// A stored response, its parts as they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    meta: Meta,
    key: Key,
    fields: Box<[u8]>,
    body: Box<[u8]>,
    tags: Box<[Tag]>,
    epoch: u64,
    /// Whether the process's other workers were offered it.
    offered: Cell<bool>,
}

impl Entry {
    /// Puts an entry together; `fields` is a sound block. It has no tags: nothing makes it stale.
    #[must_use]
    pub fn new(meta: Meta, key: Key, fields: Box<[u8]>, body: Box<[u8]>) -> Self {
        Self { meta, key, fields, body, tags: Box::default(), epoch: 0, offered: Cell::new(false) }
    }

    /// The entry with its tags, as of an epoch of the process: it is valid until one of them is bumped.
    #[must_use]
    pub fn with_tags(self, tags: Box<[Tag]>, epoch: u64) -> Self {
        Self { tags, epoch, ..self }
    }

    /// The entry as of an epoch of the process.
    #[must_use]
    pub fn as_of(self, epoch: u64) -> Self {
        Self { epoch, ..self }
    }

    /// Whether it is to be offered to the process's other workers: once.
    #[must_use]
    pub fn offer(&self) -> bool {
        !self.offered.replace(true)
    }

    /// What it depends on.
    #[must_use]
    pub const fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The epoch from which on its validity counts.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The entry as it is after something made it stale: no longer fresh.
    #[must_use]
    pub fn outdated(&self, now_ms: u64) -> Self {
        let fresh_until_ms = self.meta.fresh_until_ms.min(now_ms);
        let meta = Meta { fresh_until_ms, immutable: false, ..self.meta };
        Self { meta, ..self.clone() }
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

    /// The block of fields, without an `ETag` that the origin does not know.
    #[must_use]
    pub fn fields_of_origin(&self) -> Cow<'_, [u8]> {
        if !self.meta.own_etag {
            return Cow::Borrowed(&self.fields);
        }
        let known = self.fields().iter().filter(|(name, _)| *name != b"etag");
        Cow::Owned(known.collect::<FieldsBuf>().to_block().into())
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

    /// Bytes of key, tags, fields and body.
    #[must_use]
    pub fn len(&self) -> usize {
        self.key.as_bytes().len() + size_of_val(&*self.tags) + self.content_len()
    }

    /// Whether there is neither key nor field nor body.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Seconds of freshness left; negative when stale.
    #[must_use]
    pub fn ttl_s(&self, now_ms: u64) -> i64 {
        self.left_ms(now_ms).div_euclid(1000)
    }

    /// What its freshness allows.
    #[must_use]
    pub fn standing(&self, now_ms: u64) -> Standing {
        Standing {
            fresh: self.is_fresh(now_ms),
            ttl_ms: if self.is_from_future(now_ms) { i64::MIN } else { self.left_ms(now_ms) },
            age_s: self.age_s(now_ms),
            stale_while_revalidate_s: self.meta.stale_while_revalidate_s,
            never_stale: self.meta.never_stale,
            immutable: self.meta.immutable,
        }
    }

    /// What the origin can be asked about it.
    #[must_use]
    pub fn validators(&self) -> Option<Validators<'_>> {
        self.meta.validators(self.fields())
    }

    /// Until when it is of any use, fresh or stale, in ms since the epoch.
    #[must_use]
    pub fn useful_until_ms(&self) -> u64 {
        self.meta.useful_until_ms(self.fields())
    }

    /// Whether it may be served in place of an error (RFC 5861, 4); `wanted` is the client's
    /// `stale-if-error`, in seconds.
    #[must_use]
    pub fn may_hide_an_error(&self, now_ms: u64, wanted: Option<u32>) -> bool {
        let wanted = wanted.filter(|_| !self.meta.never_stale).unwrap_or(0);
        let seconds = self.meta.stale_if_error_s.max(wanted);
        seconds > 0 && self.standing(now_ms).ttl_ms >= -1000 * i64::from(seconds)
    }

    /// Whether it may be served without asking anyone. One that seems to come from the future is
    /// not: a clock was set back, and how old it is cannot be told.
    #[must_use]
    pub const fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms < self.meta.fresh_until_ms && !self.is_from_future(now_ms)
    }

    /// Whether it says that there is nothing.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.meta.status >= 400 && !self.meta.variants
    }

    /// Milliseconds of freshness left; negative when stale.
    fn left_ms(&self, now_ms: u64) -> i64 {
        let until_ms = self.meta.fresh_until_ms;
        let ms = |from: u64, to: u64| i64::try_from(to.saturating_sub(from)).unwrap_or(i64::MAX);
        ms(now_ms, until_ms) - ms(until_ms, now_ms)
    }

    /// Whether it was received later than now, by more than clocks differ.
    #[must_use]
    pub const fn is_from_future(&self, now_ms: u64) -> bool {
        now_ms.saturating_add(SKEW_MS) < self.meta.stored_ms
    }

    /// Its `Age` in seconds (RFC 9111, 4.2.3); a clock set back counts as no time passed.
    #[must_use]
    pub fn age_s(&self, now_ms: u64) -> u64 {
        u64::from(self.meta.age_s) + now_ms.saturating_sub(self.meta.stored_ms) / 1000
    }
}

#[cfg(test)]
pub(crate) fn sample(key: &str, body: &[u8]) -> Entry {
    use crate::coherence::TagKey;
    let fields = [(&b"content-type"[..], &b"application/json"[..])];
    let fields = fields.into_iter().collect::<crate::http::fields::FieldsBuf>().to_block();
    let meta = Meta {
        status: 200,
        stored_ms: 1_000_000,
        fresh_until_ms: 1_060_000,
        age_s: 2,
        stale_if_error_s: 5,
        shared: true,
        ..Meta::default()
    };
    let tags = [TagKey::default().named(key.as_bytes()), TagKey::default().prefix(b"/")];
    Entry::new(meta, Key::new(key.as_bytes()), fields, body.into()).with_tags(tags.into(), 0)
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
        let hides = |now_ms, wanted| entry.may_hide_an_error(now_ms, wanted);
        assert!(hides(1_065_000, None) && !hides(1_065_001, None));
        assert!(hides(1_067_000, Some(7)) && !hides(1_067_001, Some(7)));
        assert!(!hides(998_999, None), "its age cannot be told");
        assert_eq!(entry.useful_until_ms(), 1_065_000);
        // Stored bytes may say anything.
        let meta = Meta { fresh_until_ms: u64::MAX, ..*entry.meta() };
        let entry = Entry::new(meta, entry.key, entry.fields, entry.body);
        assert_eq!(entry.standing(1_000_000).ttl_ms, i64::MAX);
    }
}
