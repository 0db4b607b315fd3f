//! The engine against `http-cache-semantics`, an independent reading of the same RFCs: on the same
//! requests and responses they agree, but for a table of differences, each with the sentence that
//! decides it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod case;
mod differences;
mod judge;

use std::cell::Cell;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use case::Case;
use differences::{DIFFERENCES, Question};
use judge::Judgement;

const CASES: u32 = 40_000;

/// The first question that both answer, and not the same.
fn disagreement(ours: &Judgement, theirs: &Judgement) -> Option<Question> {
    fn differ<T: PartialEq>(ours: Option<&T>, theirs: Option<&T>) -> bool {
        ours.zip(theirs).is_some_and(|(ours, theirs)| ours != theirs)
    }
    [
        (ours.stored != theirs.stored, Question::Stored),
        (differ(ours.ttl_s.as_ref(), theirs.ttl_s.as_ref()), Question::Ttl),
        (differ(ours.served.as_ref(), theirs.served.as_ref()), Question::Served),
        (differ(ours.age_s.as_ref(), theirs.age_s.as_ref()), Question::Age),
        (differ(ours.asked.as_ref(), theirs.asked.as_ref()), Question::Asked),
        (differ(ours.updates.as_ref(), theirs.updates.as_ref()), Question::Updates),
        (differ(ours.renewed_s.as_ref(), theirs.renewed_s.as_ref()), Question::Renewed),
    ]
    .into_iter()
    .find_map(|(differ, question)| differ.then_some(question))
}

#[test]
fn the_engine_and_an_independent_reading_of_the_rfcs_agree() {
    let policy = judge::policy();
    let (agreed, served) = (Cell::new(0_u32), Cell::new(0_u32));
    let seen: Vec<Cell<u32>> = DIFFERENCES.iter().map(|_| Cell::new(0)).collect();
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::XorShift);
    let compared = TestRunner::new_with_rng(config, rng).run(&case::case(), |case: Case| {
        let (ours, theirs) = (judge::tiercel(&case, &policy), judge::oracle(&case));
        let Some(question) = disagreement(&ours, &theirs) else {
            agreed.set(agreed.get() + 1);
            served.set(served.get() + u32::from(ours.served == Some(true)));
            return Ok(());
        };
        let known = DIFFERENCES.iter().position(|d| (d.explains)(&case, question, &ours));
        let Some(known) = known else {
            let differ = format!("{question:?}\nours   {ours:?}\ntheirs {theirs:?}");
            return Err(TestCaseError::fail(differ));
        };
        seen[known].set(seen[known].get() + 1);
        Ok(())
    });
    compared.unwrap_or_else(|found| panic!("{found}"));
    for (difference, seen) in DIFFERENCES.iter().zip(&seen) {
        assert!(seen.get() > 0, "no case shows this any more: {}", difference.decided_by);
    }
    let (agreed, served) = (agreed.get(), served.get());
    assert!(agreed > CASES / 2, "the table is to explain what is rare: {agreed} agreed");
    assert!(served > CASES / 20, "{served} cases were served from the store");
}
