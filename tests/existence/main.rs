//! Whatever happens to lists, workers, instances and Redis: no id that exists is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, unreachable_pub)] // one crate, read by its own tests only

mod fleet;
mod memory;
mod redis;
mod storm;
mod storms;
mod threads;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use fleet::Fleet;

#[derive(Clone, Debug)]
enum Step {
    /// A worker of an instance passes a write on that brings an id into being; the list may be asked for in between.
    Create { worker: usize, id: u16, pause: bool },
    /// It asks for an id that exists, behind the back of all.
    Elsewhere(u16),
    /// So many ms pass.
    Pass(u16),
    /// All that is under way comes to its end, Redis included, and a while passes.
    Calm,
    /// Redis is there, or not.
    Redis(bool),
    /// It loses everything.
    Flush,
    /// It has changed a byte.
    Corrupt,
    /// The origin is there, or not.
    Origin(bool),
    /// A worker's VM begins anew.
    Crash(usize),
    /// An instance begins anew.
    Restart(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4_usize, any::<u16>(), any::<bool>())
            .prop_map(|(worker, id, pause)| Step::Create { worker, id, pause }),
        2 => any::<u16>().prop_map(Step::Elsewhere),
        8 => (0..1_500_u16).prop_map(Step::Pass),
        3 => Just(Step::Calm),
        1 => any::<bool>().prop_map(Step::Redis),
        1 => Just(Step::Flush),
        1 => Just(Step::Corrupt),
        1 => any::<bool>().prop_map(Step::Origin),
        1 => (0..4_usize).prop_map(Step::Crash),
        1 => (0..2_usize).prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, rng_seed: RngSeed::Fixed(0x7E6C_E150), ..ProptestConfig::default() })]

    #[test]
    fn no_id_that_exists_is_refused(steps in prop::collection::vec(step(), 0..80), seed: u64) {
        let mut fleet = Fleet::new(seed);
        for step in steps {
            match step {
                Step::Create { worker, id, pause } => fleet.create(worker, id, pause),
                Step::Elsewhere(id) => fleet.elsewhere(id),
                Step::Pass(ms) => fleet.pass(u64::from(ms)),
                Step::Calm => fleet.calm(),
                Step::Redis(is_there) => fleet.redis_is_there = is_there,
                Step::Flush => fleet.redis.flush(),
                Step::Corrupt => fleet.redis.corrupt(),
                Step::Origin(is_there) => fleet.origin_is_there = is_there,
                Step::Crash(worker) => fleet.crash(worker),
                Step::Restart(instance) => fleet.restart(instance),
            }
            prop_assert_eq!(fleet.refused_wrongly(), vec![]);
        }
        fleet.calm();
        prop_assert_eq!(fleet.refused_wrongly(), vec![]);
        // And it is good for something.
        prop_assert_eq!(fleet.passed_wrongly(), 0);
    }
}

#[test]
fn writes_that_take_longer_than_lists_wait_are_not_forgotten() {
    for seed in 0..40 {
        let mut fleet = Fleet::new(seed * 7_919 + 1);
        fleet.calm();
        for round in 0..12 {
            fleet.elsewhere(1_000 + round);
            fleet.ask_for_none();
            fleet.create_slowly(usize::from(round) % 4, round);
            for _ in 0..20 {
                fleet.pass(100);
                let refused = fleet.refused_wrongly();
                assert!(refused.is_empty(), "seed {seed}, round {round}: {refused:?}");
            }
        }
    }
}

#[test]
fn filters_that_are_not_the_last_one_do_not_stay_in_redis() {
    let mut fleet = Fleet::new(1);
    (0..2_000).for_each(|id| fleet.elsewhere(id));
    fleet.calm();
    let before = fleet.redis.bytes();
    for round in 0..100 {
        fleet.elsewhere(2_000 + round);
        fleet.ask_for_none();
        fleet.pass(5_000);
    }
    // The last one, and those of the last minute: a list is read every 5 s here.
    let after = fleet.redis.bytes();
    assert!(before > 0 && after < 16 * before, "{before} {after}");
}
