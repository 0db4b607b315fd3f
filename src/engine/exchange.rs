//! One request on its way: key, L1, L2, origin, store.

use std::rc::Rc;

use super::fill::{Fill, Limits};
use super::{Bypass, Outcome, Worker};
use crate::config::{Cookies, Policy, Rule};
use crate::entry::{Entry, Meta, decode};
use crate::http::cache_status::{self, Forward};
use crate::http::fields::Fields;
use crate::http::key::{Key, normalise_path, write_key};
use crate::http::request::RequestHead;
use crate::http::response::ResponseHead;
use crate::http::storable::{CookieRule, NotStored, storable, stored_fields};
use crate::l2::L2Error;
use crate::observe::{Counter, L1Lookup, L2Lookup};

/// What to do with a request.
#[derive(Debug)]
pub enum Begin {
    /// Answer it with this entry; the time, in ms since the epoch.
    Hit(Rc<Entry>, u64),
    /// Pass it through.
    Bypass(Bypass),
    /// Ask L2, if there is one, then the origin.
    Miss(Box<Exchange>),
}

/// A request that L1 could not answer.
#[derive(Debug)]
pub struct Exchange {
    policy: Rc<Policy>,
    key: Key,
    /// Why its answer is not stored whatever it is.
    unstorable: Option<NotStored>,
    cookie_sent: bool,
    why: Forward,
    rule: Rc<Rule>,
    fill: Option<Fill>,
}

impl Exchange {
    /// Decides what to do with a request; `ended` if no body follows its head. The time is asked for
    /// only if something is stored.
    pub fn begin(
        policy: &Rc<Policy>,
        head: &RequestHead<'_>,
        ended: bool,
        now_ms: impl FnOnce() -> u64,
        worker: &mut Worker,
    ) -> Begin {
        worker.path.clear();
        let (path, query) = head.path_and_query();
        normalise_path(&mut worker.path, path);
        let rule = policy.rule(head.method, &worker.path, query.unwrap_or_default());
        if let Err(reason) = cacheable(head, ended, rule).and_then(|()| {
            let query = &rule.query;
            write_key(&mut worker.key, head, &worker.path, &policy.key, query).map_err(Into::into)
        }) {
            worker.counters.count(Counter::Request(Outcome::Bypass));
            worker.counters.count(Counter::Bypass(reason));
            return Begin::Bypass(reason);
        }
        let stored = (policy.l1_budget > 0).then(|| worker.l1.get(&worker.key)).flatten();
        let why = if let Some(entry) = stored {
            let now_ms = now_ms();
            if entry.is_fresh(now_ms) {
                let entry = Rc::clone(entry);
                worker.counters.count(Counter::L1(L1Lookup::Hit));
                worker.counters.count(Counter::Request(Outcome::L1Hit));
                return Begin::Hit(entry, now_ms);
            }
            worker.counters.count(Counter::L1(L1Lookup::Stale));
            Forward::Stale
        } else {
            worker.counters.count(Counter::L1(L1Lookup::Miss));
            Forward::UriMiss
        };
        Begin::Miss(Box::new(Self {
            policy: Rc::clone(policy),
            key: Key::new(&worker.key),
            unstorable: match head.method {
                b"HEAD" => Some(NotStored::Method),
                _ => head.no_store.then_some(NotStored::RequestNoStore),
            },
            cookie_sent: head.cookie,
            why,
            rule: Rc::clone(rule),
            fill: None,
        }))
    }

