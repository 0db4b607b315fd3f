//! Lists of ids, read to their end or not at all.

use super::Ids;
use super::SpacePolicy;
use crate::closed_enum::closed_enum;
use crate::http::fields::Fields;

closed_enum! {
    /// Why a list is not used.
    pub enum Failure {
        /// No answer: reset, timed out, no healthy host, no L2.
        Unreachable => "unreachable",
        /// Another status than 200, or an error of Redis.
        Status => "status",
        /// It makes no sense: no JSON, or no ids where they should be.
        Malformed => "malformed",
        /// It does not have all that it says there is.
        Incomplete => "incomplete",
        /// It changed while it was read.
        Changed => "changed",
        /// It has more ids than a list may have.
        TooMany => "too_many",
    }
}

/// What was read.
#[derive(Debug)]
pub enum List {
    /// The same as the last time.
    Unchanged,
    /// All ids, their highest number (0 if none is one), and what to tell the source the next time.
    Ids(Ids, u64, Etags),
}

/// What a source said of its pages, to be told whether they have changed; empty if it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Etags(pub(super) Vec<Vec<u8>>);

/// Something to ask; answers come under `ticket`.
#[derive(Debug, PartialEq, Eq)]
pub struct Ask {
    /// Tells its answer from others' of the same reading.
    pub ticket: u32,
    /// What is asked.
    pub what: Asking,
}

/// What is asked of whom.
#[derive(Debug, PartialEq, Eq)]
pub enum Asking {
    /// The origin: the block of a request's fields.
    Http(Box<[u8]>),
    /// Redis: commands.
    Redis(Vec<u8>),
}

/// What came.
#[derive(Clone, Copy, Debug)]
pub enum Came<'a> {
    /// A response.
    Http(Fields<'a>, &'a [u8]),
    /// Replies.
    Redis(&'a [u8]),
    /// Nothing.
    Nothing,
}

/// A list that is being read.
#[derive(Debug)]
pub struct Reading {}

impl Reading {
    /// Begins to read; `etags` are what the source said of what is known already.
    #[must_use]
    pub fn new(space: &SpacePolicy, etags: &Etags) -> Self {
        let _ = (space, etags);
        Self {}
    }

    /// The next thing to ask, as long as there may be more in flight.
    pub fn ask(&mut self, space: &SpacePolicy) -> Option<Ask> {
        let _ = space;
        None
    }

    /// An answer came.
    pub fn answer(&mut self, space: &SpacePolicy, ticket: u32, came: Came<'_>) {
        let _ = (space, ticket, came);
    }

    /// What came of it, once it is at its end; then nothing more is asked, and answers do not count.
    pub fn end(&mut self) -> Option<Result<List, Failure>> {
        None
    }
}
