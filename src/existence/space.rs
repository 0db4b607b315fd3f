//! A space of ids in one worker: what is known of it, and the part in keeping it.

use std::rc::Rc;

use super::fleet::Keys;
use super::head::Head;
use super::keeper::{Around, Fleet, Keeper, keep_ms};
use super::known::{Known, Verdict};
use super::names::Names;
use super::source::{Ask, Asking, Came};
use super::telling::{Count, Standing, Telling};
use super::{Assembly, SpacePolicy, hash};
use crate::coherence::SharedData;

/// Pieces of a filter that are read from the memory of the process in one tick.
const LOADED: usize = 64;
/// The least time for which Redis may be silent, in ms.
const SILENCE_MS: u64 = 2_000;
/// A ticket of the space itself, not its keeper's.
const OWN: u32 = 1 << 31;

/// Where a space's values lie, and what is known of them.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) names: Names,
    pub(super) known: Known,
}

/// What is on its way to Redis.
#[derive(Clone, Copy, Debug)]
struct Sending {
    ticket: u32,
    /// So many ids.
    ids: usize,
    /// Whether it says that others were dropped.
    dropped: bool,
    /// When it is given up, in ms since the epoch.
    until_ms: u64,
}

/// A space in one worker.
#[derive(Debug)]
pub struct Space {
    policy: Rc<SpacePolicy>,
    place: Place,
    keeper: Keeper,
    /// Tells this worker from others.
    token: u64,
    fleet: Option<Fleet>,
    settle_ms: u64,
    /// A filter that is being read from the memory of the process: its number, and pieces so far.
    loading: Option<(u64, Option<Assembly>, usize)>,
    /// Ids that Redis does not have yet, those of them that are on their way, and whether others were dropped.
    unsent: Vec<u64>,
    sending: Option<Sending>,
    dropped: bool,
    own_tickets: u32,
    telling: Telling,
}

impl Space {
    /// One of which nothing is known. `fleet` is the prefix of keys in Redis and the time between two questions to it,
    /// in ms; `settle_ms` how long writes may be under way.
    #[must_use]
    pub fn new(
        policy: Rc<SpacePolicy>,
        fleet: Option<(&str, u64)>,
        settle_ms: u64,
        seed: u64,
    ) -> Self {
        let place = Place { names: Names::new(policy.scope), known: Known::new(policy.recent) };
        let fleet = fleet.map(|(prefix, poll_ms)| {
            let keys = Keys::new(prefix, policy.scope);
            Fleet { keys, poll_ms }
        });
        Self {
            policy,
            place,
            keeper: Keeper::new(seed),
            token: seed,
            fleet,
            settle_ms,
            loading: None,
            unsent: Vec::new(),
            sending: None,
            dropped: false,
            own_tickets: 0,
            telling: Telling::default(),
        }
    }

    /// Makes what the process has no value for yet. Called where a configuration arrives first: on the host's main
    /// thread, before any worker.
    pub fn open(&self, shared: &impl SharedData) {
        Head::open(shared, &self.place.names);
        self.place.known.recent.open(shared, &self.place.names);
    }

    /// What the configuration says of it by now.
    pub fn configure(&mut self, policy: &Rc<SpacePolicy>, settle_ms: u64) {
        (self.policy, self.settle_ms) = (Rc::clone(policy), settle_ms);
    }

    /// What the configuration says of it.
    #[must_use]
    pub const fn policy(&self) -> &Rc<SpacePolicy> {
        &self.policy
    }

    /// Whether there is something that only Redis tells of, and how long that may be silent.
    fn silence_ms(&self) -> Option<u64> {
        self.fleet.as_ref().map(|fleet| SILENCE_MS.max(3 * fleet.poll_ms))
    }

