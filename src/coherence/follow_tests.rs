//! A few processes and a sorted set: what each learns of the others.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::follow::NOTHING;
use super::generations::Generations;
use super::head::Stamp;
use super::shared::{Hooked, Memory};
use super::{Asked, Bump, Bumped, Cells, Followed, Reach, Tag, Tags, Validity, Verdict, keeper};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

pub(super) const A: Tag = Tag::from_bits(1);
pub(super) const B: Tag = Tag::from_bits(2);
pub(super) const SCOPE: u64 = 5;

/// The sorted set.
#[derive(Clone, Default)]
pub(super) struct Table {
    pub(super) incarnation: Option<u64>,
    pub(super) numbers: BTreeMap<usize, u64>,
    pub(super) time: u64,
}

impl Table {
    /// As the script does it.
    pub(super) fn bump(&mut self, asked: &Asked, replaced: u64, cells: &Cells) -> Bumped {
        let last = self.numbers.values().max().copied().unwrap_or(0);
        self.time += 10;
        let number = self.time.max(last + 1).max(asked.highest + 1);
        let known = asked.synced.incarnation;
        let is_back = |now| now == known && last < asked.highest && now < asked.highest;
        if self.incarnation.is_none_or(|now| now == replaced || is_back(now)) {
            let least = self.incarnation.unwrap_or(0).max(known) + 1;
            self.incarnation = Some(number.max(least));
        }
        let number = number.max(self.incarnation.unwrap_or(0) + 1);
        let known = asked.synced.number;
        let before = cells.iter().filter_map(|(cell, _)| Some((*cell, *self.numbers.get(cell)?)));
        let before = before.filter(|(_, number)| *number > known).collect();
        self.numbers.extend(cells.iter().map(|(cell, _)| (*cell, number)));
        Bumped { number, before }
    }

    pub(super) fn answer(&self, asked: &Asked) -> Followed {
        let newer = self.numbers.iter().filter(|(_, number)| **number >= asked.from);
        let cells = newer.map(|(cell, number)| (*cell, *number)).collect();
        Followed { incarnation: self.incarnation, cells }
    }
}

pub(super) struct Process {
    pub(super) shared: Memory,
    pub(super) worker: Generations,
}

impl Process {
    pub(super) fn new() -> Self {
        let shared = Memory::default();
        let mut worker = Generations::default();
        worker.open(&shared, 256, 1_000);
        assert!(worker.attach(&shared, SCOPE, 1));
        keeper::heard(&shared, 0, 100_000, true);
        Self { shared, worker }
    }

    pub(super) fn bump(&mut self, tag: Tag) -> Cells {
        let tags: Tags = [tag].into_iter().collect();
        self.worker.bump(Bump { tags, ..Bump::default() });
        self.worker.publish(&self.shared, 100_000).unwrap()
    }

    pub(super) fn send(&mut self, table: &mut Table, cells: &Cells) {
        let asked = self.worker.ask(SCOPE, Reach::New);
        let bumped = table.bump(&asked, 0, cells);
        self.worker.confirm(&self.shared, &asked, cells, &bumped, (100_000, 5_000));
    }

    pub(super) fn make(&self, table: &mut Table, replaced: u64) {
        table.bump(&self.worker.ask(SCOPE, Reach::All), replaced, &vec![]);
    }

    pub(super) fn take(&mut self, asked: &Asked, followed: &Followed, now_ms: u64) -> Verdict {
        self.worker.follow(&self.shared, asked, followed, now_ms, 5_000)
    }

    pub(super) fn follow(&mut self, table: &Table, full: bool) -> Verdict {
        let asked = self.worker.ask(SCOPE, if full { Reach::All } else { Reach::New });
        self.take(&asked, &table.answer(&asked), 100_000)
    }
}

pub(super) fn pair() -> (Table, Process, Process) {
    let mut table = Table { time: 1_000, ..Table::default() };
    let (mut one, mut two) = (Process::new(), Process::new());
    assert_eq!(one.follow(&table, false), Verdict::Make);
    one.make(&mut table, 0);
    for process in [&mut one, &mut two] {
        assert_eq!(process.follow(&table, false), Verdict::Known);
        assert_eq!(process.worker.head.synced, Stamp { incarnation: 1_010, number: NOTHING });
    }
    (table, one, two)
}

