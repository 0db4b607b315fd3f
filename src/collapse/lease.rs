//! Who of a process's workers fetches something: a record in shared data.
//!
//! There is a fixed number of records, and a key's hash says which. What two keys share is led by whoever
//! comes first; for the other the worker decides by itself.

use crate::coherence::SharedData;

use super::Ended;

/// Records.
const RECORDS: u16 = 1_024;
/// How long a lease holds without being renewed.
pub(super) const HOLDS_MS: u64 = 1_000;
/// How long it holds still when it is renewed.
pub(super) const RENEWED_MS: u64 = HOLDS_MS / 2;
/// What holds for longer than this was taken before the clock was set back.
pub(super) const FARTHEST_MS: u64 = 2 * HOLDS_MS;
/// Workers that may wait for one lease.
const MOST: usize = 64;
/// Attempts to write: each that fails is somebody else's success.
const ATTEMPTS: usize = 100;
/// Bytes of a record before those who wait: a part of the hash, the owner, until when.
const HEAD: usize = 20;

/// Who may fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    /// This worker.
    Mine,
    /// Another one, until this time in ms since the epoch, unless it renews it.
    Theirs(u64),
    /// Whoever likes: nobody can tell.
    Nobodys,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Record {
    mark: u64,
    owner: u32,
    until_ms: u64,
    /// Queues of workers that wait.
    waiting: Vec<u32>,
}

impl Record {
    fn read(bytes: &[u8]) -> Self {
        let Some((head, waiting)) = bytes.split_first_chunk::<HEAD>() else {
            return Self::default();
        };
        let (mark, rest) = head.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let (owner, until) = rest.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let (waiting, _) = waiting.as_chunks::<4>();
        Self {
            mark: u64::from_le_bytes(*mark),
            owner: u32::from_le_bytes(*owner),
            until_ms: u64::from_le_bytes(until.first_chunk().copied().unwrap_or_default()),
            waiting: waiting.iter().map(|queue| u32::from_le_bytes(*queue)).collect(),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + 4 * self.waiting.len());
        bytes.extend_from_slice(&self.mark.to_le_bytes());
        bytes.extend_from_slice(&self.owner.to_le_bytes());
        bytes.extend_from_slice(&self.until_ms.to_le_bytes());
        self.waiting.iter().for_each(|queue| bytes.extend_from_slice(&queue.to_le_bytes()));
        bytes
    }
}

/// Makes the records. That must happen before there are workers.
pub fn open(shared: &impl SharedData) {
    if shared.get(&name(0)).is_none() {
        let free = Record::default().to_bytes();
        for number in 0..RECORDS {
            shared.set(&name(u128::from(number)), &free, 0);
        }
    }
}

/// Takes the lease of `hash` for the worker with this queue. If another one has it, this one is told when
/// it ends, should it want to `wait`.
pub(super) fn take(
    shared: &impl SharedData,
    hash: u128,
    queue: u32,
    wait: bool,
    now_ms: u64,
) -> Lease {
    let (name, mark) = (name(hash), mark(hash));
    for _ in 0..ATTEMPTS {
        let Some((bytes, token)) = shared.get(&name) else { return Lease::Nobodys };
        let known = Record::read(&bytes);
        let left_ms = known.until_ms.saturating_sub(now_ms);
        let holds = known.owner != 0 && (1..=FARTHEST_MS).contains(&left_ms);
        // Not even if it is ours: others wait to be told of what we fetch with it.
        if holds && known.mark != mark {
            return Lease::Nobodys;
        }
        let held = holds && known.owner != queue;
        if held && (!wait || known.waiting.contains(&queue)) {
            return Lease::Theirs(known.until_ms);
        }
        if held && known.waiting.len() >= MOST {
            return Lease::Nobodys;
        }
        let next = if held {
            Record { waiting: [&known.waiting[..], &[queue]].concat(), ..known.clone() }
        } else {
            // Who waited for an owner that is gone sees by the time that it is.
            let waiting = if known.mark == mark { known.waiting } else { Vec::new() };
            Record { mark, owner: queue, until_ms: now_ms + HOLDS_MS, waiting }
        };
        if shared.set(&name, &next.to_bytes(), token) {
            return if held { Lease::Theirs(known.until_ms) } else { Lease::Mine };
        }
    }
    Lease::Nobodys
}