    /// Whether a request for an id may go on; none if it is not well-formed. And the id's hash.
    pub fn verdict(
        &mut self,
        shared: &impl SharedData,
        id: &[u8],
        now_ms: u64,
    ) -> Option<(Verdict, u64)> {
        let pattern = self.policy.pattern.as_ref()?;
        let is_text = !id.is_empty() && std::str::from_utf8(id).is_ok();
        let id = Some(id).filter(|id| is_text && pattern.is_match(id))?;
        let text = crate::coherence::canonical(id);
        let silence_ms = self.silence_ms();
        let Place { names, known } = &mut self.place;
        let of = (&*self.policy, silence_ms);
        let verdict = known.verdict((shared, names), &text, of, now_ms);
        self.telling.judged(verdict);
        Some((verdict, hash(text.as_bytes())))
    }

    /// Counts something.
    pub fn count(&mut self, count: Count, by: u64) {
        self.telling.count(count, by);
    }

    /// Ids come into being, or were seen to exist: all workers know them from now on, and other instances soon. Those
    /// that may come into being still are added `anew`: lists wait for them.
    pub fn add(&mut self, shared: &impl SharedData, hashes: &[u64], count: Count, anew: bool) {
        self.count(count, hashes.len() as u64);
        let ids: Vec<_> = hashes.iter().map(|hash| (*hash, 0)).collect();
        if !self.place.known.recent.add(shared, &self.place.names, &ids, anew) {
            self.lose(shared);
        }
        if self.fleet.is_some() {
            let room = self.policy.recent.saturating_sub(self.unsent.len());
            self.dropped |= hashes.len() > room;
            self.unsent.extend(hashes.iter().take(room));
        }
    }

    /// An id was seen to exist.
    pub fn is_seen(&mut self, shared: &impl SharedData, hash: u64) {
        let filter = self.place.known.filter();
        if filter.is_some_and(|filter| !filter.contains(hash)) && !self.place.known.has(hash) {
            self.add(shared, &[hash], Count::Seen, false);
        }
    }

    /// Ids came into being, and nobody knows which.
    pub fn lose(&mut self, shared: &impl SharedData) {
        self.count(Count::Lost, 1);
        self.place.known.recent.lose(shared, &self.place.names);
        self.dropped |= self.fleet.is_some();
    }

    /// Sends to Redis what it does not have yet.
    pub fn send(&mut self, now_ms: u64) -> Option<Ask> {
        let fleet = self.fleet.as_ref()?;
        // Neither is it waited for longer when a clock was set back.
        let is_late =
            |sending: &mut Sending| sending.until_ms.abs_diff(now_ms + SILENCE_MS) > SILENCE_MS;
        if let Some(late) = self.sending.take_if(is_late) {
            self.dropped |= late.dropped;
        }
        if self.sending.is_some() || self.unsent.is_empty() && !self.dropped {
            return None;
        }
        self.own_tickets = self.own_tickets.wrapping_add(1) % OWN;
        let ticket = OWN | self.own_tickets;
        // What is dropped from here on is said the next time.
        let dropped = std::mem::take(&mut self.dropped);
        let until_ms = now_ms + SILENCE_MS;
        self.sending = Some(Sending { ticket, ids: self.unsent.len(), dropped, until_ms });
        let most = 2 * self.policy.recent;
        let how = (self.place.known.score(), dropped);
        let commands = fleet.keys.add(&self.unsent, keep_ms(&self.policy), most, how);
        Some(Ask { ticket, what: Asking::Redis(commands) })
    }

    /// Time passes. Who may keep the space says whether it is proven to be a worker: those take it from others.
    pub fn tick(
        &mut self,
        shared: &impl SharedData,
        proven: Option<bool>,
        now_ms: u64,
    ) -> Vec<Ask> {
        self.load(shared);
        let mut out: Vec<Ask> = self.send(now_ms).into_iter().collect();
        let name = self.place.names.keeper();
        if let Some(proven) = proven
            && self.keeper.holds(shared, &name, (self.token, proven), now_ms)
        {
            out.extend(self.keep(shared, now_ms, Keeper::tick));
        }
        out
    }

