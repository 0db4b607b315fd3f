//! What one worker keeps between requests.

use std::rc::Rc;

use hashbrown::{HashMap, HashSet};

use super::existence::News;
use super::held::Held;
use super::protection::Origins;
use super::refused::Refused;
use crate::coherence::{Bump, Generations, TagKey, Validity};
use crate::collapse::Flights;
use crate::entry::Entry;
use crate::existence::Space;
use crate::http::fields::FieldsBuf;
use crate::http::key::Key;
use crate::l1::Entries;
use crate::observe::Counters;

/// A change for L2.
#[derive(Debug)]
pub enum Write {
    /// This entry is stored; and whether there may be an older one in its place.
    Store(Rc<Entry>, bool),
    /// What is under this hash goes.
    Delete(u128),
    /// The lease of this hash, with this token, is given back; and whether it is closed instead.
    GiveBack(u128, u64, bool),
}

/// A worker's state: one per VM, shared by every filter of the VM, kept when the configuration
/// is reloaded.
#[derive(Debug)]
pub struct Worker {
    /// L1.
    pub l1: Entries,
    /// Counts not yet handed over.
    pub counters: Counters,
    /// Bytes of responses being copied.
    pub filling: usize,
    /// What requests hold that are not answered yet.
    pub held: Held,
    /// Changes for L2 not yet handed over.
    pub outbox: Vec<Write>,
    /// Whether the process has no other workers.
    pub is_alone: bool,
    /// Whether L2 fails.
    pub is_degraded: bool,
    /// Entries for the process's other workers, not yet handed over.
    pub shares: Vec<Rc<Entry>>,
    /// Hashes of what is being fetched again while it is served stale.
    pub(super) refreshing: HashSet<u128>,
    /// Which tags what is stored has, once that is known.
    pub tagging: Option<u64>,
    /// Which ids exist, by the scope of their space.
    pub spaces: HashMap<u64, Space>,
    /// What became known of them, not yet handed over.
    pub news: Vec<(u64, News)>,
    /// What writes made stale.
    pub generations: Generations,
    /// Chance, for what is better not done by all at once.
    pub(super) random: fastrand::Rng,
    /// What was just stored for those who wait for it, should L1 not take it, by its full key.
    pub(super) landed: HashMap<Box<[u8]>, Rc<Entry>>,
    /// Who waits for whose fetch.
    pub flights: Flights,
    /// How the origins fare.
    pub(super) origins: Origins,
    /// Whose responses are not for storing.
    pub(super) refused: Refused,
    /// The normalised path of the request at hand.
    pub(super) path: Vec<u8>,
    /// The key of the request at hand.
    pub(super) key: Vec<u8>,
    /// The fields to store of the response at hand.
    pub(super) fields: FieldsBuf,
}

impl Worker {
    /// A worker with an empty L1 of no size; `seed` is random.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            l1: Entries::new(seed),
            counters: Counters::default(),
            filling: 0,
            held: Held::default(),
            outbox: Vec::new(),
            is_alone: false,
            is_degraded: false,
            shares: Vec::new(),
            refreshing: HashSet::new(),
            tagging: None,
            spaces: HashMap::new(),
            news: Vec::new(),
            generations: Generations::default(),
            random: fastrand::Rng::with_seed(seed),
            landed: HashMap::new(),
            flights: Flights::default(),
            origins: Origins::default(),
            refused: Refused::default(),
            path: Vec::new(),
            key: Vec::new(),
            fields: FieldsBuf::default(),
        }
    }

    /// Hashes of what is being fetched again.
    pub fn refreshing(&self) -> impl Iterator<Item = u128> {
        self.refreshing.iter().copied()
    }

    /// An entry is stored in L2 as well, perhaps in the place of an older one.
    pub(super) fn store(&mut self, entry: Rc<Entry>, replaces: bool) {
        self.outbox.push(Write::Store(entry, replaces));
    }

    /// Whether nothing has made an entry invalid since it was taken out.
    pub(super) fn may_use(&self, entry: &Entry) -> bool {
        self.generations.validity(entry.tags(), entry.epoch()) != Validity::Invalid
    }

    /// What L1 has under `key`, if nothing has made it invalid.
    pub(super) fn stored(&mut self, key: &[u8], now_ms: impl FnOnce() -> u64) -> Option<Rc<Entry>> {
        let of_l1 = self.l1.get(key).map(Rc::clone);
        let entry = of_l1.or_else(|| self.landed.get(key).map(Rc::clone))?;
        let validity = self.generations.validity(entry.tags(), entry.epoch());
        if validity == Validity::Current {
            return Some(entry);
        }
        let usable = usable(Rc::clone(&entry), validity, now_ms);
        match &usable {
            None => {
                self.l1.remove(key);
            }
            Some(outdated) if !Rc::ptr_eq(outdated, &entry) => {
                self.l1.insert(Rc::clone(outdated));
            }
            Some(_) => {}
        }
        usable
    }

    /// All who waited for what was just stored have looked for it.
    pub fn all_have_looked(&mut self) {
        self.landed.clear();
    }

    /// What is stored of the resource, anywhere, is not to be used again, nor what is being fetched of it.
    pub(super) fn invalidate(&mut self, resource: &Key, key: &TagKey) {
        let tags = [key.named(resource.as_bytes())].into_iter().collect();
        self.generations.bump(Bump { tags, ..Bump::default() });
    }

    /// What is stored under `key` is not to be used again.
    pub(super) fn forget(&mut self, key: &Key) {
        self.l1.remove(key.as_bytes());
        self.outbox.push(Write::Delete(key.hash()));
    }
}

/// An entry as it may be used: as it is, no longer fresh, or not at all.
pub(super) fn usable(
    entry: Rc<Entry>,
    validity: Validity,
    now_ms: impl FnOnce() -> u64,
) -> Option<Rc<Entry>> {
    match validity {
        Validity::Current => Some(entry),
        // Which variants there are is no staler than before.
        Validity::Stale if entry.meta().variants => Some(entry),
        Validity::Stale => {
            let now_ms = now_ms();
            Some(if entry.is_fresh(now_ms) { Rc::new(entry.outdated(now_ms)) } else { entry })
        }
        Validity::Invalid => None,
    }
}
