//! What all workers of a process agree on about a space: one value, replaced by compare-and-swap.

use super::names::Names;
use crate::coherence::{SharedData, numbers, update, value_of};

/// Its numbers; all are 0 in the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The filter's number; 0 if there is none.
    pub(super) serial: u64,
    /// Which of two places it lies in.
    pub(super) slot: u64,
    /// The score up to which what came into being is in its list: the fleet's measure of how old that is.
    /// [`UNMEASURED`] if that is not known.
    pub(super) base: u64,
    /// When its list was complete, in ms since the epoch.
    pub(super) complete_ms: u64,
    /// Recent ids from this place on are not in it.
    pub(super) from: u64,
    /// The place of the next recent id.
    pub(super) next: u64,
    /// The place of the first recent id that a list which is being read may not have; 0 if none is being read, or
    /// it may lack any.
    pub(super) begun: u64,
    /// How far all that came into being elsewhere is known: a score of the set in Redis.
    pub(super) score: u64,
    /// Which set that is.
    pub(super) incarnation: u64,
    /// When Redis last told of it, in ms since the epoch.
    pub(super) heard_ms: u64,
    /// When somebody asked for an id that is not known, and the list was old, in ms since the epoch; 0 if nobody did
    /// since.
    pub(super) wanted_ms: u64,
}

/// The highest number of a filter, and the last place in the log. No process gets there; there is room behind it.
pub(super) const LAST: u64 = u64::MAX / 2;

/// Of a list that was begun while nobody knew what comes into being elsewhere.
pub(super) const UNMEASURED: u64 = u64::MAX;

impl Head {
    fn read(bytes: &[u8]) -> Self {
        let mut next = numbers(bytes);
        Self {
            serial: next(),
            slot: next(),
            base: next(),
            complete_ms: next(),
            from: next(),
            next: next(),
            begun: next(),
            score: next(),
            incarnation: next(),
            heard_ms: next(),
            wanted_ms: next(),
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        value_of(&[
            self.serial,
            self.slot,
            self.base,
            self.complete_ms,
            self.from,
            self.next,
            self.begun,
            self.score,
            self.incarnation,
            self.heard_ms,
            self.wanted_ms,
        ])
    }

    /// What is agreed on now.
    pub(super) fn get(shared: &impl SharedData, names: &Names) -> Self {
        shared.get(&names.head()).map_or_else(Self::default, |(bytes, _)| Self::read(&bytes))
    }

    /// Changes what is agreed on, and rings for all to see it; `change` may be called several times, and false from it
    /// leaves everything as it is. Whether all went well.
    pub(super) fn change(
        shared: &impl SharedData,
        names: &Names,
        mut change: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        let mut is_news = false;
        let done = update(shared, &names.head(), |bytes| {
            let before = Self::read(bytes);
            let mut head = before;
            let changed = change(&mut head);
            // That Redis spoke is no news: everybody sees it at the next tick.
            is_news = changed && head != Self { heard_ms: head.heard_ms, ..before };
            changed.then(|| head.to_bytes())
        });
        if is_news {
            shared.ring();
        }
        done
    }

    /// Makes what is not there yet. The host's main thread does so before any worker: nobody else creates at the same
    /// time.
    pub(super) fn open(shared: &impl SharedData, names: &Names) {
        if shared.get(&names.head()).is_none() {
            shared.set(&names.head(), &Self::default().to_bytes(), 0);
        }
    }
}
