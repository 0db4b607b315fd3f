//! Two instances, each with any number of workers, Redis and the origin. Each host call and each command of
//! Redis is a step, and any other step may come between.

mod redis;
mod settle;
mod state;
mod tasks;

use stateright::{Model, Property};

pub(crate) use state::Budget;
use state::{
    Entry, Fetching, Following, Instance, Look, RESOURCES, Sending, State, Table, Task, Writing,
};

/// What an implementation might do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// An answer clears what is dirty whatever was sent.
    AnyEpoch,
    /// The synced number is raised before the cells are.
    SyncedBeforeCells,
    /// Incarnations do not count, nor is lost memory looked for.
    NoIncarnation,
    /// A store gets the synced number of when it is sent, without asking whether it is still valid.
    StampUnchecked,
    /// An entry has the epoch of the time it is filled.
    EpochAtFill,
    /// A bump keeps its epoch although another has raised the head meanwhile.
    EpochKept,
    /// A bump is sent to Redis although the head has not been raised to its epoch yet.
    SentBeforeHead,
    /// What is marked dirty again keeps its epoch.
    AgainSameEpoch,
    /// Lost memory is noticed only by numbers that are all lower than the synced one.
    LostBySynced,
    /// Lost memory is noticed only by what is missing of what is at least as new as the synced number.
    OnlyNewAsked,
    /// The first follow under an incarnation takes lower numbers in place of any others, even of those that
    /// were confirmed under it.
    LowerTaken,
    /// An adoption changes the head before it marks what is dirty again.
    HeadBeforeDirty,
    /// An adoption marks nothing dirty again.
    NothingAgain,
    /// L2 is trusted although the cell is dirty.
    DirtyTrusted,
    /// What others bumped before one's own bump is not heard of.
    OthersHidden,
}

/// The protocol between instances, or an almost equal one.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) budget: Budget,
    pub(crate) flaw: Option<Flaw>,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// An instance's write is carried out.
    Write { at: usize, resource: usize },
    /// An instance sends what is dirty.
    Call { at: usize },
    /// An instance asks for what is new.
    Follow { at: usize },
    /// An instance looks in L2.
    Look { at: usize },
    /// An instance begins a fetch.
    Fetch { at: usize },
    /// A task makes its next step.
    Go { at: usize, task: usize, pick: usize },
    /// An answer of Redis is lost.
    Fail { at: usize, task: usize },
    /// The copy catches up with the table.
    Copy,
    /// The copy takes the table's place.
    Failover,
    /// The table is emptied.
    Flush,
    /// An instance that has written nothing lately starts anew.
    Restart { at: usize },
    /// A minute passes.
    Minute,
}

impl Fleet {
    pub(super) fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Whether lost memory is looked for by the synced number alone.
    fn trusts_most(&self) -> bool {
        self.is(Flaw::LostBySynced) || self.is(Flaw::NoIncarnation)
    }

    /// The bump of what is dirty; none if nothing is.
    fn call(&self, state: &State, at: usize) -> Option<Task> {
        let Instance { cells, epoch, incarnation, .. } = &state.instances[at];
        let early = self.is(Flaw::SentBeforeHead);
        let dirty = cells.map(|cell| if early || cell.dirty <= *epoch { cell.dirty } else { 0 });
        let known = cells.iter().map(|cell| cell.number).max().unwrap_or_default();
        let known = known.max(*incarnation);
        let versions = cells.map(|cell| cell.version);
        let synced = state.instances[at].synced;
        let call = Task::Call { dirty, versions, known, synced, step: Sending::Sent };
        (dirty != [0; RESOURCES]).then_some(call)
    }

    /// A follow, or the one that goes with a look-up.
    fn ask(state: &State, at: usize, look: Option<Look>) -> Task {
        let Instance { incarnation, synced, cells, .. } = state.instances[at];
        let (known, step) = (cells.map(|cell| cell.number), Following::Asked);
        Task::Follow { incarnation, synced, known, look, step }
    }

    fn begin(&self, state: &mut State, action: Action) -> Option<(usize, Task)> {
        let budget = &mut state.budget;
        Some(match action {
            Action::Write { at, resource } => {
                budget.writes[resource] -= 1;
                state.origin[resource] += 1;
                let version = state.origin[resource];
                (at, Task::Write { resource, version, step: Writing::Answered })
            }
            Action::Call { at } => {
                budget.calls -= 1;
                (at, self.call(state, at)?)
            }
            Action::Follow { at } => {
                budget.follows -= 1;
                (at, Self::ask(state, at, None))
            }
            Action::Look { at } => {
                budget.looks -= 1;
                let Instance { epoch, finished, .. } = state.instances[at];
                let (finished, bumped) = (finished[0], state.table.versions[0]);
                let look = Look { resource: 0, epoch, finished, bumped, found: None };
                (at, Self::ask(state, at, Some(look)))
            }
            Action::Fetch { at } => {
                budget.fetches -= 1;
                let epoch = state.instances[at].epoch;
                (at, Task::Fetch { resource: 0, epoch, step: Fetching::Asked })
            }
            _ => return None,
        })
    }

