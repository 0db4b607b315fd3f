//! Ids that came into being since the list was read: a filter does not know them.

use hashbrown::HashSet;

/// A bounded set of hashes, in two parts: those from before a list is being read, which it has, and those from
/// since, which it may not have.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    capacity: usize,
    before: HashSet<u64>,
    since: HashSet<u64>,
    /// Whether a list is being read.
    reading: bool,
    /// Whether ids found no room: before, and since.
    lost: (bool, bool),
}

impl Overlay {
    /// An empty one for so many ids.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Adds the id with this hash.
    pub fn add(&mut self, hash: u64) {
        if self.contains(hash) && !self.reading {
            return;
        }
        let is_full = self.len() >= self.capacity;
        let (ids, lost) = if self.reading {
            (&mut self.since, &mut self.lost.1)
        } else {
            (&mut self.before, &mut self.lost.0)
        };
        if is_full && !ids.contains(&hash) {
            *lost = true;
        } else {
            ids.insert(hash);
        }
    }

    /// Whether it has the id with this hash.
    #[must_use]
    pub fn contains(&self, hash: u64) -> bool {
        self.before.contains(&hash) || self.since.contains(&hash)
    }

    /// The hashes in it.
    pub fn hashes(&self) -> impl Iterator<Item = u64> {
        self.before.union(&self.since).copied()
    }

    /// Ids in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.before.len() + self.since.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is so little room that a list should be read.
    #[must_use]
    pub fn is_nearly_full(&self) -> bool {
        self.len() >= self.capacity / 10 * 9
    }

    /// Whether ids found no room: then nothing can be said of any.
    #[must_use]
    pub const fn has_lost(&self) -> bool {
        self.lost.0 || self.lost.1
    }

    /// A list begins to be read: it has all that is there now.
    pub fn begins(&mut self) {
        self.gives_up();
        self.reading = true;
    }

    /// It is read to its end, and a filter made of it: that knows what was there before.
    pub fn is_read(&mut self) {
        if self.reading {
            self.before = std::mem::take(&mut self.since);
            self.lost = (self.lost.1, false);
            self.reading = false;
        }
    }

    /// It was not read to its end.
    pub fn gives_up(&mut self) {
        self.before.extend(std::mem::take(&mut self.since));
        self.lost = (self.has_lost(), false);
        self.reading = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_a_list_may_not_have_stays() {
        let mut overlay = Overlay::new(10);
        overlay.add(1);
        overlay.begins();
        overlay.add(2);
        assert!(overlay.contains(1) && overlay.contains(2));
        overlay.is_read();
        assert!(!overlay.contains(1) && overlay.contains(2));
        overlay.begins();
        // Seen again while the list is read: it may have come after its page.
        overlay.add(2);
        overlay.add(3);
        overlay.gives_up();
        overlay.begins();
        overlay.is_read();
        assert!(overlay.is_empty());
    }

    #[test]
    fn what_finds_no_room_is_missed_until_a_list_has_it() {
        let mut overlay = Overlay::new(10);
        (0..9).for_each(|n| overlay.add(n));
        assert!(overlay.is_nearly_full() && !overlay.has_lost());
        (0..20).for_each(|n| overlay.add(n % 10));
        assert!(overlay.len() == 10 && !overlay.has_lost());
        overlay.begins();
        overlay.add(20);
        assert!(overlay.has_lost());
        overlay.is_read();
        assert!(overlay.has_lost(), "the list may not have it");
        overlay.begins();
        overlay.is_read();
        assert!(!overlay.has_lost() && overlay.is_empty());
    }
}