#[test]
fn a_bump_reaches_the_other_process_and_what_is_in_l2() {
    let (mut table, mut one, mut two) = pair();
    let (epoch, stamp) = (two.worker.epoch(), one.worker.stamp(SCOPE, &[A, B], u64::MAX).unwrap());
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

/// Redis answers before it hears of a bump, and the worker reads that after it has heard that the bump is
/// done.
#[test]
fn the_first_answer_takes_nothing_away_that_was_confirmed() {
    let (mut table, _, _) = pair();
    let mut one = Process::new();
    let stamp = Stamp { incarnation: 1_010, number: NOTHING };
    // It has met the table and knows nothing of it yet.
    one.worker.change_head(&one.shared, |head| {
        head.synced = Stamp { incarnation: 1_010, number: 0 };
    });
    one.worker.reload(&one.shared);
    let cells = one.bump(A);
    let asked = one.worker.ask(SCOPE, Reach::New);
    let early = table.answer(&asked);
    one.send(&mut table, &cells);
    assert_eq!(one.worker.dirty(u64::MAX, 9), vec![]);
    assert_eq!(one.take(&asked, &early, 100_000), Verdict::Known);
    assert_eq!(one.worker.admits(SCOPE, stamp, &[A]), Validity::Invalid);
    assert_eq!(one.worker.admits(SCOPE, stamp, &[B]), Validity::Current);
}

/// Two cells are lost, and one of them is bumped again by somebody who knew of neither.
#[test]
fn what_others_bumped_is_heard_though_ones_own_bump_hides_it() {
    let (mut table, mut one, mut two) = pair();
    let own = one.bump(A); // Redis is away from the first
    let epoch = one.worker.epoch(); // fetched again, before the other's write
    let theirs = two.bump(A);
    two.send(&mut table, &theirs);
    one.send(&mut table, &own); // Redis is back: it is said again
    assert_eq!(one.follow(&table, false), Verdict::Known);
    assert_eq!(one.follow(&table, true), Verdict::Known);
    assert_eq!(one.worker.validity(&[A], epoch), Validity::Invalid);
}

#[test]
fn what_came_from_l2_is_as_of_the_question() {
    let (mut table, mut one, mut two) = pair();
    let c = RefCell::new(Generations::default());
    c.borrow_mut().open(&one.shared, 256, 1_000);
    let stamp = one.worker.stamp(SCOPE, &[A], u64::MAX).unwrap(); // of what is in L2
    let cells = two.bump(B);
    two.send(&mut table, &cells);
    let asked_c = c.borrow().ask(SCOPE, Reach::New);
    let answer_c = table.answer(&asked_c);
    let cells = two.bump(A);
    two.send(&mut table, &cells);
    let asked = one.worker.ask(SCOPE, Reach::New);
    let answer = table.answer(&asked);
    let taken = std::cell::Cell::new(0);
    let memory = one.shared.clone();
    let hook = || {
        let mut c = c.borrow_mut();
        assert_eq!(c.follow(&memory, &asked_c, &answer_c, 100_000, 5_000), Verdict::Known);
        assert_eq!(c.admits(SCOPE, stamp, &[A]), Validity::Current); // asked before A was bumped
        taken.set(asked_c.epoch);
    };
    let hooked = Hooked {
        memory: one.shared.clone(),
        before_chunk: RefCell::new(vec![Box::new(hook)]),
        after_ring: RefCell::default(),
    };
    assert_eq!(one.worker.follow(&hooked, &asked, &answer, 100_000, 5_000), Verdict::Known);
    drop(hooked);
    let mut c = c.into_inner();
    c.reload(&one.shared);
    assert_ne!(taken.get(), 0);
    assert_eq!(c.validity(&[A], taken.get()), Validity::Invalid);
}

#[test]
fn the_guard_is_there_when_the_head_is() {
    let (mut table, mut one, mut two) = pair();
    let tags: Tags = [A].into_iter().collect();
    two.worker.bump(Bump { tags, uncertain_until_ms: 105_000, ..Bump::default() });
    let cells = two.worker.publish(&two.shared, 100_000).unwrap();
    two.send(&mut table, &cells);
    let asked = one.worker.ask(SCOPE, Reach::New);
    let answer = table.answer(&asked);
    let other = RefCell::new(Generations::default());
    other.borrow_mut().open(&one.shared, 256, 1_000);
    let (memory, seen) = (one.shared.clone(), std::cell::Cell::new((0, true)));
    let hook = || {
        let mut other = other.borrow_mut();
        other.refresh(&memory);
        seen.set((other.epoch(), other.is_uncertain(&[A], 100_000)));
    };
    let hooked = Hooked {
        memory: one.shared.clone(),
        before_chunk: RefCell::default(),
        after_ring: RefCell::new(vec![Box::new(hook)]),
    };
    assert_eq!(one.worker.follow(&hooked, &asked, &answer, 100_000, 5_000), Verdict::Known);
    drop(hooked);
    let mut other = other.into_inner();
    other.refresh(&one.shared);
    let (epoch, guarded) = seen.get();
    assert!(guarded || other.validity(&[A], epoch) == Validity::Invalid);
}
