//! A worker's view of L2's health, and what it adds to it.

use super::Gate;
use super::policy::{Force, HealthPolicy};
use super::record::{Cause, Record, State};
use super::window::Window;
use crate::coherence::{SharedData, update};
use crate::l2::{L2Error, Severity};

/// Slow or prompt answers in a row, one after the other, that change what is thought of Redis' speed.
const SPEED_ROW: u32 = 3;
/// Who fails within this time after it was taken for well never was.
const FLAP_MS: u64 = 1_000;
/// Then the first probe waits longer each time, up to so many doublings of the usual time.
const MOST_FLAPS: u64 = 5;
/// How often at most what fails now and then makes L2 suspect.
const SUSPICION_MS: u64 = 5_000;

/// A change that this worker made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was thought of L2 before.
    pub before: Record,
    /// What is now.
    pub after: Record,
}

/// A probe on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Of which keeper's term it is.
    pub keeper: u64,
    /// Of which L2 it is, and the term of its record when it was sent.
    scope: u64,
    term: u64,
    /// When it was sent, in ms since the epoch.
    sent_ms: u64,
}

/// What a worker knows.
#[derive(Debug, Default)]
pub struct Health {
    scope: u64,
    name: Vec<u8>,
    bell: Option<u64>,
    record: Record,
    window: Window,
    /// Slow and prompt answers in a row, and when the last that counts came.
    slow_row: u32,
    prompt_row: u32,
    timed_ms: u64,
}

impl Health {
    /// Follows the L2 whose table has this scope, if there is one; true if that was another one before.
    pub fn attach(&mut self, shared: &impl SharedData, scope: u64) -> bool {
        if self.scope == scope || scope == 0 {
            return false;
        }
        *self = Self {
            scope,
            name: format!("tiercel/health/{scope:016x}").into_bytes(),
            ..Self::default()
        };
        if shared.get(&self.name).is_none() {
            shared.set(&self.name, &self.record.to_bytes(), 0);
        }
        self.reload(shared);
        true
    }

    /// Which table the L2 has that it follows; 0 for none.
    #[must_use]
    pub const fn scope(&self) -> u64 {
        self.scope
    }

    /// What is known.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Looks what others found, if the bell was rung. Whether anything changed.
    pub fn refresh(&mut self, shared: &impl SharedData) -> bool {
        let bell = shared.bell();
        (bell.is_none() || bell != self.bell) && self.reload(shared)
    }

    /// Looks what others found. Whether anything changed.
    pub fn reload(&mut self, shared: &impl SharedData) -> bool {
        if self.scope == 0 {
            return false;
        }
        self.bell = shared.bell();
        let bytes = shared.get(&self.name).map(|(bytes, _)| bytes).unwrap_or_default();
        self.take(Record::read(&bytes))
    }

    /// What may be said to Redis.
    #[must_use]
    pub const fn gate(&self, force: Option<Force>) -> Gate {
        match (force, self.record.state) {
            (Some(Force::Normal), _) => Gate::OPEN,
            (Some(Force::Degraded), _) | (None, State::Degraded) => Gate::SHUT,
            (None, State::Recovering) => {
                let Record { reads, slow, .. } = self.record;
                Gate { table: reads, reads: reads && !slow, writes: false }
            }
            (None, State::Normal | State::Suspect) => {
                Gate { table: true, reads: !self.record.slow, writes: true }
            }
        }
    }

