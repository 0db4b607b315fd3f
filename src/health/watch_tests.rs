//! Workers that share what they know of L2.

use super::*;
use crate::coherence::{Memory, SharedData};
use crate::l2::L2Error;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const POLICY: HealthPolicy = HealthPolicy {
    failures: 3,
    failure_rate: 0.5,
    window_ms: 2_000,
    probe_ms: 200,
    probe_ceiling_ms: 400,
    slow_ms: 50,
    force: None,
};
const FEED_MS: u64 = 250;

fn worker(shared: &Memory) -> Health {
    let mut health = Health::default();
    assert!(health.attach(shared, 7) && !health.attach(shared, 7));
    health
}

/// A call that took a millisecond.
fn end(
    health: &mut Health,
    shared: &Memory,
    outcome: Result<(), L2Error>,
    now_ms: u64,
) -> Option<State> {
    let change = health.ended(shared, &POLICY, outcome, (now_ms - 1, now_ms));
    change.filter(Change::is_of_note).map(|change| change.after.state)
}

fn probe(health: &mut Health, shared: &Memory, caught_up: bool, now_ms: u64) -> Option<Change> {
    let sent = health.probe(1, now_ms - 1);
    health.probed(shared, &POLICY, sent, (Ok(()), caught_up), now_ms)
}

#[test]
fn what_is_clear_degrades_it_for_all_workers_at_once() {
    for error in L2Error::ALL.iter().filter(|error| error.severity() == crate::l2::Severity::Clear)
    {
        let shared = Memory::default();
        let (mut one, mut two) = (worker(&shared), worker(&shared));
        assert_eq!(end(&mut one, &shared, Err(*error), 10_000), Some(State::Degraded), "{error}");
        assert_eq!(two.gate(None), Gate::OPEN);
        assert!(two.refresh(&shared) && !two.refresh(&shared));
        assert_eq!((one.gate(None), two.gate(None)), (Gate::SHUT, Gate::SHUT));
        assert_eq!(end(&mut two, &shared, Err(*error), 10_001), None, "it is known");
    }
}

#[test]
fn what_is_vague_takes_some_in_a_row_of_all_workers() {
    let shared = Memory::default();
    let (mut one, mut two) = (worker(&shared), worker(&shared));
    let timeout = Err(L2Error::Timeout);
    assert_eq!(end(&mut one, &shared, timeout, 10_000), Some(State::Suspect));
    assert_eq!(end(&mut two, &shared, timeout, 10_010), None);
    assert_eq!(one.gate(None), Gate::OPEN);
    // One that goes well ends the row.
    two.refresh(&shared);
    assert_eq!(end(&mut two, &shared, Ok(()), 10_020), None);
    assert_eq!(end(&mut one, &shared, timeout, 10_030), None);
    assert_eq!(end(&mut two, &shared, timeout, 10_040), None);
    assert_eq!(end(&mut one, &shared, timeout, 10_050), Some(State::Degraded));
    assert_eq!(one.record().cause, Cause::Error(L2Error::Timeout));
}

#[test]
fn a_share_of_failures_degrades_it_too() {
    let shared = Memory::default();
    let mut one = worker(&shared);
    let mut degraded = 0;
    for n in 0..40 {
        let outcome = if n % 2 == 0 { Err(L2Error::Reset) } else { Ok(()) };
        degraded += u32::from(end(&mut one, &shared, outcome, 10_000 + n) == Some(State::Degraded));
    }
    assert_eq!(degraded, 1);
}

#[test]
fn what_says_nothing_or_belongs_to_the_past_changes_nothing() {
    let shared = Memory::default();
    let mut one = worker(&shared);
    for error in [L2Error::Unsynced, L2Error::Saturated, L2Error::Degraded, L2Error::Slow] {
        assert_eq!(end(&mut one, &shared, Err(error), 10_000), None);
    }
    end(&mut one, &shared, Err(L2Error::Refused), 10_000);
    for (now_ms, caught_up) in [(10_200, true), (10_201, true), (10_202, true)] {
        assert!(probe(&mut one, &shared, caught_up, now_ms).is_some());
    }
    assert_eq!(one.record().state, State::Normal);
    // Sent while it failed, answered late.
    let late = one.ended(&shared, &POLICY, Err(L2Error::Refused), (10_100, 10_300));
    assert_eq!((late, one.record().state), (None, State::Normal));
    // A clock that was set back hides no failure.
    assert_eq!(end(&mut one, &shared, Err(L2Error::Refused), 5_000), Some(State::Degraded));
}

