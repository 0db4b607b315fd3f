//! What a worker's own memory holds: negative answers have a budget of their own, so that requests for what
//! does not exist push out nothing that does.

use std::rc::Rc;

use super::store::Store;
use crate::entry::Entry;

/// Two stores, each key in one of them at most.
#[derive(Debug)]
pub struct Entries {
    positive: Store<Rc<Entry>>,
    negative: Store<Rc<Entry>>,
}

impl Entries {
    /// Empty stores of no size; `seed` keeps outsiders from choosing colliding keys.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { positive: Store::new(0, seed), negative: Store::new(0, seed) }
    }

    /// Changes the budgets: of all but negative answers, and of those.
    pub fn set_budgets(&mut self, positive: usize, negative: usize) {
        self.positive.set_budget(positive);
        self.negative.set_budget(negative);
    }

    /// The entry for `key`, counted as used.
    pub fn get(&mut self, key: &[u8]) -> Option<&Rc<Entry>> {
        match self.positive.get(key) {
            None if !self.negative.is_empty() => self.negative.get(key),
            found => found,
        }
    }

    /// Stores an entry in the place of what was there. Whether it is held now.
    pub fn insert(&mut self, entry: Rc<Entry>) -> bool {
        let (store, other) = if entry.is_negative() {
            (&mut self.negative, &mut self.positive)
        } else {
            (&mut self.positive, &mut self.negative)
        };
        if !other.is_empty() {
            other.remove(entry.key().as_bytes());
        }
        store.insert(entry)
    }

    /// How much `key` is asked for: a rank.
    #[must_use]
    pub fn heat(&self, key: &[u8]) -> u8 {
        self.positive.heat(key).max(self.negative.heat(key))
    }

    /// Takes the entry for `key` out. Returns whether there was one.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.positive.remove(key) || self.negative.remove(key)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.positive.clear();
        self.negative.clear();
    }

    /// Bytes charged to the budgets: of all but negative answers, and of those.
    #[must_use]
    pub const fn weights(&self) -> (usize, usize) {
        (self.positive.weight(), self.negative.weight())
    }

    /// Entries held now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries pushed out for others since the start.
    #[must_use]
    pub const fn evictions(&self) -> u64 {
        self.positive.evictions() + self.negative.evictions()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Meta;
    use crate::http::fields::FieldsBuf;
    use crate::http::key::Key;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn entry(key: &str, status: u16) -> Rc<Entry> {
        let meta = Meta { status, ..Meta::default() };
        let fields = FieldsBuf::default().to_block();
        Rc::new(Entry::new(meta, Key::new(key.as_bytes()), fields, vec![0; 100].into()))
    }

    #[test]
    fn what_does_not_exist_pushes_out_nothing_that_does() {
        let mut entries = Entries::new(1);
        entries.set_budgets(100_000, 10_000);
        for n in 0..100 {
            assert!(entries.insert(entry(&format!("game {n}"), 200)));
        }
        for n in 0..10_000 {
            entries.insert(entry(&format!("none {n}"), 404));
        }
        let (positive, negative) = entries.weights();
        assert!(positive > 30_000 && negative <= 10_000 && negative > 9_000);
        assert!((0..100).all(|n| entries.get(format!("game {n}").as_bytes()).is_some()));
    }

    #[test]
    fn a_key_is_in_one_of_them() {
        let mut entries = Entries::new(1);
        entries.set_budgets(10_000, 10_000);
        for status in [404, 200, 410] {
            entries.insert(entry("a", status));
            assert_eq!(entries.get(b"a").map(|entry| entry.meta().status), Some(status));
            assert_eq!(entries.len(), 1);
        }
        assert!(entries.remove(b"a") && entries.is_empty());
    }
}
