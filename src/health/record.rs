//! What the workers of a process agree on.

use crate::closed_enum::closed_enum;
use crate::coherence::{numbers, value_of};
use crate::l2::L2Error;

closed_enum! {
    /// How L2 fares.
    pub enum State {
        /// Well.
        Normal => "normal",
        /// Something failed that may mean nothing: all goes on, and the keeper looks at once.
        Suspect => "suspect",
        /// It fails: no request has anything to do with it.
        Degraded => "degraded",
        /// It answers again: first it hears what writes made stale meanwhile, then it is read, then written.
        Recovering => "recovering",
    }
}

/// Why a state was entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// A probe went well.
    #[default]
    Probe,
    /// The configuration says so.
    Forced,
    /// A call failed.
    Error(L2Error),
}

impl Cause {
    /// Its name in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "a probe went well",
            Self::Forced => "forced",
            Self::Error(error) => error.as_str(),
        }
    }

    const fn code(self) -> u64 {
        match self {
            Self::Probe => 0,
            Self::Forced => 1,
            Self::Error(error) => 2 + error.index() as u64,
        }
    }

    fn from_code(code: u64) -> Self {
        let error = usize::try_from(code).ok().and_then(|code| code.checked_sub(2));
        match error.and_then(|index| L2Error::ALL.get(index)) {
            Some(error) => Self::Error(*error),
            None if code == 1 => Self::Forced,
            None => Self::Probe,
        }
    }
}

/// What is known of L2. It is replaced as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// How it fares.
    pub state: State,
    /// While it recovers: whether it is read again.
    pub reads: bool,
    /// Whether it takes so long that it is better not read.
    pub slow: bool,
    /// Whether the keeper is to look at once, although it is taken for well.
    pub doubted: bool,
    /// How often the state changed: what was begun in an earlier one says nothing of this one.
    pub term: u64,
    /// Since when, in ms since the epoch.
    pub since_ms: u64,
    /// Why.
    pub cause: Cause,
    /// Failures in a row that say nothing each.
    pub row: u64,
    /// Probes in vain.
    pub attempts: u64,
    /// How often it failed again as soon as it was taken for well.
    pub flaps: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            state: State::Normal,
            reads: true,
            slow: false,
            doubted: false,
            term: 0,
            since_ms: 0,
            cause: Cause::Probe,
            row: 0,
            attempts: 0,
            flaps: 0,
        }
    }
}

impl Record {
    /// Another state, from now on.
    pub(super) const fn enter(self, state: State, cause: Cause, now_ms: u64) -> Self {
        let reads = matches!(state, State::Normal | State::Suspect);
        let (term, since_ms) = (self.term.saturating_add(1), now_ms);
        Self { state, reads, term, since_ms, cause, row: 0, doubted: false, ..self }
    }

    /// Whether what began at a time belongs to this state. A clock that was set back hides nothing.
    pub(super) const fn covers(&self, sent_ms: u64, now_ms: u64) -> bool {
        sent_ms >= self.since_ms || self.since_ms > now_ms
    }

    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut next = numbers(bytes);
        let state = usize::try_from(next()).ok().and_then(|index| State::ALL.get(index));
        let flags = next();
        let Some(state) = state.filter(|_| !bytes.is_empty()) else { return Self::default() };
        Self {
            state: *state,
            reads: flags & 1 > 0,
            slow: flags & 2 > 0,
            doubted: flags & 4 > 0,
            term: next(),
            since_ms: next(),
            cause: Cause::from_code(next()),
            row: next(),
            attempts: next(),
            flaps: next(),
        }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        value_of(&[
            self.state.index() as u64,
            u64::from(self.reads) | u64::from(self.slow) << 1 | u64::from(self.doubted) << 2,
            self.term,
            self.since_ms,
            self.cause.code(),
            self.row,
            self.attempts,
            self.flaps,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_is_written_is_read() {
        let causes = L2Error::ALL.iter().map(|error| Cause::Error(*error));
        for cause in causes.chain([Cause::Probe, Cause::Forced]) {
            for state in State::ALL {
                let record =
                    Record { slow: true, attempts: 3, row: 2, flaps: 1, ..Record::default() };
                let record = Record { doubted: true, ..record.enter(*state, cause, 77) };
                assert_eq!(Record::read(&record.to_bytes()), record);
            }
        }
        assert_eq!(Record::read(b""), Record::default());
        assert_eq!(Record::read(&[9; 100]), Record::default());
    }
}
