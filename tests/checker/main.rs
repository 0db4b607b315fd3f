//! The checker of the coherence drill on histories made by hand.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::indexing_slicing)] // as the drill's

#[allow(dead_code)] // the drill prints the rest
#[path = "../../benches/drill/coherence/checker.rs"]
mod checker;

use std::time::Duration;

use checker::{Read, Write, lags, percentile, settled, violations};

const A: usize = 0;
const B: usize = 1;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A write of key 7.
fn write(instance: usize, version: usize, acknowledged: u64) -> Write {
    Write { key: 7, instance, version, sent: Duration::ZERO, acknowledged: ms(acknowledged) }
}

/// A read of key 7.
fn read(instance: usize, version: usize, sent: u64) -> Read {
    let (sent, received) = (ms(sent), ms(sent + 5));
    Read { key: 7, instance, version, sent, received, cache_status: String::new() }
}

#[test]
fn a_read_after_a_write_that_returns_less_is_a_violation() {
    let (writes, reads) = ([write(A, 1, 10)], [read(A, 0, 11)]);
    let found = violations(&writes, &reads);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].missed.version, found[0].lag()), (1, ms(1)));
}

#[test]
fn a_read_that_was_sent_before_the_acknowledgement_may_return_either() {
    let writes = [write(A, 1, 10)];
    for sent in [0, 9, 10] {
        assert!(violations(&writes, &[read(A, 0, sent), read(A, 1, sent)]).is_empty());
    }
}

#[test]
fn what_was_acknowledged_or_is_newer_may_be_read() {
    let writes = [write(A, 1, 10), write(A, 2, 20)];
    assert!(violations(&writes, &[read(A, 1, 15), read(A, 2, 15), read(A, 2, 25)]).is_empty());
    assert_eq!(violations(&writes, &[read(A, 1, 21)]).len(), 1);
    // A version whose write nobody has been told of yet.
    assert!(violations(&writes, &[read(A, 3, 21)]).is_empty());
}

#[test]
fn acknowledgements_may_overtake_each_other() {
    // Version 2 is known at 10, version 1 at 30 only: from 10 on both 0 and 1 are too old.
    let writes = [write(A, 1, 30), write(A, 2, 10)];
    let reads = [read(A, 1, 11), read(A, 0, 11), read(A, 0, 31)];
    let found = violations(&writes, &reads);
    let found: Vec<_> = found.iter().map(|late| (late.missed.version, late.lag())).collect();
    assert_eq!(found, [(2, ms(1)), (2, ms(1)), (2, ms(21))]);
}

#[test]
fn a_hole_between_versions_is_no_write() {
    // Version 1 went through the other instance, or its answer was lost.
    let writes = [write(A, 2, 10)];
    assert_eq!(violations(&writes, &[read(A, 1, 11), read(A, 0, 11)]).len(), 2);
    assert!(violations(&writes, &[read(A, 1, 9)]).is_empty());
}

#[test]
fn keys_have_nothing_to_do_with_each_other() {
    let other = [Read { key: 8, ..read(A, 0, 11) }];
    assert!(violations(&[write(A, 1, 10)], &other).is_empty());
    assert!(lags(&[write(B, 1, 10)], &other).is_empty());
}

#[test]
fn the_other_instance_lags_and_violates_nothing() {
    let writes = [write(A, 1, 10), write(A, 2, 50)];
    let reads = [read(B, 0, 9), read(B, 0, 60), read(B, 1, 60), read(B, 2, 70)];
    assert!(violations(&writes, &reads).is_empty());
    let found = lags(&writes, &reads);
    let found: Vec<_> = found.iter().map(|late| (late.missed.version, late.lag())).collect();
    // The lag counts from the oldest write that is missing.
    assert_eq!(found, [(1, ms(50)), (2, ms(10))]);
    assert!(lags(&writes, &[read(A, 0, 60)]).is_empty());
}

#[test]
fn a_write_is_settled_after_the_last_older_read_elsewhere() {
    let writes = [write(A, 1, 10), write(A, 2, 50), write(A, 3, 100)];
    let reads = [read(B, 1, 55), read(B, 0, 40), read(B, 2, 70), read(A, 0, 90)];
    let settled = settled(&writes, &reads);
    let settled: Vec<_> = settled.iter().map(|(write, took)| (write.version, *took)).collect();
    assert_eq!(settled, [(1, ms(30)), (2, ms(5)), (3, ms(0))]);
}

#[test]
fn percentiles_are_of_the_values_themselves() {
    let values: Vec<_> = (1..=200).rev().map(ms).collect();
    let of = |percent| percentile(&values, percent);
    assert_eq!((of(50), of(99), of(100)), (ms(100), ms(198), ms(200)));
    assert_eq!(percentile(&[ms(3)], 1), ms(3));
    assert_eq!(percentile(&[], 99), Duration::ZERO);
}
