//! The one worker of a process that keeps a space: it reads lists, makes filters, and talks to the fleet.

mod following;
mod lists;
mod publishing;
mod waiting;

use std::rc::Rc;

use super::fleet::{self, Keys, Snapshot};
use super::source::{Ask, Asking, Came, Etags, Failure, Reading};
use super::space::Place;
use super::{Assembly, Build, Filter, SpacePolicy};
use crate::coherence::SharedData;

/// Pieces that are asked for, or kept, at the same time.
const PIECES: usize = 4;
/// Pieces that are put into the process's memory in one tick.
const PUBLISHED: usize = 16;
/// Between two attempts after the first one that failed, in ms; each one after it waits twice as long.
const BACKOFF_MS: u64 = 1_000;
/// The longest of these.
const LONGEST_MS: u64 = 60_000;
/// Ticks that are further apart say that a clock was set, or that the worker stood still.
const LEAP_MS: u64 = 500;
/// How long what is kept in Redis outlives the time for which it may be used, in ms.
const SPARE_MS: u64 = 60_000;

/// What it is about.
#[derive(Debug, Default)]
enum Doing {
    /// Nothing but to listen.
    #[default]
    Nothing,
    /// It asked whether it may read the list.
    Claiming,
    /// It waits for writes that may be under way to be carried out.
    Settling(Begun, u64),
    /// It reads the list.
    Reading(Begun, Box<Reading>),
    /// It makes a filter of it, since that time.
    Building(Begun, Box<Build>, Etags, u64),
    /// It fetches the fleet's last filter.
    Loading(Snapshot, Option<Box<Assembly>>, usize),
    /// It puts a filter into the memory of the process, in one of two places (none before the first piece), up to this one.
    Publishing(Rc<Filter>, Made, Option<u64>, usize),
    /// It keeps a filter in Redis, up to this piece.
    Storing(Rc<Filter>, Snapshot, usize),
}

/// When a list was begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    /// The place of the first recent id it may lack.
    from: u64,
    /// What was known of others' by then: a score, and of which set.
    base: u64,
    incarnation: u64,
    /// In ms since the epoch.
    at_ms: u64,
}

/// What a filter is made of.
#[derive(Clone, Copy, Debug)]
enum Made {
    /// A list that was read here: the filter's number, and how long it took to be made, in ms.
    Here(Begun, u64, u64),
    /// The fleet's.
    Fleet(Snapshot),
}

/// What an answer is an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    Poll,
    /// Under this token.
    Claim(u64),
    /// Of which nothing is expected.
    Nothing,
    /// To the reading of this list, under its own ticket.
    Page(u64, u32),
    Piece(u64, usize),
    Stored(u64),
    Committed(u64),
}

impl Errand {
    /// Whether it is about the pieces of this filter.
    const fn moves(self, serial: u64) -> bool {
        matches!(self, Self::Piece(of, _) | Self::Stored(of) | Self::Committed(of) if of == serial)
    }
}

/// What happened that is worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A list was read and is used: so many ids; how long it took, in ms; and how many of these the filter did.
    Built(u64, u64, u64),
    /// The source says that its list is the same.
    Unchanged,
    /// The fleet's last filter is used: so many ids.
    Loaded(u64),
    /// It is no good.
    Refused(super::DecodeError),
    /// The filter is kept in Redis.
    Kept,
    /// A list is not used; how long it is till the next attempt, in ms.
    Failed(Failure, u64),
    /// Ids came into being, and nobody knows which.
    Lost,
}

/// Keeps a space.
#[derive(Debug)]
pub(super) struct Keeper {
    doing: Doing,
    /// What is under way, by ticket, and when it is given up, in ms since the epoch.
    errands: Vec<(u32, Errand, u64)>,
    tickets: u32,
    /// Tells readings apart.
    readings: u64,
    /// What the source said of its pages when it gave the list of the filter with this number.
    etags: (u64, Etags),
    /// No list is begun before that.
    not_before_ms: u64,
    failures: u32,
    /// When it last saw time pass.
    ticked_ms: u64,
    /// When the fleet was last asked, whether that came to an end yet, and whether the last time was good.
    polled_ms: u64,
    has_polled: bool,
    is_reachable: bool,
    /// What the fleet's last filter is, as far as that is known.
    snapshot: Option<Snapshot>,
    /// A filter of the fleet that is no good, and one of this process that is not for the fleet.
    refused: u64,
    outdated: u64,
    /// The token by which it may read the list for the fleet, if it may, and when that was last said.
    lease: Option<(u64, u64)>,
    /// Where recent ids ended, and since when.
    quiet: (u64, u64),
    /// What to send.
    out: Vec<Ask>,
    pub(super) events: Vec<Event>,
    random: fastrand::Rng,
}

