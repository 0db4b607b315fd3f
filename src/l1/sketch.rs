//! How often keys were asked for lately: a count-min sketch with ageing (TinyLFU, Einziger,
//! Friedman and Manes, ACM TOS 2017).

/// Counters stop here; four bits are enough to rank, and let old fame fade.
const CAP: u8 = 15;
const ROWS: usize = 4;
/// All counters are halved after this many increments per column.
const SAMPLE: usize = 10;
const MIN_COLUMNS: usize = 256;

/// Approximate counts of 64-bit hashes, never too low before ageing.
#[derive(Clone, Debug)]
pub struct Sketch {
    counters: Vec<[u8; ROWS]>,
    increments: usize,
}

impl Sketch {
    /// A sketch for about `keys` keys.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let columns = keys.max(MIN_COLUMNS).next_power_of_two();
        Self { counters: vec![[0; ROWS]; columns], increments: 0 }
    }

    /// Counts one request for `hash` and returns the new estimate.
    pub fn increment(&mut self, hash: u64) -> u8 {
        let estimate = self.estimate(hash);
        if estimate < CAP {
            for (row, column) in columns(hash, self.counters.len()).into_iter().enumerate() {
                let counter = self.counters.get_mut(column).and_then(|c| c.get_mut(row));
                if let Some(counter) = counter.filter(|c| **c == estimate) {
                    *counter += 1; // conservative update: only the smallest grow
                }
            }
        }
        self.increments += 1;
        if self.increments >= self.counters.len() * SAMPLE {
            self.age();
        }
        (estimate + 1).min(CAP)
    }

    /// How often `hash` was counted, at least.
    #[must_use]
    pub fn estimate(&self, hash: u64) -> u8 {
        let rows = columns(hash, self.counters.len()).into_iter().enumerate();
        let counts = rows.filter_map(|(row, column)| self.counters.get(column)?.get(row).copied());
        counts.min().unwrap_or(0)
    }

    /// Makes room for `keys` keys. A wider sketch starts as copies of the narrow one side by side,
    /// so that no estimate is lost.
    pub fn grow(&mut self, keys: usize) {
        while self.counters.len() < keys {
            self.counters.extend_from_within(..);
        }
    }

    fn age(&mut self) {
        self.counters.iter_mut().flatten().for_each(|counter| *counter /= 2);
        self.increments /= 2;
    }
}

/// One column a row; `width` is a power of two.
fn columns(hash: u64, width: usize) -> [usize; ROWS] {
    let step = (hash >> 32) | 1;
    std::array::from_fn(|row| {
        let mixed =
            hash.wrapping_add(step.wrapping_mul(row as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        #[allow(clippy::cast_possible_truncation)] // the high half is taken on purpose
        let column = (mixed >> 32) as usize;
        column & (width - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn hash(n: u64) -> u64 {
        n.wrapping_add(1).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31)
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
        assert!(sketch.estimate(hash(7)) >= 6);
        let overcounted = (0..1_000).filter(|n| sketch.estimate(hash(*n)) > 2).count();
        assert!(overcounted < 50, "{overcounted}");
    }

    #[test]
    fn fame_fades_and_growing_keeps_it() {
        let mut sketch = Sketch::new(MIN_COLUMNS);
        for _ in 0..15 {
            sketch.increment(hash(1));
        }
        sketch.grow(MIN_COLUMNS * 4);
        assert_eq!(sketch.estimate(hash(1)), CAP);
        for n in 0..(MIN_COLUMNS * 4 * SAMPLE) as u64 {
            sketch.increment(hash(n + 100));
        }
        assert!(sketch.estimate(hash(1)) < CAP);
    }
}
