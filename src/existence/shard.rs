//! A part of a filter: the ids of one bucket.

use xorf::{BinaryFuse8, BinaryFuse16, Descriptor, Filter as _};

/// Up to so many ids their hashes themselves take less room, and say nothing wrong.
const EXACT: usize = 32;
/// Bytes of a fuse filter before its fingerprints.
const HEAD: usize = 20;

/// Bits of a fingerprint: of absent ids one in two to the power of so many seems to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// About 9 bits for each id; 0.39 %.
    Eight,
    /// About 18 bits for each id; 0.0015 %.
    Sixteen,
}

/// The ids of one bucket.
#[derive(Clone, Debug)]
pub(super) enum Shard {
    /// Sorted hashes.
    Exact(Box<[u64]>),
    Eight(BinaryFuse8),
    Sixteen(BinaryFuse16),
}

impl Shard {
    /// Of sorted hashes without duplicates.
    pub(super) fn new(hashes: Vec<u64>, width: Width) -> Self {
        if hashes.len() <= EXACT {
            return Self::Exact(hashes.into());
        }
        let made = match width {
            Width::Eight => BinaryFuse8::try_from(&hashes[..]).map(Self::Eight),
            Width::Sixteen => BinaryFuse16::try_from(&hashes[..]).map(Self::Sixteen),
        };
        // It can fail, for want of luck: then nothing is left out either.
        made.unwrap_or_else(|_| Self::Exact(hashes.into()))
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        match self {
            Self::Exact(hashes) => hashes.binary_search(&hash).is_ok(),
            Self::Eight(filter) => filter.contains(&hash),
            Self::Sixteen(filter) => filter.contains(&hash),
        }
    }

    /// Bytes of memory, about.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Exact(hashes) => 8 * hashes.len(),
                Self::Eight(filter) => filter.fingerprints.len(),
                Self::Sixteen(filter) => 2 * filter.fingerprints.len(),
            }
    }

    /// Appends kind, number of elements, and what there is.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut head = |kind: u8, len: usize| {
            out.push(kind);
            out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
        };
        match self {
            Self::Exact(hashes) => {
                head(0, hashes.len());
                hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            }
            Self::Eight(filter) => {
                head(1, filter.fingerprints.len());
                out.extend_from_slice(&write(&filter.descriptor));
                out.extend_from_slice(&filter.fingerprints);
            }
            Self::Sixteen(filter) => {
                head(2, filter.fingerprints.len());
                out.extend_from_slice(&write(&filter.descriptor));
                filter.fingerprints.iter().for_each(|f| out.extend_from_slice(&f.to_le_bytes()));
            }
        }
    }

    /// Takes one off the front of `bytes`; none if there is none that can be asked.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (len, rest) = rest.split_first_chunk()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (shard, rest) = match kind {
            0 => {
                let (hashes, rest) = rest.split_at_checked(len.checked_mul(8)?)?;
                let (hashes, _) = hashes.as_chunks::<8>();
                let hashes: Box<[u64]> = hashes.iter().map(|h| u64::from_le_bytes(*h)).collect();
                (hashes.is_sorted().then_some(Self::Exact(hashes))?, rest)
            }
            1 => {
                let (head, rest) = rest.split_first_chunk()?;
                let (fingerprints, rest) = rest.split_at_checked(len)?;
                let (descriptor, fingerprints) = (read(head, len)?, fingerprints.into());
                (Self::Eight(BinaryFuse8 { descriptor, fingerprints }), rest)
            }
            2 => {
                let (head, rest) = rest.split_first_chunk()?;
                let (fingerprints, rest) = rest.split_at_checked(len.checked_mul(2)?)?;
                let (fingerprints, _) = fingerprints.as_chunks::<2>();
                let fingerprints = fingerprints.iter().map(|f| u16::from_le_bytes(*f)).collect();
                let descriptor = read(head, len)?;
                (Self::Sixteen(BinaryFuse16 { descriptor, fingerprints }), rest)
            }
            _ => return None,
        };
        *bytes = rest;
        Some(shard)
    }
}

fn write(descriptor: &Descriptor) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let (seed, rest) = head.split_at_mut(8);
    seed.copy_from_slice(&descriptor.seed.to_le_bytes());
    let numbers = [
        descriptor.segment_length,
        descriptor.segment_length_mask,
        descriptor.segment_count_length,
    ];
    for (place, number) in rest.chunks_exact_mut(4).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    head
}

/// Reads the descriptor of a filter with so many fingerprints; none if a look-up would reach beyond them.
fn read(head: &[u8; HEAD], len: usize) -> Option<Descriptor> {
    let (seed, rest) = head.split_first_chunk()?;
    let (numbers, _) = rest.as_chunks::<4>();
    let [segment_length, segment_length_mask, segment_count_length] =
        *numbers.first_chunk::<3>()?;
    let number = u32::from_le_bytes;
    let descriptor = Descriptor {
        seed: u64::from_le_bytes(*seed),
        segment_length: number(segment_length),
        segment_length_mask: number(segment_length_mask),
        segment_count_length: number(segment_count_length),
    };
    let Descriptor { segment_length, segment_length_mask, segment_count_length, .. } = descriptor;
    let is_sound = segment_length.is_power_of_two()
        && segment_length_mask == segment_length - 1
        && segment_count_length >= segment_length
        && segment_count_length % segment_length == 0
        && u64::from(segment_count_length) + 2 * u64::from(segment_length) == len as u64;
    is_sound.then_some(descriptor)
}
