//! Lists of ids, read to their end or not at all.
//!
//! A list that lacks an id refuses what exists. So whatever is doubtful is a failure, and the list before stays.

#[cfg(test)]
mod doubtful_tests;
#[cfg(test)]
mod fake_api;
mod http;
#[cfg(test)]
mod http_tests;
mod page;
mod redis;
mod tally;

use self::http::Http;
use self::redis::Redis;
use self::tally::{Counting, Tally};
use super::{Ids, SourcePolicy, SpacePolicy};
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
    /// More than may come at once.
    TooMuch,
    /// Nothing.
    Nothing,
}

/// A list that is being read.
#[derive(Debug)]
pub struct Reading {
    tally: Tally,
    stage: Stage,
}

/// How far it is.
#[derive(Debug)]
enum Stage {
    Http(Http),
    Redis(Redis),
    /// All has come. Is it all that there is?
    Count(Counting),
    Unchanged,
    Failed(Failure),
    /// It has been said what came of it.
    Over,
}

impl Reading {
    /// Begins to read; `etags` are what the source said of what is known already.
    #[must_use]
    pub fn new(space: &SpacePolicy, etags: &Etags) -> Self {
        let mut tally = Tally::default();
        let stage = match &space.source {
            SourcePolicy::Http(source) => Stage::Http(Http::new(source, etags)),
            SourcePolicy::Redis(_) => Stage::Redis(Redis::default()),
            SourcePolicy::Static(ids) => {
                ids.iter().for_each(|id| {
                    tally.add(id);
                });
                Stage::Count(Counting::new(0, Failure::Incomplete, space.max_ids))
            }
        };
        Self { tally, stage }
    }

    /// The next thing to ask, as long as there may be more in flight. Each wants an answer.
    pub fn ask(&mut self, space: &SpacePolicy) -> Option<Ask> {
        match (&mut self.stage, &space.source) {
            (Stage::Http(http), SourcePolicy::Http(source)) => http.ask(source),
            (Stage::Redis(redis), SourcePolicy::Redis(source)) => redis.ask(source),
            _ => None,
        }
    }

    /// An answer came.
    pub fn answer(&mut self, space: &SpacePolicy, ticket: u32, came: Came<'_>) {
        let (tally, most) = (&mut self.tally, space.max_ids);
        let next = match (&mut self.stage, &space.source) {
            (Stage::Http(http), SourcePolicy::Http(source)) => {
                http.answer(source, most, tally, ticket, came)
            }
            (Stage::Redis(redis), SourcePolicy::Redis(source)) => {
                redis.answer(source, most, tally, ticket, came)
            }
            _ => return,
        };
        match next {
            Ok(None) => {}
            Ok(Some(stage)) => self.stage = stage,
            Err(failure) => self.stage = Stage::Failed(failure),
        }
    }

    /// What came of it, once it is at its end; then nothing more is asked, and answers do not count.
    ///
    /// When all has come, each call counts the ids of one bucket and gives nothing until the last is counted: all at
    /// once would hold up an event loop. So it is called again and again, as long as there is time, once nothing is in
    /// flight and nothing more is asked.
    pub fn end(&mut self) -> Option<Result<List, Failure>> {
        let end = match &mut self.stage {
            Stage::Http(_) | Stage::Redis(_) | Stage::Over => return None,
            Stage::Count(count) => count.step(&mut self.tally)?,
            Stage::Unchanged => Ok(List::Unchanged),
            Stage::Failed(failure) => Err(*failure),
        };
        self.stage = Stage::Over;
        Some(end)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Pattern, Width};
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    pub(in super::super) fn space(source: SourcePolicy, max_ids: usize) -> SpacePolicy {
        SpacePolicy {
            name: "events".into(),
            scope: 1,
            pattern: Some(Pattern::parse("[0-9]+").unwrap()),
            width: Width::Eight,
            max_ids,
            max_age_ms: 3,
            refresh_ms: 2,
            grace_ms: 1,
            monotonic: false,
            ahead: u64::MAX,
            recent: 10,
            shadow: false,
            source,
        }
    }

    /// Calls until something came of it, which is but once.
    pub(super) fn end(reading: &mut Reading) -> Option<Result<List, Failure>> {
        let end = (0..100).find_map(|_| reading.end());
        assert!(end.is_none() || (0..100).all(|_| reading.end().is_none()));
        end
    }

    #[test]
    fn what_is_configured_is_there_at_once() {
        for (ids, most, expected) in [
            (&["1", "70", "a", "70"][..], 3, Ok((4, 70))),
            (&[], 3, Ok((0, 0))),
            (&["1", "2", "3", "4"], 3, Err(Failure::TooMany)),
        ] {
            let ids = ids.iter().map(|id| Box::from(*id)).collect();
            let space = space(SourcePolicy::Static(ids), most);
            let mut reading = Reading::new(&space, &Etags::default());
            assert_eq!(reading.ask(&space), None);
            reading.answer(&space, 0, Came::Nothing);
            let found = end(&mut reading).unwrap().map(|list| match list {
                List::Ids(ids, highest, etags) if etags == Etags::default() => (ids.len(), highest),
                other => panic!("{other:?}"),
            });
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_long_list_is_counted_step_by_step() {
        let ids = (0..100_000).map(|n| n.to_string().into()).collect();
        let space = space(SourcePolicy::Static(ids), 100_000);
        let mut reading = Reading::new(&space, &Etags::default());
        assert!((0..3).all(|_| reading.end().is_none()));
        assert!(matches!(end(&mut reading), Some(Ok(List::Ids(_, 99_999, _)))));
    }
}
