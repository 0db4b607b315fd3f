//! A space of ids in one worker: what is known of it, and the part in keeping it.

use std::rc::Rc;

use super::fleet::Keys;
use super::head::Head;
use super::keeper::{Around, Event, Fleet, Keeper, keep_ms};
use super::known::{Known, Verdict};
use super::names::Names;
use super::source::{Ask, Asking, Came};
use super::{Assembly, SpacePolicy, hash};
use crate::closed_enum::closed_enum;
use crate::coherence::SharedData;

/// Pieces of a filter that are read from the memory of the process in one tick.
const LOADED: usize = 64;
/// The least time for which Redis may be silent, in ms.
const SILENCE_MS: u64 = 2_000;
/// A ticket of the space itself, not its keeper's.
const OWN: u32 = 1 << 31;

closed_enum! {
    /// What is counted of a space, besides verdicts.
    pub enum Count {
        /// A request was answered, for its id does not exist.
        Refused => "refused",
        /// One would have been, but for `shadow`.
        Shadowed => "shadowed",
        /// The origin found an id that does not exist by what is known: an error of the filter.
        FalseNegative => "false_negative",
        /// The origin did not find an id that the filter has.
        FalsePositive => "false_positive",
        /// Ids that came into being.
        Created => "created",
        /// Ids that the origin found and the filter does not have.
        Seen => "seen",
        /// A list was read, and a filter made of it.
        Built => "built",
        /// The source says that its list is the same.
        Unchanged => "unchanged",
        /// The fleet's last filter was loaded.
        Loaded => "loaded",
        /// It was no good.
        LoadFailed => "load_failed",
        /// The filter was kept in Redis.
        Kept => "kept",
        /// A list was not used.
        ReadFailed => "read_failed",
        /// Ids came into being, and nobody knows which.
        Lost => "lost",
    }
}

/// What a space is at, for gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Ids of the list.
    pub ids: u64,
    /// Ids that came into being since.
    pub recent: u64,
    /// Bytes of the filter.
    pub bytes: u64,
    /// The list's age, in s.
    pub age_s: u64,
    /// Why every id may go on, if it may.
    pub open: Option<Verdict>,
    /// How long the last filter took to be made, in ms; 0 if that was not here.
    pub build_ms: u64,
}

impl Standing {
    /// Its values, with the names of their metrics.
    #[must_use]
    pub fn values(&self) -> [(&'static str, u64); 6] {
        [
            ("existence_ids", self.ids),
            ("existence_recent", self.recent),
            ("existence_filter_bytes", self.bytes),
            ("existence_list_age_seconds", self.age_s),
            ("existence_open", u64::from(self.open.is_some())),
            ("existence_build_ms", self.build_ms),
        ]
    }
}

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
    counts: [u64; Count::ALL.len()],
    verdicts: [u64; Verdict::ALL.len()],
    lines: Vec<(log::Level, String)>,
    /// What was last said of why every id may go on.
    said: Option<Verdict>,
    build_ms: u64,
    /// What was last told of what it is at.
    told: Standing,
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
            counts: [0; Count::ALL.len()],
            verdicts: [0; Verdict::ALL.len()],
            lines: Vec::new(),
            said: None,
            build_ms: 0,
            told: Standing::default(),
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
        if let Some(count) = self.verdicts.get_mut(verdict.index()) {
            *count += 1;
        }
        Some((verdict, hash(text.as_bytes())))
    }

    /// Counts something.
    pub fn count(&mut self, count: Count, by: u64) {
        if let Some(known) = self.counts.get_mut(count.index()) {
            *known += by;
        }
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
        if let Some(late) = self.sending.take_if(|sending| sending.until_ms < now_ms) {
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
        self.tell();
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

    /// Counts what the keeper did, and says so.
    fn tell(&mut self) {
        for event in std::mem::take(&mut self.keeper.events) {
            let count = match event {
                Event::Built(..) => Count::Built,
                Event::Unchanged => Count::Unchanged,
                Event::Loaded(_) => Count::Loaded,
                Event::Refused(_) => Count::LoadFailed,
                Event::Kept => Count::Kept,
                Event::Failed(..) => Count::ReadFailed,
                Event::Lost => Count::Lost,
            };
            self.count(count, 1);
            let name = &self.policy.name;
            self.lines.extend(match event {
                Event::Built(ids, all_ms, build_ms) => {
                    self.build_ms = build_ms;
                    let bytes = self.place.known.filter().map_or(0, |filter| filter.size());
                    let text = format!(
                        "space {name}: a list of {ids} ids was read and its filter made in {all_ms} ms, \
                         {build_ms} ms of it for the filter of {bytes} bytes"
                    );
                    Some((log::Level::Info, text))
                }
                Event::Loaded(ids) => {
                    let text = format!("space {name}: a filter of {ids} ids was loaded from Redis");
                    Some((log::Level::Info, text))
                }
                Event::Refused(error) => {
                    let text = format!("space {name}: the filter in Redis is not used: {error}");
                    Some((log::Level::Warn, text))
                }
                Event::Failed(failure, wait_ms) => {
                    let text = format!(
                        "space {name}: the list of ids is not used: {failure}; the next attempt is in {wait_ms} ms"
                    );
                    Some((log::Level::Warn, text))
                }
                Event::Lost => {
                    let text = format!("space {name}: ids came into being, and nobody knows which");
                    Some((log::Level::Warn, text))
                }
                Event::Unchanged | Event::Kept => None,
            });
        }
    }

    /// What has changed of what it is at, with the names of the metrics; says so once when requests begin, or cease, to
    /// go on whatever their ids.
    pub fn standing(&mut self, shared: &impl SharedData, now_ms: u64) -> Vec<(&'static str, u64)> {
        let silence_ms = self.silence_ms();
        let Place { names, known } = &mut self.place;
        let head = known.follow(shared, names);
        let open = known.open((&*self.policy, silence_ms), &head, now_ms);
        if self.said != open {
            self.said = open;
            let name = &self.policy.name;
            self.lines.push(match open {
                Some(why) => {
                    let text = format!("space {name}: requests go on whatever their ids: {why}");
                    (log::Level::Warn, text)
                }
                None => (log::Level::Info, format!("space {name}: it is known which ids exist")),
            });
        }
        let known = &self.place.known;
        let filter = known.filter();
        let standing = Standing {
            ids: filter.map_or(0, |filter| filter.ids()),
            recent: known.recent(),
            bytes: filter.map_or(0, |filter| filter.size() as u64),
            age_s: known.age_ms(now_ms) / 1_000,
            open,
            build_ms: self.build_ms,
        };
        let before = std::mem::replace(&mut self.told, standing).values();
        let changed = standing.values().into_iter().zip(before).filter(|(now, then)| now != then);
        changed.map(|(now, _)| now).collect()
    }

    /// What was counted since this was last asked, verdicts included, each with its name.
    pub fn take_counts(&mut self) -> Vec<(&'static str, u64)> {
        let counts = Count::ALL.iter().map(|count| count.as_str()).zip(&mut self.counts);
        let verdicts = Verdict::ALL.iter().map(|verdict| verdict.as_str()).zip(&mut self.verdicts);
        let counted = counts.chain(verdicts).filter(|(_, count)| **count > 0);
        counted.map(|(name, count)| (name, std::mem::take(count))).collect()
    }

    /// What there is to say.
    pub fn take_lines(&mut self) -> Vec<(log::Level, String)> {
        std::mem::take(&mut self.lines)
    }
}