/// The fleet, and what a space needs to know of it.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    pub(super) keys: Keys,
    /// Between two polls, in ms.
    pub(super) poll_ms: u64,
}

/// What is around a keeper.
pub(super) struct Around<'a, S> {
    pub(super) shared: &'a S,
    pub(super) space: &'a SpacePolicy,
    pub(super) fleet: Option<&'a Fleet>,
    /// How long writes may be under way, in ms.
    pub(super) settle_ms: u64,
    pub(super) now_ms: u64,
}

impl Keeper {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            doing: Doing::Nothing,
            errands: Vec::new(),
            tickets: 0,
            readings: 0,
            etags: (0, Etags::default()),
            not_before_ms: 0,
            failures: 0,
            ticked_ms: 0,
            polled_ms: 0,
            has_polled: false,
            is_reachable: false,
            snapshot: None,
            refused: 0,
            outdated: 0,
            lease: None,
            quiet: (0, 0),
            out: Vec::new(),
            events: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// What there is to send.
    pub(super) fn take_out(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.out)
    }

    /// Time passes.
    pub(super) fn tick<S: SharedData>(&mut self, place: &mut Place, around: &Around<'_, S>) {
        let Around { space, now_ms, .. } = around;
        let head = place.known.follow(around.shared, &place.names);
        self.listen(head.next, *now_ms);
        let passed_ms = now_ms.checked_sub(std::mem::replace(&mut self.ticked_ms, *now_ms));
        if passed_ms.is_none_or(|ms| ms > LEAP_MS) {
            self.leap(around);
        }
        self.renew(around);
        let late = self.errands.iter().filter(|(.., until_ms)| *until_ms < *now_ms);
        let late: Vec<u32> = late.map(|(ticket, ..)| *ticket).collect();
        // Whoever asked is gone, with a filter that was replaced.
        late.into_iter().for_each(|ticket| self.came(place, ticket, Came::Nothing, around));
        self.poll(&head, around);
        match std::mem::take(&mut self.doing) {
            Doing::Nothing => self.begin(place, &head, around),
            Doing::Settling(begun, until_ms) if until_ms <= *now_ms => {
                let begun = Begun { at_ms: *now_ms, ..begun };
                self.readings += 1;
                if self.etags.0 != head.serial {
                    self.etags = (head.serial, Etags::default());
                }
                let reading = Box::new(Reading::new(space, &self.etags.1));
                self.doing = Doing::Reading(begun, reading);
            }
            Doing::Reading(begun, mut reading) => match reading.end() {
                None => self.doing = Doing::Reading(begun, reading),
                Some(end) => self.is_read(place, begun, end, around),
            },
            Doing::Building(begun, mut build, etags, since_ms) => match build.step() {
                None => self.doing = Doing::Building(begun, build, etags, since_ms),
                Some(filter) => {
                    let serial = self.serial(head.serial, *now_ms);
                    self.etags = (serial, etags);
                    let took_ms = now_ms.saturating_sub(since_ms);
                    let made = Made::Here(begun, serial, took_ms);
                    self.doing = Doing::Publishing(Rc::new(filter), made, None, 0);
                }
            },
            Doing::Publishing(filter, made, slot, next) => {
                self.publish(place, (filter, made, slot, next), around);
            }
            doing => self.doing = doing,
        }
        self.go_on(around);
    }

    /// Asks for whatever there is room for.
    pub(super) fn go_on<S: SharedData>(&mut self, around: &Around<'_, S>) {
        match std::mem::take(&mut self.doing) {
            Doing::Reading(begun, mut reading) => {
                while let Some(Ask { ticket, what }) = reading.ask(around.space) {
                    self.send(Errand::Page(self.readings, ticket), what, around);
                }
                self.doing = Doing::Reading(begun, reading);
            }
            Doing::Loading(snapshot, assembly, mut next) => {
                let all = assembly.as_ref().map_or(1, |assembly| assembly.pieces());
                let serial = snapshot.serial;
                while let Some(fleet) = around.fleet
                    && next < all
                    && self.in_flight(|errand| errand.moves(serial)) < PIECES
                {
                    let commands = fleet.keys.get_piece(serial, next);
                    self.send(Errand::Piece(serial, next), Asking::Redis(commands), around);
                    next += 1;
                }
                self.doing = Doing::Loading(snapshot, assembly, next);
            }
            Doing::Storing(filter, snapshot, mut next) => {
                let serial = snapshot.serial;
                while let Some(fleet) = around.fleet
                    && next < filter.pieces()
                    && self.in_flight(|errand| errand.moves(serial)) < PIECES
                {
                    let piece = filter.piece(serial, next);
                    let commands = fleet.keys.set_piece(serial, next, &piece);
                    self.send(Errand::Stored(serial), Asking::Redis(commands), around);
                    next += 1;
                }
                if let Some(fleet) = around.fleet
                    && next == filter.pieces()
                    && self.in_flight(|errand| errand.moves(serial)) == 0
                {
                    let commands = fleet.keys.commit(&snapshot, keep_ms(around.space));
                    self.send(Errand::Committed(serial), Asking::Redis(commands), around);
                }
                self.doing = Doing::Storing(filter, snapshot, next);
            }
            doing => self.doing = doing,
        }
    }

    /// An answer came.
    pub(super) fn came<S: SharedData>(
        &mut self,
        place: &mut Place,
        ticket: u32,
        came: Came<'_>,
        around: &Around<'_, S>,
    ) {
        let Some(index) = self.errands.iter().position(|(of, ..)| *of == ticket) else { return };
        let (_, errand, _) = self.errands.swap_remove(index);
        let replies = match came {
            Came::Redis(replies) => Some(replies),
            Came::Http(..) | Came::TooMuch | Came::Nothing => None,
        };
        match (errand, &mut self.doing) {
            (Errand::Poll, _) => {
                let news = replies.map(fleet::news).and_then(Result::ok);
                (self.has_polled, self.is_reachable) = (true, news.is_some());
                if let Some(news) = news {
                    self.hear(place, &news, around);
                }
            }
            (Errand::Claim(token), Doing::Claiming) => {
                self.doing = Doing::Nothing;
                match replies.map(fleet::claimed) {
                    Some(Ok((false, _))) => self.not_before_ms = around.now_ms + BACKOFF_MS,
                    claimed => {
                        // What was not answered may have been carried out.
                        self.lease = Some((token, around.now_ms));
                        if let Some(Ok((true, incarnation))) = claimed {
                            self.learn(place, incarnation, around);
                        }
                        self.mark(place, around);
                    }
                }
            }
            (Errand::Page(of, ticket), Doing::Reading(_, reading)) if of == self.readings => {
                reading.answer(around.space, ticket, came);
            }
            (Errand::Piece(of, _), Doing::Loading(snapshot, ..))
                if of == snapshot.serial && replies.is_none() =>
            {
                // It may be good all the same.
                (self.doing, self.is_reachable) = (Doing::Nothing, false);
            }
            (Errand::Piece(of, index), Doing::Loading(snapshot, ..)) if of == snapshot.serial => {
                let piece = replies.map(fleet::piece);
                let piece = piece.and_then(Result::ok).flatten();
                self.has_piece(index, piece, around.space.max_ids);
            }
            (Errand::Stored(of), Doing::Storing(_, snapshot, _))
                if of == snapshot.serial && !replies.is_some_and(fleet::is_kept) =>
            {
                self.doing = Doing::Nothing;
                self.not_before_ms = around.now_ms + BACKOFF_MS;
            }
            (Errand::Committed(of), Doing::Storing(_, snapshot, _)) if of == snapshot.serial => {
                match replies.and_then(fleet::committed) {
                    Some(true) => {
                        self.snapshot = Some(*snapshot);
                        self.events.push(Event::Kept);
                    }
                    // Another one's list was begun later, or the set is another one: it is not for others.
                    Some(false) => self.outdated = of,
                    None => self.not_before_ms = around.now_ms + BACKOFF_MS,
                }
                self.doing = Doing::Nothing;
            }
            _ => {}
        }
        self.go_on(around);
    }
}

/// How long what belongs to a space is kept in Redis, in ms.
pub(super) const fn keep_ms(space: &SpacePolicy) -> u64 {
    space.max_age_ms.saturating_add(SPARE_MS)
}
