//! What the table in Redis says, taken into the process's table.

use hashbrown::{HashMap, HashSet};

use super::cells::Cell;
use super::generations::{Generations, Validity};
use super::head::Stamp;
use super::shared::SharedData;
use super::{Plane, Tag, keeper};

/// What a question about the table rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which table's numbers these are.
    pub scope: u64,
    /// Up to where all was known when it was asked.
    pub synced: Stamp,
    /// The highest number that was known.
    pub highest: u64,
    /// Whether everything was asked for, not only what is newer.
    pub full: bool,
}

/// What the table says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Its incarnation, if it has one.
    pub incarnation: Option<u64>,
    /// Cells with the numbers of their last bumps, by number.
    pub cells: Vec<(usize, u64)>,
}

/// Cells that are bumped in Redis, each with the epoch of its bump here.
pub type Cells = Vec<(usize, u64)>;

/// How long others may not have heard of a bump that Redis has lost.
const REPEATED_MS: u64 = 60_000;
/// How long the process may have heard nothing and still miss nothing that others repeat.
const UNHEARD_MS: u64 = REPEATED_MS / 2;
/// The number up to which an empty table is known.
const NOTHING: u64 = 1;

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
    /// The numbers are those of another table from here on.
    pub fn attach(&mut self, shared: &impl SharedData, scope: u64) {
        self.change_head(shared, |head| {
            if head.scope != scope {
                (head.scope, head.synced) = (scope, Stamp::default());
            }
        });
        self.reload(shared);
    }

    /// A question about the table; `full` asks for everything.
    #[must_use]
    pub const fn ask(&self, scope: u64, full: bool) -> Asked {
        let (synced, highest) = if self.head.scope == scope {
            (self.head.synced, self.highest)
        } else {
            (Stamp { incarnation: 0, number: 0 }, 0)
        };
        Asked { scope, synced, highest, full: full || synced.number == 0 }
    }

    /// Redis has given these bumps their number.
    pub fn confirm(
        &mut self,
        shared: &impl SharedData,
        asked: &Asked,
        cells: &[(usize, u64)],
        number: u64,
    ) {
        // In another table they would count for nothing.
        if (self.head.scope, self.head.synced.incarnation)
            != (asked.scope, asked.synced.incarnation)
        {
            return;
        }
        let mut cells: Cells = cells.to_vec();
        cells.sort_unstable();
        // Others may learn of it later: till then what is dirty keeps them from what is in L2.
        self.change(shared, &cells, false, |cell, epoch| {
            cell.number = cell.number.max(number);
            if cell.dirty == epoch {
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
        let is_whole = asked.full && incarnation == known.incarnation;
        let as_asked = asked.synced.incarnation == known.incarnation;
        if self.head.scope != asked.scope || !(as_asked || is_whole) {
            return Verdict::Outdated;
        }
        // An older incarnation has come back: from a copy of the set, say.
        if incarnation < known.incarnation
            || incarnation == known.incarnation && self.is_lost(asked, followed)
        {
            return Verdict::Replace(incarnation);
        }
        if incarnation > known.incarnation {
            self.adopt(shared, asked.scope, incarnation, now_ms);
            if self.head.synced != (Stamp { incarnation, number: 0 }) {
                return Verdict::Outdated;
            }
        }
        // A part of a table that is not known begins nowhere.
        if self.head.synced.number == 0 && !asked.full {
            return Verdict::AskAll;
        }
        self.take_in(shared, asked, followed, now_ms.saturating_add(guard_ms));
        Verdict::Known
    }

    /// Whether the table lacks what was in it when it was asked. Whatever has a number that was known by
    /// then was.
    fn is_lost(&self, asked: &Asked, followed: &Followed) -> bool {
        if self.head.synced.number == 0 {
            return false;
        }
        let from = if asked.full { 1 } else { asked.synced.number.max(1) };
        let numbers: HashMap<usize, u64> = followed.cells.iter().copied().collect();
        let is_missing = |index: usize| {
            let number = self.cells.get(index).map_or(0, |cell| cell.number);
            let was_there = (from..=asked.highest).contains(&number);
            was_there && numbers.get(&index).is_none_or(|now| *now < number)
        };
        if asked.full {
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
        self.change(shared, &all, unheard, |cell, is_certain| {
            if is_recent(cell) {
                // A new epoch: no answer from before fits.
                cell.dirty = epoch;
            }
            if unheard && is_certain == 1 {
                cell.local = epoch;
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
        // Of a table that was unknown so far all that differs is news, and its numbers are the first.
        let first = self.head.synced.number == 0;
        let is_news = |cell: &Cell, number: u64| {
            if first { number != cell.number } else { number > cell.number }
        };
        let mut news: Cells = followed.cells.clone();
        let synced = self.head.synced.number;
        // Above that another worker may have written a cell and not marked its chunk yet.
        news.retain(|(index, number)| {
            *number > synced || self.cells.get(*index).is_some_and(|cell| is_news(cell, *number))
        });
        if first {
            let listed: HashSet<usize> = followed.cells.iter().map(|c| c.0).collect();
            let gone = self.cells.iter().enumerate().filter(|(_, cell)| cell.number != 0);
            news.extend(
                gone.filter(|(index, _)| !listed.contains(index)).map(|(index, _)| (index, 0)),
            );
        }
        news.sort_unstable();
        let first_uncertain = self.cells.len() / 3 * 2;
        let mut told = true;
        for (plane, value) in [(0..first_uncertain, epoch), (first_uncertain..usize::MAX, until_ms)]
        {
            let of_plane: Cells =
                news.iter().filter(|(index, _)| plane.contains(index)).copied().collect();
            if of_plane.is_empty() {
                continue;
            }
            told &= self.change(shared, &of_plane, true, |cell, number| {
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

    /// The stamp for L2 of what was fetched from `epoch` on with these tags; none if it is not for L2.
    #[must_use]
    pub fn stamp(&self, scope: u64, tags: &[Tag], epoch: u64) -> Option<Stamp> {
        let is_known = self.head.scope == scope && self.head.synced.number > 0;
        let is_current = self.validity(tags, epoch) == Validity::Current;
        let is_clean = tags.iter().all(|tag| self.cell(Plane::Hard, *tag).dirty == 0);
        (is_known && is_current && is_clean).then_some(self.head.synced)
    }

    /// Whether what lies in L2 with this stamp and these tags may be used.
    #[must_use]
    pub fn admits(&self, scope: u64, stamp: Stamp, tags: &[Tag]) -> Validity {
        let synced = self.head.synced;
        if self.head.scope != scope || synced.number == 0 || stamp.incarnation != synced.incarnation
        {
            return Validity::Invalid;
        }
        let bumped = |plane| {
            let mut cells = tags.iter().map(|tag| self.cell(plane, *tag));
            cells.any(|cell| cell.dirty != 0 || cell.number > stamp.number)
        };
        if bumped(Plane::Hard) {
            Validity::Invalid
        } else if bumped(Plane::Soft) {
            Validity::Stale
        } else {
            Validity::Current
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::shared::Memory;
    use super::super::{Bump, Tags};
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const A: Tag = Tag::from_bits(1);
    const B: Tag = Tag::from_bits(2);
    const SCOPE: u64 = 5;

    /// The sorted set.
    #[derive(Clone, Default)]
    struct Table {
        incarnation: Option<u64>,
        numbers: BTreeMap<usize, u64>,
        time: u64,
    }

    impl Table {
        /// As the script does it.
        fn bump(&mut self, asked: &Asked, replaced: u64, cells: &Cells) -> u64 {
            let last = self.numbers.values().max().copied().unwrap_or(0);
            self.time += 10;
            let number = self.time.max(last + 1).max(asked.highest + 1);
            let known = asked.synced.incarnation;
            let is_back = |now| now == known && last < asked.highest;
            if self.incarnation.is_none_or(|now| now == replaced || is_back(now)) {
                let least = self.incarnation.unwrap_or(0).max(known) + 1;
                self.incarnation = Some(number.max(least));
            }
            self.numbers.extend(cells.iter().map(|(cell, _)| (*cell, number)));
            number
        }

        fn answer(&self, asked: &Asked) -> Followed {
            let least = if asked.full { 0 } else { asked.synced.number };
            let newer = self.numbers.iter().filter(|(_, number)| **number >= least);
            let cells = newer.map(|(cell, number)| (*cell, *number)).collect();
            Followed { incarnation: self.incarnation, cells }
        }
    }

    struct Process {
        shared: Memory,
        worker: Generations,
    }

    impl Process {
        fn new() -> Self {
            let shared = Memory::default();
            let mut worker = Generations::default();
            worker.open(&shared, 256, 1_000);
            worker.attach(&shared, SCOPE);
            keeper::heard(&shared, 100_000, true);
            Self { shared, worker }
        }

        fn bump(&mut self, tag: Tag) -> Cells {
            let tags: Tags = [tag].into_iter().collect();
            self.worker.bump(Bump { tags, ..Bump::default() });
            self.worker.publish(&self.shared, 100_000).unwrap()
        }

        fn send(&mut self, table: &mut Table, cells: &Cells) {
            let asked = self.worker.ask(SCOPE, false);
            let number = table.bump(&asked, 0, cells);
            self.worker.confirm(&self.shared, &asked, cells, number);
        }

        fn make(&self, table: &mut Table, replaced: u64) {
            table.bump(&self.worker.ask(SCOPE, true), replaced, &vec![]);
        }

        fn take(&mut self, asked: &Asked, followed: &Followed, now_ms: u64) -> Verdict {
            self.worker.follow(&self.shared, asked, followed, now_ms, 5_000)
        }

        fn follow(&mut self, table: &Table, full: bool) -> Verdict {
            let asked = self.worker.ask(SCOPE, full);
            self.take(&asked, &table.answer(&asked), 100_000)
        }
    }

    fn pair() -> (Table, Process, Process) {
        let mut table = Table { time: 1_000, ..Table::default() };
        let (mut one, mut two) = (Process::new(), Process::new());
        assert_eq!(one.follow(&table, false), Verdict::Make);
        one.make(&mut table, 0);
        for process in [&mut one, &mut two] {
            assert_eq!(process.follow(&table, false), Verdict::Known);
            assert_eq!(process.worker.synced(), Stamp { incarnation: 1_010, number: NOTHING });
        }
        (table, one, two)
    }

    #[test]
    fn a_bump_reaches_the_other_process_and_what_is_in_l2() {
        let (mut table, mut one, mut two) = pair();
        let (epoch, stamp) =
            (two.worker.epoch(), one.worker.stamp(SCOPE, &[A, B], u64::MAX).unwrap());
        assert_eq!(two.worker.admits(SCOPE, stamp, &[A, B]), Validity::Current);
        let cells = one.bump(A);
        // Not in Redis yet: what is there is not to be trusted here.
        assert_eq!(one.worker.admits(SCOPE, stamp, &[A]), Validity::Invalid);
        assert_eq!(one.worker.admits(SCOPE, stamp, &[B]), Validity::Current);
        assert_eq!(one.worker.stamp(SCOPE, &[A], u64::MAX), None);
        one.send(&mut table, &cells);
        assert_eq!(one.worker.admits(SCOPE, stamp, &[A]), Validity::Invalid);
        let own = one.worker.epoch();
        assert_eq!(one.follow(&table, false), Verdict::Known);
        assert_eq!(one.worker.validity(&[A], own), Validity::Current, "known already");
        assert_eq!(two.worker.validity(&[A], epoch), Validity::Current);
        assert_eq!(two.follow(&table, false), Verdict::Known);
        assert_eq!(two.worker.validity(&[A], epoch), Validity::Invalid);
        assert_eq!(two.worker.validity(&[B], epoch), Validity::Current);
        assert_eq!(two.worker.admits(SCOPE, stamp, &[A]), Validity::Invalid);
        let new = one.worker.stamp(SCOPE, &[A], one.worker.epoch()).unwrap();
        assert_eq!(two.worker.admits(SCOPE, new, &[A]), Validity::Current);
        assert_eq!(two.worker.admits(SCOPE + 1, new, &[A]), Validity::Invalid);
        assert_eq!(two.worker.stamp(SCOPE, &[A], epoch), None, "overtaken");
    }

    #[test]
    fn what_redis_has_not_confirmed_stays_dirty() {
        let (mut table, mut one, _) = pair();
        let first = one.bump(A);
        let second = one.bump(A);
        one.send(&mut table, &first);
        assert_eq!(one.worker.dirty(u64::MAX, 9), second, "the later bump is not confirmed");
        assert_eq!(one.worker.dirty(second[0].1 - 1, 9), vec![]);
        one.send(&mut table, &second);
        assert_eq!(one.worker.dirty(u64::MAX, 9), vec![]);
    }

    #[test]
    fn a_flushed_table_gets_a_new_incarnation_and_hears_of_late_bumps_again() {
        let (mut table, mut one, mut two) = pair();
        let cells = one.bump(A);
        one.send(&mut table, &cells);
        assert_eq!(one.follow(&table, false), Verdict::Known);
        let stamp = one.worker.stamp(SCOPE, &[B], u64::MAX).unwrap();
        let epoch = two.worker.epoch();
        table = Table { time: table.time, ..Table::default() };
        assert_eq!(two.follow(&table, false), Verdict::Make);
        two.make(&mut table, 0);
        for process in [&mut one, &mut two] {
            assert_eq!(process.follow(&table, false), Verdict::AskAll);
            assert_eq!(process.worker.admits(SCOPE, stamp, &[B]), Validity::Invalid);
            assert_eq!(process.follow(&table, false), Verdict::Known);
            assert_eq!(process.worker.admits(SCOPE, stamp, &[B]), Validity::Invalid);
        }
        // The second never heard of the first's bump.
        assert_eq!(two.worker.validity(&[A], epoch), Validity::Current);
        let again = one.worker.dirty(u64::MAX, 9);
        assert_eq!(again[0].0, cells[0].0);
        one.send(&mut table, &again);
        assert_eq!(two.follow(&table, false), Verdict::Known);
        assert_eq!(two.worker.validity(&[A], epoch), Validity::Invalid);
        assert_eq!(two.worker.validity(&[B], epoch), Validity::Current, "L1 is kept");
        assert_eq!(two.follow(&table, true), Verdict::Known);
    }

    #[test]
    fn a_table_that_went_back_in_time_is_noticed() {
        let (mut table, mut one, mut two) = pair();
        let send = |process: &mut Process, table: &mut Table, tag| {
            let cells = process.bump(tag);
            process.send(table, &cells);
            assert_eq!(process.follow(table, false), Verdict::Known);
        };
        send(&mut one, &mut table, B);
        let older = table.clone();
        send(&mut one, &mut table, A);
        let mut back = Table { time: table.time + 100, ..older };
        let first = back.incarnation.unwrap();
        assert_eq!(one.follow(&back, false), Verdict::Replace(first));
        // Somebody who does not know it writes before anybody notices.
        assert_eq!(two.follow(&back, true), Verdict::Known);
        send(&mut two, &mut back, B);
        for full in [false, true] {
            assert_eq!(one.follow(&back, full), Verdict::Replace(first), "{full}");
        }
        one.make(&mut back, first);
        let second = back.incarnation.unwrap();
        one.make(&mut back, first);
        assert!(back.incarnation == Some(second) && second > first, "replaced once");
        assert_eq!(one.follow(&back, true), Verdict::Known);
        assert_eq!(one.follow(&back, true), Verdict::Known, "noticed once");
        assert_eq!(one.worker.dirty(u64::MAX, 9).len(), 2);
        // Who bumps and knows more than the table does replaces it by that.
        let mut again = Table { incarnation: Some(second), ..Table::default() };
        let cells = one.bump(A);
        one.send(&mut again, &cells);
        assert!(again.incarnation > Some(second));
        // An incarnation that comes back is none to adopt.
        assert_eq!(one.follow(&again, true), Verdict::Known);
        assert_eq!(one.follow(&back, true), Verdict::Replace(second));
    }

    #[test]
    fn a_bump_that_redis_confirmed_and_lost_before_it_was_followed_is_missed() {
        let (mut table, mut one, _) = pair();
        let older = table.clone();
        let cells = one.bump(A);
        one.send(&mut table, &cells);
        assert_eq!(one.worker.synced().number, NOTHING);
        assert_eq!(one.follow(&older, false), Verdict::Replace(1_010));
    }

    #[test]
    fn a_late_confirmation_from_a_lost_table_counts_for_nothing() {
        let (mut table, mut one, _) = pair();
        let cells = one.bump(A);
        let asked = one.worker.ask(SCOPE, false);
        let number = table.bump(&asked, 0, &cells);
        table = Table { time: table.time, ..Table::default() };
        one.make(&mut table, 0);
        assert_eq!(one.follow(&table, true), Verdict::Known);
        one.worker.confirm(&one.shared.clone(), &asked, &cells, number);
        assert_eq!(one.worker.dirty(u64::MAX, 9).len(), 1);
        assert_eq!(one.follow(&table, true), Verdict::Known);
    }

    #[test]
    fn an_answer_from_before_is_outdated() {
        let (mut table, mut one, _) = pair();
        let asked = one.worker.ask(SCOPE, false);
        let old = table.answer(&asked);
        table = Table { time: 5_000, ..Table::default() };
        one.make(&mut table, 0);
        assert_eq!(one.follow(&table, true), Verdict::Known);
        assert_eq!(one.take(&asked, &old, 100_000), Verdict::Outdated);
        let other = Asked { scope: SCOPE + 1, ..asked };
        assert_eq!(one.take(&other, &old, 100_000), Verdict::Outdated);
        assert_eq!(one.worker.ask(SCOPE + 1, false).synced, Stamp::default());
    }

    /// Two workers ask; one of them meets the table, which then goes; the other meets the next one.
    #[test]
    fn a_worker_that_lags_learns_what_the_other_has_met() {
        let (first, one, _) = pair();
        let mut other = Process { shared: one.shared.clone(), worker: Generations::default() };
        other.worker.open(&one.shared, 256, 1_000);
        let stamp = one.worker.stamp(SCOPE, &[A], u64::MAX).unwrap();
        let mut second = Table { time: 5_000, ..Table::default() };
        one.make(&mut second, 0);
        for (table, verdict, validity) in [
            (&first, Verdict::Known, Validity::Current),
            (&second, Verdict::Outdated, Validity::Current),
            (&second, Verdict::AskAll, Validity::Invalid),
            (&second, Verdict::Known, Validity::Invalid),
        ] {
            if verdict != Verdict::AskAll {
                // As it is before it has seen the head.
                other.worker.head.synced = Stamp::default();
            }
            assert_eq!(other.follow(table, false), verdict);
            assert_eq!(other.worker.admits(SCOPE, stamp, &[A]), validity);
        }
    }

    #[test]
    fn whoever_heard_nothing_for_long_trusts_nothing() {
        for (now_ms, expected) in [(130_000, Validity::Current), (130_001, Validity::Invalid)] {
            let (mut table, mut one, _) = pair();
            let epoch = one.worker.epoch();
            table = Table { time: table.time, ..Table::default() };
            one.make(&mut table, 0);
            let asked = one.worker.ask(SCOPE, true);
            assert_eq!(one.take(&asked, &table.answer(&asked), now_ms), Verdict::Known);
            assert_eq!(one.worker.validity(&[A], epoch), expected);
            assert!(!one.worker.is_uncertain(&[A, B], 0));
        }
    }
}
