//! A filter of a complete list of ids: made shard by shard, asked, and written to be kept.

use xxhash_rust::xxh3::xxh3_64;

use super::ids::{Ids, place};
use super::shard::{Shard, Width};
use crate::closed_enum::closed_enum;

/// Of what is written.
const VERSION: u8 = 1;
/// Bits of a hash that tell shards apart, at most.
const MAX_DEPTH: u8 = 16;
/// Bytes of shards for each id, at most; and however few there are.
const PER_ID: usize = 8;
const FEW: usize = 1 << 10;

closed_enum! {
    /// Why bytes are no filter.
    pub enum DecodeError {
        /// Written by another version.
        Version => "version",
        /// Not all of it is there, or not only it.
        Truncated => "truncated",
        /// It has changed since it was written.
        Checksum => "checksum",
        /// It is a piece of another filter, or another piece of this one.
        Another => "another",
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

    /// Pieces that it is kept in: the first says what there is, each other one has a shard.
    #[must_use]
    pub fn pieces(&self) -> usize {
        1 + self.shards.len()
    }

    /// A piece of the filter with this number, little-endian, with a checksum at its end.
    #[must_use]
    pub fn piece(&self, serial: u64, index: usize) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&serial.to_le_bytes());
        out.extend_from_slice(&u32::try_from(index).unwrap_or(u32::MAX).to_le_bytes());
        match index.checked_sub(1) {
            None => self.encode_head(&mut out),
            Some(index) => {
                if let Some(shard) = self.shards.get(index) {
                    shard.encode(&mut out);
                }
            }
        }
        let checksum = xxh3_64(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    fn encode_head(&self, out: &mut Vec<u8>) {
        out.push(self.depth);
        for number in [self.ids, self.complete_ms, self.highest, self.shards.len() as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.directory.iter().for_each(|shard| out.extend_from_slice(&shard.to_le_bytes()));
    }
}

/// A filter that is put together again from its pieces.
#[derive(Debug)]
pub struct Assembly {
    serial: u64,
    depth: u8,
    ids: u64,
    complete_ms: u64,
    highest: u64,
    directory: Box<[u16]>,
    shards: Vec<Option<Shard>>,
    missing: usize,
    /// Bytes of shards there is room for.
    room: usize,
}

impl Assembly {
    /// Begins with the first piece of the filter with this number.
    ///
    /// # Errors
    /// Why it is not that.
    pub fn new(serial: u64, piece: &[u8]) -> Result<Self, DecodeError> {
        Self::read(serial, open(serial, 0, piece)?).ok_or(DecodeError::Malformed)
    }

    fn read(serial: u64, bytes: &[u8]) -> Option<Self> {
        let (depth, bytes) = bytes.split_first()?;
        let (ids, bytes) = bytes.split_first_chunk()?;
        let (complete_ms, bytes) = bytes.split_first_chunk()?;
        let (highest, bytes) = bytes.split_first_chunk()?;
        let (count, bytes) = bytes.split_first_chunk()?;
        let places = (*depth <= MAX_DEPTH).then(|| 1_usize << depth)?;
        let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
        if bytes.len() != 2 * places || count > places {
            return None;
        }
        let (directory, _) = bytes.as_chunks::<2>();
        let directory: Box<[u16]> = directory.iter().map(|n| u16::from_le_bytes(*n)).collect();
        let is_sound = directory.iter().all(|shard| usize::from(*shard) < count);
        is_sound.then(|| Self {
            serial,
            depth: *depth,
            ids: u64::from_le_bytes(*ids),
            complete_ms: u64::from_le_bytes(*complete_ms),
            highest: u64::from_le_bytes(*highest),
            directory,
            shards: std::iter::repeat_with(|| None).take(count).collect(),
            missing: count,
            room: usize::MAX,
        })
    }

    /// The same, for a filter of so many ids at most: others may have written what is larger.
    #[must_use]
    pub fn within(self, ids: usize) -> Self {
        Self { room: ids.saturating_mul(PER_ID).saturating_add(FEW), ..self }
    }

    /// Pieces that there are, the first one included.
    #[must_use]
    pub fn pieces(&self) -> usize {
        1 + self.shards.len()
    }

    /// Adds another piece.
    ///
    /// # Errors
    /// Why it is none of this filter.
    pub fn add(&mut self, index: usize, piece: &[u8]) -> Result<(), DecodeError> {
        let mut bytes = open(self.serial, index, piece)?;
        let place = index.checked_sub(1).and_then(|index| self.shards.get_mut(index));
        let place = place.ok_or(DecodeError::Malformed)?;
        if place.is_none() {
            self.room = self.room.checked_sub(bytes.len()).ok_or(DecodeError::Malformed)?;
        }
        let shard = Shard::decode(&mut bytes).filter(|_| bytes.is_empty());
        let shard = shard.ok_or(DecodeError::Malformed)?;
        self.missing -= usize::from(place.replace(shard).is_none());
        Ok(())
    }

    /// The filter, if all pieces are there.
    #[must_use]
    pub fn finish(&mut self) -> Option<Filter> {
        (self.missing == 0).then(|| Filter {
            directory: std::mem::take(&mut self.directory),
            depth: self.depth,
            shards: std::mem::take(&mut self.shards).into_iter().flatten().collect(),
            ids: self.ids,
            complete_ms: self.complete_ms,
            highest: self.highest,
        })
    }
}

/// What is in a piece, if it is this one.
fn open(serial: u64, index: usize, piece: &[u8]) -> Result<&[u8], DecodeError> {
    if piece.first().is_some_and(|version| *version != VERSION) {
        return Err(DecodeError::Version);
    }
    let (content, checksum) = piece.split_last_chunk().ok_or(DecodeError::Truncated)?;
    if u64::from_le_bytes(*checksum) != xxh3_64(content) {
        return Err(DecodeError::Checksum);
    }
    let (_, content) = content.split_first().ok_or(DecodeError::Truncated)?;
    let (of, content) = content.split_first_chunk().ok_or(DecodeError::Truncated)?;
    let (at, content) = content.split_first_chunk().ok_or(DecodeError::Truncated)?;
    let is_it = u64::from_le_bytes(*of) == serial && u32::from_le_bytes(*at) as usize == index;
    if is_it { Ok(content) } else { Err(DecodeError::Another) }
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

    const SERIAL: u64 = 77;

    fn pieces(filter: &Filter) -> Vec<Vec<u8>> {
        (0..filter.pieces()).map(|index| filter.piece(SERIAL, index)).collect()
    }

    fn assemble(pieces: &[Vec<u8>]) -> Result<Option<Filter>, DecodeError> {
        let mut assembly = Assembly::new(SERIAL, &pieces[0])?;
        for (index, piece) in pieces.iter().enumerate().skip(1).rev() {
            assert!(assembly.finish().is_none());
            assembly.add(index, piece)?;
            assembly.add(index, piece)?;
        }
        Ok(assembly.finish())
    }

    #[test]
    fn what_is_kept_is_the_same() {
        for width in [Width::Eight, Width::Sixteen] {
            for count in [0, 20, 5_000, 50_000] {
                let filter = filter(count, width);
                let kept = pieces(&filter);
                let read = assemble(&kept).unwrap().unwrap();
                assert!((0..2 * count).all(|n| has(&filter, n) == has(&read, n)));
                let facts = (read.ids(), read.complete_ms(), read.highest());
                assert_eq!(facts, (u64::from(count), 7, 9));
                assert_eq!(pieces(&read), kept);
            }
        }
    }

    /// Redis may hold pieces of 32 MiB, 65,536 of them, each with the checksum that anybody can make.
    #[test]
    fn no_more_is_kept_than_so_many_ids_need() {
        for count in [0_u32, 1, 33, 100, 1_000, 50_000] {
            for width in [Width::Eight, Width::Sixteen] {
                let kept = pieces(&filter(count, width));
                let assembly = Assembly::new(SERIAL, &kept[0]).unwrap().within(count as usize);
                let add = |mut all: Assembly| {
                    kept.iter().enumerate().skip(1).try_for_each(|(n, piece)| all.add(n, piece))
                };
                assert_eq!(add(assembly), Ok(()), "{count} {width:?}");
                let tight = Assembly::new(SERIAL, &kept[0]).unwrap().within(1_000);
                assert_eq!(add(tight).is_err(), count > 1_000, "{count} {width:?}");
            }
        }
    }

    #[test]
    fn what_has_changed_is_refused() {
        let filter = filter(50_000, Width::Sixteen);
        let kept = pieces(&filter);
        for at in (0..kept[0].len()).chain((0..kept[1].len()).step_by(977)) {
            for index in [0, 1] {
                let mut changed = kept.clone();
                if let Some(byte) = changed[index].get_mut(at) {
                    *byte ^= 0x40;
                    assert!(assemble(&changed).is_err(), "{index} {at}");
                }
            }
        }
        let mut swapped = kept.clone();
        swapped.swap(1, 2);
        assert_eq!(assemble(&swapped).err(), Some(DecodeError::Another));
        let other = Assembly::new(SERIAL + 1, &kept[0]);
        assert_eq!(other.err(), Some(DecodeError::Another));
        assert_eq!(Assembly::new(SERIAL, &[2, 0]).err(), Some(DecodeError::Version));
        for len in 0..kept[0].len() {
            assert!(Assembly::new(SERIAL, &kept[0][..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_though_its_checksum_fits() {
        let kept = pieces(&filter(500, Width::Sixteen));
        for (index, piece) in kept.iter().enumerate() {
            for at in 13..(piece.len() - 8).min(100) {
                for bit in [1, 0x80] {
                    let mut changed = kept.clone();
                    let mut content = piece[..piece.len() - 8].to_vec();
                    content[at] ^= bit;
                    let checksum = xxh3_64(&content);
                    content.extend_from_slice(&checksum.to_le_bytes());
                    changed[index] = content;
                    // Whatever it is, it can be asked.
                    if let Ok(Some(filter)) = assemble(&changed) {
                        (0..1_000).for_each(|n| {
                            has(&filter, n);
                        });
                    }
                }
            }
        }
    }

    #[test]
    fn a_shard_that_look_ups_would_leave_is_refused() {
        let kept = pieces(&filter(100, Width::Eight));
        // A segment of 4, and none that an id may fall into: 4, 3, 0.
        for (segments, is_sound) in [(0_u32, false), (4, true), (3, false)] {
            let mut content = kept[1][..13].to_vec();
            content.push(1);
            content.extend_from_slice(&(8 + segments).to_le_bytes());
            content.extend_from_slice(&[0; 8]);
            [4, 3, segments].iter().for_each(|n| content.extend_from_slice(&n.to_le_bytes()));
            content.resize(content.len() + 8 + segments as usize, 0);
            let checksum = xxh3_64(&content);
            content.extend_from_slice(&checksum.to_le_bytes());
            let filter = assemble(&[kept[0].clone(), content]);
            assert_eq!(filter.is_ok(), is_sound, "{segments}");
            if let Ok(Some(filter)) = filter {
                (0..1_000).for_each(|n| _ = has(&filter, n));
            }
        }
    }
}
