//! What one worker knows of a space's ids, and what that means for a request.

use std::rc::Rc;

use super::head::Head;
use super::ids::hash;
use super::names::Names;
use super::recent::Recent;
use super::{Filter, SpacePolicy};
use crate::closed_enum::closed_enum;
use crate::coherence::SharedData;

closed_enum! {
    /// What is known of an id.
    pub enum Verdict {
        /// It is in the list, or seems to be.
        Listed => "listed",
        /// It came into being since the list was read.
        Recent => "recent",
        /// It is above all of the list, where ids only grow.
        Above => "above",
        /// There is no list.
        NoList => "no_list",
        /// The list is too old.
        OldList => "old_list",
        /// Ids came into being, and nobody knows which.
        Full => "full",
        /// Redis does not tell what came into being elsewhere.
        Unsynced => "unsynced",
        /// It does not exist.
        Absent => "absent",
    }
}

/// What is known.
#[derive(Clone, Debug)]
pub(super) struct Known {
    filter: Option<Rc<Filter>>,
    serial: u64,
    /// Its list's, as far as that is known.
    complete_ms: u64,
    from: u64,
    pub(super) recent: Recent,
    /// What the process agreed on when it was last looked at, and how often the bell had been rung by then.
    head: Head,
    bell: Option<u64>,
}

impl Known {
    pub(super) fn new(recent: usize) -> Self {
        Self {
            filter: None,
            serial: 0,
            complete_ms: 0,
            from: 0,
            recent: Recent::new(recent),
            head: Head::default(),
            bell: None,
        }
    }

    pub(super) const fn filter(&self) -> Option<&Rc<Filter>> {
        self.filter.as_ref()
    }

    /// The number of the filter; 0 if there is none.
    pub(super) const fn serial(&self) -> u64 {
        self.serial
    }

    /// How far all that came into being elsewhere is known.
    pub(super) const fn score(&self) -> u64 {
        self.head.score
    }

    /// The filter that the process agreed on takes the place of the one before.
    pub(super) fn take(&mut self, filter: Rc<Filter>, head: &Head) {
        self.complete_ms = head.complete_ms;
        (self.filter, self.serial, self.from) = (Some(filter), head.serial, head.from);
        self.recent.forget(self.from);
    }

    /// Sees what the process agrees on.
    pub(super) fn follow(&mut self, shared: &impl SharedData, names: &Names) -> Head {
        // What is rung from here on is seen the next time.
        self.bell = shared.bell();
        let head = Head::get(shared, names);
        self.head = head;
        self.recent.follow(shared, names, &head);
        if head.serial == self.serial {
            self.complete_ms = head.complete_ms;
            if head.from > self.from {
                self.from = head.from;
                self.recent.forget(self.from);
            }
        }
        head
    }

    /// As [`Self::follow`], but for when Redis last spoke; costs next to nothing if the bell was not rung.
    fn listen(&mut self, shared: &impl SharedData, names: &Names) -> Head {
        let bell = shared.bell();
        if bell.is_some() && bell == self.bell { self.head } else { self.follow(shared, names) }
    }

    /// Whether a request for an id may go on. Where others may bring ids into being that only Redis tells of that may
    /// be silent for `silence_ms`.
    pub(super) fn verdict(
        &mut self,
        (shared, names): (&impl SharedData, &Names),
        id: &str,
        (space, silence_ms): (&SpacePolicy, Option<u64>),
        now_ms: u64,
    ) -> Verdict {
        let Some(filter) = self.filter.clone() else { return Verdict::NoList };
        let hash = hash(id.as_bytes());
        if filter.contains(hash) {
            return Verdict::Listed;
        }
        let head = self.listen(shared, names);
        if self.recent.contains(hash, self.from) {
            return Verdict::Recent;
        }
        let highest = filter.highest();
        let may_be_new = |number: u64| number > highest && number - highest <= space.ahead;
        // What is no number has no place among the others.
        if space.monotonic && id.parse().map_or(true, may_be_new) {
            return Verdict::Above;
        }
        if let Some(open) = self.open((space, silence_ms), &head, now_ms) {
            return open;
        }
        if head.wanted_ms == 0 {
            Head::change(shared, names, |head| {
                head.wanted_ms = now_ms;
                true
            });
        }
        Verdict::Absent
    }

