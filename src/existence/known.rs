//! What a worker knows of the ids of a space, and what follows for one of them.

use std::rc::Rc;

use super::{Filter, Overlay, hash};
use crate::closed_enum::closed_enum;

closed_enum! {
    /// Whether a request for an id may go on, and why. All but the last may.
    pub enum Verdict {
        /// The list has it, or seems to.
        Listed => "listed",
        /// It came into being since.
        Recent => "recent",
        /// It is above all that were seen, in a space whose ids grow.
        Above => "above",
        /// There is no list.
        NoList => "no_list",
        /// The list is too old.
        OldList => "old_list",
        /// Ids came into being that there was no room for.
        Full => "full",
        /// It does not exist.
        Absent => "absent",
    }
}

/// What holds for a space.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How old a list may be, in ms.
    pub max_age_ms: u64,
    /// Whether each new id is above all before.
    pub monotonic: bool,
}

/// What is known.
#[derive(Clone, Debug)]
pub struct Known {
    filter: Option<Rc<Filter>>,
    /// What came into being since the list was read.
    pub overlay: Overlay,
    /// The highest id seen.
    highest: u64,
}

impl Known {
    /// Nothing, with room for so many recent ids.
    #[must_use]
    pub fn new(recent: usize) -> Self {
        Self { filter: None, overlay: Overlay::new(recent), highest: 0 }
    }

    /// The filter, if there is one.
    #[must_use]
    pub const fn filter(&self) -> Option<&Rc<Filter>> {
        self.filter.as_ref()
    }

    /// The list that was being read is read to its end, and this is its filter.
    pub fn is_read(&mut self, filter: Rc<Filter>) {
        self.overlay.is_read();
        self.take(filter);
    }

    /// A filter takes the place of the one before. It may lack what came into being since its list was read.
    pub fn take(&mut self, filter: Rc<Filter>) {
        self.highest = self.highest.max(filter.highest());
        self.filter = Some(filter);
    }

    /// The id comes into being.
    pub fn is_created(&mut self, id: &[u8]) {
        self.highest = self.highest.max(number(id).unwrap_or(0));
        self.overlay.add(hash(id));
    }

    /// The id was seen to exist.
    pub fn is_seen(&mut self, id: &[u8]) {
        if self.filter.as_ref().is_some_and(|filter| !filter.contains(hash(id))) {
            self.is_created(id);
        }
    }

    /// Whether a request for an id may go on.
    #[must_use]
    pub fn verdict(&self, id: &[u8], limits: Limits, now_ms: u64) -> Verdict {
        let Some(filter) = &self.filter else { return Verdict::NoList };
        let hash = hash(id);
        if filter.contains(hash) {
            Verdict::Listed
        } else if self.overlay.contains(hash) {
            Verdict::Recent
        } else if limits.monotonic && number(id).is_none_or(|number| number > self.highest) {
            Verdict::Above
        } else if self.overlay.has_lost() {
            Verdict::Full
        } else if now_ms.saturating_sub(filter.complete_ms()) > limits.max_age_ms {
            Verdict::OldList
        } else {
            Verdict::Absent
        }
    }
}

/// The id as a number, if it is one.
fn number(id: &[u8]) -> Option<u64> {
    std::str::from_utf8(id).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::{Build, Ids, Width};
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn filter(ids: &[&str]) -> Rc<Filter> {
        let mut list = Ids::default();
        ids.iter().for_each(|id| list.add(hash(id.as_bytes())));
        let highest = ids.iter().filter_map(|id| number(id.as_bytes())).max();
        Rc::new(Build::new(list, Width::Sixteen, 1_000, highest.unwrap_or(0)).step().unwrap())
    }

    #[test]
    fn only_what_is_neither_listed_nor_recent_is_absent() {
        let limits = Limits { max_age_ms: 60_000, monotonic: false };
        let mut known = Known::new(2);
        let verdict = |known: &Known, id: &str| known.verdict(id.as_bytes(), limits, 2_000);
        assert_eq!(verdict(&known, "7"), Verdict::NoList);
        known.is_read(filter(&["7", "20"]));
        known.is_created(b"8");
        known.is_seen(b"9");
        for (id, expected) in [
            ("7", Verdict::Listed),
            ("8", Verdict::Recent),
            ("9", Verdict::Recent),
            ("10", Verdict::Absent),
            ("99", Verdict::Absent),
        ] {
            assert_eq!(verdict(&known, id), expected, "{id}");
        }
        let grows = Limits { monotonic: true, ..limits };
        assert_eq!(known.verdict(b"99", grows, 2_000), Verdict::Above);
        assert_eq!(known.verdict(b"10", grows, 2_000), Verdict::Absent);
        assert_eq!(known.verdict(b"10", limits, 61_001), Verdict::OldList);
        known.is_created(b"11");
        assert_eq!(verdict(&known, "10"), Verdict::Full);
    }
}
