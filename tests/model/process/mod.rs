//! One process: two workers, the head, the cells in two chunks, the bell. Each host call is a step, and any
//! step of the other worker may come between. Redis is a list of what other instances bumped.

mod run;
mod state;

use stateright::{Model, Property};

pub(crate) use state::Budget;
use state::{Cause, Fetch, Purpose, RESOURCES, Run, State, WORKERS, Wrong};

/// What an implementation might do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The head is raised, and the bell rung, before the cells are written.
    HeadBeforeCells,
    /// The bell is rung before the head is raised.
    BellBeforeHead,
    /// The bell is looked at after the head.
    BellAfterReading,
    /// Of what a bump names, chunks that it found changed already are not marked.
    OnlyChangedMarked,
    /// An entry has the epoch of the time it is filled.
    EpochAtFill,
    /// A follow raises the synced number before it writes the cells.
    SyncedBeforeCells,
    /// A store gets the synced number of when it is sent, without asking whether it is still valid.
    StampUnchecked,
}

/// The protocol in a process, or an almost equal one.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) budget: Budget,
    pub(crate) flaw: Option<Flaw>,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A worker's write is carried out, or about to be.
    Write { worker: usize, resource: usize },
    /// Another instance's write is carried out, and its bump reaches Redis.
    Foreign { resource: usize },
    /// A worker has a reply of Redis.
    Follow { worker: usize },
    /// A worker begins to read.
    Read { worker: usize, resource: usize },
    /// The origin answers a worker's fetch.
    Answer { worker: usize },
    /// A worker handles the origin's answer to its fetch.
    Fill { worker: usize },
    /// A worker sends what it has stored to L2.
    Send { worker: usize },
    /// A worker makes its next host call.
    Go { worker: usize },
}

impl Process {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// A worker looks at the bell, and goes on at once if it is silent.
    fn look(&self, state: &mut State, worker: usize, purpose: Purpose) {
        let bell = state.bell;
        if state.workers[worker].mirror.bell == bell {
            self.attend(state, worker, purpose);
        } else {
            state.workers[worker].run = Some(Run::Head { purpose, bell });
        }
    }

    fn idle_actions(state: &State, worker: usize, actions: &mut Vec<Action>) {
        let (budget, this) = (state.budget, &state.workers[worker]);
        for resource in 0..RESOURCES {
            if budget.writes > 0 {
                actions.push(Action::Write { worker, resource });
            }
            if budget.reads > 0 {
                actions.push(Action::Read { worker, resource });
            }
        }
        if budget.follows > 0 && !state.feed.is_empty() {
            actions.push(Action::Follow { worker });
        }
        if this.fetch.is_some_and(|fetch| fetch.value.is_some()) && this.store.is_none() {
            actions.push(Action::Fill { worker });
        }
        if this.store.is_some() {
            actions.push(Action::Send { worker });
        }
    }

    fn act(&self, state: &mut State, action: Action) {
        match action {
            Action::Write { worker, resource } => {
                state.budget.writes -= 1;
                let version = 1 + state.origin[resource];
                state.origin[resource] = version;
                let cause = Cause::Write { resource, version };
                state.workers[worker].run = Some(Run::begin(cause));
            }
            Action::Foreign { resource } => {
                state.budget.foreign -= 1;
                state.origin[resource] += 1;
                state.feed.push((resource, state.origin[resource]));
            }
            Action::Follow { worker } => {
                state.budget.follows -= 1;
                let (mut numbers, mut versions) = ([0; RESOURCES], [0; RESOURCES]);
                for (number, (resource, version)) in (1..).zip(&state.feed) {
                    numbers[*resource] = number;
                    versions[*resource] = *version;
                }
                let cause = Cause::Follow { numbers, versions };
                state.workers[worker].run = Some(Run::begin(cause));
            }
            Action::Read { worker, resource } => {
                state.budget.reads -= 1;
                let floor = state.finished[resource];
                self.look(state, worker, Purpose::Read { resource, floor });
            }
            Action::Answer { worker } => {
                if let Some(Fetch { resource, value, .. }) = &mut state.workers[worker].fetch {
                    *value = Some(state.origin[*resource]);
                }
            }
            Action::Fill { worker } => self.look(state, worker, Purpose::Fill),
            Action::Send { worker } => self.look(state, worker, Purpose::Send),
            Action::Go { worker } => self.go(state, worker),
        }
    }
}

impl Model for Process {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.budget)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.wrong.is_some() {
            return;
        }
        for worker in 0..WORKERS {
            match state.workers[worker].run {
                Some(_) => actions.push(Action::Go { worker }),
                None => Self::idle_actions(state, worker, actions),
            }
            if state.workers[worker].fetch.is_some_and(|fetch| fetch.value.is_none()) {
                actions.push(Action::Answer { worker });
            }
        }
        if state.budget.foreign > 0 {
            actions.extend((0..RESOURCES).map(|resource| Action::Foreign { resource }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.act(&mut next, action);
        next.workers.sort_unstable(); // which of the two is the first makes no difference
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no read is older than a finished write", |_, state: &State| {
                state.wrong != Some(Wrong::StaleRead)
            }),
            Property::always("no store claims more than it knows", |_, state: &State| {
                state.wrong != Some(Wrong::StaleStamp)
            }),
        ]
    }
}
