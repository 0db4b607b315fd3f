//! The protocol of coherence (docs/design.md, 10), as models that are checked in every order of steps for
//! small sizes; and what is almost that protocol, to see that the checks find what is wrong with it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod fleet;
mod process;

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

/// Checks a model in full.
fn holds<M>(what: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let began = Instant::now();
    let checker = model.checker().threads(2).spawn_dfs().join();
    println!("{what}: {} states, {:?}", checker.unique_state_count(), began.elapsed());
    assert!(checker.is_done());
    checker.assert_properties();
}

/// Checks that a model is found to be wrong.
fn breaks<M>(what: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let began = Instant::now();
    let checker =
        model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("{what}: {} states, {:?}", checker.unique_state_count(), began.elapsed());
    let found = checker.discoveries();
    for (property, path) in &found {
        println!("  {property}: {:?}", path.clone().into_actions());
    }
    if found.is_empty() {
        println!("  NOTHING FOUND {what}");
    }
}

mod in_a_process {
    use super::process::{Budget, Flaw, Process};
    use super::{breaks, holds};

    const WRITES: Budget = Budget { writes: 2, foreign: 0, follows: 0, reads: 3, fetches: 1 };
    const FOLLOWS: Budget = Budget { writes: 0, foreign: 2, follows: 2, reads: 2, fetches: 1 };
    const BOTH: Budget = Budget { writes: 1, foreign: 1, follows: 1, reads: 2, fetches: 1 };

    #[test]
    fn what_was_written_is_read() {
        holds("writes", Process { budget: WRITES, flaw: None });
    }

    #[test]
    fn what_was_written_and_heard_of_is_read() {
        holds("writes and follows", Process { budget: BOTH, flaw: None });
    }

    #[test]
    fn what_was_heard_of_is_read() {
        holds("follows", Process { budget: FOLLOWS, flaw: None });
    }

    #[test]
    fn variants_break() {
        let flaws = [
            (Flaw::HeadBeforeCells, WRITES),
            (Flaw::BellBeforeHead, WRITES),
            (Flaw::BellAfterReading, WRITES),
            (Flaw::BellSet, WRITES),
            (Flaw::OnlyChangedMarked, WRITES),
            (Flaw::OnlyChangedMarked, FOLLOWS),
            (Flaw::EpochBeforeAnswer, WRITES),
            (Flaw::EpochAtFill, WRITES),
            (Flaw::SyncedBeforeCells, FOLLOWS),
            (Flaw::StampUnchecked, FOLLOWS),
        ];
        for (flaw, budget) in flaws {
            breaks(&format!("{flaw:?}"), Process { budget, flaw: Some(flaw) });
        }
    }
}

mod between_instances {
    use super::fleet::{Budget, Flaw, Fleet};
    use super::{breaks, holds};

    const NONE: Budget = Budget {
        writes: [0, 0],
        calls: 0,
        follows: 0,
        looks: 0,
        fetches: 0,
        failures: 0,
        copies: 0,
        failovers: 0,
        flushes: 0,
        restarts: 0,
        minutes: 0,
    };
    const FETCH: Budget =
        Budget { writes: [1, 0], calls: 1, follows: 1, looks: 1, fetches: 1, ..NONE };
    const CALLS: Budget = Budget { writes: [2, 0], calls: 2, failures: 1, ..NONE };
    const FAILOVER: Budget = Budget { writes: [1, 1], calls: 2, follows: 1, failovers: 1, ..NONE };
    const FLUSH: Budget =
        Budget { writes: [1, 0], calls: 1, follows: 2, looks: 1, flushes: 1, ..NONE };
    const BACK: Budget =
        Budget { writes: [1, 0], flushes: 1, looks: 1, failovers: 1, restarts: 1, minutes: 2, ..NONE };

    #[test]
    fn all_of_them() {
        let of = [
            ("fetch", FETCH),
            ("calls", CALLS),
            ("failover", FAILOVER),
            ("flush", FLUSH),
            ("back", BACK),
        ];
        for (what, budget) in of {
            holds(what, Fleet { budget, flaw: None });
        }
    }

    #[test]
    fn variants_break() {
        let flaws = [
            (Flaw::AnyEpoch, CALLS),
            (Flaw::SyncedBeforeCells, FETCH),
            (Flaw::NoIncarnation, FAILOVER),
            (Flaw::StampUnchecked, FETCH),
            (Flaw::EpochAtFill, FETCH),
            (Flaw::EpochKept, FETCH),
            (Flaw::SentBeforeHead, CALLS),
            (Flaw::AgainSameEpoch, FLUSH),
            (Flaw::LostBySynced, FAILOVER),
            (Flaw::OnlyNewAsked, FAILOVER),
            (Flaw::HeadBeforeDirty, FLUSH),
            (Flaw::NothingAgain, FLUSH),
            (Flaw::DirtyTrusted, FETCH),
        ];
        for (flaw, budget) in flaws {
            breaks(&format!("{flaw:?}"), Fleet { budget, flaw: Some(flaw) });
        }
    }
}