    /// The key's hash, to look up in L2.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.key.hash()
    }

    /// L2 had `bytes` for the key: the entry to answer with, now in L1 too, or none.
    pub fn found_in_l2(
        &mut self,
        bytes: &[u8],
        now_ms: u64,
        worker: &mut Worker,
    ) -> Option<Rc<Entry>> {
        let max = self.policy.l2.as_ref().map_or(0, |l2| l2.max_entry) + self.key.as_bytes().len();
        let entry = match decode(bytes, &self.key, max) {
            Ok(entry) => Rc::new(entry),
            Err(error) => {
                worker.counters.count(Counter::L2(L2Lookup::Corrupt));
                worker.counters.count(Counter::Corrupt(error));
                return None;
            }
        };
        if !entry.is_fresh(now_ms) {
            worker.counters.count(Counter::L2(L2Lookup::Stale));
            self.why = Forward::Stale;
            return None;
        }
        worker.counters.count(Counter::L2(L2Lookup::Hit));
        worker.counters.count(Counter::Request(Outcome::L2Hit));
        keep(&self.policy, &entry, worker);
        Some(entry)
    }

    /// L2 has nothing for the key.
    pub fn absent_in_l2(&self, worker: &mut Worker) {
        worker.counters.count(Counter::L2(L2Lookup::Miss));
    }

    /// L2 gave no answer.
    pub fn l2_failed(&self, error: L2Error, worker: &mut Worker) {
        worker.counters.count(Counter::L2(L2Lookup::Error));
        worker.counters.count(Counter::L2Error(error));
    }

    /// The origin's response head arrived. Writes the `Cache-Status` to add to `out`.
    pub fn respond(
        &mut self,
        fields: Fields<'_>,
        now_ms: u64,
        worker: &mut Worker,
        out: &mut Vec<u8>,
    ) {
        worker.counters.count(Counter::Request(Outcome::Miss));
        let head = ResponseHead::read(fields);
        let refused = match self.plan(&head, now_ms, worker) {
            Ok(fill) => {
                self.fill = Some(fill);
                None
            }
            Err(reason) => {
                worker.counters.count(Counter::NotStored(reason));
                Some(reason.as_str())
            }
        };
        let name = &self.policy.cache_name;
        cache_status::write_forwarded(out, name, self.why, head.status, refused.is_none(), refused);
    }

    /// Whether the body's chunks are wanted.
    #[must_use]
    pub const fn wants_body(&self) -> bool {
        self.fill.is_some()
    }

    /// A chunk of the body, `len` bytes, streams by; false if it is not wanted after all.
    pub fn wants_chunk(&mut self, len: usize, worker: &mut Worker) -> bool {
        let Some(fill) = &mut self.fill else { return false };
        match fill.reserve(len, worker) {
            Ok(()) => true,
            Err(reason) => {
                self.give_up(reason, worker);
                false
            }
        }
    }

    /// The chunk just announced; none if it could not be copied, and the response is not stored.
    pub fn chunk(&mut self, data: Option<Vec<u8>>, worker: &mut Worker) {
        match (&mut self.fill, data) {
            (Some(fill), Some(data)) => fill.chunk(data),
            _ => self.give_up(NotStored::Incomplete, worker),
        }
    }

    /// The response has ended: stores it in L1, if it was to be stored, and returns it for L2.
    pub fn finish(self, worker: &mut Worker) -> Option<Rc<Entry>> {
        match self.fill?.finish(self.key, worker) {
            Ok(entry) => {
                let entry = Rc::new(entry);
                worker.counters.count(Counter::Fill);
                keep(&self.policy, &entry, worker);
                Some(entry)
            }
            Err(reason) => {
                worker.counters.count(Counter::NotStored(reason));
                None
            }
        }
    }

    /// The stream is gone, finished or not.
    pub fn abandon(mut self, worker: &mut Worker) {
        self.give_up(NotStored::Incomplete, worker);
    }

    fn give_up(&mut self, reason: NotStored, worker: &mut Worker) {
        if let Some(fill) = self.fill.take() {
            fill.abandon(worker);
            worker.counters.count(Counter::NotStored(reason));
        }
    }

    fn plan(
        &self,
        head: &ResponseHead<'_>,
        now_ms: u64,
        worker: &mut Worker,
    ) -> Result<Fill, NotStored> {
        if let Some(reason) = self.unstorable {
            return Err(reason);
        }
        let ignored = self.rule.cookies == Cookies::Ignore;
        let cookies = CookieRule { ignored, sent: self.cookie_sent };
        let found = storable(head, &self.rule.lifetime, cookies)?;
        let meta = Meta {
            status: head.status,
            stored_ms: now_ms,
            fresh_until_ms: now_ms.saturating_add(found.fresh_ms),
            age_s: found.age_s,
        };
        stored_fields(&mut worker.fields, head.fields, ignored, &self.policy.not_stored);
        let limits = Limits { entry: self.policy.max_fill(), worker: self.policy.fill_budget };
        Fill::new(meta, worker.fields.to_block(), head.content_length, limits, worker)
    }
}

/// Puts an entry into L1, if it is for it.
fn keep(policy: &Policy, entry: &Rc<Entry>, worker: &mut Worker) {
    if policy.l1_budget == 0 || entry.content_len() > policy.l1_max_entry {
        return;
    }
    let before = worker.l1.evictions();
    if !worker.l1.insert(Rc::clone(entry)) {
        worker.counters.count(Counter::Refusal);
    }
    worker.counters.add(Counter::Eviction, worker.l1.evictions() - before);
}

/// Whether a request is for the cache at all.
fn cacheable(head: &RequestHead<'_>, ended: bool, rule: &Rule) -> Result<(), Bypass> {
    if head.method != b"GET" && head.method != b"HEAD" {
        Err(Bypass::Method)
    } else if rule.bypass {
        Err(Bypass::Route)
    } else if !ended {
        Err(Bypass::Body)
    } else if head.authorization {
        Err(Bypass::Authorization)
    } else if head.cookie && rule.cookies == Cookies::Respect {
        Err(Bypass::Cookie)
    } else if head.range {
        Err(Bypass::Range)
    } else {
        Ok(())
    }
}
