//! Writes on their way, noted where a crash does not reach: if the worker that sees to one is gone, another makes stale
//! what it may have changed.

use hashbrown::HashSet;

use super::shared::{SharedData, update};
use super::{Tag, Tags};

/// Records; a worker uses one of them, perhaps together with others.
const RECORDS: u64 = 16;
/// Writes in a record; what is beyond is not noted.
const MOST: usize = 256;
/// How often a worker says that it sees to its writes still, and for how long that is believed.
const RENEWED_MS: u64 = 250;
const BELIEVED_MS: u64 = 1_500;
/// How much longer Envoy's main thread leaves that to others: what it finds it cannot tell the fleet.
const PATIENCE_MS: u64 = 2_000;

/// What a write may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// These tags, at most.
    pub tags: Tags,
    /// It may create ids in the spaces with these scopes.
    pub spaces: Vec<u64>,
}

/// A worker's writes.
#[derive(Debug)]
pub struct Intents {
    own: u64,
    next: u32,
    pending: HashSet<u32>,
    looked_ms: u64,
}

/// A write in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Noted {
    owner: u64,
    id: u32,
    said_ms: u64,
    intent: Intent,
}

impl Intents {
    /// None yet, of the worker with this name.
    #[must_use]
    pub fn new(own: u64) -> Self {
        Self { own, next: 0, pending: HashSet::new(), looked_ms: 0 }
    }

    /// A write is about to go on. Returns its number; none if there is no room.
    pub fn note(&mut self, shared: &impl SharedData, intent: &Intent, now_ms: u64) -> Option<u32> {
        let (owner, id) = (self.own, self.next);
        let mut has_room = false;
        let is_set = update(shared, &name(owner % RECORDS), |bytes| {
            let mut all = read(bytes);
            has_room = all.len() < MOST;
            all.push(Noted { owner, id, said_ms: now_ms, intent: intent.clone() });
            has_room.then(|| write(&all))
        });
        if !is_set || !has_room {
            return None;
        }
        self.next = self.next.wrapping_add(1);
        self.pending.insert(id);
        Some(id)
    }

    /// What a write changed is stale for all.
    pub fn strike(&mut self, shared: &impl SharedData, id: u32) {
        self.pending.remove(&id);
        self.keep(shared, None);
    }

    /// Time passes: says that this worker lives, if it is one for sure. Returns what nobody sees to any more.
    pub fn tick(&mut self, shared: &impl SharedData, is_worker: bool, now_ms: u64) -> Vec<Intent> {
        if self.looked_ms.abs_diff(now_ms) < RENEWED_MS {
            return Vec::new();
        }
        self.looked_ms = now_ms;
        if !self.pending.is_empty() {
            self.keep(shared, Some(now_ms));
        }
        let believed_ms = BELIEVED_MS + if is_worker { 0 } else { PATIENCE_MS };
        (0..RECORDS).flat_map(|number| orphans(shared, number, (now_ms, believed_ms))).collect()
    }

    /// This worker ends: others see to its writes at once.
    pub fn abandon(&self, shared: &impl SharedData, now_ms: u64) {
        if !self.pending.is_empty() {
            self.keep(shared, Some(now_ms.saturating_sub(BELIEVED_MS)));
        }
    }

    /// Leaves of its own writes those that are on their way.
    fn keep(&self, shared: &impl SharedData, said_ms: Option<u64>) {
        update(shared, &name(self.own % RECORDS), |bytes| {
            let mut all = read(bytes);
            all.retain(|noted| noted.owner != self.own || self.pending.contains(&noted.id));
            for noted in all.iter_mut().filter(|noted| noted.owner == self.own) {
                noted.said_ms = said_ms.unwrap_or(noted.said_ms);
            }
            Some(write(&all))
        });
    }
}