#[test]
fn it_recovers_in_steps_by_probes_of_its_own_term() {
    let shared = Memory::default();
    let (mut one, mut two) = (worker(&shared), worker(&shared));
    let before = one.probe(1, 9_990);
    end(&mut two, &shared, Err(L2Error::Refused), 10_000);
    one.reload(&shared);
    let outcome = (Ok(()), true);
    assert_eq!(one.probed(&shared, &POLICY, before, outcome, 10_001), None, "from before");
    assert_eq!(one.gate(None), Gate::SHUT);
    assert!(probe(&mut one, &shared, false, 10_200).is_some());
    assert_eq!((one.record().state, one.gate(None)), (State::Recovering, Gate::SHUT));
    assert_eq!(probe(&mut one, &shared, false, 10_201), None, "not all is told yet");
    assert!(probe(&mut one, &shared, true, 10_202).is_some());
    assert_eq!(one.gate(None), Gate { table: true, reads: true, writes: false });
    assert!(probe(&mut one, &shared, true, 10_203).is_some());
    two.refresh(&shared);
    assert_eq!((two.record().state, two.gate(None)), (State::Normal, Gate::OPEN));
}

#[test]
fn probes_become_rarer_up_to_a_ceiling() {
    let shared = Memory::default();
    let mut one = worker(&shared);
    assert_eq!(one.probe_ms(&POLICY, FEED_MS), Some(FEED_MS));
    end(&mut one, &shared, Err(L2Error::Timeout), 9_000);
    assert_eq!(one.probe_ms(&POLICY, FEED_MS), Some(0));
    end(&mut one, &shared, Err(L2Error::Refused), 10_000);
    for (least, most) in [(150, 200), (225, 300), (300, 400), (300, 400), (300, 400)] {
        let ms = one.probe_ms(&POLICY, FEED_MS).unwrap();
        assert!((least..=most).contains(&ms), "{ms} not within {least} to {most}");
        assert_eq!(one.probe_ms(&POLICY, FEED_MS), Some(ms), "the same at each look");
        let sent = one.probe(1, 10_000);
        let failed = (Err(L2Error::Refused), false);
        one.probed(&shared, &POLICY, sent, failed, 10_001);
    }
}

#[test]
fn what_fails_as_soon_as_it_is_taken_for_well_is_probed_later() {
    let shared = Memory::default();
    let mut one = worker(&shared);
    let (mut now_ms, mut waits) = (10_000, Vec::new());
    for _ in 0..8 {
        for _ in 0..3 {
            now_ms += 10;
            end(&mut one, &shared, Err(L2Error::Timeout), now_ms);
        }
        assert_eq!(one.record().state, State::Degraded);
        waits.push(one.probe_ms(&POLICY, FEED_MS).unwrap());
        for _ in 0..3 {
            now_ms += 10;
            probe(&mut one, &shared, true, now_ms);
        }
        assert_eq!(one.record().state, State::Normal);
    }
    assert!(waits[0] <= 200 && waits[1] >= 300 && waits[7] >= 4_800 && waits[7] <= 6_400);
    now_ms += 2_000;
    end(&mut one, &shared, Err(L2Error::Refused), now_ms);
    assert!(one.probe_ms(&POLICY, FEED_MS).unwrap() <= 200);
}

#[test]
fn slow_is_not_dead() {
    let shared = Memory::default();
    let mut one = worker(&shared);
    let took = |one: &mut Health, sent_ms, now_ms| {
        one.ended(&shared, &POLICY, Ok(()), (sent_ms, now_ms)).map(|change| change.after.slow)
    };
    // A worker that stands still makes all that is on its way slow: that counts once.
    for _ in 0..10 {
        assert_eq!(took(&mut one, 10_000, 10_200), None);
    }
    assert_eq!(took(&mut one, 10_300, 10_351), None);
    assert_eq!(took(&mut one, 10_400, 10_451), Some(true));
    assert_eq!(one.record().state, State::Normal);
    assert_eq!(one.gate(None), Gate { table: true, reads: false, writes: true });
    assert_eq!(one.gate(None).refusal(), Some(L2Error::Slow));
    assert_eq!(took(&mut one, 10_500, 10_550), None);
    assert_eq!(took(&mut one, 10_600, 10_650), None);
    assert_eq!(took(&mut one, 10_700, 10_750), Some(false));
    assert_eq!(one.gate(None), Gate::OPEN);
}