    /// Lets the keeper do something. Returns what to ask next.
    fn keep<S: SharedData>(
        &mut self,
        shared: &S,
        now_ms: u64,
        act: impl FnOnce(&mut Keeper, &mut Place, &Around<'_, S>),
    ) -> Vec<Ask> {
        let around = Around {
            shared,
            space: &self.policy,
            fleet: self.fleet.as_ref(),
            settle_ms: self.settle_ms,
            now_ms,
        };
        act(&mut self.keeper, &mut self.place, &around);
        let bytes = self.place.known.filter().map_or(0, |filter| filter.size());
        for event in std::mem::take(&mut self.keeper.events) {
            self.telling.happened(&self.policy.name, event, bytes);
        }
        self.keeper.take_out()
    }

    /// An answer came. Returns what to ask next.
    pub fn came(
        &mut self,
        shared: &impl SharedData,
        ticket: u32,
        came: Came<'_>,
        now_ms: u64,
    ) -> Vec<Ask> {
        if ticket & OWN != 0 {
            if let Some(sent) = self.sending.take_if(|sending| sending.ticket == ticket) {
                match came {
                    Came::Redis(replies) if super::fleet::added(replies).is_ok() => {
                        self.unsent.drain(..sent.ids.min(self.unsent.len()));
                    }
                    _ => self.dropped |= sent.dropped,
                }
            }
            return Vec::new();
        }
        self.keep(shared, now_ms, |keeper, place, around| {
            keeper.came(place, ticket, came, around);
        })
    }

    /// Reads some of the filter that the process agreed on, if this worker has another one.
    fn load(&mut self, shared: &impl SharedData) {
        let Place { names, known } = &mut self.place;
        let head = known.follow(shared, names);
        if head.serial == known.serial() {
            self.loading = None;
            return;
        }
        let loading = self.loading.take().filter(|(serial, ..)| *serial == head.serial);
        let (serial, mut assembly, mut next) = loading.unwrap_or((head.serial, None, 0));
        for _ in 0..LOADED {
            let piece = shared.get(&names.piece(head.slot, next)).map(|(piece, _)| piece);
            let piece = piece.unwrap_or_default();
            let added = match &mut assembly {
                None => Assembly::new(serial, &piece).map(|begun| assembly = Some(begun)),
                Some(known) => known.add(next, &piece),
            };
            // Another one takes its place: that is read from the start.
            if added.is_err() {
                return;
            }
            next += 1;
            if let Some(filter) = assembly.as_mut().and_then(Assembly::finish) {
                return known.take(Rc::new(filter), &head);
            }
        }
        self.loading = Some((serial, assembly, next));
    }

    /// What has changed of what it is at, with the names of the metrics; says so once when requests begin, or cease, to
    /// go on whatever their ids.
    pub fn standing(&mut self, shared: &impl SharedData, now_ms: u64) -> Vec<(&'static str, u64)> {
        let silence_ms = self.silence_ms();
        let Place { names, known } = &mut self.place;
        let head = known.follow(shared, names);
        let open = known.open((&*self.policy, silence_ms), &head, now_ms);
        let (known, filter) = (&self.place.known, self.place.known.filter());
        let standing = Standing {
            ids: filter.map_or(0, |filter| filter.ids()),
            recent: known.recent(),
            bytes: filter.map_or(0, |filter| filter.size() as u64),
            age_s: known.age_ms(now_ms) / 1_000,
            open,
            build_ms: 0,
        };
        self.telling.stands(&self.policy.name, standing)
    }

    /// What was counted since this was last asked, verdicts included, each with its name.
    pub fn take_counts(&mut self) -> Vec<(&'static str, u64)> {
        self.telling.take_counts()
    }

    /// What there is to say.
    pub fn take_lines(&mut self) -> Vec<(log::Level, String)> {
        self.telling.take_lines()
    }
}