    /// A call has ended that was sent then: it went well, or said this of Redis.
    pub fn ended(
        &mut self,
        shared: &impl SharedData,
        policy: &HealthPolicy,
        outcome: Result<(), L2Error>,
        (sent_ms, now_ms): (u64, u64),
    ) -> Option<Change> {
        if policy.force.is_some() {
            return None;
        }
        let severity = outcome.map_or_else(L2Error::severity, |()| Severity::Nothing);
        let counts = outcome.is_ok() || severity == Severity::Vague;
        if counts && self.record.covers(sent_ms, now_ms) {
            self.window.count(outcome.is_err(), now_ms, policy.window_ms);
        }
        let error = match outcome {
            Ok(()) => return self.went_well(shared, policy, (sent_ms, now_ms)),
            Err(error) => error,
        };
        let fails = severity == Severity::Clear || self.window.fails(policy.failure_rate);
        self.change(shared, |known| {
            if severity == Severity::Nothing || !known.covers(sent_ms, now_ms) {
                return None;
            }
            let row = known.row.saturating_add(1);
            match known.state {
                State::Degraded => None,
                _ if fails || row >= policy.failures => Some(degrade(known, error, now_ms)),
                State::Normal if known.since_ms.abs_diff(now_ms) >= SUSPICION_MS => {
                    let suspect = known.enter(State::Suspect, Cause::Error(error), now_ms);
                    // What was sent before belongs to the same trouble.
                    Some(Record { row, since_ms: known.since_ms, ..suspect })
                }
                State::Normal | State::Suspect | State::Recovering => Some(Record { row, ..known }),
            }
        })
    }

    /// Redis answers, but part of it does not do what it is told: the keeper is to look at it.
    pub fn suspect(
        &mut self,
        shared: &impl SharedData,
        policy: &HealthPolicy,
        error: L2Error,
        now_ms: u64,
    ) -> Option<Change> {
        self.change(shared, |known| {
            if known.state != State::Normal || policy.force.is_some() {
                return None;
            }
            if known.since_ms.abs_diff(now_ms) >= SUSPICION_MS {
                return Some(known.enter(State::Suspect, Cause::Error(error), now_ms));
            }
            // Not worth a word so soon, but a look.
            (!known.doubted).then_some(Record { doubted: true, ..known })
        })
    }

    /// How long after the last probe the keeper sends another, in ms; none for not at all. `usual_ms` is the
    /// time between two questions of what is new.
    #[must_use]
    pub fn probe_ms(&self, policy: &HealthPolicy, usual_ms: u64) -> Option<u64> {
        if policy.force == Some(Force::Degraded) {
            return None;
        }
        let Record { attempts, flaps, since_ms, doubted, .. } = self.record;
        match self.record.state {
            State::Suspect | State::Recovering => Some(0),
            State::Degraded => {
                let grown = (0..attempts.min(16)).fold(policy.probe_ms, |ms, _| ms * 3 / 2);
                let most_ms = grown.min(policy.probe_ceiling_ms) << flaps.min(MOST_FLAPS);
                // The same for each look of the same attempt, another one in each process.
                let chance = fastrand::Rng::with_seed(since_ms << 20 ^ attempts).u64(..1_000);
                Some(most_ms * (750 + chance / 4) / 1_000)
            }
            State::Normal if doubted => Some(0),
            State::Normal => Some(usual_ms),
        }
    }

    /// A probe is sent by the keeper of this term.
    #[must_use]
    pub const fn probe(&self, keeper: u64, now_ms: u64) -> Probe {
        Probe { keeper, scope: self.scope, term: self.record.term, sent_ms: now_ms }
    }

    /// What came of a probe, after what [`Self::ended`] made of it. `caught_up` says whether Redis knows all that
    /// writes made stale before.
    pub fn probed(
        &mut self,
        shared: &impl SharedData,
        policy: &HealthPolicy,
        probe: Probe,
        (outcome, caught_up): (Result<(), L2Error>, bool),
        now_ms: u64,
    ) -> Option<Change> {
        let is_slow = now_ms.saturating_sub(probe.sent_ms) > policy.slow_ms;
        let is_of_another = probe.scope != self.scope;
        self.change(shared, |known| {
            if known.term != probe.term || is_of_another || policy.force.is_some() {
                return None;
            }
            let enter = |state| known.enter(state, Cause::Probe, now_ms);
            match (known.state, outcome) {
                (State::Suspect, Ok(())) => Some(enter(State::Normal)),
                (State::Degraded, Err(_)) => {
                    Some(Record { attempts: known.attempts.saturating_add(1), ..known })
                }
                (State::Degraded, Ok(())) => {
                    Some(Record { slow: is_slow, ..enter(State::Recovering) })
                }
                (State::Recovering, Err(error)) => Some(degrade(known, error, now_ms)),
                (State::Recovering, Ok(())) if known.reads => Some(enter(State::Normal)),
                (State::Recovering, Ok(())) if caught_up => {
                    Some(Record { reads: true, ..enter(State::Recovering) })
                }
                (State::Normal, _) => known.doubted.then_some(Record { doubted: false, ..known }),
                (State::Suspect, Err(_)) | (State::Recovering, Ok(())) => None,
            }
        })
    }

