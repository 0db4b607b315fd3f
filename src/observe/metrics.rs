//! Counters, gauges and histograms.
//!
//! A counter costs a host call, so counts are kept in the VM and handed over at every tick. Names
//! carry their label as `family.label.value`; the `stats_tags` of the example configurations turn
//! that into Prometheus labels.

use crate::closed_enum::closed_enum;
use crate::collapse::Alone;
use crate::engine::{Bypass, Outcome, Purged};
use crate::entry::DecodeError;
use crate::health::State;
use crate::http::storable::NotStored;
use crate::l2::L2Error;

closed_enum! {
    /// What L1 knew.
    pub enum L1Lookup {
        /// Fresh.
        Hit => "hit",
        /// Fresh, in the store that the process's workers share.
        Shared => "shared",
        /// Stored, but stale.
        Stale => "stale",
        /// Nothing.
        Miss => "miss",
    }
}

closed_enum! {
    /// What L2 knew.
    pub enum L2Lookup {
        /// Fresh.
        Hit => "hit",
        /// Stored, but stale.
        Stale => "stale",
        /// Stored, but a write has made it invalid.
        Invalid => "invalid",
        /// Nothing.
        Miss => "miss",
        /// Bytes that are not an entry for this key.
        Corrupt => "corrupt",
        /// No answer.
        Error => "error",
        /// The client left meanwhile.
        Abandoned => "abandoned",
    }
}

closed_enum! {
    /// What became of a response on its way to L2.
    pub enum L2Store {
        /// Redis has it.
        Stored => "stored",
        /// Too much was waiting already.
        Skipped => "skipped",
        /// Something made it stale before it was sent.
        Overtaken => "overtaken",
        /// Redis did not take it.
        Failed => "failed",
    }
}

closed_enum! {
    /// What became of an entry that was to leave L2.
    pub enum L2Delete {
        /// Redis no longer has it.
        Deleted => "deleted",
        /// Too much was waiting already.
        Skipped => "skipped",
        /// Redis did not do it.
        Failed => "failed",
    }
}

closed_enum! {
    /// What happens between those who must not serve what a write made stale.
    pub enum Coherence {
        /// A worker told the others of its process what is stale.
        Published => "published",
        /// It could not.
        NotPublished => "not_published",
        /// Redis took bumps.
        Confirmed => "confirmed",
        /// It did not: they are sent again.
        NotConfirmed => "not_confirmed",
        /// The process knows everything that the table in Redis knew.
        Followed => "followed",
        /// Redis did not answer.
        NotFollowed => "not_followed",
        /// Redis answered for a table that is known to be gone.
        Outdated => "outdated",
        /// There is no table in Redis: one is made.
        Made => "made",
        /// The table in Redis lost something: nothing in L2 is trusted any more.
        Lost => "lost",
        /// Another table was found in Redis.
        Adopted => "adopted",
        /// A write's worker crashed before its end: another made stale what it may have changed.
        Orphaned => "orphaned",
        /// Too many writes are on their way to be seen to in that case.
        NotNoted => "not_noted",
    }
}

closed_enum! {
    /// What becomes of requests for what others are fetching.
    pub enum Collapse {
        /// One waits for another's fetch.
        Followed => "followed",
        /// It does not, for too many wait.
        Limit => "limit",
        /// It has waited for long enough, and asks the origin itself.
        Waited => "waited",
        /// It asks the origin itself, for what came is not to be shared.
        Unshared => "unshared",
        /// It asks the origin itself, for the origin failed the one it waited for.
        Failed => "failed",
        /// It asks the origin for all who wait, for who did so before brought nothing.
        TookOver => "took_over",
    }
}

closed_enum! {
    /// What is done to protect the origin.
    pub enum Protection {
        /// It fails: stale responses are preferred.
        Opened => "opened",
        /// It no longer does.
        Closed => "closed",
        /// A stale response was served unasked, for it fails.
        Spared => "spared",
        /// It was asked whether it still does.
        Probed => "probed",
        /// A stale response was served, for too much is being fetched.
        LimitStale => "limit_stale",
        /// There was none to serve: 503.
        Limit => "limit",
    }
}

