//! What the table in Redis says, taken into the process's table.

use hashbrown::{HashMap, HashSet};

use super::cells::Cell;
use super::generations::Generations;
use super::head::{Head, Stamp};
use super::keeper;
use super::shared::SharedData;

/// What a question about the table rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which table's numbers these are.
    pub scope: u64,
    /// Up to where all was known when it was asked.
    pub synced: Stamp,
    /// The highest number that was known.
    pub highest: u64,
    /// From which number on it asks; 0 asks for everything.
    pub from: u64,
    /// The process's epoch at that time: what L2 has is as of it.
    pub epoch: u64,
}

/// How far back a question about the table goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// What is new.
    #[default]
    New,
    /// The last seconds as well, to see whether the table still knows them.
    Recent,
    /// Everything.
    All,
}

/// What the table says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Its incarnation, if it has one.
    pub incarnation: Option<u64>,
    /// Cells with the numbers of their last bumps, by number.
    pub cells: Vec<(usize, u64)>,
}

/// What Redis says to a bump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bumped {
    /// Its number.
    pub number: u64,
    /// Those of its cells that had been bumped since the process knew everything, with their numbers then.
    pub before: Cells,
}

/// Cells that are bumped in Redis, each with the epoch of its bump here.
pub type Cells = Vec<(usize, u64)>;

/// How long others may not have heard of a bump that Redis has lost.
const REPEATED_MS: u64 = 60_000;
/// How long the process may have heard nothing and still miss nothing that others repeat.
const UNHEARD_MS: u64 = REPEATED_MS / 2;
/// How far [`Reach::Recent`] goes back before what is new, in numbers, which are microseconds as a rule. A
/// replica that takes the place of its primary lags less than that; what is older is compared now and then.
const RECENT: u64 = 10_000_000;
/// The number up to which an empty table is known.
pub(super) const NOTHING: u64 = 1;

/// What must be said to Redis next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: all is known.
    Known,
    /// The table has another incarnation than the process knew, and everything must be asked for.
    AskAll,
    /// There is no table: one must be made.
    Make,
    /// The table lost something: the incarnation in it must be replaced.
    Replace(u64),
    /// The answer is of no use: the process knows another table by now.
    Outdated,
}

impl Generations {
    /// The numbers are those of this table in Redis, from here on, by a filter that was configured then. Of
    /// several the one that was configured last counts, whatever worker it is in. Whether it is this one.
    pub fn attach(&mut self, shared: &impl SharedData, scope: u64, since_ms: u64) -> bool {
        let is_later =
            |head: &Head| head.scope == 0 || head.scope != scope && head.scope_since_ms < since_ms;
        if is_later(&self.head) {
            if self.head.scope != 0 {
                // What another table said is nothing to this one.
                let all: Cells = (0..self.cells.len()).map(|index| (index, 0)).collect();
                self.change(shared, &all, false, |_, cell, _| cell.number = 0);
            }
            self.change_head(shared, |head| {
                if is_later(head) {
                    (head.scope, head.scope_since_ms) = (scope, since_ms);
                    head.synced = Stamp::default();
                }
            });
            self.reload(shared);
        }
        self.head.scope == scope
    }

    /// A question about the table. What is not known at all is asked for from the start.
    #[must_use]
    pub const fn ask(&self, scope: u64, reach: Reach) -> Asked {
        let (synced, highest) = if self.head.scope == scope {
            (self.head.synced, self.highest)
        } else {
            (Stamp { incarnation: 0, number: 0 }, 0)
        };
        let from = match reach {
            Reach::New => synced.number,
            Reach::Recent => synced.number.saturating_sub(RECENT),
            Reach::All => 0,
        };
        Asked { scope, synced, highest, from, epoch: self.head.epoch }
    }

