//! Ids that came into being since the list was read: a filter does not know them.
//!
//! A log in the memory that all workers of a process share. An id gets a place; the filter in use has all before
//! a certain one. What is read of the log is kept in the VM. It is bounded: who would need ids that are gone from
//! it knows nothing for sure.

use hashbrown::HashMap;

use super::head::{Head, LAST};
use super::names::Names;
use crate::coherence::{ATTEMPTS, SharedData};

/// Ids in one value of the log.
const CHUNK: u64 = 64;
/// Bytes of an id in it: its hash, and its score.
const ENTRY: usize = 16;

/// The log as one worker has read it.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    /// The most ids that count.
    capacity: u64,
    /// The place of the next one to read.
    next: u64,
    /// Ids before this place may not have been read.
    lost: u64,
    /// The place of each id, and its score.
    places: HashMap<u64, (u64, u64)>,
}

impl Recent {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity as u64, next: 0, lost: 0, places: HashMap::new() }
    }

    /// Values that the log has, one more than ids that count need, and one that is being written.
    const fn chunks(&self) -> u64 {
        self.capacity.div_ceil(CHUNK) + 2
    }

    /// Makes the values that are not there yet.
    pub(super) fn open(&self, shared: &impl SharedData, names: &Names) {
        for index in 0..self.chunks() {
            let name = names.chunk(index);
            if shared.get(&name).is_none() {
                shared.set(&name, &[], 0);
            }
        }
    }

    /// Reads what is new up to where `head` says.
    pub(super) fn follow(&mut self, shared: &impl SharedData, names: &Names, head: &Head) {
        let oldest = head.next.saturating_sub(self.capacity);
        if self.next < oldest {
            (self.next, self.lost) = (oldest, oldest);
        }
        while self.next < head.next {
            let base = self.next - self.next % CHUNK;
            let end = head.next.min(base.saturating_add(CHUNK));
            let entries = self.chunk(shared, names, base).map(|(entries, _)| entries);
            let entries = entries.unwrap_or_default();
            for place in self.next..end {
                let index = usize::try_from(place - base).unwrap_or(usize::MAX);
                match entries.get(index) {
                    Some((hash, score)) => {
                        self.places.insert(*hash, (place, *score));
                    }
                    None => self.lost = place.saturating_add(1),
                }
            }
            self.next = end;
        }
        // Who needs more knows nothing.
        if self.places.len() as u64 > self.capacity + self.capacity / 2 {
            self.forget(self.next.saturating_sub(self.capacity));
        }
    }

    /// The chunk whose first id has the place `base`, and the token to replace it; none if it holds others.
    fn chunk(
        &self,
        shared: &impl SharedData,
        names: &Names,
        base: u64,
    ) -> Option<(Vec<(u64, u64)>, u32)> {
        let (bytes, token) = shared.get(&names.chunk(base / CHUNK % self.chunks()))?;
        let (of, rest) = bytes.split_first_chunk()?;
        if u64::from_le_bytes(*of) != base {
            return None;
        }
        let (entries, _) = rest.as_chunks::<ENTRY>();
        let entries = entries.iter().filter_map(|entry| {
            let (hash, score) = entry.split_first_chunk()?;
            Some((u64::from_le_bytes(*hash), u64::from_le_bytes(*score.first_chunk()?)))
        });
        Some((entries.collect(), token))
    }

    /// Whether the id with this hash is among those that a filter lacks which has all before the place `from`.
    pub(super) fn contains(&self, hash: u64, from: u64) -> bool {
        self.places.get(&hash).is_some_and(|(place, _)| *place >= from)
    }

    /// How many ids such a filter lacks, at most.
    pub(super) const fn len(&self, from: u64) -> u64 {
        self.next.saturating_sub(from)
    }

    /// Whether some of them are not known.
    pub(super) const fn has_lost(&self, from: u64) -> bool {
        self.lost > from || self.len(from) > self.capacity
    }

    /// Whether there is so little room left that a list should be read.
    pub(super) const fn is_nearly_full(&self, from: u64) -> bool {
        self.len(from) >= self.capacity / 10 * 9
    }

    /// Forgets ids before the place `from`.
    pub(super) fn forget(&mut self, from: u64) {
        self.places.retain(|_, (place, _)| *place >= from);
    }

    /// Those from the place `from` on that are not known to have a score of up to `score`.
    pub(super) fn above(&self, from: u64, score: u64) -> Vec<(u64, u64)> {
        let places = self.places.iter().filter(|(_, (place, _))| *place >= from);
        let above = places.filter(|(_, (_, of))| *of == 0 || *of > score);
        above.map(|(hash, (_, score))| (*hash, *score)).collect()
    }

    /// Adds ids, each a hash and its score in Redis or 0, for all workers. Those that are there already, with no lower
    /// score, and stay whatever becomes of a list that is being read, are left out unless they are added `anew`. Whether
    /// all went well.
    pub(super) fn add(
        &mut self,
        shared: &impl SharedData,
        names: &Names,
        ids: &[(u64, u64)],
        anew: bool,
    ) -> bool {
        let head = Head::get(shared, names);
        self.follow(shared, names, &head);
        if head.next > LAST {
            return false;
        }
        let stays = head.from.max(head.begun);
        let is_new = |(hash, score): &&(u64, u64)| {
            let known = self.places.get(hash);
            // One without a score is on its way to Redis, perhaps for the second time: that may be later than a list
            // which was begun when it had the first.
            let is_later = |of: u64| if *score == 0 { of > 0 } else { *score > of };
            anew || known.is_none_or(|(place, of)| *place < stays || is_later(*of))
        };
        let mut rest: Vec<_> = ids.iter().filter(is_new).copied().collect();
        for _ in 0..ATTEMPTS {
            if rest.is_empty() {
                // Who added them may not have rung yet.
                if !ids.is_empty() {
                    shared.ring();
                }
                return true;
            }
            let Some(added) = self.append(shared, names, &rest) else { continue };
            rest.drain(..added.min(rest.len()));
        }
        false
    }

    /// Adds as many as fit into one chunk: how many, unless somebody else was faster.
    fn append(&self, shared: &impl SharedData, names: &Names, ids: &[(u64, u64)]) -> Option<usize> {
        let head = Head::get(shared, names);
        let base = head.next - head.next % CHUNK;
        let used = usize::try_from(head.next - base).unwrap_or_default();
        let known = self.chunk(shared, names, base);
        let name = names.chunk(base / CHUNK % self.chunks());
        let (mut entries, token) = match known {
            Some((entries, token)) => (entries, token),
            // It holds what is no longer needed.
            None => (Vec::new(), shared.get(&name)?.1),
        };
        if entries.len() > used {
            // Somebody wrote them, and did not come to say so: they count.
            say(shared, names, base + entries.len() as u64);
            return None;
        }
        entries.resize(used, (0, 0));
        let room = usize::try_from(CHUNK).unwrap_or_default() - used;
        entries.extend(ids.iter().take(room));
        let mut bytes = base.to_le_bytes().to_vec();
        for (hash, score) in &entries {
            bytes.extend_from_slice(&hash.to_le_bytes());
            bytes.extend_from_slice(&score.to_le_bytes());
        }
        if !shared.set(&name, &bytes, token) {
            return None;
        }
        say(shared, names, base + entries.len() as u64);
        Some(room.min(ids.len()))
    }

    /// Ids came into being, nobody knows which: no filter has all until a list is read that is begun from now on.
    pub(super) fn lose(&self, shared: &impl SharedData, names: &Names) {
        let leap = (self.capacity / CHUNK + 2) * CHUNK;
        Head::change(shared, names, |head| {
            head.next = (head.next - head.next % CHUNK).saturating_add(leap);
            true
        });
    }
}

