//! The protocol of coherence (docs/design.md, 10), as models that are checked in every order of steps for
//! small sizes; and what is almost that protocol, to see that the checks find what is wrong with it.
//!
//! Each model says what it leaves out. All of them take it that the origin's answer to a read has every write
//! that it answered before, that Redis' commands are carried out one after the other by whoever is the
//! primary, and that its clock never goes back. A budget bounds how often each thing is begun; it is checked
//! in full.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod fleet;
mod guard;
mod process;

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

/// Checks a model in full.
fn holds<M>(what: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let checker = model.checker().threads(2).spawn_dfs().join();
    println!("{what}: {} states", checker.unique_state_count());
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
    let checker =
        model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("{what}: {} states", checker.unique_state_count());
    let found = checker.discoveries();
    for (property, path) in &found {
        println!("  {property}: {:?}", path.clone().into_actions());
    }
    assert!(!found.is_empty(), "nothing is found to be wrong with: {what}");
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
            (Flaw::OnlyChangedMarked, WRITES),
            (Flaw::OnlyChangedMarked, FOLLOWS),
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
        unsynced: false,
        minutes: 0,
    };
    /// A write, its bump, and whatever is stored and read meanwhile.
    const READS: Budget =
        Budget { writes: [1, 0], calls: 1, follows: 1, looks: 1, fetches: 1, ..NONE };
    const LOOKS: Budget = Budget { writes: [1, 0], calls: 1, looks: 2, fetches: 1, ..NONE };
    /// The same before anybody has followed.
    const START: Budget =
        Budget { writes: [1, 0], calls: 1, follows: 2, looks: 1, unsynced: true, ..NONE };
    /// Writes and bumps that overtake each other, answers that do not arrive.
    const CALLS: Budget = Budget { writes: [2, 0], calls: 2, looks: 1, failures: 1, ..NONE };
    /// Two instances write the same.
    const BOTH: Budget = Budget { writes: [2, 0], calls: 2, follows: 1, fetches: 1, ..NONE };
    const BOTH_AND_LOOK: Budget = Budget { fetches: 0, looks: 1, ..BOTH };
    const BOTH_AND_FLUSH: Budget = Budget { flushes: 1, ..BOTH };
    /// The set goes back to what it was before some bump.
    const FAILOVER: Budget =
        Budget { writes: [1, 1], calls: 2, follows: 1, copies: 1, failovers: 1, ..NONE };
    /// The set is lost.
    const FLUSH: Budget =
        Budget { writes: [1, 0], calls: 1, follows: 2, looks: 1, flushes: 1, ..NONE };
    const FLUSH_AND_FETCH: Budget = Budget { follows: 1, fetches: 1, ..FLUSH };
    /// The set is lost, and one that is older than that comes back.
    const TWICE: Budget = Budget {
        writes: [1, 0],
        calls: 2,
        follows: 2,
        flushes: 1,
        copies: 1,
        failovers: 1,
        ..NONE
    };
    /// The same much later, and some instance has forgotten everything.
    const LATER: Budget = Budget {
        writes: [1, 0],
        looks: 1,
        flushes: 1,
        failovers: 1,
        restarts: 1,
        minutes: 2,
        ..NONE
    };

    #[test]
    fn a_bump_ends_what_is_older() {
        for (what, budget) in
            [("reads", READS), ("looks", LOOKS), ("start", START), ("calls", CALLS), ("both", BOTH)]
        {
            holds(what, Fleet { budget, flaw: None });
        }
    }

    #[test]
    #[ignore = "takes a minute"]
    fn two_bumps_end_what_is_older() {
        for (what, budget) in [("look", BOTH_AND_LOOK), ("flush", BOTH_AND_FLUSH)] {
            holds(what, Fleet { budget, flaw: None });
        }
    }

    #[test]
    fn lost_memory_is_made_good() {
        let budgets = [
            ("failover", FAILOVER),
            ("flush", FLUSH),
            ("flush and fetch", FLUSH_AND_FETCH),
            ("twice", TWICE),
            ("later", LATER),
        ];
        for (what, budget) in budgets {
            holds(what, Fleet { budget, flaw: None });
        }
    }

    #[test]
    fn variants_break() {
        let flaws = [
            (Flaw::AnyEpoch, CALLS),
            (Flaw::SyncedBeforeCells, READS),
            (Flaw::NoIncarnation, FAILOVER),
            (Flaw::StampUnchecked, READS),
            (Flaw::EpochAtFill, READS),
            (Flaw::EpochKept, READS),
            (Flaw::SentBeforeHead, CALLS),
            (Flaw::AgainSameEpoch, FLUSH),
            (Flaw::LostBySynced, FAILOVER),
            (Flaw::OnlyNewAsked, FAILOVER),
            (Flaw::LowerTaken, START),
            (Flaw::HeadBeforeDirty, FLUSH),
            (Flaw::NothingAgain, FLUSH),
            (Flaw::DirtyTrusted, READS),
            (Flaw::OthersHidden, BOTH),
        ];
        for (flaw, budget) in flaws {
            breaks(&format!("{flaw:?}"), Fleet { budget, flaw: Some(flaw) });
        }
    }
}

mod of_unknown_outcome {
    use super::guard::{Flaw, Guard};
    use super::{breaks, holds};

    #[test]
    fn nothing_survives_a_late_write() {
        holds("guard", Guard { fetches: 3, flaw: None });
    }

    #[test]
    fn variants_break() {
        let flaws = [Flaw::NoGuard, Flaw::AskedAtFill, Flaw::GuardAfterHead, Flaw::HardOnlyToldOf];
        for flaw in flaws {
            breaks(&format!("{flaw:?}"), Guard { fetches: 2, flaw: Some(flaw) });
        }
    }
}
