//! What Redis should have, but was not asked to take: the hottest of it is written back once it takes writes
//! again.

use std::rc::Rc;

use hashbrown::HashMap;

use crate::entry::Entry;

/// Among so many, drawn by lot, the coldest gives way.
const DRAWN: usize = 8;

/// Entries, bounded by their bytes.
#[derive(Debug)]
pub(super) struct Missed {
    entries: Vec<Rc<Entry>>,
    /// Where each is, by the hash of its key.
    places: HashMap<u128, usize>,
    bytes: usize,
    budget: usize,
    random: fastrand::Rng,
}

impl Missed {
    pub(super) fn new(budget: usize) -> Self {
        let (entries, places) = (Vec::new(), HashMap::new());
        Self { entries, places, bytes: 0, budget, random: fastrand::Rng::with_seed(0) }
    }

    /// Keeps an entry, unless what would have to give way for it is hotter. Returns what is not kept.
    pub(super) fn keep(&mut self, entry: Rc<Entry>, heat: impl Fn(&Entry) -> u8) -> Vec<Rc<Entry>> {
        // What it replaces is missed no more.
        let _ = self.take(entry.key().hash());
        if entry.len() > self.budget {
            // Nobody gives way for what has no room even then.
            return vec![entry];
        }
        let mut dropped = Vec::new();
        let own = heat(&entry);
        while self.bytes + entry.len() > self.budget {
            match self.coldest(&heat) {
                Some((place, coldest)) if coldest <= own => dropped.push(self.remove(place)),
                _ => {
                    dropped.push(entry);
                    return dropped;
                }
            }
        }
        self.bytes += entry.len();
        self.places.insert(entry.key().hash(), self.entries.len());
        self.entries.push(entry);
        dropped
    }

    /// Takes out what is kept under a hash.
    pub(super) fn take(&mut self, hash: u128) -> Option<Rc<Entry>> {
        let place = *self.places.get(&hash)?;
        Some(self.remove(place))
    }

    /// Takes everything out, the hottest first.
    pub(super) fn take_all(&mut self, heat: impl Fn(&Entry) -> u8) -> Vec<Rc<Entry>> {
        self.bytes = 0;
        self.places.clear();
        let mut all = std::mem::take(&mut self.entries);
        all.sort_by_cached_key(|entry| u8::MAX - heat(entry));
        all
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn coldest(&mut self, heat: impl Fn(&Entry) -> u8) -> Option<(usize, u8)> {
        let (entries, random) = (&self.entries, &mut self.random);
        let drawn = (0..DRAWN.min(entries.len())).map(|_| random.usize(..entries.len()));
        let heats = drawn.filter_map(|place| Some((place, heat(entries.get(place)?))));
        heats.min_by_key(|(_, heat)| *heat)
    }

    fn remove(&mut self, place: usize) -> Rc<Entry> {
        let entry = self.entries.swap_remove(place);
        self.places.remove(&entry.key().hash());
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.key().hash(), place);
        }
        self.bytes -= entry.len();
        entry
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

    /// Its number is its heat.
    fn entry(number: u8) -> Rc<Entry> {
        let fields = FieldsBuf::default().to_block();
        Rc::new(Entry::new(Meta::default(), Key::new(&[number]), fields, vec![number; 100].into()))
    }

    fn heat(entry: &Entry) -> u8 {
        entry.key().as_bytes()[0]
    }

    #[test]
    fn the_hottest_stay_within_the_budget() {
        let len = entry(0).len();
        let mut missed = Missed::new(10 * len);
        let mut dropped = 0;
        for number in (0..200).rev().chain(0..200) {
            dropped += missed.keep(entry(number), heat).len();
            assert!(missed.bytes <= missed.budget && missed.bytes == missed.entries.len() * len);
            assert_eq!(missed.places.len(), missed.entries.len());
            assert!(missed.places.iter().all(|(hash, n)| missed.entries[*n].key().hash() == *hash));
        }
        let kept: Vec<u8> = missed.take_all(heat).iter().map(|entry| heat(entry)).collect();
        assert!(kept.is_sorted_by(|a, b| a > b) && kept.len() == 10);
        assert!(kept.iter().all(|heat| *heat >= 150), "{kept:?}");
        assert!(missed.is_empty() && dropped >= 190);
    }

    /// `degraded.write_back` may be less than `l2.max_entry`: one such pushes out all that is no hotter, and is not kept.
    #[test]
    fn what_has_no_room_at_all_pushes_nothing_out() {
        let mut missed = Missed::new(10 * entry(0).len());
        (0..10).for_each(|number| assert!(missed.keep(entry(number), heat).is_empty()));
        let (fields, body) = (FieldsBuf::default().to_block(), vec![0; 2_000].into());
        let large = Rc::new(Entry::new(Meta::default(), Key::new(&[200]), fields, body));
        assert_eq!(missed.keep(Rc::clone(&large), heat), [large]);
        assert_eq!(missed.take_all(heat).len(), 10);
    }

    #[test]
    fn a_newer_one_takes_the_place_of_the_older() {
        let mut missed = Missed::new(1_000);
        for _ in 0..100 {
            assert!(missed.keep(entry(7), heat).is_empty());
        }
        assert!(missed.take(entry(7).key().hash()).is_some() && missed.is_empty());
        let mut none = Missed::new(0);
        assert_eq!(none.keep(entry(7), heat).len(), 1);
    }
}