    /// The configuration's word, or the end of it.
    pub fn force(
        &mut self,
        shared: &impl SharedData,
        force: Option<Force>,
        now_ms: u64,
    ) -> Option<Change> {
        self.change(shared, |known| {
            let enter = |state| Some(known.enter(state, Cause::Forced, now_ms));
            match force {
                Some(Force::Degraded) if known.state != State::Degraded => enter(State::Degraded),
                Some(Force::Normal) if known.state != State::Normal => enter(State::Normal),
                _ => None,
            }
        })
    }

    fn went_well(
        &mut self,
        shared: &impl SharedData,
        policy: &HealthPolicy,
        (sent_ms, now_ms): (u64, u64),
    ) -> Option<Change> {
        let slow = self.speed(policy, (sent_ms, now_ms));
        let known = self.record;
        if known.row == 0 && slow.is_none_or(|slow| slow == known.slow) {
            return None;
        }
        self.change(shared, |known| {
            let row = if known.covers(sent_ms, now_ms) { 0 } else { known.row };
            let next = Record { row, slow: slow.unwrap_or(known.slow), ..known };
            (next != known).then_some(next)
        })
    }

    /// Whether answers are slow or prompt, once enough of them, one after the other, say so.
    fn speed(&mut self, policy: &HealthPolicy, (sent_ms, now_ms): (u64, u64)) -> Option<bool> {
        if sent_ms < self.timed_ms && self.timed_ms <= now_ms {
            // It was on its way together with one that counts: a worker that stood still makes all of them slow.
            return None;
        }
        self.timed_ms = now_ms;
        if now_ms.saturating_sub(sent_ms) > policy.slow_ms {
            (self.slow_row, self.prompt_row) = (self.slow_row + 1, 0);
        } else {
            (self.slow_row, self.prompt_row) = (0, self.prompt_row.saturating_add(1));
        }
        match (self.slow_row >= SPEED_ROW, self.prompt_row >= SPEED_ROW) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }

    fn change(
        &mut self,
        shared: &impl SharedData,
        mut change: impl FnMut(Record) -> Option<Record>,
    ) -> Option<Change> {
        if self.scope == 0 {
            return None;
        }
        let mut made = None;
        let is_set = update(shared, &self.name, |bytes| {
            let before = Record::read(bytes);
            let after = change(before);
            made = after.map(|after| Change { before, after });
            after.map(Record::to_bytes)
        });
        let made = made.filter(|_| is_set)?;
        if made.is_of_note() {
            shared.ring();
        }
        self.take(made.after);
        Some(made)
    }

    fn take(&mut self, record: Record) -> bool {
        if record.term != self.record.term {
            self.window.clear();
        }
        if record.slow != self.record.slow {
            (self.slow_row, self.prompt_row) = (0, 0);
        }
        std::mem::replace(&mut self.record, record) != record
    }
}

impl Change {
    /// Whether anybody but the next to count cares.
    #[must_use]
    pub fn is_of_note(&self) -> bool {
        self.before.term != self.after.term || self.before.slow != self.after.slow
    }
}

fn degrade(known: Record, error: L2Error, now_ms: u64) -> Record {
    let was_taken_for_well =
        matches!(known.state, State::Recovering | State::Normal | State::Suspect)
            && known.term > 1
            && known.since_ms.abs_diff(now_ms) < FLAP_MS;
    // What fails clearly can be told from what is well by a probe: only what cannot is worth waiting for.
    let flaps = match error.severity() {
        Severity::Vague if was_taken_for_well => known.flaps.saturating_add(1).min(MOST_FLAPS),
        _ => 0,
    };
    Record { attempts: 0, flaps, ..known.enter(State::Degraded, Cause::Error(error), now_ms) }
}