#[test]
fn what_answers_too_late_for_requests_is_slow_when_it_recovers() {
    let shared = Memory::default();
    let mut one = worker(&shared);
    for now_ms in 10_000..10_003 {
        end(&mut one, &shared, Err(L2Error::Timeout), now_ms);
    }
    let sent = one.probe(1, 10_200);
    one.probed(&shared, &POLICY, sent, (Ok(()), true), 10_300);
    for now_ms in [10_301, 10_302] {
        probe(&mut one, &shared, true, now_ms);
    }
    assert_eq!((one.record().state, one.record().slow), (State::Normal, true));
}

#[test]
fn the_configuration_has_the_last_word() {
    let shared = Memory::default();
    let mut one = worker(&shared);
    let forced = HealthPolicy { force: Some(Force::Degraded), ..POLICY };
    assert_eq!(one.gate(forced.force), Gate::SHUT);
    assert_eq!(one.probe_ms(&forced, FEED_MS), None);
    let change = one.force(&shared, forced.force, 10_000).unwrap();
    assert_eq!((change.after.state, change.after.cause), (State::Degraded, Cause::Forced));
    assert_eq!(one.force(&shared, forced.force, 10_001), None);
    // It has no word any more: probes find out.
    assert_eq!(one.force(&shared, None, 10_100), None);
    assert!(one.probe_ms(&POLICY, FEED_MS).is_some() && one.gate(None) == Gate::SHUT);
    one.force(&shared, Some(Force::Normal), 10_200).unwrap();
    let normal = HealthPolicy { force: Some(Force::Normal), ..POLICY };
    let times = (10_300, 10_301);
    assert_eq!(one.ended(&shared, &normal, Err(L2Error::Refused), times), None);
    assert_eq!(one.gate(normal.force), Gate::OPEN);
}

#[test]
fn a_worker_follows_one_l2_and_its_successors_know_it() {
    let shared = Memory::default();
    let mut one = worker(&shared);
    end(&mut one, &shared, Err(L2Error::Refused), 10_000);
    assert_eq!(worker(&shared).record(), one.record(), "a new VM");
    assert!(one.attach(&shared, 8));
    assert_eq!(one.record().state, State::Normal);
    assert!(shared.get(b"tiercel/health/0000000000000007").is_some());
}

/// one worker's slow answers and the keeper's prompt ones turn it to and fro at each question, for a
/// keeper that has seen three prompt answers at some time needs but one more.
#[test]
fn slow_and_prompt_take_three_answers_each_time() {
    let shared = Memory::default();
    let (mut keeper, mut other) = (worker(&shared), worker(&shared));
    let took = |who: &mut Health, sent_ms, now_ms| {
        who.refresh(&shared);
        let change = who.ended(&shared, &POLICY, Ok(()), (sent_ms, now_ms));
        change.as_ref().is_some_and(Change::is_of_note)
    };
    let mut turns = 0;
    for round in 0..20 {
        let now_ms = 10_000 + round * 250;
        turns += u32::from(took(&mut other, now_ms, now_ms + 60));
        turns += u32::from(took(&mut keeper, now_ms + 100, now_ms + 101));
    }
    assert!(turns <= 10, "it turned {turns} times in {} ms", 20 * 250);
}

/// the "chance" in the time until a probe is the same in all processes of a fleet.
#[test]
fn processes_do_not_probe_in_step() {
    let times: Vec<_> = (0..8)
        .map(|n| {
            let shared = Memory::default();
            let mut process = worker(&shared);
            end(&mut process, &shared, Err(L2Error::Refused), 10_000 + n * 3);
            process.probe_ms(&POLICY, FEED_MS).unwrap()
        })
        .collect();
    assert!(times.iter().any(|ms| *ms != times[0]), "{times:?}");
}

