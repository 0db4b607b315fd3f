//! Two instances, Redis and the origin. An instance is what its workers share; that each worker works on a
//! copy of it is the other model's matter (`process`).

/// Resources; each has a cell.
pub(crate) const RESOURCES: usize = 2;
/// Instances.
pub(crate) const INSTANCES: usize = 2;
/// The incarnation at the start, when nothing was ever bumped.
pub(crate) const FIRST: u8 = 1;

/// A number for each resource.
pub(crate) type Each = [u8; RESOURCES];

/// A cell of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cell {
    /// The epoch of the last bump.
    pub(crate) local: u8,
    /// The number of the last bump that is known from Redis.
    pub(crate) number: u8,
    /// The epoch of the last bump of this instance that Redis has not confirmed.
    pub(crate) dirty: u8,
    /// The last version that this instance has bumped it for; nobody looks at it but the properties.
    pub(crate) version: u8,
    /// Whether it was bumped by this instance in the last minute.
    pub(crate) recent: bool,
}

/// An entry of L1: a value, and the epoch at which its fetch began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Entry {
    pub(crate) value: u8,
    pub(crate) epoch: u8,
}

/// An entry of L2: a value and its stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stored {
    pub(crate) resource: usize,
    pub(crate) value: u8,
    pub(crate) incarnation: u8,
    pub(crate) number: u8,
}

/// The sorted set in Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Table {
    /// 0 if there is none.
    pub(crate) incarnation: u8,
    pub(crate) numbers: Each,
    /// The versions that were written before their instance sent the bumps, and those that the origin had
    /// when they were carried out; nobody looks at them but the properties.
    pub(crate) versions: Each,
    pub(crate) covered: Each,
}

impl Table {
    /// The highest number in it.
    pub(crate) fn last(self) -> u8 {
        self.numbers.iter().copied().fold(self.incarnation, u8::max)
    }
}

/// What a look-up in L2 is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Look {
    pub(crate) resource: usize,
    pub(crate) epoch: u8,
    /// The version whose write had finished here when it began.
    pub(crate) finished: u8,
    /// The version whose bump was in Redis when it began.
    pub(crate) bumped: u8,
    /// What L2 had.
    pub(crate) found: Option<Stored>,
}

/// How far a write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Writing {
    Answered,
    Cell { epoch: u8 },
    Head { epoch: u8 },
}

/// How far a bump's way to Redis and back is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Sending {
    Sent,
    /// With the numbers that somebody else had given before, of what was not known to be known.
    Answered {
        number: u8,
        before: Each,
    },
}

/// How far a follow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Following {
    Asked,
    Get {
        reply: Table,
    },
    Replied {
        reply: Table,
    },
    /// `first`: nothing was known of this incarnation yet when the reply was looked at.
    Cells {
        reply: Table,
        epoch: u8,
        first: bool,
    },
    Head {
        reply: Table,
    },
    AdoptCells {
        reply: Table,
        epoch: u8,
    },
    AdoptHead {
        reply: Table,
        epoch: u8,
    },
    Renew {
        seen: u8,
    },
    Use,
}

/// How far a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fetching {
    Asked,
    Answered { value: u8 },
    Filled { value: u8 },
}

/// What some worker of an instance has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Task {
    Write { resource: usize, version: u8, step: Writing },
    Call { dirty: Each, versions: Each, known: u8, synced: u8, step: Sending },
    Follow { incarnation: u8, synced: u8, known: Each, look: Option<Look>, step: Following },
    Fetch { resource: usize, epoch: u8, step: Fetching },
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Instance {
    pub(crate) epoch: u8,
    pub(crate) incarnation: u8,
    /// 0 as long as it is not known what is in Redis.
    pub(crate) synced: u8,
    pub(crate) cells: [Cell; RESOURCES],
    pub(crate) l1: [Option<Entry>; RESOURCES],
    /// The versions whose writes have finished here.
    pub(crate) finished: Each,
    /// The versions whose bumps were heard of from Redis.
    pub(crate) heard: Each,
    pub(crate) tasks: Vec<Task>,
}

/// What may still be begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Writes of each resource.
    pub(crate) writes: Each,
    pub(crate) calls: u8,
    pub(crate) follows: u8,
    pub(crate) looks: u8,
    pub(crate) fetches: u8,
    /// Answers of Redis that do not arrive.
    pub(crate) failures: u8,
    /// Times that a replica, or a file, catches up with the table.
    pub(crate) copies: u8,
    /// Times that the table is replaced by that copy.
    pub(crate) failovers: u8,
    /// Times that the table is emptied.
    pub(crate) flushes: u8,
    /// Instances that start anew.
    pub(crate) restarts: u8,
    /// Whether the instances have not followed yet at the start.
    pub(crate) unsynced: bool,
    /// Minutes that pass while nothing happens but that all is sent and followed.
    pub(crate) minutes: u8,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) origin: Each,
    pub(crate) table: Table,
    pub(crate) copy: Table,
    /// Whatever was ever stored in L2: no store need arrive in time, nor be overwritten, nor stay lost.
    pub(crate) l2: Vec<Stored>,
    /// The highest number there has ever been.
    pub(crate) clock: u8,
    pub(crate) instances: [Instance; INSTANCES],
    pub(crate) budget: Budget,
    /// Whether Redis has lost anything.
    pub(crate) lost: bool,
    /// Whether a look-up returned what is too old.
    pub(crate) stale: bool,
}

impl State {
    /// Nothing was ever written; both instances and L2 have the first resource.
    pub(crate) fn new(budget: Budget) -> Self {
        let table = Table { incarnation: FIRST, ..Table::default() };
        let instance = Instance {
            epoch: 1,
            incarnation: FIRST,
            synced: if budget.unsynced { 0 } else { FIRST },
            cells: [Cell::default(); RESOURCES],
            l1: std::array::from_fn(|at| (at == 0).then_some(Entry { value: 0, epoch: 1 })),
            finished: [0; RESOURCES],
            heard: [0; RESOURCES],
            tasks: Vec::new(),
        };
        Self {
            origin: [0; RESOURCES],
            table,
            copy: table,
            l2: vec![Stored { resource: 0, value: 0, incarnation: FIRST, number: FIRST }],
            clock: FIRST,
            instances: std::array::from_fn(|_| instance.clone()),
            budget,
            lost: false,
            stale: false,
        }
    }

    /// Stores in L2. What is newer and valid for fewer readers than another entry adds nothing.
    pub(crate) fn store(&mut self, new: Stored) {
        let covers = |a: &Stored, b: &Stored| {
            (a.resource, a.incarnation) == (b.resource, b.incarnation)
                && a.value <= b.value
                && a.number >= b.number
        };
        if !self.l2.iter().any(|old| covers(old, &new)) {
            self.l2.retain(|old| !covers(&new, old));
            self.l2.push(new);
            self.l2.sort_unstable();
        }
    }
}