closed_enum! {
    /// What is thought of L2 from then on, by all workers of the process.
    pub enum Transition {
        /// It is well.
        Normal => "normal",
        /// It may not be.
        Suspect => "suspect",
        /// It fails.
        Degraded => "degraded",
        /// It answers again.
        Recovering => "recovering",
        /// It takes too long to be asked for what requests wait for.
        Slow => "slow",
        /// It no longer does.
        Prompt => "prompt",
    }
}

impl From<State> for Transition {
    fn from(state: State) -> Self {
        match state {
            State::Normal => Self::Normal,
            State::Suspect => Self::Suspect,
            State::Degraded => Self::Degraded,
            State::Recovering => Self::Recovering,
        }
    }
}

impl From<Alone> for Collapse {
    fn from(alone: Alone) -> Self {
        match alone {
            Alone::Limit => Self::Limit,
            Alone::Waited => Self::Waited,
            Alone::Unshared => Self::Unshared,
            Alone::Failed => Self::Failed,
        }
    }
}

closed_enum! {
    /// Values that go up and down, summed over all workers.
    pub enum Gauge {
        /// Bytes charged to the L1 budgets.
        L1Bytes => "l1_bytes",
        /// Bytes charged to those of negative answers.
        L1NegativeBytes => "l1_negative_bytes",
        /// Entries in L1.
        L1Entries => "l1_entries",
        /// Linear memory of the VMs.
        VmMemoryBytes => "vm_memory_bytes",
    }
}

closed_enum! {
    /// Distributions.
    pub enum Histogram {
        /// Look-ups in one L2 call.
        L2Batch => "l2_batch_size",
        /// Bytes of a stored response.
        EntryBytes => "entry_bytes",
    }
}

/// Everything that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// A request, by how it ended.
    Request(Outcome),
    /// A request that the cache did not handle, by reason.
    Bypass(Bypass),
    /// A look-up in L1.
    L1(L1Lookup),
    /// A look-up in L2.
    L2(L2Lookup),
    /// An L2 command that failed, by kind.
    L2Error(L2Error),
    /// Bytes from L2 that were no entry, by what was wrong.
    Corrupt(DecodeError),
    /// A response on its way to L2.
    L2Store(L2Store),
    /// A response stored from the origin.
    Fill,
    /// A response from the origin that was not stored, by reason.
    NotStored(NotStored),
    /// An entry pushed out of L1 for another.
    Eviction,
    /// A newcomer that L1 did not take, for what it would have pushed out is asked for more often.
    Refusal,
    /// A resource that a write made stale.
    Invalidation,
    /// A response fetched again while it was served stale.
    Refresh,
    /// A response fetched on its client's behalf, whether that waits or not.
    Detached,
    /// An entry on its way out of L2.
    L2Delete(L2Delete),
    /// Coherence among workers and instances.
    Coherence(Coherence),
    /// A request to purge.
    Purge(Purged),
    /// Requests that wait for others.
    Collapse(Collapse),
    /// The origin is protected.
    Protection(Protection),
    /// L2 is found to be in another state.
    Health(Transition),
}

