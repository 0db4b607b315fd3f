//! A list of ids while it is read: hashes, in buckets small enough that a filter of each is built in one tick.

use xxhash_rust::xxh3::xxh3_64;

/// Hashes in a bucket, at most, but for those that so many bits do not tell apart.
const MOST: usize = 32_768;
/// Bits of a hash that tell buckets apart, at most: enough for a thousand million ids.
const MAX_DEPTH: u8 = 15;

/// The hash of an id as it stands in a request or in a list.
#[must_use]
pub fn hash(id: &[u8]) -> u64 {
    xxh3_64(id)
}

/// Hashes by their first bits: a bucket that is full becomes two (extendible hashing: Fagin et al., TODS 1979).
#[derive(Debug)]
pub struct Ids {
    /// By the first bits of a hash: its bucket.
    pub(super) directory: Vec<u16>,
    pub(super) buckets: Vec<Vec<u64>>,
    /// How many bits tell each bucket from all others.
    depths: Vec<u8>,
    depth: u8,
    count: usize,
}

impl Default for Ids {
    fn default() -> Self {
        Self { directory: vec![0], buckets: vec![Vec::new()], depths: vec![0], depth: 0, count: 0 }
    }
}

impl Ids {
    /// Ids added so far, as often as they were.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds the id with this hash.
    pub fn add(&mut self, hash: u64) {
        self.count += 1;
        loop {
            let index = place(&self.directory, self.depth, hash);
            let deepest = self.depths.get(index).is_none_or(|depth| *depth >= MAX_DEPTH);
            let Some(bucket) = self.buckets.get_mut(index) else { return };
            if bucket.len() < MOST || deepest {
                return bucket.push(hash);
            }
            // As it is: many are full at about the same time, and to sort them all would take long.
            self.split(index);
        }
    }

    /// Leaves each hash of a bucket there once: how many those are; none if there is no such bucket. Bucket by
    /// bucket, as all at once take longer than an event loop may stand still.
    pub fn settle(&mut self, bucket: usize) -> Option<usize> {
        let bucket = self.buckets.get_mut(bucket)?;
        bucket.sort_unstable();
        bucket.dedup();
        Some(bucket.len())
    }

    /// Makes two buckets of one.
    fn split(&mut self, index: usize) {
        let Some(depth) = self.depths.get_mut(index) else { return };
        *depth += 1;
        let depth = *depth;
        if depth > self.depth {
            self.depth = depth;
            self.directory = self.directory.iter().flat_map(|bucket| [*bucket, *bucket]).collect();
        }
        let Ok(new) = u16::try_from(self.buckets.len()) else { return };
        let is_second = |hash: u64| hash >> (64 - depth) & 1 == 1;
        let Some(bucket) = self.buckets.get_mut(index) else { return };
        let (second, first) = bucket.iter().partition(|hash| is_second(**hash));
        *bucket = first;
        self.buckets.push(second);
        self.depths.push(depth);
        let of = |place: usize| is_second((place as u64) << (64 - self.depth));
        for (place, bucket) in self.directory.iter_mut().enumerate() {
            if usize::from(*bucket) == index && of(place) {
                *bucket = new;
            }
        }
    }
}

/// Which bucket a hash falls into.
pub(super) fn place(directory: &[u16], depth: u8, hash: u64) -> usize {
    // Without a bit there is one bucket.
    let first = hash.checked_shr(64 - u32::from(depth)).unwrap_or(0);
    let bucket = usize::try_from(first).ok().and_then(|first| directory.get(first));
    bucket.map_or(usize::MAX, |bucket| usize::from(*bucket))
}

impl Ids {
    /// Bits that tell buckets apart.
    pub(super) const fn depth(&self) -> u8 {
        self.depth
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn each_falls_into_the_bucket_it_was_put_into() {
        let mut ids = Ids::default();
        let all: Vec<u64> = (0..200_000_u32).map(|n| hash(n.to_string().as_bytes())).collect();
        all.iter().for_each(|hash| ids.add(*hash));
        assert_eq!(ids.len(), all.len());
        assert!((7..=32).contains(&ids.buckets.len()), "{}", ids.buckets.len());
        assert!(ids.buckets.iter().all(|bucket| bucket.len() <= MOST));
        assert_eq!(ids.buckets.iter().map(Vec::len).sum::<usize>(), all.len());
        for hash in all.into_iter().step_by(97) {
            assert!(ids.buckets[place(&ids.directory, ids.depth, hash)].contains(&hash));
        }
    }

    #[test]
    fn each_is_counted_once() {
        let mut ids = Ids::default();
        let all = (0..100_000_u32).map(|n| hash(n.to_string().as_bytes()));
        all.clone().chain(all).for_each(|hash| ids.add(hash));
        let settled: usize = (0..).map_while(|bucket| ids.settle(bucket)).sum();
        assert_eq!((settled, ids.len()), (100_000, 200_000));
    }

    #[test]
    fn what_no_bits_tell_apart_stays_together() {
        let mut ids = Ids::default();
        (0..2 * MOST as u64).for_each(|n| ids.add(n));
        assert!(ids.buckets.iter().any(|bucket| bucket.len() == 2 * MOST));
    }
}
