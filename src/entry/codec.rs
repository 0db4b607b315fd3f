//! The binary form of an entry, as Redis holds it.
//!
//! Little endian, all of it covered by the checksum:
//! ```text
//!  0  2  "TC"                 16  8  received, ms        36  4  key length
//!  2  1  version (4)          24  8  fresh until, ms     40  4  fields length
//!  3  1  flags                32  4  age on arrival, s   44  4  body length
//!  4  2  status               52  4  stale while         48  4  body length as packed
//!  6  2  number of tags              revalidated, s      60  8  stamp: incarnation
//!  8  8  xxh3 of bytes 16..,  56  4  stale if error, s   68  8  stamp: number
//!        seeded with 0..8                                76     tags (4 each), key, fields,
//!                                                               packed body
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
const ALL_FLAGS: u8 = 63;

closed_enum! {
    /// Why stored bytes are not an entry.
    pub enum DecodeError {
        /// Not written by this cache, or by a version with another form.
        Version => "version",
        /// Shorter or longer than it says.
        Truncated => "truncated",
        /// Changed since it was written.
        Checksum => "checksum",
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
    HEADER + len
}

/// Writes `entry`, valid as of `stamp`; a body of `compress_above` bytes or more is packed if that saves an eighth.
#[must_use]
pub fn encode(entry: &Entry, stamp: Stamp, compress_above: usize) -> Vec<u8> {
    let mut out = encode_unsealed(entry, stamp, compress_above);
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
    // And room for a mark behind it.
    let mut out = Vec::with_capacity(HEADER + len + 8);
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
/// refused unpacked.
///
/// # Errors
/// Why the bytes are not such an entry.
pub fn decode(bytes: &[u8], key: &Key, max: usize) -> Result<(Entry, Stamp), DecodeError> {
    read(bytes, key, max, |bytes, head| checksum(bytes) == Some(u64_at(head, 8)))
}

/// As [`decode`], of bytes that [`encode_unsealed`] wrote.
///
/// # Errors
/// Why the bytes are not such an entry.
pub fn decode_unsealed(bytes: &[u8], key: &Key, max: usize) -> Result<(Entry, Stamp), DecodeError> {
    read(bytes, key, max, |_, _| true)
}

fn read(
    bytes: &[u8],
    key: &Key,
    max: usize,
    is_whole: impl Fn(&[u8], &[u8]) -> bool,
) -> Result<(Entry, Stamp), DecodeError> {
    let head = bytes.get(..HEADER).ok_or(DecodeError::Truncated)?;
    let flags = match head {
        [b'T', b'C', VERSION, flags @ 0..=ALL_FLAGS, ..] => *flags,
        _ => return Err(DecodeError::Version),
    };
    let lengths = [36, 40, 44, 48].map(|at| u32_at(head, at) as usize);
    let [key_len, fields_len, body_len, packed_len] = lengths;
    let tags_len = usize::from(u16::from_le_bytes(array(head, 6))) * size_of::<Tag>();
    let said = [HEADER, tags_len, key_len, fields_len, packed_len];
    let said = said.into_iter().map(|n| n as u64).sum::<u64>();
    if said != bytes.len() as u64 {
        return Err(DecodeError::Truncated);
    }
    if !is_whole(bytes, head) {
        return Err(DecodeError::Checksum);
    }
    if [key_len, fields_len, body_len].into_iter().map(|n| n as u64).sum::<u64>() > max as u64 {
        return Err(DecodeError::TooLarge);
    }
    let parts = bytes.get(HEADER..).unwrap_or_default();
    let (tags, parts) = parts.split_at_checked(tags_len).unwrap_or_default();
    let (stored_key, parts) = parts.split_at_checked(key_len).unwrap_or_default();
    let (fields, packed) = parts.split_at_checked(fields_len).unwrap_or_default();
    if stored_key != key.as_bytes() {
        return Err(DecodeError::OtherKey);
    }
    let (status, fields_of) = (u16::from_le_bytes(array(head, 4)), Fields::new(fields));
    // Whoever may write to Redis must not end a head early, or send what is no response.
    let is_sent = flags & VARIANTS == 0;
    let can_be_sent = || !is_never_stored(status) && fields_of.are_sendable();
    if tags_len > MAX_TAGS * size_of::<Tag>() || !fields_of.is_sound() || is_sent && !can_be_sent()
    {
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
        status,
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
    use crate::http::fields::block;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const STAMP: Stamp = Stamp { incarnation: u64::MAX, number: 7 };

    #[test]
    fn what_is_written_is_read() {
        for body in [&b""[..], b"{}", &[b'x'; 10_000]] {
            for compress_above in [0, 1_000, usize::MAX] {
                let entry = sample("http://a/x", body);
                let bytes = encode(&entry, STAMP, compress_above);
                assert!(bytes.len() <= encoded_len_limit(entry.len()));
                assert_eq!(decode(&bytes, &Key::new(b"http://a/x"), 20_000), Ok((entry, STAMP)));
            }
        }
        assert!(encode(&sample("k", &[b'x'; 10_000]), STAMP, 100).len() < 500);
    }

    #[test]
    fn every_damage_is_noticed() {
        let bytes = encode(&sample("k", b"{\"a\":1}"), STAMP, usize::MAX);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert!(decode(&bad, &Key::new(b"k"), 1_000).is_err(), "byte {at} bit {bit}");
            }
            assert!(decode(&bytes[..at], &Key::new(b"k"), 1_000).is_err(), "cut at {at}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(decode(&longer, &Key::new(b"k"), 1_000), Err(DecodeError::Truncated));
    }

    #[test]
    fn the_right_key_and_no_more_than_allowed() {
        let bytes = encode(&sample("k", &[b'x'; 5_000]), STAMP, 0);
        assert_eq!(decode(&bytes, &Key::new(b"other"), 10_000), Err(DecodeError::OtherKey));
        assert_eq!(decode(&bytes, &Key::new(b"k"), 4_000), Err(DecodeError::TooLarge));
        assert_eq!(decode(b"", &Key::new(b"k"), 1), Err(DecodeError::Truncated));
        assert_eq!(decode(&[0; 100], &Key::new(b"k"), 1), Err(DecodeError::Version));
    }

    #[test]
    fn what_cannot_be_sent_as_it_is_is_no_entry() {
        let is_read = |status, fields: &[(&str, &str)]| {
            let meta = Meta { status, ..Meta::default() };
            let entry = Entry::new(meta, Key::new(b"k"), block(fields), (*b"body").into());
            decode(&encode(&entry, STAMP, usize::MAX), &Key::new(b"k"), 1_000).is_ok()
        };
        assert!(is_read(200, &[("x-a_b!", "\u{e9}\t,")]) && is_read(404, &[("x", "")]));
        for status in [0, 100, 101, 206, 304, 600, u16::MAX] {
            assert!(!is_read(status, &[]), "{status}");
        }
        for (name, value) in [
            ("", "a"),
            (":status", "200"),
            ("a b", ""),
            ("a\r\nb", ""),
            ("a", "b\r\nc: d"),
            ("a", "\n"),
            ("a", "\0"),
        ] {
            assert!(!is_read(200, &[(name, value)]), "{name:?}: {value:?}");
        }
    }

    /// Forged with a right checksum: nothing inside is trusted either.
    #[test]
    fn a_valid_checksum_proves_nothing() {
        let good = encode(&sample("k", &[b'x'; 300]), STAMP, 0);
        for at in (16..good.len()).chain([3, 4, 6, 7]) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut forged = good.clone();
                forged[at] = value;
                let sum = checksum(&forged).unwrap().to_le_bytes();
                forged[8..16].copy_from_slice(&sum);
                if let Ok((entry, _)) = decode(&forged, &Key::new(b"k"), 1_000) {
                    entry.fields().iter().for_each(drop);
                }
            }
        }
    }
}