/// while the node of the table hangs, stores that other nodes take keep all of it from ever being
/// degraded, though no look-up is of any use: each waits out its time.
#[test]
fn what_other_nodes_store_does_not_say_that_the_table_is_well() {
    use crate::l2::{Answer, verdict};
    let shared = Memory::default();
    let mut one = worker(&shared);
    for n in 0..200 {
        let now_ms = 10_000 + n * 20;
        let lost = [Answer::Failed(1, L2Error::Timeout)];
        one.ended(&shared, &POLICY, verdict(&lost).unwrap(), (now_ms, now_ms + 5));
        for after_ms in 6..9 {
            if let Some(outcome) = verdict(&[Answer::Stored, Answer::Stored]) {
                one.ended(&shared, &POLICY, outcome, (now_ms, now_ms + after_ms));
            }
        }
    }
    assert_eq!(one.record().state, State::Degraded);
}

/// what fails now and then, but not in a row, makes L2 suspect and normal again as often as the keeper
/// can probe, each with a line in the log.
#[test]
fn what_fails_now_and_then_is_not_said_all_the_time() {
    let shared = Memory::default();
    let mut one = worker(&shared);
    let mut lines = 0;
    for n in 0..100 {
        let now_ms = 20_000 + n * 100;
        lines += u32::from(end(&mut one, &shared, Err(L2Error::Timeout), now_ms).is_some());
        // Not often enough for `failure_rate`.
        (0..3).for_each(|_| assert_eq!(end(&mut one, &shared, Ok(()), now_ms + 50), None));
        lines += u32::from(probe(&mut one, &shared, true, now_ms + 50).is_some());
    }
    assert!(lines <= 20, "{lines} lines in ten seconds");
}

/// stores that were lost while Redis hung time out after it is back: they counted for `failure_rate`, and a single
/// time-out then degraded it anew.
#[test]
fn what_was_lost_before_it_recovered_is_no_share_of_what_fails_now() {
    let shared = Memory::default();
    let mut one = worker(&shared);
    end(&mut one, &shared, Err(L2Error::Refused), 10_000);
    for now_ms in [10_200, 10_201, 10_202] {
        probe(&mut one, &shared, true, now_ms);
    }
    assert_eq!(one.record().state, State::Normal);
    for _ in 0..32 {
        let late = one.ended(&shared, &POLICY, Err(L2Error::Timeout), (9_990, 10_990));
        assert_eq!(late, None);
    }
    (0..9).for_each(|_| assert_eq!(end(&mut one, &shared, Ok(()), 11_000), None));
    assert_eq!(end(&mut one, &shared, Err(L2Error::Timeout), 11_001), None);
    assert_eq!(one.record().state, State::Normal);
}

/// A Redis that is full soon after it was taken for well again: the keeper looks at once, without another word.
#[test]
fn what_is_refused_soon_after_is_looked_at_all_the_same() {
    let shared = Memory::default();
    let (mut one, mut keeper) = (worker(&shared), worker(&shared));
    end(&mut one, &shared, Err(L2Error::Refused), 10_000);
    for now_ms in [10_200, 10_201, 10_202] {
        probe(&mut one, &shared, true, now_ms);
    }
    let refused =
        |one: &mut Health, now_ms| one.suspect(&shared, &POLICY, L2Error::OutOfMemory, now_ms);
    let doubt = refused(&mut one, 11_000).expect("a doubt");
    assert!(!doubt.is_of_note() && refused(&mut one, 11_001).is_none());
    keeper.reload(&shared);
    assert_eq!(keeper.probe_ms(&POLICY, FEED_MS), Some(0));
    assert!(probe(&mut keeper, &shared, true, 11_050).is_some_and(|change| !change.is_of_note()));
    assert_eq!(keeper.probe_ms(&POLICY, FEED_MS), Some(FEED_MS));
    // Or it is full indeed.
    assert!(refused(&mut one, 12_000).is_some());
    assert_eq!(end(&mut keeper, &shared, Err(L2Error::OutOfMemory), 12_050), Some(State::Degraded));
    assert!(!keeper.record().doubted);
    // Later it is worth a word.
    for now_ms in [12_250, 12_251, 12_252] {
        probe(&mut keeper, &shared, true, now_ms);
    }
    assert!(refused(&mut keeper, 18_000).is_some_and(|change| change.is_of_note()));
}