/// Takes out of a record what nobody has spoken for lately.
fn orphans(
    shared: &impl SharedData,
    number: u64,
    (now_ms, believed_ms): (u64, u64),
) -> Vec<Intent> {
    let is_orphan = |noted: &Noted| noted.said_ms.abs_diff(now_ms) >= believed_ms;
    let mut orphans = Vec::new();
    let taken = update(shared, &name(number), |bytes| {
        let all = read(bytes);
        let (gone, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(is_orphan);
        orphans = gone.into_iter().map(|noted| noted.intent).collect();
        (!orphans.is_empty()).then(|| write(&rest))
    });
    if taken { orphans } else { Vec::new() }
}

fn name(number: u64) -> Vec<u8> {
    format!("tiercel/writes/{number}").into_bytes()
}

fn write(all: &[Noted]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(all.len() * 64);
    for Noted { owner, id, said_ms, intent } in all {
        bytes.extend_from_slice(&owner.to_le_bytes());
        bytes.extend_from_slice(&said_ms.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
        let tags = intent.tags.as_slice();
        for count in [tags.len(), intent.spaces.len()] {
            bytes.extend_from_slice(&u32::try_from(count).unwrap_or(0).to_le_bytes());
        }
        tags.iter().for_each(|tag| bytes.extend_from_slice(&tag.bits().to_le_bytes()));
        intent.spaces.iter().for_each(|space| bytes.extend_from_slice(&space.to_le_bytes()));
    }
    bytes
}

fn read(mut bytes: &[u8]) -> Vec<Noted> {
    std::iter::from_fn(|| read_one(&mut bytes)).collect()
}

fn read_one(bytes: &mut &[u8]) -> Option<Noted> {
    let (owner, said_ms) = (long(bytes)?, long(bytes)?);
    let (id, tags, spaces) = (short(bytes)?, short(bytes)?, short(bytes)?);
    let tags = (0..tags).map(|_| short(bytes).map(Tag::from_bits)).collect::<Option<Tags>>()?;
    let spaces = (0..spaces).map(|_| long(bytes)).collect::<Option<_>>()?;
    Some(Noted { owner, id, said_ms, intent: Intent { tags, spaces } })
}

fn long(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

fn short(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::super::shared::Memory;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn intent() -> Intent {
        Intent { tags: [1, 2].map(Tag::from_bits).into_iter().collect(), spaces: vec![7] }
    }

    #[test]
    fn what_a_crashed_worker_began_is_seen_to_by_one_other() {
        let shared = Memory::default();
        // Two of them share a record.
        let mut workers: [Intents; 3] = [1, 2, 1 + RECORDS].map(Intents::new);
        let ids: Vec<_> = workers
            .iter_mut()
            .map(|worker| {
                assert_eq!(worker.note(&shared, &Intent::default(), 10_000), Some(0));
                worker.note(&shared, &intent(), 10_000).unwrap()
            })
            .collect();
        workers.iter_mut().for_each(|worker| worker.strike(&shared, 0));
        let [crashed, mut one, mut two] = workers;
        for now_ms in (10_050..11_500).step_by(50) {
            assert!(
                one.tick(&shared, true, now_ms).is_empty()
                    && two.tick(&shared, true, now_ms).is_empty()
            );
        }
        drop(crashed);
        let found: Vec<_> = (11_500..20_000)
            .step_by(50)
            .flat_map(|now_ms| {
                [one.tick(&shared, true, now_ms), two.tick(&shared, true, now_ms)].concat()
            })
            .collect();
        assert_eq!(found, [intent()]);
        one.strike(&shared, ids[1]);
        two.strike(&shared, ids[2]);
        assert!(
            (0..RECORDS).all(|n| shared.get(&name(n)).is_none_or(|(bytes, _)| bytes.is_empty()))
        );
    }

    #[test]
    fn who_says_that_it_ends_is_followed_at_once() {
        let shared = Memory::default();
        let (mut one, mut two) = (Intents::new(1), Intents::new(2));
        one.note(&shared, &intent(), 10_000);
        one.abandon(&shared, 10_000);
        assert_eq!(two.tick(&shared, true, 10_001), [intent()]);
    }

    #[test]
    fn who_was_taken_for_dead_does_no_harm() {
        let shared = Memory::default();
        let (mut one, mut two) = (Intents::new(1), Intents::new(2));
        let id = one.note(&shared, &intent(), 10_000).unwrap();
        assert_eq!(two.tick(&shared, true, 12_000), [intent()]);
        assert!(one.tick(&shared, true, 12_001).is_empty());
        one.strike(&shared, id);
        assert!(two.tick(&shared, true, 14_000).is_empty());
    }

    #[test]
    fn room_is_bounded_and_nonsense_is_nothing() {
        let shared = Memory::default();
        let mut one = Intents::new(1);
        let noted = (0..1_000).filter_map(|_| one.note(&shared, &intent(), 10_000)).count();
        assert_eq!(noted, MOST);
        (0..1_000).for_each(|id| one.strike(&shared, id));
        assert!(one.note(&shared, &intent(), 10_000).is_some());
        shared.set(&name(3), &[255; 100], 0);
        assert!(one.tick(&shared, true, 20_000).len() <= 1);
    }
}
