//! A write whose outcome nobody knows: one instance sent it, and the origin may still carry it out, within
//! the guard. Two instances, one resource with a hard and an uncertain cell, one bump in Redis.

use stateright::{Model, Property};

/// Instances; the first has sent the write.
const INSTANCES: usize = 2;
/// The number of the bump in Redis.
const NUMBER: u8 = 1;

/// What an implementation might do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Only the hard cell is bumped.
    NoGuard,
    /// Whether there is a guard is asked when a fetch ends, not when it begins.
    AskedAtFill,
    /// The uncertain cell is written after the head is raised.
    GuardAfterHead,
    /// Redis is told of the hard cell only.
    HardOnlyToldOf,
}

/// The protocol of unknown outcomes, or an almost equal one.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// How many fetches each instance begins.
    pub(crate) fetches: u8,
    pub(crate) flaw: Option<Flaw>,
}

/// How far a bump is, of one's own or one that was heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// It is not known of.
    Before,
    ReadHead,
    Hard {
        epoch: u8,
    },
    Uncertain {
        epoch: u8,
    },
    Head {
        epoch: u8,
    },
    Done,
}

/// Whether what is fetched is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    Before,
    Guarded,
    After,
}

/// A fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fetch {
    epoch: u8,
    /// Whether there was a guard when it began.
    guarded: bool,
    /// What the origin answered.
    value: Option<u8>,
    /// Whether it is in L1, and waits to be sent to L2.
    filled: bool,
}

/// An instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Instance {
    epoch: u8,
    synced: u8,
    hard: u8,
    guard: Phase,
    step: Step,
    /// A value and its epoch.
    l1: (u8, u8),
    fetch: Option<Fetch>,
    fetches: u8,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The version the origin has: 1 once it has carried out the write.
    origin: u8,
    /// Whether the bump is in Redis.
    bumped: bool,
    /// Whether L2 got an old value that is valid for who knows of the bump.
    stamped: bool,
    instances: [Instance; INSTANCES],
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The origin carries out the write.
    Commit,
    /// The bump reaches Redis.
    Bump,
    /// An instance learns of the bump: the first that it knows no outcome, the second from Redis.
    Learn(usize),
    /// The first instance has followed as well.
    Follow,
    /// An instance makes the next step of its bump.
    Go(usize),
    /// An instance's guard ends: the write, if it is carried out at all, has been.
    End(usize),
    /// An instance begins a fetch.
    Begin(usize),
    /// The origin answers it.
    Answer(usize),
    /// The instance stores the answer in L1, then in L2.
    Store(usize),
}

impl Guard {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn go(&self, instance: &mut Instance, told: bool) {
        let guards = !self.is(Flaw::NoGuard) && (told || !self.is(Flaw::HardOnlyToldOf));
        let late = self.is(Flaw::GuardAfterHead);
        instance.step = match instance.step {
            Step::ReadHead => Step::Hard { epoch: instance.epoch },
            Step::Hard { epoch } => {
                instance.hard = epoch + 1;
                if late { Step::Head { epoch } } else { Step::Uncertain { epoch } }
            }
            Step::Uncertain { epoch } => {
                if guards {
                    instance.guard = Phase::Guarded;
                }
                if late { Step::Done } else { Step::Head { epoch } }
            }
            Step::Head { epoch } => {
                instance.epoch += 1;
                if !told {
                    instance.synced = NUMBER;
                }
                if late { Step::Uncertain { epoch } } else { Step::Done }
            }
            step @ (Step::Before | Step::Done) => step,
        };
    }

    fn store(&self, state: &mut State, at: usize) {
        let instance = &mut state.instances[at];
        let Some(Fetch { epoch, guarded, value: Some(value), filled }) = instance.fetch.take()
        else {
            return;
        };
        let late = self.is(Flaw::AskedAtFill);
        let guarded = if late { instance.guard == Phase::Guarded } else { guarded };
        if guarded || instance.hard > epoch {
            return;
        }
        if filled {
            state.stamped |= value == 0 && instance.synced == NUMBER;
        } else {
            instance.l1 = (value, epoch);
            instance.fetch = Some(Fetch { epoch, guarded, value: Some(value), filled: true });
        }
    }
}

impl Model for Guard {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let instance = Instance {
            epoch: 1,
            synced: 0,
            hard: 0,
            guard: Phase::Before,
            step: Step::Before,
            l1: (0, 1),
            fetch: None,
            fetches: self.fetches,
        };
        let instances = [instance; INSTANCES];
        vec![State { origin: 0, bumped: false, stamped: false, instances }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let [first, second] = &state.instances;
        let may = [
            (state.origin == 0, Action::Commit),
            (!state.bumped && first.step == Step::Done, Action::Bump),
            (first.step == Step::Before, Action::Learn(0)),
            (state.bumped && second.step == Step::Before, Action::Learn(1)),
            (state.bumped && first.synced == 0, Action::Follow),
        ];
        actions.extend(may.into_iter().filter(|may| may.0).map(|may| may.1));
        for (at, instance) in state.instances.iter().enumerate() {
            let going = !matches!(instance.step, Step::Before | Step::Done);
            let answered = instance.fetch.is_some_and(|fetch| fetch.value.is_some());
            let may = [
                (going, Action::Go(at)),
                (instance.guard == Phase::Guarded && state.origin == 1, Action::End(at)),
                (instance.fetch.is_none() && instance.fetches > 0, Action::Begin(at)),
                (instance.fetch.is_some() && !answered, Action::Answer(at)),
                (answered, Action::Store(at)),
            ];
            actions.extend(may.into_iter().filter(|may| may.0).map(|may| may.1));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match action {
            Action::Commit => next.origin = 1,
            Action::Bump => next.bumped = true,
            Action::Learn(at) => next.instances[at].step = Step::ReadHead,
            Action::Follow => next.instances[0].synced = NUMBER,
            Action::Go(at) => self.go(&mut next.instances[at], at == 0),
            Action::End(at) => next.instances[at].guard = Phase::After,
            Action::Begin(at) => {
                let instance = &mut next.instances[at];
                instance.fetches -= 1;
                let (epoch, guarded) = (instance.epoch, instance.guard == Phase::Guarded);
                instance.fetch = Some(Fetch { epoch, guarded, value: None, filled: false });
            }
            Action::Answer(at) => {
                let value = Some(next.origin);
                let fetch = next.instances[at].fetch;
                next.instances[at].fetch = fetch.map(|fetch| Fetch { value, ..fetch });
            }
            Action::Store(at) => self.store(&mut next, at),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing old is valid in L1", |_, state: &State| {
                let knows = |instance: &&Instance| instance.step == Step::Done;
                state.origin == 0
                    || state.instances.iter().filter(knows).all(|instance| {
                        let (value, epoch) = instance.l1;
                        value == 1 || instance.hard > epoch
                    })
            }),
            Property::always("nothing old is valid in L2", |_, state: &State| {
                state.origin == 0 || !state.stamped
            }),
        ]
    }
}
