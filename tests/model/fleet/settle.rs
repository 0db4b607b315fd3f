//! What becomes of a state in which nothing goes on, once Redis is well and every instance has sent what is
//! dirty and followed.

use super::Fleet;
use super::state::{Entry, INSTANCES, RESOURCES, State};

/// More rounds than it ever takes.
const ROUNDS: usize = 12;

impl Fleet {
    /// Whether every instance then has the newest of everything, and nothing is valid in L2 that is older.
    pub(super) fn settles(&self, state: &State) -> bool {
        self.settled(state).is_some_and(|settled| {
            // What is older than a minute is not sent again.
            let told = self.budget.minutes > 0 || settled.table.covered == settled.origin;
            told && (0..INSTANCES).all(|at| {
                let instance = &settled.instances[at];
                (0..RESOURCES).all(|r| {
                    let (cell, newest) = (instance.cells[r], settled.origin[r]);
                    let old = |entry: &Entry| cell.local <= entry.epoch && entry.value < newest;
                    let stored = settled.l2.iter().filter(|stored| {
                        (stored.resource, stored.incarnation) == (r, instance.incarnation)
                            && stored.number >= cell.number
                    });
                    !instance.l1[r].iter().any(old) && stored.into_iter().all(|s| s.value >= newest)
                })
            })
        })
    }

    /// The state after everybody has sent and followed until nothing changes; none if it always does.
    pub(super) fn settled(&self, state: &State) -> Option<State> {
        let mut now = state.clone();
        for _ in 0..ROUNDS {
            let before = now.clone();
            for at in 0..INSTANCES {
                for task in [self.call(&now, at), Some(Self::ask(&now, at, None))] {
                    let mut task = task;
                    while let Some(step) = task {
                        task = self.step(&mut now, at, step, 0);
                    }
                }
            }
            // Epochs rise with every follow, whether it brought anything or not.
            let same = |a: &State, b: &State| {
                let key = |s: &State| {
                    s.instances.clone().map(|i| (i.incarnation, i.synced, i.cells, i.heard))
                };
                a.table == b.table && key(a) == key(b)
            };
            if same(&before, &now) {
                return Some(now);
            }
        }
        None
    }
}
