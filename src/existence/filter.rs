//! A filter of a complete list of ids: made shard by shard, asked, and written to be kept.

use xxhash_rust::xxh3::xxh3_64;

use super::ids::{Ids, place};
use super::shard::{Shard, Width};
use crate::closed_enum::closed_enum;

/// Of what is written.
const VERSION: u8 = 1;
/// Bytes before the directory: version, depth, number of ids, when they were complete, the
/// highest, number of shards.
const HEAD: usize = 1 + 1 + 8 + 8 + 8 + 4;
/// Bits of a hash that tell shards apart, at most.
const MAX_DEPTH: u8 = 16;

closed_enum! {
    /// Why bytes are no filter.
    pub enum DecodeError {
        /// Written by another version.
        Version => "version",
        /// Not all of it is there, or not only it.
        Truncated => "truncated",
        /// It has changed since it was written.
        Checksum => "checksum",
        /// It makes no sense.
        Malformed => "malformed",
    }
}

/// Says of an id whether it may exist.
#[derive(Clone, Debug)]
pub struct Filter {
    directory: Box<[u16]>,
    depth: u8,
    shards: Box<[Shard]>,
    ids: u64,
    complete_ms: u64,
    highest: u64,
}

/// A filter that is being made.
#[derive(Debug)]
pub struct Build {
    ids: Ids,
    width: Width,
    shards: Vec<Shard>,
    /// Ids in them.
    count: u64,
    complete_ms: u64,
    highest: u64,
}

impl Build {
    /// Of a list that was complete at `complete_ms`, in ms since the epoch, and its highest number.
    #[must_use]
    pub const fn new(ids: Ids, width: Width, complete_ms: u64, highest: u64) -> Self {
        Self { ids, width, shards: Vec::new(), count: 0, complete_ms, highest }
    }

    /// Makes one shard. The filter, once it has all.
    pub fn step(&mut self) -> Option<Filter> {
        if let Some(bucket) = self.ids.buckets.get_mut(self.shards.len()) {
            let mut hashes = std::mem::take(bucket);
            hashes.sort_unstable();
            hashes.dedup();
            self.count += hashes.len() as u64;
            self.shards.push(Shard::new(hashes, self.width));
        }
        (self.shards.len() == self.ids.buckets.len()).then(|| Filter {
            directory: std::mem::take(&mut self.ids.directory).into(),
            depth: self.ids.depth(),
            shards: std::mem::take(&mut self.shards).into(),
            ids: self.count,
            complete_ms: self.complete_ms,
            highest: self.highest,
        })
    }
}

impl Filter {
    /// Whether the id with this hash may exist: of those of the list always, of others seldom.
    #[must_use]
    pub fn contains(&self, hash: u64) -> bool {
        let shard = self.shards.get(place(&self.directory, self.depth, hash));
        // What is not there says nothing of any id.
        shard.is_none_or(|shard| shard.contains(hash))
    }

    /// Ids of the list, each once.
    #[must_use]
    pub const fn ids(&self) -> u64 {
        self.ids
    }

    /// When the list was complete, in ms since the epoch.
    #[must_use]
    pub const fn complete_ms(&self) -> u64 {
        self.complete_ms
    }

    /// The highest number among the ids; 0 if there is none.
    #[must_use]
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// Bytes of memory, about.
    #[must_use]
    pub fn size(&self) -> usize {
        2 * self.directory.len() + self.shards.iter().map(Shard::size).sum::<usize>()
    }