/// The log reaches up to the place `next`, at least.
fn say(shared: &impl SharedData, names: &Names, next: u64) {
    Head::change(shared, names, |head| {
        let behind = head.next < next;
        head.next = head.next.max(next);
        behind
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coherence::Memory;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn start(capacity: usize) -> (Memory, Names, Recent) {
        let (shared, names, recent) = (Memory::default(), Names::new(7), Recent::new(capacity));
        Head::open(&shared, &names);
        recent.open(&shared, &names);
        (shared, names, recent)
    }

    fn ids(range: std::ops::Range<u64>) -> Vec<(u64, u64)> {
        range.map(|hash| (hash, 0)).collect()
    }

    #[test]
    fn every_worker_knows_what_any_adds() {
        let (shared, names, mut a) = start(1_000);
        let mut b = a.clone();
        assert!(a.add(&shared, &names, &ids(0..100), false));
        assert!(b.add(&shared, &names, &ids(90..200), false));
        for worker in [&mut a, &mut b] {
            worker.follow(&shared, &names, &Head::get(&shared, &names));
            assert!((0..200).all(|hash| worker.contains(hash, 0)), "{worker:?}");
            assert!(!worker.contains(200, 0) && !worker.contains(0, 1) && !worker.has_lost(0));
        }
        assert_eq!(a.len(0), 200, "what is there is not added again");
    }

    #[test]
    fn what_somebody_wrote_and_did_not_say_counts() {
        let (shared, names, mut a) = start(1_000);
        assert!(a.add(&shared, &names, &ids(0..10), false));
        let (before, _) = shared.get(&names.head()).unwrap();
        assert!(a.add(&shared, &names, &ids(10..20), false));
        // As if it had died in between.
        shared.set(&names.head(), &before, 0);
        let mut b = Recent::new(1_000);
        assert!(b.add(&shared, &names, &ids(20..30), false));
        b.follow(&shared, &names, &Head::get(&shared, &names));
        assert!((0..30).all(|hash| b.contains(hash, 0)));
    }

    #[test]
    fn who_needs_what_the_ring_no_longer_has_knows_nothing() {
        let (shared, names, mut a) = start(100);
        for hash in 0..95 {
            assert!(a.add(&shared, &names, &[(hash, 0)], false));
        }
        a.follow(&shared, &names, &Head::get(&shared, &names));
        assert!(a.is_nearly_full(0) && !a.has_lost(0));
        assert!(a.add(&shared, &names, &ids(95..5_000), false));
        let mut b = Recent::new(100);
        for worker in [&mut a, &mut b] {
            worker.follow(&shared, &names, &Head::get(&shared, &names));
            assert!(worker.has_lost(0) && !worker.has_lost(4_900), "{worker:?}");
            assert!((4_900..5_000).all(|hash| worker.contains(hash, 4_900)));
        }
        a.lose(&shared, &names);
        let head = Head::get(&shared, &names);
        for worker in [&mut a, &mut b] {
            worker.follow(&shared, &names, &head);
            assert!(worker.has_lost(4_999) && !worker.has_lost(head.next));
        }
        Head::change(&shared, &names, |head| {
            head.from = head.next;
            true
        });
        assert!(a.add(&shared, &names, &ids(7..8), false));
        b.follow(&shared, &names, &Head::get(&shared, &names));
        assert!(b.contains(7, head.next) && !b.has_lost(head.next));
    }

    #[test]
    fn a_log_that_is_said_to_be_at_its_end_takes_nothing_and_knows_nothing() {
        let (shared, names, mut a) = start(100);
        for next in [u64::MAX, u64::MAX - 70] {
            Head::change(&shared, &names, |head| {
                head.next = next;
                true
            });
            assert!(!a.add(&shared, &names, &ids(0..3), false));
            a.lose(&shared, &names);
            a.follow(&shared, &names, &Head::get(&shared, &names));
            assert!(a.has_lost(0) && a.has_lost(next - 1));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (shared, names, mut a) = start(64);
        let mut b = Recent::new(64);
        for n in 0..2_000 {
            assert!(a.add(&shared, &names, &ids(n * 32..n * 32 + 32), false));
            b.follow(&shared, &names, &Head::get(&shared, &names));
        }
        assert!(
            a.places.len() <= 128 && b.places.len() <= 128,
            "{} {}",
            a.places.len(),
            b.places.len()
        );
    }

    #[test]
    fn ids_are_added_again_if_a_list_that_is_read_may_lack_them() {
        let (shared, names, mut a) = start(100);
        assert!(a.add(&shared, &names, &ids(0..1), false));
        Head::change(&shared, &names, |head| {
            head.begun = head.next;
            true
        });
        assert!(a.add(&shared, &names, &ids(0..1), false));
        a.follow(&shared, &names, &Head::get(&shared, &names));
        assert!(a.contains(0, 1));
        // Redis tells its own what it thinks of it.
        assert!(
            a.add(&shared, &names, &[(0, 9)], false) && a.add(&shared, &names, &[(0, 9)], false)
        );
        a.follow(&shared, &names, &Head::get(&shared, &names));
        assert_eq!((a.len(0), a.above(0, 9), a.above(0, 8)), (3, vec![], vec![(0, 9)]));
    }
}