/// Holds a lease for longer, if half of its time is over.
pub(super) fn renew(shared: &impl SharedData, hash: u128, queue: u32, now_ms: u64) {
    let is_young = now_ms + RENEWED_MS + 1..=now_ms + FARTHEST_MS;
    if held_until(shared, hash).is_some_and(|until_ms| !is_young.contains(&until_ms)) {
        change(shared, hash, queue, |known| Record { until_ms: now_ms + HOLDS_MS, ..known });
    }
}

/// A worker has another queue from now on, and keeps its lease.
pub(super) fn hand_over(shared: &impl SharedData, hash: u128, from: u32, to: u32) {
    change(shared, hash, from, |known| Record { owner: to, ..known });
}

/// Gives a lease back. Returns the queues of those who wait.
pub(super) fn give_back(shared: &impl SharedData, hash: u128, queue: u32) -> Vec<u32> {
    change(shared, hash, queue, |_| Record::default()).map_or_else(Vec::new, |known| known.waiting)
}

/// Until when somebody holds the lease; none if nobody does.
pub(super) fn held_until(shared: &impl SharedData, hash: u128) -> Option<u64> {
    let known = Record::read(&shared.get(&name(hash))?.0);
    (known.mark == mark(hash) && known.owner != 0).then_some(known.until_ms)
}

/// Changes a record that is this worker's. Returns what it was.
fn change(
    shared: &impl SharedData,
    hash: u128,
    queue: u32,
    to: impl Fn(Record) -> Record,
) -> Option<Record> {
    let name = name(hash);
    for _ in 0..ATTEMPTS {
        let (bytes, token) = shared.get(&name)?;
        let known = Record::read(&bytes);
        if known.mark != mark(hash) || known.owner != queue {
            return None;
        }
        if shared.set(&name, &to(known.clone()).to_bytes(), token) {
            return Some(known);
        }
    }
    None
}

/// What is said to those who wait.
pub(super) fn message(hash: u128, how: Ended) -> [u8; 17] {
    let mut message = [how as u8; 17];
    let (place, _) = message.split_at_mut(16);
    place.copy_from_slice(&hash.to_le_bytes());
    message
}

/// Reads what is said to those who wait.
pub(super) fn read_message(message: &[u8]) -> Option<(u128, Ended)> {
    let (hash, how) = message.split_first_chunk()?;
    let all = [Ended::Stored, Ended::Unshared, Ended::Failed, Ended::Lost];
    let how = all.into_iter().find(|ended| how == [*ended as u8])?;
    Some((u128::from_le_bytes(*hash), how))
}

#[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
fn name(hash: u128) -> Vec<u8> {
    let mut name = b"tiercel/lease/".to_vec();
    name.extend_from_slice(&(hash as u16 % RECORDS).to_le_bytes());
    name
}