/// Calls `f` with the counter and the name of its metric, for every counter.
fn each(mut f: impl FnMut(Counter, String)) {
    macro_rules! family {
        ($kind:ident, $enum:ty, $name:literal) => {
            for value in <$enum>::ALL {
                f(Counter::$kind(*value), format!(concat!($name, ".{}"), value));
            }
        };
    }
    family!(Request, Outcome, "requests.outcome");
    family!(Bypass, Bypass, "bypassed.reason");
    family!(L1, L1Lookup, "l1_lookups.result");
    family!(L2, L2Lookup, "l2_lookups.result");
    family!(L2Error, L2Error, "l2_errors.kind");
    family!(Corrupt, DecodeError, "l2_corrupt.kind");
    family!(L2Store, L2Store, "l2_stores.result");
    f(Counter::Fill, "fills".into());
    family!(NotStored, NotStored, "not_stored.reason");
    f(Counter::Eviction, "l1_evictions".into());
    f(Counter::Refusal, "l1_refusals".into());
    f(Counter::Invalidation, "invalidations".into());
    f(Counter::Refresh, "refreshes".into());
    f(Counter::Detached, "detached".into());
    family!(L2Delete, L2Delete, "l2_deletes.result");
    family!(Coherence, Coherence, "coherence.event");
    family!(Purge, Purged, "purges.result");
    family!(Collapse, Collapse, "collapse.event");
    family!(Protection, Protection, "protection.event");
    family!(Health, Transition, "l2_transitions.to");
}

impl Counter {
    fn index(self) -> usize {
        let mut start = 0;
        macro_rules! family {
            ($($kind:ident: $enum:ty,)+) => {
                $(
                    if let Self::$kind(value) = self {
                        return start + value.index();
                    }
                    start += <$enum>::ALL.len();
                )+
            };
        }
        family!(
            Request: Outcome, Bypass: Bypass, L1: L1Lookup, L2: L2Lookup, L2Error: L2Error,
            Corrupt: DecodeError, L2Store: L2Store,
        );
        if self == Self::Fill {
            return start;
        }
        start += 1;
        if let Self::NotStored(value) = self {
            return start + value.index();
        }
        start += NotStored::ALL.len();
        let single =
            [Self::Eviction, Self::Refusal, Self::Invalidation, Self::Refresh, Self::Detached];
        if let Some(place) = single.iter().position(|counter| *counter == self) {
            return start + place;
        }
        start += single.len();
        if let Self::L2Delete(value) = self {
            return start + value.index();
        }
        start += L2Delete::ALL.len();
        if let Self::Coherence(value) = self {
            return start + value.index();
        }
        start += Coherence::ALL.len();
        if let Self::Purge(value) = self {
            return start + value.index();
        }
        start += Purged::ALL.len();
        if let Self::Collapse(value) = self {
            return start + value.index();
        }
        start += Collapse::ALL.len();
        if let Self::Protection(value) = self {
            return start + value.index();
        }
        let Self::Health(value) = self else { return 0 };
        start + Protection::ALL.len() + value.index()
    }
}

/// Counts since the last hand-over.
#[derive(Clone, Debug)]
pub struct Counters {
    pending: Vec<u64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self { pending: vec![0; Counter::Health(Transition::Prompt).index() + 1] }
    }
}

impl Counters {
    /// The name of every counter's metric, in the order of [`Self::take`].
    #[must_use]
    pub fn names() -> Vec<String> {
        let mut names = Vec::new();
        each(|_, name| names.push(name));
        names
    }

    /// Counts one.
    pub fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts `n`.
    pub fn add(&mut self, counter: Counter, n: u64) {
        if let Some(pending) = self.pending.get_mut(counter.index()) {
            *pending += n;
        }
    }

    /// Hands over what was counted, as (place in [`Self::names`], count), and starts anew.
    pub fn take(&mut self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.pending.iter_mut().map(std::mem::take).enumerate();
        counts.filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn every_counter_has_its_own_name_and_place() {
        let mut place = 0;
        each(|counter, name| {
            assert_eq!(counter.index(), place, "{name}");
            place += 1;
        });
        let mut names = Counters::names();
        names.sort();
        names.dedup();
        assert_eq!((names.len(), place), (place, Counter::Health(Transition::Prompt).index() + 1));
    }

    #[test]
    fn counts_are_handed_over_once() {
        let mut counters = Counters::default();
        counters.count(Counter::Request(Outcome::L1Hit));
        counters.add(Counter::Eviction, 5);
        let taken: Vec<_> = counters.take().collect();
        assert_eq!(taken, [(0, 1), (Counter::Eviction.index(), 5)]);
        assert_eq!(counters.take().count(), 0);
    }
}
