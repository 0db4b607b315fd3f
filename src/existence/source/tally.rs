//! Ids as they come, and at the end whether they are all.

use super::super::{Ids, hash};
use super::{Etags, Failure, List};

/// Pages of a list, at most.
pub(super) const MOST_PAGES: usize = 1 << 17;

/// What has been read so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    ids: Ids,
    highest: u64,
    pages: usize,
    /// Ids there were when this page began.
    begun: usize,
    /// Ids of the longest page.
    longest: usize,
}

impl Tally {
    /// Begins a page, unless more has come than a list of `most` ids can have: as many, and a page that came twice.
    pub(super) fn page(&mut self, most: usize) -> Result<(), Failure> {
        self.longest = self.longest.max(self.ids.len() - self.begun);
        self.begun = self.ids.len();
        self.pages += 1;
        let is_too_long = self.ids.len() > most.saturating_add(self.longest);
        if is_too_long || self.pages > MOST_PAGES { Err(Failure::TooMany) } else { Ok(()) }
    }

    /// Adds an id in its canonical form; its hash.
    pub(super) fn add(&mut self, id: &str) -> u64 {
        self.highest = self.highest.max(id.parse().unwrap_or(0));
        let hash = hash(id.as_bytes());
        self.ids.add(hash);
        hash
    }

    /// Ids that came, as often as they did.
    pub(super) const fn len(&self) -> usize {
        self.ids.len()
    }
}

/// How many different ids came: that takes its time.
#[derive(Debug)]
pub(super) struct Counting {
    at_least: usize,
    otherwise: Failure,
    most: usize,
    /// What is told of the list besides.
    pub(super) etags: Etags,
    bucket: usize,
    distinct: usize,
}

impl Counting {
    /// Fewer than `at_least` are a failure, and so are more than `most`.
    pub(super) fn new(at_least: usize, otherwise: Failure, most: usize) -> Self {
        let etags = Etags::default();
        Self { at_least, otherwise, most, etags, bucket: 0, distinct: 0 }
    }

    /// Counts one bucket; what there is, behind the last.
    pub(super) fn step(&mut self, tally: &mut Tally) -> Option<Result<List, Failure>> {
        if let Some(distinct) = tally.ids.settle(self.bucket) {
            self.bucket += 1;
            self.distinct += distinct;
            return None;
        }
        let Tally { ids, highest, .. } = std::mem::take(tally);
        Some(if self.distinct > self.most {
            Err(Failure::TooMany)
        } else if self.distinct < self.at_least {
            Err(self.otherwise)
        } else {
            Ok(List::Ids(ids, highest, std::mem::take(&mut self.etags)))
        })
    }
}
