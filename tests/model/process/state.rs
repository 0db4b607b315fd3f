//! One process: what its workers share, what each has of its own, and what it is doing just now.

/// Resources; each has a cell, and each cell a chunk of its own.
pub(crate) const RESOURCES: usize = 2;
/// Workers of the process.
pub(crate) const WORKERS: usize = 2;

/// A number for each resource.
pub(crate) type Each = [u8; RESOURCES];

/// What shared data holds of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cell {
    /// The epoch of the last bump.
    pub(crate) local: u8,
    /// The number of the last bump that is known from Redis.
    pub(crate) number: u8,
}

/// The head in shared data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Head {
    pub(crate) epoch: u8,
    pub(crate) synced: u8,
    /// At which epoch each chunk was changed last.
    pub(crate) marks: Each,
}

/// A worker's copy of what is shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mirror {
    pub(crate) bell: u8,
    pub(crate) head: Head,
    pub(crate) cells: [Cell; RESOURCES],
}

/// A stored value, and the epoch at which its fetch began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Entry {
    pub(crate) value: u8,
    pub(crate) epoch: u8,
}

impl Mirror {
    /// Whether an entry is valid as far as the worker knows.
    pub(crate) const fn allows(&self, resource: usize, entry: Entry) -> bool {
        self.cells[resource].local <= entry.epoch
    }
}

/// A fetch that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Fetch {
    pub(crate) resource: usize,
    pub(crate) epoch: u8,
    /// What the origin answered; none until it does.
    pub(crate) value: Option<u8>,
}

/// How far a bump is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    ReadHead,
    Cell(usize),
    RaiseHead,
    Ring,
    Finish,
}

/// Why cells are bumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cause {
    /// This process wrote a version of a resource.
    Write { resource: usize, version: u8 },
    /// Redis told these numbers, and that these versions are behind them.
    Follow { numbers: Each, versions: Each },
}

/// Why a worker looks whether its copy is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Purpose {
    /// A read that must not return an older version than this.
    Read { resource: usize, floor: u8 },
    /// The origin answered a fetch.
    Fill,
    /// What was filled is sent to L2.
    Send,
}

/// What a worker is doing: it does one thing to its end, while others come between its host calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Run {
    Bump {
        cause: Cause,
        step: Step,
        /// The head's epoch as it was read.
        epoch: u8,
        /// Chunks that a compare-and-swap changed.
        changed: [bool; RESOURCES],
    },
    /// The bell has been looked at, the head is to be read.
    Head { purpose: Purpose, bell: u8 },
    /// The head has been read, chunks from this one on are to be.
    Chunks { purpose: Purpose, bell: u8, head: Head, next: usize },
}

impl Run {
    /// A bump that is about to begin.
    pub(crate) const fn begin(cause: Cause) -> Self {
        Self::Bump { cause, step: Step::ReadHead, epoch: 0, changed: [false; RESOURCES] }
    }
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Worker {
    pub(crate) mirror: Mirror,
    pub(crate) l1: [Option<Entry>; RESOURCES],
    pub(crate) fetch: Option<Fetch>,
    /// What waits to be sent to L2.
    pub(crate) store: Option<(usize, Entry)>,
    pub(crate) run: Option<Run>,
}

/// What may still be begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) writes: u8,
    /// Writes of other instances, that Redis tells of.
    pub(crate) foreign: u8,
    pub(crate) follows: u8,
    pub(crate) reads: u8,
    pub(crate) fetches: u8,
}

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wrong {
    /// A read returned an older version than one whose write had finished, or that was heard of.
    StaleRead,
    /// A store says that it is valid up to a number which it is not.
    StaleStamp,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The versions the origin has.
    pub(crate) origin: Each,
    /// The versions whose write was answered, or whose bump a worker has heard of from Redis.
    pub(crate) finished: Each,
    /// Every bump in Redis: the resource and the version behind it. Its number is its place, from 1 on.
    pub(crate) feed: Vec<(usize, u8)>,
    pub(crate) head: Head,
    pub(crate) cells: [Cell; RESOURCES],
    pub(crate) bell: u8,
    pub(crate) workers: [Worker; WORKERS],
    pub(crate) budget: Budget,
    pub(crate) wrong: Option<Wrong>,
}

impl State {
    /// Nothing was ever written; every worker has everything in L1, and one resource is still to be
    /// sent to L2.
    pub(crate) fn new(budget: Budget) -> Self {
        let head = Head { epoch: 1, ..Head::default() };
        let entry = Entry { value: 0, epoch: 1 };
        let worker = Worker {
            mirror: Mirror { head, ..Mirror::default() },
            l1: [Some(entry); RESOURCES],
            fetch: None,
            store: Some((0, entry)),
            run: None,
        };
        Self {
            origin: [0; RESOURCES],
            finished: [0; RESOURCES],
            feed: Vec::new(),
            head,
            cells: [Cell::default(); RESOURCES],
            bell: 0,
            workers: std::array::from_fn(|_| worker.clone()),
            budget,
            wrong: None,
        }
    }
}