    /// The filter as it is kept: little-endian, with a checksum at its end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size() + HEAD + 8);
        out.extend_from_slice(&[VERSION, self.depth]);
        out.extend_from_slice(&self.ids.to_le_bytes());
        out.extend_from_slice(&self.complete_ms.to_le_bytes());
        out.extend_from_slice(&self.highest.to_le_bytes());
        let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&shards.to_le_bytes());
        self.directory.iter().for_each(|shard| out.extend_from_slice(&shard.to_le_bytes()));
        self.shards.iter().for_each(|shard| shard.encode(&mut out));
        let checksum = xxh3_64(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Why it is not that.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.first().is_some_and(|version| *version != VERSION) {
            return Err(DecodeError::Version);
        }
        let (content, checksum) = bytes.split_last_chunk().ok_or(DecodeError::Truncated)?;
        if u64::from_le_bytes(*checksum) != xxh3_64(content) {
            return Err(DecodeError::Checksum);
        }
        Self::read(content).ok_or(DecodeError::Malformed)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let ([_, depth], rest) = bytes.split_first_chunk()?;
        let (ids, rest) = rest.split_first_chunk()?;
        let (complete_ms, rest) = rest.split_first_chunk()?;
        let (highest, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let count = u32::from_le_bytes(*count) as usize;
        let places = (*depth <= MAX_DEPTH).then(|| 1_usize << depth)?;
        let (directory, mut rest) = rest.split_at_checked(2 * places)?;
        let (directory, _) = directory.as_chunks::<2>();
        let directory: Box<[u16]> = directory.iter().map(|n| u16::from_le_bytes(*n)).collect();
        let is_sound = directory.iter().all(|shard| usize::from(*shard) < count);
        let mut shards = Vec::with_capacity(count.min(places));
        for _ in 0..count {
            shards.push(Shard::decode(&mut rest)?);
        }
        let filter = Self {
            directory,
            depth: *depth,
            shards: shards.into(),
            ids: u64::from_le_bytes(*ids),
            complete_ms: u64::from_le_bytes(*complete_ms),
            highest: u64::from_le_bytes(*highest),
        };
        (is_sound && rest.is_empty()).then_some(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::hash;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn filter(count: u32, width: Width) -> Filter {
        let mut ids = Ids::default();
        // Each twice, as lists that change while they are paged have them.
        for n in (0..count).chain(0..count) {
            ids.add(hash(n.to_string().as_bytes()));
        }
        let mut build = Build::new(ids, width, 7, 9);
        std::iter::repeat_with(|| build.step()).take(1_000).find_map(|filter| filter).unwrap()
    }

    fn has(filter: &Filter, n: u32) -> bool {
        filter.contains(hash(n.to_string().as_bytes()))
    }

    #[test]
    fn all_are_there_and_few_others() {
        for (width, most) in [(Width::Eight, 1_000), (Width::Sixteen, 20)] {
            for count in [0, 1, 32, 33, 1_000, 100_000] {
                let filter = filter(count, width);
                assert!((0..count).all(|n| has(&filter, n)), "{count}");
                let others = (count..count + 200_000).filter(|n| has(&filter, *n)).count();
                assert!(others < most, "{others} of {count}, {width:?}");
            }
        }
        let size = filter(100_000, Width::Eight).size();
        assert!(8 * size < 11 * 100_000, "{size}");
    }

    #[test]
    fn what_is_kept_is_the_same() {
        for width in [Width::Eight, Width::Sixteen] {
            for count in [0, 20, 5_000, 50_000] {
                let filter = filter(count, width);
                let bytes = filter.encode();
                let read = Filter::decode(&bytes).unwrap();
                assert!((0..2 * count).all(|n| has(&filter, n) == has(&read, n)));
                assert_eq!(
                    (read.ids(), read.complete_ms(), read.highest()),
                    (u64::from(count), 7, 9)
                );
                assert_eq!(read.encode(), bytes);
            }
        }
    }

    #[test]
    fn what_has_changed_is_refused() {
        let bytes = filter(500, Width::Sixteen).encode();
        for at in (0..bytes.len()).step_by(7) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            assert!(Filter::decode(&changed).is_err(), "{at}");
        }
        for len in 0..bytes.len().min(200) {
            assert!(Filter::decode(&bytes[..len]).is_err(), "{len}");
        }
        assert_eq!(Filter::decode(&[2, 0]).err(), Some(DecodeError::Version));
    }

    #[test]
    fn what_makes_no_sense_is_refused_though_its_checksum_fits() {
        let bytes = filter(500, Width::Sixteen).encode();
        let content = &bytes[..bytes.len() - 8];
        for at in 0..content.len().min(100) {
            for bit in [1, 0x80] {
                let mut changed = content.to_vec();
                changed[at] ^= bit;
                let checksum = xxh3_64(&changed);
                changed.extend_from_slice(&checksum.to_le_bytes());
                // Whatever it is, it can be asked.
                if let Ok(filter) = Filter::decode(&changed) {
                    (0..1_000).for_each(|n| {
                        has(&filter, n);
                    });
                }
            }
        }
    }
}
