//! The binary form of an entry, as Redis holds it.
//!
//! Little endian, all of it covered by the checksum, or by a signature (HMAC-SHA256) behind it:
//! ```text
//!  0  2  "TC"                 16  8  received, ms        36  4  key length
//!  2  1  version (5)          24  8  fresh until, ms     40  4  fields length
//!  3  1  flags                32  4  age on arrival, s   44  4  body length
//!  4  2  status               52  4  stale while         48  4  body length as packed
//!  6  2  number of tags              revalidated, s      60  8  stamp: incarnation
//!  8  8  xxh3 of bytes 16..,  56  4  stale if error, s   68  8  stamp: number
//!        seeded with 0..8,                               76  4  origin's time, ms
//!        or 0 if signed                                  80     tags (4 each), key, fields,
//!                                                               packed body, signature (32)
//! ```
//! Whatever is not exactly this is an error, and the caller treats it as a miss.

use lz4_flex::block::{compress, decompress_into};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Entry, Meta};
use crate::closed_enum::closed_enum;
use crate::coherence::{Stamp, Tag};
use crate::http::fields::Fields;
use crate::http::key::Key;
use crate::http::storable::is_never_stored;
use crate::http::stored_fields::may_be_stored;
use crate::secrets::{SIGNATURE, Secrets};

const MAGIC: [u8; 2] = *b"TC";
const VERSION: u8 = 5;
const HEADER: usize = 80;
/// Tags of an entry, at most.
pub const MAX_TAGS: usize = 128;

const LZ4: u8 = 1;
const NEVER_STALE: u8 = 2;
const SHARED: u8 = 4;
const IMMUTABLE: u8 = 8;
const VARIANTS: u8 = 16;
const OWN_ETAG: u8 = 32;
const SIGNED: u8 = 64;
const ALL_FLAGS: u8 = 127;

closed_enum! {
    /// Why stored bytes are not an entry.
    pub enum DecodeError {
        /// Not written by this cache, or by a version with another form.
        Version => "version",
        /// Shorter or longer than it says.
        Truncated => "truncated",
        /// Changed since it was written.
        Checksum => "checksum",
        /// Not signed with one of the secrets; or signed, and there is no secret to verify it by.
        Forged => "forged",
        /// Sound by its checksum, but not an entry.
        Malformed => "malformed",
        /// Larger than this instance takes.
        TooLarge => "too_large",
        /// An entry for another key: a hash collision.
        OtherKey => "other_key",
    }
}

/// The longest binary form of an entry whose parts take `len` bytes.
#[must_use]
pub const fn encoded_len_limit(len: usize) -> usize {
    HEADER + len + SIGNATURE
}

/// Writes `entry`, valid as of `stamp`, signed if there are `secrets`; a body of `compress_above` bytes or more is
/// packed if that saves an eighth.
#[must_use]
pub fn encode(entry: &Entry, stamp: Stamp, compress_above: usize, secrets: &Secrets) -> Vec<u8> {
    let mut out = encode_unsealed(entry, stamp, compress_above);
    if !secrets.is_empty()
        && let Some(flags) = out.get_mut(3)
    {
        *flags |= SIGNED;
    }
    if let Some(signature) = secrets.sign(&out) {
        out.extend_from_slice(&signature);
        return out;
    }
    let sum = checksum(&out).unwrap_or_default().to_le_bytes();
    if let Some(place) = out.get_mut(8..16) {
        place.copy_from_slice(&sum);
    }
    out
}