    /// Redis has given these bumps their number. What others bumped before it under the same cells nobody
    /// will hear of by the feed any more, so it is taken in here. `now_ms` and how long a write may be
    /// carried out after all.
    pub fn confirm(
        &mut self,
        shared: &impl SharedData,
        asked: &Asked,
        cells: &[(usize, u64)],
        bumped: &Bumped,
        (now_ms, guard_ms): (u64, u64),
    ) {
        // In another table they would count for nothing.
        if (self.head.scope, self.head.synced.incarnation)
            != (asked.scope, asked.synced.incarnation)
        {
            return;
        }
        let mut cells: Cells = cells.to_vec();
        cells.sort_unstable();
        let before: HashMap<usize, u64> = bumped.before.iter().copied().collect();
        // That may be another process's bump; our own is known, but for one that is on its way still.
        let is_theirs = |index: usize, cell: &Cell| {
            before.get(&index).is_some_and(|number| *number > cell.number)
        };
        let ring = !before.is_empty();
        let (epoch, until_ms) = (self.next_epoch(shared), now_ms.saturating_add(guard_ms));
        // Others may learn of ours later: till then what is dirty keeps them from what is in L2.
        self.change(shared, &cells, ring, |index, cell, sent| {
            if is_theirs(index, cell) {
                let value = if self.layout.is_uncertain(index) { until_ms } else { epoch };
                cell.local = cell.local.max(value);
            }
            cell.number = cell.number.max(bumped.number);
            // Should it be lost at once, it is recent still.
            cell.bumped_ms = now_ms;
            if cell.dirty == sent {
                cell.dirty = 0;
            }
        });
        self.reload(shared);
    }

    /// Takes in what the table says; `guard_ms` is how long a write may be carried out after all.
    pub fn follow(
        &mut self,
        shared: &impl SharedData,
        asked: &Asked,
        followed: &Followed,
        now_ms: u64,
        guard_ms: u64,
    ) -> Verdict {
        let Some(incarnation) = followed.incarnation else { return Verdict::Make };
        if incarnation != self.head.synced.incarnation {
            // Another worker may have met it already.
            self.reload(shared);
        }
        let known = self.head.synced;
        // All of the table that the process knows is of use whatever was known when it was asked.
        let is_whole = asked.from == 0 && incarnation == known.incarnation;
        let as_asked = asked.synced.incarnation == known.incarnation;
        if self.head.scope != asked.scope || !(as_asked || is_whole) {
            return Verdict::Outdated;
        }
        // An older incarnation has come back: from a copy of the set, say.
        if incarnation < known.incarnation || self.is_lost(asked, followed, incarnation) {
            return Verdict::Replace(incarnation);
        }
        if incarnation > known.incarnation {
            self.adopt(shared, asked.scope, incarnation, now_ms);
            if self.head.synced != (Stamp { incarnation, number: 0 }) {
                return Verdict::Outdated;
            }
        }
        // A part of a table that is not known begins nowhere.
        if self.head.synced.number == 0 && asked.from > 0 {
            return Verdict::AskAll;
        }
        self.take_in(shared, asked, followed, now_ms.saturating_add(guard_ms));
        Verdict::Known
    }

    /// Whether the table lacks what was in it when it was asked. Whatever has a number of its incarnation
    /// that was known by then was: numbers are above the incarnation they belong to.
    fn is_lost(&self, asked: &Asked, followed: &Followed, incarnation: u64) -> bool {
        let known = asked.from.max(incarnation.saturating_add(1))..=asked.highest;
        if known.is_empty() {
            return false;
        }
        let numbers: HashMap<usize, u64> = followed.cells.iter().copied().collect();
        let is_missing = |index: usize| {
            let number = self.cells.get(index).map_or(0, |cell| cell.number);
            known.contains(&number) && numbers.get(&index).is_none_or(|now| *now < number)
        };
        if asked.from < self.head.synced.number.max(1) {
            (0..self.cells.len()).any(is_missing)
        } else {
            self.tail.iter().copied().any(is_missing)
        }
    }