    fn befall(&self, state: &mut State, action: Action) {
        match action {
            Action::Fail { at, task } => {
                state.budget.failures -= 1;
                state.instances[at].tasks.remove(task);
            }
            Action::Copy => {
                state.budget.copies -= 1;
                state.copy = state.table;
            }
            Action::Failover => {
                state.budget.failovers -= 1;
                state.table = state.copy;
                state.lost = true;
            }
            Action::Flush => {
                state.budget.flushes -= 1;
                state.table = Table::default();
                state.lost = true;
            }
            Action::Restart { at } => {
                state.budget.restarts -= 1;
                let mut fresh = State::new(state.budget).instances[at].clone();
                fresh.l1 = [None; RESOURCES];
                (fresh.incarnation, fresh.synced) = (0, 0);
                state.instances[at] = fresh;
            }
            Action::Minute => {
                if let Some(settled) = self.settled(state) {
                    *state = settled;
                }
                state.budget.minutes -= 1;
                let cells = state.instances.iter_mut().flat_map(|instance| &mut instance.cells);
                cells.for_each(|cell| cell.recent = false);
            }
            _ => {}
        }
    }
}

impl Model for Fleet {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.budget)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let budget = state.budget;
        for (at, instance) in state.instances.iter().enumerate() {
            for resource in (0..RESOURCES).filter(|resource| budget.writes[*resource] > 0) {
                actions.push(Action::Write { at, resource });
            }
            let may = [
                (budget.calls > 0 && self.call(state, at).is_some(), Action::Call { at }),
                (budget.follows > 0, Action::Follow { at }),
                (budget.looks > 0, Action::Look { at }),
                (budget.fetches > 0, Action::Fetch { at }),
            ];
            actions.extend(may.into_iter().filter(|may| may.0).map(|may| may.1));
            for (task, doing) in instance.tasks.iter().enumerate() {
                let found = match doing {
                    Task::Follow { step: Following::Get { .. }, .. } => state.l2.len().max(1),
                    _ => 1,
                };
                actions.extend((0..found).map(|pick| Action::Go { at, task, pick }));
                let answer = matches!(doing, Task::Call { step: Sending::Answered { .. }, .. });
                if budget.failures > 0 && answer {
                    actions.push(Action::Fail { at, task });
                }
            }
            let idle = instance.tasks.is_empty() && instance.cells.iter().all(|cell| !cell.recent);
            if budget.restarts > 0 && idle {
                actions.push(Action::Restart { at });
            }
        }
        let quiet = state.instances.iter().all(|instance| instance.tasks.is_empty());
        let may = [
            (budget.copies > 0 && state.copy != state.table, Action::Copy),
            (budget.failovers > 0 && state.copy != state.table, Action::Failover),
            (budget.flushes > 0, Action::Flush),
            (budget.minutes > 0 && quiet, Action::Minute),
        ];
        actions.extend(may.into_iter().filter(|may| may.0).map(|may| may.1));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let begun = match action {
            Action::Go { at, task, pick } => {
                let task = next.instances[at].tasks.remove(task);
                self.step(&mut next, at, task, pick).map(|task| (at, task))
            }
            _ => self.begin(&mut next, action),
        };
        self.befall(&mut next, action);
        if let Some((at, task)) = begun {
            next.instances[at].tasks.push(task);
        }
        next.instances.iter_mut().for_each(|instance| instance.tasks.sort_unstable());
        next.instances.sort_unstable(); // which of them is the first makes no difference
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("L1 is as new as what finished here or was heard of", |_, state| {
                let state: &State = state;
                state.instances.iter().all(|instance| {
                    (0..RESOURCES).all(|at| {
                        let heard = if state.lost { 0 } else { instance.heard[at] };
                        let floor = heard.max(instance.finished[at]);
                        let valid = |e: &&Entry| instance.cells[at].local <= e.epoch;
                        instance.l1[at].iter().filter(valid).all(|entry| entry.value >= floor)
                    })
                })
            }),
            Property::always("L2 is as new as what finished here or was in Redis", |_, state| {
                let state: &State = state;
                !state.stale
            }),
            Property::always("nothing in L2 is older than its stamp says", |_, state| {
                let State { table, l2, .. } = state;
                l2.iter().all(|stored| {
                    stored.incarnation != table.incarnation
                        || stored.number < table.numbers[stored.resource]
                        || stored.value >= table.versions[stored.resource]
                })
            }),
            Property::always(
                "what finished is in Redis, or dirty",
                |model: &Self, state: &State| {
                    // A table that went back is noticed by and by.
                    let known =
                        |i: &&Instance| i.synced != 0 && i.incarnation == state.table.incarnation;
                    let told = |instance: &Instance| {
                        (0..RESOURCES).all(|at| {
                            instance.cells[at].dirty != 0
                                || state.table.covered[at] >= instance.finished[at]
                        })
                    };
                    let exempt = model.budget.failovers > 0 || model.budget.minutes > 0;
                    exempt || state.instances.iter().filter(known).all(told)
                },
            ),
            Property::always(
                "up to the synced number all is known",
                |model: &Self, state: &State| {
                    let Table { incarnation, numbers, .. } = state.table;
                    let known = |instance: &Instance| {
                        instance.incarnation != incarnation
                            || instance.cells.iter().zip(numbers).all(|(cell, number)| {
                                number > instance.synced || number <= cell.number
                            })
                    };
                    model.budget.failovers > 0 || state.instances.iter().all(known)
                },
            ),
            Property::always("in the end all is new", |model: &Self, state: &State| {
                state.instances.iter().any(|i| !i.tasks.is_empty()) || model.settles(state)
            }),
        ]
    }
}