/// As [`encode`], without the checksum: for memory that nobody else writes to.
#[must_use]
pub fn encode_unsealed(entry: &Entry, stamp: Stamp, compress_above: usize) -> Vec<u8> {
    let body = entry.body();
    let packed = (body.len() >= compress_above)
        .then(|| compress(body))
        .filter(|packed| packed.len() <= body.len() - body.len() / 8);
    let stored = packed.as_deref().unwrap_or(body);
    let (key, fields) = (entry.key().as_bytes(), entry.fields().as_bytes());
    let meta = &entry.meta;
    let flags = [
        (packed.is_some(), LZ4),
        (meta.never_stale, NEVER_STALE),
        (meta.shared, SHARED),
        (meta.immutable, IMMUTABLE),
        (meta.variants, VARIANTS),
        (meta.own_etag, OWN_ETAG),
    ];
    let flags = flags.iter().filter(|(on, _)| *on).fold(0, |flags, (_, flag)| flags | flag);

    let tags = entry.tags();
    let len = size_of_val(tags) + key.len() + fields.len() + stored.len();
    // And room for a mark or a signature behind it.
    let mut out = Vec::with_capacity(HEADER + len + SIGNATURE);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, flags]);
    out.extend_from_slice(&meta.status.to_le_bytes());
    // Responses with more tags are not stored.
    out.extend_from_slice(&u16::try_from(tags.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(&[0; 8]); // the checksum's place
    out.extend_from_slice(&meta.stored_ms.to_le_bytes());
    out.extend_from_slice(&meta.fresh_until_ms.to_le_bytes());
    out.extend_from_slice(&meta.age_s.to_le_bytes());
    for len in [key.len(), fields.len(), body.len(), stored.len()] {
        // Entries are bounded far below 4 GiB by the largest fill.
        out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    }
    for seconds in [meta.stale_while_revalidate_s, meta.stale_if_error_s] {
        out.extend_from_slice(&seconds.to_le_bytes());
    }
    for number in [stamp.incarnation, stamp.number] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&meta.took_ms.to_le_bytes());
    tags.iter().for_each(|tag| out.extend_from_slice(&tag.bits().to_le_bytes()));
    for part in [key, fields, stored] {
        out.extend_from_slice(part);
    }
    out
}

/// Reads an entry for `key`, and as of when it is valid; one whose parts take more than `max` bytes is
/// refused unpacked. If there are `secrets`, so is one that was not signed with one of them.
///
/// # Errors
/// Why the bytes are not such an entry.
pub fn decode(
    bytes: &[u8],
    key: &Key,
    max: usize,
    secrets: &Secrets,
) -> Result<(Entry, Stamp), DecodeError> {
    let (entry, stamp) = read(bytes, key, max, |signed, signature| match signature {
        Some(signature) if secrets.verify(signed, signature) => Ok(()),
        None if secrets.is_empty() => {
            let is_whole = checksum(signed) == Some(u64_at(signed, 8));
            if is_whole { Ok(()) } else { Err(DecodeError::Checksum) }
        }
        _ => Err(DecodeError::Forged),
    })?;
    // Anybody can make a checksum.
    let may_be_sent = entry.meta.variants || !is_never_stored(entry.meta.status);
    if may_be_sent && may_be_stored(entry.fields()) {
        Ok((entry, stamp))
    } else {
        Err(DecodeError::Malformed)
    }
}

/// As [`decode`], of bytes that [`encode_unsealed`] wrote.
///
/// # Errors
/// Why the bytes are not such an entry.
pub fn decode_unsealed(bytes: &[u8], key: &Key, max: usize) -> Result<(Entry, Stamp), DecodeError> {
    read(bytes, key, max, |_, _| Ok(()))
}

