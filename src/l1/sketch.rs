//! How often keys were asked for lately: a count-min sketch with ageing (TinyLFU, Einziger,
//! Friedman and Manes, ACM TOS 2017).

/// Counters stop here; four bits are enough to rank, and let old fame fade.
const CAP: u8 = 15;
/// All counters are halved after this many increments per word.
const SAMPLE: usize = 8;
const MIN_WORDS: usize = 64;
/// A word shifted right by one keeps these bits: no counter takes a bit of its neighbour.
const HALVED: u64 = 0x7777_7777_7777_7777;

/// Approximate counts of 64-bit hashes, never too low before ageing.
///
/// A word holds sixteen counters of four bits. A key has two words, and two counters in each.
#[derive(Clone, Debug)]
pub struct Sketch {
    words: Vec<u64>,
    increments: usize,
}

impl Sketch {
    /// A sketch for about `keys` keys.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self { words: vec![0; keys.max(MIN_WORDS).next_power_of_two()], increments: 0 }
    }

    /// Counts one request for `hash` and returns the new estimate.
    pub fn increment(&mut self, hash: u64) -> u8 {
        let estimate = self.estimate(hash);
        if estimate < CAP {
            for (word, shift) in places(hash, self.words.len()) {
                let word = self.words.get_mut(word);
                // Conservative update: only the smallest grow.
                if let Some(word) = word.filter(|word| counter(**word, shift) == estimate) {
                    *word += 1 << shift;
                }
            }
        }
        self.increments += 1;
        if self.increments >= self.words.len() * SAMPLE {
            self.age();
        }
        (estimate + 1).min(CAP)
    }

    /// How often `hash` was counted, at least.
    #[must_use]
    pub fn estimate(&self, hash: u64) -> u8 {
        let places = places(hash, self.words.len()).into_iter();
        let counts =
            places.filter_map(|(word, shift)| Some(counter(*self.words.get(word)?, shift)));
        counts.min().unwrap_or(0)
    }

    /// Makes room for `keys` keys. A wider sketch starts as copies of the narrow one side by side,
    /// so that no estimate is lost.
    pub fn grow(&mut self, keys: usize) {
        while self.words.len() < keys {
            self.words.reserve_exact(self.words.len());
            self.words.extend_from_within(..);
        }
    }

    /// Leaves room for `keys` keys and no more: what then falls together is counted as often as each of it, at least.
    pub fn shrink(&mut self, keys: usize) {
        let width = keys.max(MIN_WORDS).next_power_of_two();
        while self.words.len() > width {
            let upper = self.words.split_off(self.words.len() / 2);
            self.words.iter_mut().zip(upper).for_each(|(word, other)| *word |= other);
        }
        self.words.shrink_to_fit();
        self.increments = self.increments.min(self.words.len() * SAMPLE / 2);
    }

    fn age(&mut self) {
        self.words.iter_mut().for_each(|word| *word = (*word >> 1) & HALVED);
        self.increments /= 2;
    }
}

#[allow(clippy::cast_possible_truncation)] // four bits
const fn counter(word: u64, shift: u32) -> u8 {
    (word >> shift) as u8 & CAP
}

/// The words and shifts of a key's counters, different ones in the same word; `width` is a power
/// of two. Each word is found by other bits of the hash, low ones, so that a wider sketch finds
/// a copy of what the narrow one held.
#[allow(clippy::cast_possible_truncation)] // bits are picked on purpose
const fn places(hash: u64, width: usize) -> [(usize, u32); 4] {
    let mask = width - 1;
    let (first, second) = (hash as usize & mask, (hash >> 24) as usize & mask);
    let picks = (hash >> 52) as u32;
    [
        (first, (picks & 7) * 4),
        (first, (picks >> 3 & 7) * 4 + 32),
        (second, (picks >> 6 & 7) * 4),
        (second, (picks >> 9 & 7) * 4 + 32),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn hash(n: u64) -> u64 {
        let mixed = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31)
    }

    #[test]
    fn frequent_keys_outrank_rare_ones() {
        let mut sketch = Sketch::new(1_000);
        for n in 0..1_000 {
            sketch.increment(hash(n));
        }
        for _ in 0..5 {
            sketch.increment(hash(7));
        }
        assert!((6..9).contains(&sketch.estimate(hash(7))));
        let overcounted = (0..1_000).filter(|n| sketch.estimate(hash(*n)) > 2).count();
        assert!(overcounted < 50, "{overcounted}");
    }

    #[test]
    fn fame_fades_and_growing_keeps_it() {
        let mut sketch = Sketch::new(MIN_WORDS);
        for _ in 0..20 {
            sketch.increment(hash(1));
        }
        sketch.grow(MIN_WORDS * 4);
        assert_eq!((sketch.words.len(), sketch.estimate(hash(1))), (MIN_WORDS * 4, CAP));
        for n in 0..(MIN_WORDS * 4 * SAMPLE) as u64 {
            sketch.increment(hash(n + 100));
        }
        assert!(sketch.estimate(hash(1)) < CAP);
    }

    #[test]
    fn a_key_has_counters_of_its_own() {
        for n in 0..1_000 {
            let mut places = places(hash(n), 1 << 20).to_vec();
            assert!(places.iter().all(|(word, shift)| *word < 1 << 20 && *shift < 64));
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), 4);
        }
    }
}
