//! Judges a history of reads and writes: what was read although something newer was acknowledged.
//!
//! All times are taken by the clients and count from the same moment. A read is timed before it is
//! sent and a write after its answer was read to the end: what is found to come one after the other
//! did so, and what overlaps is never held against the cache.

use std::collections::HashMap;
use std::time::Duration;

/// A write that was answered.
#[derive(Clone, Debug)]
pub struct Write {
    pub key: usize,
    /// The instance it went through.
    pub instance: usize,
    /// What the origin made of it: 1 for the first write of a key, and so on.
    pub version: usize,
    pub sent: Duration,
    pub acknowledged: Duration,
}

/// A read that was answered.
#[derive(Clone, Debug)]
pub struct Read {
    pub key: usize,
    pub instance: usize,
    pub version: usize,
    pub sent: Duration,
    pub received: Duration,
    pub cache_status: String,
}

/// A read that returned something older than `missed`, which was acknowledged before it was sent.
#[derive(Debug)]
pub struct Late<'a> {
    pub read: &'a Read,
    /// Of all the newer writes the one that was acknowledged first.
    pub missed: &'a Write,
}

impl Late<'_> {
    /// How long something newer had been acknowledged when the read was sent.
    pub fn lag(&self) -> Duration {
        self.read.sent.saturating_sub(self.missed.acknowledged)
    }
}

/// Reads that are older than a write through the same instance: there must be none.
pub fn violations<'a>(writes: &'a [Write], reads: &'a [Read]) -> Vec<Late<'a>> {
    late(writes, reads, |writer, reader| writer == reader)
}

/// Reads that are older than a write through another instance: there may be some, for a moment.
pub fn lags<'a>(writes: &'a [Write], reads: &'a [Read]) -> Vec<Late<'a>> {
    late(writes, reads, |writer, reader| writer != reader)
}

/// For each write, how long after its acknowledgement the last read of something older was sent
/// through another instance; zero if none was.
pub fn settled<'a>(writes: &'a [Write], reads: &[Read]) -> Vec<(&'a Write, Duration)> {
    // For each instance and key: when each version was last asked for and returned.
    let mut last: HashMap<(usize, usize), Vec<Duration>> = HashMap::new();
    for read in reads {
        let versions = last.entry((read.instance, read.key)).or_default();
        raise(versions, read.version, read.sent);
    }
    // And then: when something at most as new was.
    for versions in last.values_mut() {
        for version in 1..versions.len() {
            versions[version] = versions[version].max(versions[version - 1]);
        }
    }
    let settled = |write: &Write| {
        let elsewhere =
            last.iter().filter(|((i, key), _)| *key == write.key && *i != write.instance);
        let older = elsewhere.filter_map(|(_, versions)| {
            versions.get(write.version.min(versions.len()).checked_sub(1)?)
        });
        older.max().map_or(Duration::ZERO, |last| last.saturating_sub(write.acknowledged))
    };
    writes.iter().map(|write| (write, settled(write))).collect()
}

/// The value that `percent` of all are not above.
pub fn percentile(values: &[Duration], percent: usize) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn late<'a>(
    writes: &'a [Write],
    reads: &'a [Read],
    counts: impl Fn(usize, usize) -> bool,
) -> Vec<Late<'a>> {
    let first = first_acknowledged(writes);
    let missed = |read: &'a Read| {
        let writers = first
            .iter()
            .filter(|((writer, key), _)| *key == read.key && counts(*writer, read.instance));
        let newer = writers.filter_map(|(_, versions)| *versions.get(read.version + 1)?);
        let missed = newer.min_by_key(|write| write.acknowledged)?;
        (missed.acknowledged < read.sent).then_some(Late { read, missed })
    };
    reads.iter().filter_map(missed).collect()
}

/// For each instance and key: of the writes of a version or a newer one, which was acknowledged
/// first. Acknowledgements may overtake each other.
fn first_acknowledged(writes: &[Write]) -> HashMap<(usize, usize), Vec<Option<&Write>>> {
    let mut first: HashMap<(usize, usize), Vec<Option<&Write>>> = HashMap::new();
    for write in writes {
        let versions = first.entry((write.instance, write.key)).or_default();
        versions.resize(versions.len().max(write.version + 1), None);
        versions[write.version] = Some(write);
    }
    for versions in first.values_mut() {
        for version in (1..versions.len()).rev() {
            let (here, newer) = (versions[version - 1], versions[version]);
            let both = here.into_iter().chain(newer);
            versions[version - 1] = both.min_by_key(|write| write.acknowledged);
        }
    }
    first
}

/// Raises a place to at least `value`.
fn raise(places: &mut Vec<Duration>, place: usize, value: Duration) {
    places.resize(places.len().max(place + 1), Duration::ZERO);
    places[place] = places[place].max(value);
}