/// `check` gets all but the signature, and the signature. It comes behind what costs nothing, and before whatever
/// reads more than the header.
fn read(
    bytes: &[u8],
    key: &Key,
    max: usize,
    check: impl Fn(&[u8], Option<&[u8]>) -> Result<(), DecodeError>,
) -> Result<(Entry, Stamp), DecodeError> {
    let head = bytes.get(..HEADER).ok_or(DecodeError::Truncated)?;
    let flags = match head {
        [b'T', b'C', VERSION, flags @ 0..=ALL_FLAGS, ..] => *flags,
        _ => return Err(DecodeError::Version),
    };
    let lengths = [36, 40, 44, 48].map(|at| u32_at(head, at) as usize);
    let [key_len, fields_len, body_len, packed_len] = lengths;
    let tags_len = usize::from(u16::from_le_bytes(array(head, 6))) * size_of::<Tag>();
    let signature_len = if flags & SIGNED == 0 { 0 } else { SIGNATURE };
    let said = [HEADER, tags_len, key_len, fields_len, packed_len, signature_len];
    let said = said.into_iter().map(|n| n as u64).sum::<u64>();
    if said != bytes.len() as u64 {
        return Err(DecodeError::Truncated);
    }
    if [key_len, fields_len, body_len].into_iter().map(|n| n as u64).sum::<u64>() > max as u64 {
        return Err(DecodeError::TooLarge);
    }
    // The rest is no longer than that either, or what checks it would read whatever Redis sends.
    if packed_len > body_len || tags_len > MAX_TAGS * size_of::<Tag>() {
        return Err(DecodeError::Malformed);
    }
    let (signed, signature) =
        bytes.split_at_checked(bytes.len() - signature_len).unwrap_or_default();
    check(signed, (signature_len > 0).then_some(signature))?;
    let parts = signed.get(HEADER..).unwrap_or_default();
    let (tags, parts) = parts.split_at_checked(tags_len).unwrap_or_default();
    let (stored_key, parts) = parts.split_at_checked(key_len).unwrap_or_default();
    let (fields, packed) = parts.split_at_checked(fields_len).unwrap_or_default();
    if stored_key != key.as_bytes() {
        return Err(DecodeError::OtherKey);
    }
    if !Fields::new(fields).is_sound() {
        return Err(DecodeError::Malformed);
    }
    let body: Box<[u8]> = if flags & LZ4 == 0 {
        packed.into()
    } else {
        let mut body = vec![0; body_len].into_boxed_slice();
        if decompress_into(packed, &mut body).ok() != Some(body_len) {
            return Err(DecodeError::Malformed);
        }
        body
    };
    if body.len() != body_len {
        return Err(DecodeError::Malformed);
    }
    let meta = Meta {
        status: u16::from_le_bytes(array(head, 4)),
        stored_ms: u64_at(head, 16),
        fresh_until_ms: u64_at(head, 24),
        age_s: u32_at(head, 32),
        stale_while_revalidate_s: u32_at(head, 52),
        stale_if_error_s: u32_at(head, 56),
        never_stale: flags & NEVER_STALE != 0,
        shared: flags & SHARED != 0,
        immutable: flags & IMMUTABLE != 0,
        variants: flags & VARIANTS != 0,
        own_etag: flags & OWN_ETAG != 0,
        took_ms: u32_at(head, 76),
    };
    let (tags, _) = tags.as_chunks::<{ size_of::<Tag>() }>();
    let tags = tags.iter().map(|bits| Tag::from_bits(u32::from_le_bytes(*bits))).collect();
    let stamp = Stamp { incarnation: u64_at(head, 60), number: u64_at(head, 68) };
    Ok((Entry::new(meta, key.clone(), fields.into(), body).with_tags(tags, 0), stamp))
}

