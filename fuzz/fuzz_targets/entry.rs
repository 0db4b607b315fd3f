//! Stored bytes: whatever is taken for an entry or a record of variants is one, and comes back when
//! it is written again. The checksum is repaired, for an attacker could do so too.
//!
//! Input: lines `offset byte`, which are written over the stored bytes; the key; the fields; the
//! body, its lines also the texts of variants.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::coherence::{Stamp, TagKey, Tags};
use tiercel::entry::{Bounds, Entry, Meta, Variants, decode, encode};
use tiercel::http::key::Key;
use tiercel::http::stored_fields::may_be_stored;
use tiercel::http::vary::Names;
use tiercel::secrets::Secrets;
use tiercel_fuzz::{block, lines, parts};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const MAX: usize = 1 << 16;
const STAMP: Stamp = Stamp { incarnation: 3, number: 4 };
const BOUNDS: Bounds = Bounds { variants: 4, bytes: 64 };

fuzz_target!(|input: &[u8]| {
    let [patches, key, fields, body] = parts(input);
    let key = Key::new(key);
    let (none, secrets) = (Secrets::default(), Secrets::new(["secret"]));
    assert!(
        decode(input, &key, MAX, &none).is_err() && decode(input, &key, MAX, &secrets).is_err()
    );
    let meta = Meta { status: 200, stored_ms: 1_000, fresh_until_ms: 2_000, ..Meta::default() };
    let tags: Tags = lines(body).take(128).map(|name| TagKey::default().named(name)).collect();
    let entry = Entry::new(meta, key.clone(), block(fields), body.into());
    let entry = entry.with_tags(tags.as_slice().into(), 0);
    let is_storable = may_be_stored(entry.fields());
    for compress_above in [0, usize::MAX] {
        let signed = encode(&entry, STAMP, compress_above, &secrets);
        let mut bytes = signed.clone();
        patch(&mut bytes, patches);
        let is_read = decode(&bytes, &key, MAX, &secrets).is_ok();
        assert_eq!(is_read, bytes == signed && is_storable && entry.len() <= MAX);
        let mut bytes = encode(&entry, STAMP, compress_above, &none);
        let patched = patch(&mut bytes, patches);
        repair(&mut bytes);
        let read = decode(&bytes, &key, MAX, &none);
        if patched == 0 && entry.len() <= MAX {
            assert_eq!(read.as_ref().ok().map(|read| &read.0), is_storable.then_some(&entry));
        }
        if let Ok((read, stamp)) = read {
            sound(&read, stamp, &key);
        }
    }

    let Some(names) = Names::from_bytes(key.as_bytes()) else { return };
    let mut record = Variants::new(7, names);
    for text in lines(body) {
        let added = record.add(&key, text, text.len(), BOUNDS);
        assert_eq!(record.key(&key, text), Some(added.key.clone()));
        let replaced = added.replaced.as_ref();
        assert!(replaced.is_none_or(|old| old.hash() == added.key.hash() && *old != added.key));
        assert!(!added.dropped.contains(&added.key));
    }
    let written = record.to_entry(&key, 1_000, 2_000);
    assert_eq!(Variants::read(written.body()), Some(record));
    let mut bytes = written.body().to_vec();
    patch(&mut bytes, patches);
    if let Some(mut record) = Variants::read(&bytes) {
        assert_eq!(record.to_entry(&key, 1_000, 2_000).body(), bytes);
        let added = record.add(&key, body, body.len(), BOUNDS);
        assert_eq!(record.key(&key, body), Some(added.key));
    }
});

/// Writes over some of the bytes; returns how many.
fn patch(bytes: &mut [u8], patches: &[u8]) -> usize {
    let patches = lines(patches).filter_map(|line| {
        let (offset, byte) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        let place = bytes.get_mut(offset.parse::<usize>().ok()?)?;
        *place = byte.parse().ok()?;
        Some(())
    });
    patches.count()
}

fn repair(bytes: &mut [u8]) {
    let seed = bytes.first_chunk().map_or(0, |seed| u64::from_le_bytes(*seed));
    let sum = xxh3_64_with_seed(&bytes[16..], seed);
    bytes[8..16].copy_from_slice(&sum.to_le_bytes());
}

fn sound(entry: &Entry, stamp: Stamp, key: &Key) {
    assert_eq!(entry.key(), key);
    assert!(entry.fields().is_sound() && may_be_stored(entry.fields()) && entry.len() <= MAX);
    for now in [0, 1_500, u64::MAX] {
        let standing = entry.standing(now);
        assert!(!standing.fresh || standing.ttl_ms > 0);
        assert!(
            entry.may_hide_an_error(now, Some(u32::MAX)) || !standing.fresh || standing.never_stale
        );
        let _ = (entry.useful_until_ms(), entry.ttl_s(now), entry.age_s(now));
    }
    for compress_above in [0, usize::MAX] {
        let bytes = encode(entry, stamp, compress_above, &Secrets::default());
        let (read, of) = decode(&bytes, key, MAX, &Secrets::default()).expect("an entry");
        assert_eq!((&read, of), (entry, stamp));
    }
}