#[allow(clippy::cast_possible_truncation)] // others than name's
const fn mark(hash: u128) -> u64 {
    (hash >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coherence::Memory;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const A: u128 = 5 << 64 | 7;
    const OTHER: u128 = 6 << 64 | 7;

    #[test]
    fn one_leads_and_the_others_are_told() {
        let shared = Memory::default();
        assert_eq!(take(&shared, A, 1, true, 0), Lease::Nobodys, "no records");
        open(&shared);
        assert_eq!(take(&shared, A, 1, true, 1_000), Lease::Mine);
        assert_eq!(take(&shared, A, 2, true, 1_001), Lease::Theirs(2_000));
        assert_eq!(take(&shared, A, 2, true, 1_001), Lease::Theirs(2_000));
        assert_eq!(take(&shared, A, 3, false, 1_001), Lease::Theirs(2_000));
        for queue in [3, 1] {
            assert_eq!(take(&shared, OTHER, queue, true, 1_001), Lease::Nobodys);
        }
        assert!(give_back(&shared, A, 2).is_empty());
        assert_eq!(give_back(&shared, A, 1), vec![2]);
        assert!(give_back(&shared, A, 1).is_empty() && held_until(&shared, A).is_none());
        assert_eq!(take(&shared, OTHER, 3, true, 1_001), Lease::Mine);
        assert_eq!(shared.len(), usize::from(RECORDS));
    }

    #[test]
    fn what_is_not_renewed_is_taken_over() {
        let shared = Memory::default();
        open(&shared);
        assert_eq!(take(&shared, A, 1, true, 1_000), Lease::Mine);
        assert_eq!(take(&shared, A, 2, true, 1_000), Lease::Theirs(2_000));
        renew(&shared, A, 1, 1_500);
        renew(&shared, A, 2, 9_000);
        assert_eq!(held_until(&shared, A), Some(2_500));
        assert_eq!(take(&shared, A, 3, true, 2_499), Lease::Theirs(2_500));
        assert_eq!(take(&shared, A, 2, true, 2_500), Lease::Mine);
        assert!(give_back(&shared, A, 1).is_empty(), "too late");
        assert_eq!(give_back(&shared, A, 2), vec![2, 3]);
    }

    /// with a clock that was set back by an hour what a crashed worker led was led by nobody for an hour, and each
    /// request for it waited for as long as it may.
    #[test]
    fn a_clock_that_is_set_back_makes_no_lease_last() {
        use super::super::{Flights, Joined, Limits, Verdict};
        let shared = Memory::default();
        open(&shared);
        assert_eq!(take(&shared, A, 1, true, 9_000_000), Lease::Mine);
        let (mut flights, place) = (Flights::default(), (&shared, Some(2)));
        let limits = Limits { per_key: 9, in_all: 9, wait_ms: 5_000 };
        let joined = flights.enter(place, (A, 10), true, 9_000_000, limits);
        assert_eq!(joined, Some(Joined::Follows));
        // The first crashes, and then the clock is set.
        for now_ms in (1_000_000..1_002_000).step_by(50) {
            flights.tick(place, std::iter::empty(), now_ms);
        }
        let Some((10, Verdict::Leads(ticket))) = flights.next_due() else { panic!("nobody leads") };
        let joined = flights.go_first((&shared, 2), (ticket, 10), 1_002_000, limits);
        assert_eq!(joined, Joined::Leads(ticket));
    }

    #[test]
    fn who_fetches_goes_on_to_when_the_clock_is_set_back() {
        use super::super::{Flights, Joined, Limits};
        let shared = Memory::default();
        open(&shared);
        let (mut flights, place) = (Flights::default(), (&shared, Some(1)));
        let limits = Limits { per_key: 9, in_all: 9, wait_ms: 5_000 };
        let joined = flights.enter(place, (A, 10), true, 9_000_000, limits);
        assert!(matches!(joined, Some(Joined::Leads(_))));
        for now_ms in (1_000_000..1_005_000).step_by(50) {
            flights.tick(place, std::iter::empty(), now_ms);
            assert!(matches!(take(&shared, A, 2, false, now_ms), Lease::Theirs(_)), "{now_ms}");
        }
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        for how in [Ended::Stored, Ended::Unshared, Ended::Failed, Ended::Lost] {
            assert_eq!(read_message(&message(A, how)), Some((A, how)));
        }
        for nonsense in [&b"1"[..], &[9; 17], &[0; 18]] {
            assert_eq!(read_message(nonsense), None);
        }
    }
}