    /// Another incarnation: nothing is known of it, and others may not have heard of what was bumped here
    /// of late.
    fn adopt(&mut self, shared: &impl SharedData, scope: u64, new: u64, now_ms: u64) {
        let old = self.head.synced.incarnation;
        let heard_ms = keeper::last_heard_ms(shared);
        let unheard = old != 0 && now_ms.saturating_sub(heard_ms) > UNHEARD_MS;
        let epoch = self.next_epoch(shared);
        let certain = |index: usize| !self.layout.is_uncertain(index);
        // Others heard of what was bumped long before the old table was last seen.
        let is_recent = |cell: &Cell| {
            cell.bumped_ms > 0 && cell.bumped_ms + REPEATED_MS >= heard_ms.min(now_ms)
        };
        let all = self.cells.iter().enumerate();
        let all = all.filter(|(index, cell)| is_recent(cell) || unheard && certain(*index));
        let all: Cells = all.map(|(index, _)| (index, u64::from(certain(index)))).collect();
        self.change(shared, &all, unheard, |_, cell, is_certain| {
            if is_recent(cell) {
                // A new epoch: no answer from before fits.
                cell.dirty = cell.dirty.max(epoch);
            }
            if unheard && is_certain == 1 {
                cell.local = cell.local.max(epoch);
            }
        });
        // Only now: whoever follows the new table must find dirty what is not in it.
        self.change_head(shared, |head| {
            if head.scope == scope && head.synced.incarnation == old {
                head.synced = Stamp { incarnation: new, number: 0 };
            }
        });
        self.reload(shared);
    }

    fn take_in(
        &mut self,
        shared: &impl SharedData,
        asked: &Asked,
        followed: &Followed,
        until_ms: u64,
    ) {
        let epoch = self.next_epoch(shared);
        // Of a table that was unknown so far all that differs is news, and its numbers are the first: those
        // of an earlier one go. What it has confirmed already stays.
        let (first, incarnation) = (self.head.synced.number == 0, self.head.synced.incarnation);
        let is_news = |cell: &Cell, number: u64| {
            number > cell.number || first && cell.number <= incarnation && number != cell.number
        };
        let mut news: Cells = followed.cells.clone();
        let synced = self.head.synced.number;
        // Above that another worker may have written a cell and not marked its chunk yet.
        news.retain(|(index, number)| {
            *number > synced || self.cells.get(*index).is_some_and(|cell| is_news(cell, *number))
        });
        if first {
            let listed: HashSet<usize> = followed.cells.iter().map(|c| c.0).collect();
            let gone = self.cells.iter().enumerate().filter(|(_, cell)| is_news(cell, 0));
            news.extend(
                gone.filter(|(index, _)| !listed.contains(index)).map(|(index, _)| (index, 0)),
            );
        }
        news.sort_unstable();
        let mut told = true;
        // The guard first: whoever fetches by the new epoch must find it.
        let (guards, bumps): (Cells, Cells) =
            news.into_iter().partition(|(index, _)| self.layout.is_uncertain(*index));
        for (of_plane, value) in [(guards, until_ms), (bumps, epoch)] {
            if of_plane.is_empty() {
                continue;
            }
            told &= self.change(shared, &of_plane, true, |_, cell, number| {
                if is_news(cell, number) {
                    if number != 0 {
                        cell.local = cell.local.max(value);
                    }
                    cell.number = number;
                }
            });
        }
        let newest = followed.cells.iter().map(|(_, number)| *number).max().unwrap_or(0);
        let newest = newest.max(NOTHING);
        if told && (first || newest > self.head.synced.number) {
            let incarnation = followed.incarnation;
            self.change_head(shared, |head| {
                if head.scope == asked.scope && Some(head.synced.incarnation) == incarnation {
                    head.synced.number = head.synced.number.max(newest);
                }
            });
        }
        self.reload(shared);
    }

    /// Bumps that Redis has not confirmed, of that epoch or before it; so many at most.
    #[must_use]
    pub fn dirty(&self, epoch: u64, most: usize) -> Cells {
        let cells = self.cells.iter().enumerate();
        let dirty = cells.filter(|(_, cell)| (1..=epoch).contains(&cell.dirty));
        dirty.map(|(index, cell)| (index, cell.dirty)).take(most).collect()
    }
}
