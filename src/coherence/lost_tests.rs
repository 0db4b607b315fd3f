//! A table in Redis that loses what it knew, in every way.

use super::follow::NOTHING;
use super::follow_tests::{A, B, Process, SCOPE, Table, pair};
use super::generations::Generations;
use super::head::Stamp;
use super::shared::Memory;
use super::{Asked, Bump, Reach, Tags, Validity, Verdict, keeper};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

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
    send(&mut one, &mut back, B);
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
    assert_eq!(one.worker.head.synced.number, NOTHING);
    assert_eq!(one.follow(&older, false), Verdict::Replace(1_010));
}

#[test]
fn a_late_confirmation_from_a_lost_table_counts_for_nothing() {
    let (mut table, mut one, _) = pair();
    let cells = one.bump(A);
    let asked = one.worker.ask(SCOPE, Reach::New);
    let bumped = table.bump(&asked, 0, &cells);
    table = Table { time: table.time, ..Table::default() };
    one.make(&mut table, 0);
    assert_eq!(one.follow(&table, true), Verdict::Known);
    one.worker.confirm(&one.shared.clone(), &asked, &cells, &bumped, (100_000, 5_000));
    assert_eq!(one.worker.dirty(u64::MAX, 9).len(), 1);
    assert_eq!(one.follow(&table, true), Verdict::Known);
}

#[test]
fn an_answer_from_before_is_outdated() {
    let (mut table, mut one, _) = pair();
    let asked = one.worker.ask(SCOPE, Reach::New);
    let old = table.answer(&asked);
    table = Table { time: 5_000, ..Table::default() };
    one.make(&mut table, 0);
    assert_eq!(one.follow(&table, true), Verdict::Known);
    assert_eq!(one.take(&asked, &old, 100_000), Verdict::Outdated);
    let other = Asked { scope: SCOPE + 1, ..asked };
    assert_eq!(one.take(&other, &old, 100_000), Verdict::Outdated);
    assert_eq!(one.worker.ask(SCOPE + 1, Reach::New).synced, Stamp::default());
}

#[test]
fn whoever_heard_nothing_for_long_trusts_nothing() {
    for (now_ms, expected) in [(130_000, Validity::Current), (130_001, Validity::Invalid)] {
        let (mut table, mut one, _) = pair();
        let epoch = one.worker.epoch();
        table = Table { time: table.time, ..Table::default() };
        one.make(&mut table, 0);
        let asked = one.worker.ask(SCOPE, Reach::All);
        assert_eq!(one.take(&asked, &table.answer(&asked), now_ms), Verdict::Known);
        assert_eq!(one.worker.validity(&[A], epoch), expected);
        assert!(!one.worker.is_uncertain(&[A, B], 0));
    }
}

#[test]
fn a_loss_before_the_first_answer_is_noticed() {
    let (mut table, _, _) = pair();
    let mut one = Process::new();
    one.worker.change_head(&one.shared, |head| {
        head.synced = Stamp { incarnation: 1_010, number: 0 };
    });
    one.worker.reload(&one.shared);
    let older = table.clone();
    let cells = one.bump(A);
    one.send(&mut table, &cells);
    assert_eq!(one.follow(&older, false), Verdict::Replace(1_010));
    // So does whoever bumps.
    let mut older = older;
    one.make(&mut older, 0);
    assert!(older.incarnation > Some(1_010));
}