fn checksum(bytes: &[u8]) -> Option<u64> {
    Some(xxh3_64_with_seed(bytes.get(16..)?, u64_at(bytes, 0)))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk().copied()).unwrap_or([0; N])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const STAMP: Stamp = Stamp { incarnation: u64::MAX, number: 7 };

    fn written(key: &str, body: &[u8], compress_above: usize, secrets: &Secrets) -> Vec<u8> {
        encode(&sample(key, body), STAMP, compress_above, secrets)
    }

    fn read_k(bytes: &[u8], max: usize, secrets: &Secrets) -> Result<(Entry, Stamp), DecodeError> {
        decode(bytes, &Key::new(b"k"), max, secrets)
    }

    #[test]
    fn what_is_written_is_read() {
        for secrets in [Secrets::default(), Secrets::new(["s"])] {
            for body in [&b""[..], b"{}", &[b'x'; 10_000]] {
                for compress_above in [0, 1_000, usize::MAX] {
                    let entry = sample("k", body);
                    let bytes = encode(&entry, STAMP, compress_above, &secrets);
                    assert!(bytes.len() <= encoded_len_limit(entry.len()));
                    assert_eq!(read_k(&bytes, 20_000, &secrets), Ok((entry, STAMP)));
                }
            }
            assert!(written("k", &[b'x'; 10_000], 100, &secrets).len() < 500);
        }
    }

    #[test]
    fn every_damage_is_noticed() {
        for secrets in [Secrets::default(), Secrets::new(["s"])] {
            let bytes = written("k", b"{\"a\":1}", usize::MAX, &secrets);
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut bad = bytes.clone();
                    bad[at] ^= 1 << bit;
                    assert!(read_k(&bad, 1_000, &secrets).is_err(), "byte {at} bit {bit}");
                }
                assert!(read_k(&bytes[..at], 1_000, &secrets).is_err(), "cut at {at}");
            }
            let longer = [&bytes[..], b"x"].concat();
            assert_eq!(read_k(&longer, 1_000, &secrets), Err(DecodeError::Truncated));
        }
    }

    #[test]
    fn the_right_key_and_no_more_than_allowed() {
        for secrets in [Secrets::default(), Secrets::new(["s"])] {
            let other = written("other", &[b'x'; 5_000], 0, &secrets);
            assert_eq!(read_k(&other, 10_000, &secrets), Err(DecodeError::OtherKey));
            let bytes = written("k", &[b'x'; 5_000], 0, &secrets);
            assert_eq!(read_k(&bytes, 4_000, &secrets), Err(DecodeError::TooLarge));
            assert_eq!(read_k(b"", 1, &secrets), Err(DecodeError::Truncated));
            assert_eq!(read_k(&[0; 100], 1, &secrets), Err(DecodeError::Version));
        }
    }

    /// Hashing 32 MiB with each of four secrets takes a quarter of a second.
    #[test]
    fn what_is_longer_than_it_may_be_is_not_even_hashed() {
        let bytes = written("k", b"body", usize::MAX, &Secrets::default());
        for (at, count, more) in [(48, [0, 16], 4_096 - 4), (6, [0, 1], 4 * 256 - 8)] {
            let mut longer = [&bytes[..], &vec![0; more]].concat();
            longer[at..at + 2].copy_from_slice(&count);
            assert_eq!(read_k(&longer, 1_000, &Secrets::default()), Err(DecodeError::Malformed));
        }
    }

    #[test]
    fn only_who_knows_a_secret_writes_entries() {
        let none = Secrets::default();
        let (old, both, new) =
            (Secrets::new(["old"]), Secrets::new(["new", "old"]), Secrets::new(["new"]));
        for (writers, readers, is_read) in [
            (&old, &both, true),
            (&both, &new, true),
            (&both, &old, false),
            (&old, &new, false),
            (&none, &new, false),
            (&new, &none, false),
        ] {
            let bytes = written("k", &[b'x'; 300], 0, writers);
            let read = read_k(&bytes, 1_000, readers);
            let is_forged = read == Err(DecodeError::Forged);
            assert_eq!((read.is_ok(), is_forged), (is_read, !is_read), "{writers:?} {readers:?}");
        }
    }

    /// Whoever knows no secret changes nothing, whatever checksum there is then, nor passes one entry's signature off
    /// as another's.
    #[test]
    fn a_signature_holds_for_nothing_else() {
        let secrets = Secrets::new(["s"]);
        let good = written("k", &[b'x'; 300], 0, &secrets);
        let end = good.len() - SIGNATURE;
        for at in 0..good.len() {
            for value in (0..=u8::MAX).filter(|value| *value != good[at]) {
                let mut forged = good.clone();
                forged[at] = value;
                assert!(read_k(&forged, 1_000, &secrets).is_err(), "byte {at}, {value}");
            }
            let mut forged = good.clone();
            forged[at] ^= 1;
            forged[3] &= !SIGNED;
            let sum = checksum(&forged[..end]).unwrap().to_le_bytes();
            forged[8..16].copy_from_slice(&sum);
            assert!(read_k(&forged[..end], 1_000, &secrets).is_err(), "byte {at}, unsigned");
        }
        let other = written("k", &[b'y'; 300], 0, &secrets);
        let mixed = [&good[..end], &other[other.len() - SIGNATURE..]].concat();
        assert_eq!(read_k(&mixed, 1_000, &secrets), Err(DecodeError::Forged));
    }

    /// Forged with a right checksum: nothing inside is trusted either.
    #[test]
    fn a_valid_checksum_proves_nothing() {
        let none = Secrets::default();
        let good = written("k", &[b'x'; 300], 0, &none);
        for at in (16..good.len()).chain([3, 4, 6, 7]) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut forged = good.clone();
                forged[at] = value;
                let sum = checksum(&forged).unwrap().to_le_bytes();
                forged[8..16].copy_from_slice(&sum);
                if let Ok((entry, _)) = read_k(&forged, 1_000, &none) {
                    assert!(may_be_stored(entry.fields()));
                }
            }
        }
    }
}