    /// Why every id may go on just now, if it may.
    pub(super) fn open(
        &self,
        (space, silence_ms): (&SpacePolicy, Option<u64>),
        head: &Head,
        now_ms: u64,
    ) -> Option<Verdict> {
        let age_ms = self.age_ms(now_ms);
        let silent = silence_ms.is_some_and(|ms| now_ms.abs_diff(head.heard_ms) > ms);
        if self.filter.is_none() {
            Some(Verdict::NoList)
        } else if self.recent.has_lost(self.from) {
            Some(Verdict::Full)
        } else if age_ms > space.max_age_ms {
            Some(Verdict::OldList)
        } else {
            (silent && age_ms > space.grace_ms).then_some(Verdict::Unsynced)
        }
    }

    /// Whether the id with this hash is among the recent ones, as far as they have been read.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.recent.contains(hash, self.from)
    }

    /// The age of the list, in ms; 0 if there is none.
    pub(super) fn age_ms(&self, now_ms: u64) -> u64 {
        // One from the future was read while the clock was ahead, or by an instance whose clock is.
        if self.filter.is_some() { now_ms.abs_diff(self.complete_ms) } else { 0 }
    }

    /// Ids that came into being since it was read.
    pub(super) const fn recent(&self) -> u64 {
        self.recent.len(self.from)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::source::tests::space;
    use super::super::{Build, Ids, SourcePolicy, Width};
    use super::*;
    use crate::coherence::Memory;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Counts how often something is read.
    #[derive(Default)]
    struct Counted(Memory, Cell<u32>);

    impl SharedData for Counted {
        fn get(&self, name: &[u8]) -> Option<(Vec<u8>, u32)> {
            self.1.set(self.1.get() + 1);
            self.0.get(name)
        }

        fn set(&self, name: &[u8], value: &[u8], token: u32) -> bool {
            self.0.set(name, value, token)
        }

        fn bell(&self) -> Option<u64> {
            self.0.bell()
        }

        fn ring(&self) {
            self.0.ring();
        }
    }

    fn knows(ids: &[&str]) -> Known {
        let mut all = Ids::default();
        ids.iter().for_each(|id| all.add(hash(id.as_bytes())));
        let mut build = Build::new(all, Width::Eight, 0, 70);
        let filter = (0..10).find_map(|_| build.step());
        let mut known = Known::new(100);
        known.take(Rc::new(filter.unwrap()), &Head::default());
        known
    }

    #[test]
    fn what_the_process_agrees_on_is_read_again_when_the_bell_was_rung() {
        let (shared, names) = (Counted::default(), Names::new(7));
        let space = space(SourcePolicy::Static(Rc::from([])), 10);
        Head::open(&shared, &names);
        let (mut one, mut other) = (knows(&["1"]), knows(&["1"]));
        other.recent.open(&shared, &names);
        let of = (&space, None);
        let mut asks = |id| one.verdict((&shared, &names), id, of, 1);
        assert_eq!(
            (asks("1"), asks("2"), asks("3")),
            (Verdict::Listed, Verdict::Absent, Verdict::Absent)
        );
        shared.1.set(0);
        assert_eq!((asks("2"), asks("3"), shared.1.get()), (Verdict::Absent, Verdict::Absent, 0));
        let adds = |known: &mut Known| known.recent.add(&shared, &names, &[(hash(b"2"), 0)], false);
        assert!(adds(&mut other));
        assert_eq!((asks("2"), asks("3")), (Verdict::Recent, Verdict::Absent));
        // Who finds an id there already rings, too: whoever added it may not have come to do so yet.
        let bell = shared.bell();
        assert!(adds(&mut other) && shared.bell() != bell);
        // That Redis spoke is no news; a change is.
        let heard = |now_ms, wanted_ms| {
            Head::change(&shared, &names, |head| {
                (head.heard_ms, head.wanted_ms) = (now_ms, wanted_ms);
                true
            })
        };
        let bell = shared.bell();
        assert!(heard(5, 1) && shared.bell() == bell);
        assert!(heard(6, 2) && shared.bell() != bell);
    }
}
