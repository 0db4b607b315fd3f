//! The record that stands in a varying resource's place: by which request fields its responses are
//! told apart, and which are stored (RFC 9111, 4.1).
//!
//! A resource has a bounded number of places for variants, and a bounded number of bytes for all of
//! them. A variant's key is the resource's, the record's epoch and the request fields' values; in L2
//! it lies under the hash of its place, so that a newer variant takes the place of an older one
//! there too. A record that is made anew has another epoch, which leaves all older variants behind
//! at once.
//!
//! Little endian: epoch (8), length of the names (2), names, and for each place when it was taken
//! (4), the bytes of its variant (4), the length of its text (2) and the text, which is empty if the
//! place is vacant.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{Entry, Meta};
use crate::http::fields::FieldsBuf;
use crate::http::key::{Key, SEPARATOR};
use crate::http::vary::Names;

/// Places of a resource, at most.
pub const MAX_PLACES: u8 = 64;

/// A record, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variants {
    epoch: u64,
    names: Names,
    places: Vec<Place>,
}

/// Room for a variant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    /// The values of the request's fields; empty if there is no variant.
    text: Box<[u8]>,
    /// Bytes of the variant's fields and body.
    len: u32,
    /// The larger, the later it was taken.
    taken: u32,
}

/// How many variants a resource may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Their number.
    pub variants: u8,
    /// Bytes of their fields and bodies together; the newest stays, however long.
    pub bytes: usize,
}

/// What a variant's arrival does.
#[derive(Debug, PartialEq, Eq)]
pub struct Added {
    /// The variant's key.
    pub key: Key,
    /// The variant that had its place before. In L2 the newcomer overwrites it.
    pub replaced: Option<Key>,
    /// Variants that had to go for their bytes.
    pub dropped: Vec<Key>,
}

impl Variants {
    /// A record without variants, made at this time. One that another instance makes at the same, of other names, has
    /// another epoch: the same values mean something else there.
    #[must_use]
    pub fn new(now_ms: u64, names: Names) -> Self {
        Self { epoch: now_ms ^ xxh3_64(&names.to_bytes()), names, places: Vec::new() }
    }

    /// Reads the body of a record's entry; none if it is not sound.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let (epoch, rest) = body.split_first_chunk()?;
        let (names, mut rest) = text(rest)?;
        let mut places = Vec::new();
        while !rest.is_empty() {
            let (taken, after) = rest.split_first_chunk()?;
            let (len, after) = after.split_first_chunk()?;
            let (found, after) = text(after)?;
            let (taken, len) = (u32::from_le_bytes(*taken), u32::from_le_bytes(*len));
            places.push(Place { text: found.into(), len, taken });
            rest = after;
        }
        if places.len() > usize::from(MAX_PLACES) {
            return None;
        }
        let names = Names::from_bytes(names)?;
        Some(Self { epoch: u64::from_le_bytes(*epoch), names, places })
    }

    /// The request fields that count.
    #[must_use]
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// The key of the variant for a request whose fields make `text`, if there is one.
    #[must_use]
    pub fn key(&self, resource: &Key, text: &[u8]) -> Option<Key> {
        let place = self.place_of(text)?;
        Some(self.key_of(resource, text, place))
    }

    /// Gives the variant for `text`, of `len` bytes, a place within `bounds`.
    pub fn add(&mut self, resource: &Key, text: &[u8], len: usize, bounds: Bounds) -> Added {
        let (place, replaced) = match self.place_of(text) {
            Some(place) => (place, None),
            None => self.take_place(resource, text, bounds.variants),
        };
        if let Some(taken) = self.places.get_mut(place) {
            taken.len = u32::try_from(len).unwrap_or(u32::MAX);
        }
        let dropped = self.make_room(resource, place, bounds.bytes);
        Added { key: self.key_of(resource, text, place), replaced, dropped }
    }

    fn place_of(&self, text: &[u8]) -> Option<usize> {
        self.places.iter().position(|place| *place.text == *text)
    }

    /// A vacant place, a new one, or the oldest variant's.
    fn take_place(&mut self, resource: &Key, text: &[u8], most: u8) -> (usize, Option<Key>) {
        let last = self.places.iter().map(|place| place.taken).max().unwrap_or(0);
        let newcomer = Place { text: text.into(), len: 0, taken: last.saturating_add(1) };
        let full = self.places.len() >= usize::from(most);
        let place = self.place_of(b"").or_else(|| self.oldest(None).filter(|_| full));
        let place = place.unwrap_or(self.places.len());
        let Some(before) = self.places.get_mut(place) else {
            self.places.push(newcomer);
            return (place, None);
        };
        let before = std::mem::replace(before, newcomer);
        let replaced = !before.text.is_empty();
        (place, replaced.then(|| self.key_of(resource, &before.text, place)))
    }

    /// Lets variants go, the oldest first, until the rest has no more than so many `bytes`; `newest`
    /// stays.
    fn make_room(&mut self, resource: &Key, newest: usize, bytes: usize) -> Vec<Key> {
        let mut dropped = Vec::new();
        while self.places.iter().map(|place| u64::from(place.len)).sum::<u64>() > bytes as u64 {
            let Some(oldest) = self.oldest(Some(newest)) else { break };
            let Some(gone) = self.places.get_mut(oldest).map(std::mem::take) else { break };
            dropped.push(self.key_of(resource, &gone.text, oldest));
        }
        dropped
    }

    /// The place that was taken first, of those that are not vacant.
    fn oldest(&self, but: Option<usize>) -> Option<usize> {
        let taken = self.places.iter().enumerate().filter(|(_, place)| !place.text.is_empty());
        let others = taken.filter(|(n, _)| Some(*n) != but);
        others.min_by_key(|(_, place)| place.taken).map(|(n, _)| n)
    }

    /// The record as an entry, found until `until_ms`.
    #[must_use]
    pub fn to_entry(&self, resource: &Key, now_ms: u64, until_ms: u64) -> Entry {
        let mut body = self.epoch.to_le_bytes().to_vec();
        write_text(&mut body, &self.names.to_bytes());
        for place in &self.places {
            body.extend_from_slice(&place.taken.to_le_bytes());
            body.extend_from_slice(&place.len.to_le_bytes());
            write_text(&mut body, &place.text);
        }
        let meta =
            Meta { stored_ms: now_ms, fresh_until_ms: until_ms, variants: true, ..Meta::default() };
        let no_fields = FieldsBuf::default().to_block();
        Entry::new(meta, resource.clone(), no_fields, body.into())
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

/// Names and texts are bounded far below 64 KiB.
fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(text);
}

fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))
}

#[cfg(test)]
mod tests {
    use super::super::{decode, encode};
    use super::*;
    use crate::coherence::Stamp;
    use crate::secrets::Secrets;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const TWO: Bounds = Bounds { variants: 2, bytes: 100 };

    fn record(epoch: u64) -> (Key, Variants) {
        let names = Names::from_bytes(b"accept,accept-language").unwrap();
        (Key::new(b"http://a/x"), Variants::new(epoch, names))
    }

    #[test]
    fn what_is_written_is_read() {
        let (resource, mut variants) = record(7);
        for text in [&b"en"[..], b"de", b"fr"] {
            variants.add(&resource, text, 60, TWO);
        }
        let entry = variants.to_entry(&resource, 1_000, 2_000);
        assert!(entry.meta().variants && entry.is_fresh(1_999) && !entry.is_fresh(2_000));
        let bytes = encode(&entry, Stamp::default(), usize::MAX, &Secrets::default());
        let (stored, _) = decode(&bytes, &resource, 1_000, &Secrets::default()).unwrap();
        assert_eq!(Variants::read(stored.body()), Some(variants));
        for cut in 0..entry.body().len() {
            // Some cuts leave a shorter record; none makes trouble.
            let _ = Variants::read(&entry.body()[..cut]);
        }
        let vacant = [0; 10].repeat(usize::from(MAX_PLACES) - 2);
        assert!(Variants::read(&[entry.body(), &vacant].concat()).is_some());
        assert_eq!(Variants::read(&[entry.body(), &vacant, &[0; 10]].concat()), None);
        assert_eq!(Variants::read(b"too short"), None);
    }

    #[test]
    fn places_are_bounded_and_the_oldest_gives_way() {
        let (resource, mut variants) = record(7);
        let mut add = |text: &str| {
            let added = variants.add(&resource, text.as_bytes(), 1, TWO);
            assert_eq!(added.dropped, []);
            (added.key, added.replaced)
        };
        let (en, none) = add("en");
        assert_eq!(
            (none, en.resource(), resource.resource()),
            (None, &b"http://a/x"[..], &b"http://a/x"[..])
        );
        let (fr, _) = add("fr");
        assert_eq!(add("en"), (en.clone(), None));
        let (de, before) = add("de");
        assert_eq!(before.as_ref(), Some(&en));
        // In L2 the newcomer lies where the old one lay, and is told from it by its key.
        assert!(de.hash() == en.hash() && de != en && fr.hash() != de.hash());
        assert_eq!(add("es").1, Some(fr));
        assert_eq!(variants.key(&resource, b"en"), None);
    }

    #[test]
    fn bytes_are_bounded_and_the_oldest_give_way() {
        let (resource, mut variants) = record(7);
        let bounds = Bounds { variants: 3, bytes: 100 };
        let mut add = |text: &str, len| {
            let added = variants.add(&resource, text.as_bytes(), len, bounds);
            (added.key, added.replaced, added.dropped)
        };
        let (en, ..) = add("en", 40);
        let (fr, ..) = add("fr", 40);
        let (de, ..) = add("de", 20);
        // One that has become longer costs the oldest; its place is the next newcomer's.
        assert_eq!(add("de", 30).2, std::slice::from_ref(&en));
        assert_eq!(add("fr", 50), (fr.clone(), None, vec![]));
        let (es, replaced, dropped) = add("es", 20);
        assert_eq!((es.hash(), replaced, dropped), (en.hash(), None, vec![]));
        // The newest stays alone if it must. In a full house it takes the place of the oldest first.
        let (it, replaced, dropped) = add("it", 1_000);
        assert_eq!((it.hash(), replaced), (fr.hash(), Some(fr)));
        assert_eq!(dropped, [de, es]);
        assert_eq!(add("it", 1_000).2, []);
        assert_eq!(variants.key(&resource, b"fr"), None);
        assert!(variants.key(&resource, b"it").is_some());
    }

    /// Two instances, and a response that varies by another field each time: what one stored would answer whoever says
    /// the same in the other field.
    #[test]
    fn records_of_the_same_moment_and_other_names_share_no_variant() {
        let resource = Key::new(b"http://a/x");
        let key = |name: &[u8]| {
            let mut record = Variants::new(7, Names::from_bytes(name).unwrap());
            record.add(&resource, b"\x03\0en", 1, TWO).key
        };
        let (one, other) = (key(b"x-language"), key(b"x-region"));
        assert!(one != other && one.hash() != other.hash());
        assert_eq!(key(b"x-region"), other);
    }

    #[test]
    fn a_record_made_anew_leaves_the_old_variants_behind() {
        let (resource, mut old) = record(7);
        let (_, mut new) = record(8);
        let add = |record: &mut Variants| record.add(&resource, b"en", 1, TWO).key;
        let (a, b) = (add(&mut old), add(&mut new));
        assert!(a != b && a.hash() != b.hash());
    }
}
