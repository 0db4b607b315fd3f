//! The record that stands in a varying resource's place: by which request fields its responses are
//! told apart, and which are stored (RFC 9111, 4.1).
//!
//! A resource has a bounded number of places for variants. A variant's key is the resource's, the
//! record's epoch and the request fields' values; in L2 it lies under the hash of its place, so
//! that a newer variant takes the place of an older one there too. A record that is made anew has
//! another epoch, which leaves all older variants behind at once.
//!
//! Little endian: epoch (8), next place (1), length of the names (2), names, and for each place the
//! length of its text (2) and the text.

use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_128;

use super::{Entry, Meta};
use crate::http::fields::FieldsBuf;
use crate::http::key::Key;
use crate::http::vary::Names;

/// What stands between a resource's key and the rest of a variant's. No URL and no field has it.
const SEPARATOR: &[u8] = b"\n\n";

/// A record, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variants {
    epoch: u64,
    names: Names,
    texts: Vec<Box<[u8]>>,
    /// The place that the next newcomer takes when all are taken.
    next: u8,
}

impl Variants {
    /// A record without variants.
    #[must_use]
    pub const fn new(epoch: u64, names: Names) -> Self {
        Self { epoch, names, texts: Vec::new(), next: 0 }
    }

    /// Reads the body of a record's entry; none if it is not sound.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let (epoch, rest) = body.split_first_chunk()?;
        let (next, rest) = rest.split_first()?;
        let (names, mut rest) = text(rest)?;
        let mut texts = Vec::new();
        while !rest.is_empty() {
            let (found, after) = text(rest)?;
            texts.push(found.into());
            rest = after;
        }
        let names = Names::from_bytes(names)?;
        Some(Self { epoch: u64::from_le_bytes(*epoch), names, texts, next: *next })
    }

    /// The request fields that count.
    #[must_use]
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// The variant for a request whose fields make `text`: its key and whether it is known.
    #[must_use]
    pub fn key(&self, resource: &Key, text: &[u8]) -> Option<Key> {
        let place = self.texts.iter().position(|t| **t == *text)?;
        Some(self.key_of(resource, text, place))
    }

    /// Gives `text` a place among at most `most`. Returns its key, and the key of the variant that had
    /// the place before, if there was one.
    pub fn add(&mut self, resource: &Key, text: &[u8], most: u8) -> (Key, Option<Key>) {
        if let Some(key) = self.key(resource, text) {
            return (key, None);
        }
        let place = self.texts.len();
        if place < usize::from(most) {
            self.texts.push(text.into());
            return (self.key_of(resource, text, place), None);
        }
        let place = usize::from(self.next) % place.max(1);
        self.next = u8::try_from(place + 1).unwrap_or(0);
        let before = self.texts.get_mut(place).map(|t| std::mem::replace(t, text.into()));
        let before = before.map(|text| self.key_of(resource, &text, place));
        (self.key_of(resource, text, place), before)
    }

    /// The record as an entry, found until `until_ms`.
    #[must_use]
    pub fn to_entry(&self, resource: &Key, now_ms: u64, until_ms: u64) -> Rc<Entry> {
        let mut body = self.epoch.to_le_bytes().to_vec();
        body.push(self.next);
        for text in
            std::iter::once(&self.names.to_bytes()[..]).chain(self.texts.iter().map(|t| &**t))
        {
            // Names and texts are bounded far below 64 KiB.
            body.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
            body.extend_from_slice(text);
        }
        let meta =
            Meta { stored_ms: now_ms, fresh_until_ms: until_ms, variants: true, ..Meta::default() };
        let no_fields = FieldsBuf::default().to_block();
        Rc::new(Entry::new(meta, resource.clone(), no_fields, body.into()))
    }

    fn key_of(&self, resource: &Key, text: &[u8], place: usize) -> Key {
        let mut bytes = resource.as_bytes().to_vec();
        bytes.extend_from_slice(SEPARATOR);
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        let stem = bytes.len();
        bytes.extend_from_slice(&(place as u64).to_le_bytes());
        let hash = xxh3_128(&bytes);
        bytes.truncate(stem);
        bytes.extend_from_slice(text);
        Key::with_hash(&bytes, hash)
    }
}

fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))
}

#[cfg(test)]
mod tests {
    use super::super::{decode, encode};
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn record(epoch: u64) -> (Key, Variants) {
        let names = Names::from_bytes(b"accept,accept-language").unwrap();
        (Key::new(b"http://a/x"), Variants::new(epoch, names))
    }

    #[test]
    fn what_is_written_is_read() {
        let (resource, mut variants) = record(7);
        for text in [&b"en"[..], b"", b"fr"] {
            variants.add(&resource, text, 2);
        }
        let entry = variants.to_entry(&resource, 1_000, 2_000);
        assert!(entry.meta().variants && entry.is_fresh(1_999) && !entry.is_fresh(2_000));
        let stored = decode(&encode(&entry, usize::MAX), &resource, 1_000);
        assert_eq!(Variants::read(stored.unwrap().body()), Some(variants));
        for cut in 0..entry.body().len() {
            // Some cuts leave a shorter record; none makes trouble.
            let _ = Variants::read(&entry.body()[..cut]);
        }
        assert_eq!(Variants::read(b"too short"), None);
    }

    #[test]
    fn places_are_bounded_and_the_oldest_gives_way() {
        let (resource, mut variants) = record(7);
        let (en, none) = variants.add(&resource, b"en", 2);
        assert_eq!(none, None);
        let (fr, _) = variants.add(&resource, b"fr", 2);
        assert_eq!(variants.add(&resource, b"en", 2), (en.clone(), None));
        let (de, before) = variants.add(&resource, b"de", 2);
        assert_eq!(before.as_ref(), Some(&en));
        assert_eq!(variants.key(&resource, b"en"), None);
        // In L2 the newcomer lies where the old one lay, and is told from it by its key.
        assert!(de.hash() == en.hash() && de != en && fr.hash() != de.hash());
        assert_eq!(variants.add(&resource, b"es", 2).1, Some(fr));
    }

    #[test]
    fn a_record_made_anew_leaves_the_old_variants_behind() {
        let (resource, mut old) = record(7);
        let (_, mut new) = record(8);
        let (a, b) = (old.add(&resource, b"en", 2).0, new.add(&resource, b"en", 2).0);
        assert!(a != b && a.hash() != b.hash());
    }
}