#[test]
fn what_is_lost_is_missed_although_something_newer_is_there() {
    let (mut table, mut one, _) = pair();
    let older = table.clone();
    for tag in [A, B] {
        let cells = one.bump(tag);
        one.send(&mut table, &cells);
        assert_eq!(one.follow(&table, false), Verdict::Known);
    }
    let mut two = Process::new();
    let mut back = Table { time: table.time + 100, ..older };
    assert_eq!(two.follow(&back, false), Verdict::Known);
    let cells = two.bump(B);
    two.send(&mut back, &cells);
    // What is new is there; of what is asked again something is not.
    let asked = one.worker.ask(SCOPE, Reach::Recent);
    assert_eq!(one.take(&asked, &back.answer(&asked), 100_000), Verdict::Replace(1_010));
    let mut long_ago = one.worker.ask(SCOPE, Reach::New);
    assert_eq!(one.take(&long_ago, &back.answer(&long_ago), 100_000), Verdict::Known);
    long_ago = Asked { from: 0, ..long_ago };
    assert_eq!(one.take(&long_ago, &back.answer(&long_ago), 100_000), Verdict::Replace(1_010));
}

#[test]
fn what_was_lost_during_a_long_outage_is_said_again() {
    let (mut table, mut one, mut two) = pair();
    let epoch = two.worker.epoch();
    let older = table.clone();
    let cells = one.bump(A); // at 100 s
    one.send(&mut table, &cells);
    let mut back = Table { time: table.time + 100, ..older };
    let asked = one.worker.ask(SCOPE, Reach::All);
    assert_eq!(one.take(&asked, &back.answer(&asked), 190_000), Verdict::Replace(1_010));
    one.make(&mut back, 1_010);
    let asked = one.worker.ask(SCOPE, Reach::All);
    assert_eq!(one.take(&asked, &back.answer(&asked), 190_001), Verdict::Known);
    let again = one.worker.dirty(u64::MAX, 9);
    one.send(&mut back, &again);
    let asked = two.worker.ask(SCOPE, Reach::All);
    assert_eq!(two.take(&asked, &back.answer(&asked), 190_002), Verdict::Known);
    assert_eq!(two.worker.validity(&[A], epoch), Validity::Invalid);
}

#[test]
fn what_was_said_late_and_lost_at_once_is_said_again() {
    let (mut table, mut one, mut two) = pair();
    let epoch = two.worker.epoch();
    let cells = one.bump(A); // at 100_000, Redis is away for five minutes
    for process in [&one, &two] {
        keeper::heard(&process.shared, 0, 400_000, true); // it is back
    }
    let again = one.worker.dirty(u64::MAX, 9);
    assert_eq!(again, cells);
    let asked = one.worker.ask(SCOPE, Reach::New);
    let bumped = table.bump(&asked, 0, &again);
    one.worker.confirm(&one.shared, &asked, &again, &bumped, (400_000, 5_000));
    table = Table { time: table.time, ..Table::default() }; // and lost before the other has asked
    two.make(&mut table, 0);
    let asked = one.worker.ask(SCOPE, Reach::All);
    assert_eq!(one.take(&asked, &table.answer(&asked), 400_200), Verdict::Known);
    let again = one.worker.dirty(u64::MAX, 9);
    one.send(&mut table, &again);
    let asked = two.worker.ask(SCOPE, Reach::All);
    assert_eq!(two.take(&asked, &table.answer(&asked), 400_400), Verdict::Known);
    assert_eq!(two.worker.validity(&[A], epoch), Validity::Invalid);
}

#[test]
fn a_table_that_was_left_and_joined_again_trusts_nothing() {
    let shared = Memory::default();
    let mut worker = Generations::default();
    worker.open(&shared, 256, 1_000);
    let first = worker.epoch();
    worker.open(&shared, 512, 2_000);
    let second = worker.epoch();
    let tags: Tags = [A].into_iter().collect();
    worker.bump(Bump { tags: tags.clone(), ..Bump::default() });
    worker.publish(&shared, 2_000).unwrap();
    worker.open(&shared, 256, 3_000);
    assert_eq!(worker.validity(&[A], first), Validity::Invalid, "stored before");
    worker.bump(Bump { tags, ..Bump::default() });
    worker.publish(&shared, 3_000).unwrap();
    assert_eq!(worker.validity(&[A], second), Validity::Invalid);
}
