//! One request on its way: key, L1, L2, origin, store.

use std::rc::Rc;

use super::{Bypass, Fill, Outcome, Worker};
use crate::config::{Cookies, Policy, Rule};
use crate::entry::{Entry, Meta, decode};
use crate::http::cache_status::{self, Forward};
use crate::http::fields::Fields;
use crate::http::key::{normalise_path, stable_hash, write_key};
use crate::http::request::RequestHead;
use crate::http::storable::{NotStored, storable, stored_fields};
use crate::l2::L2Error;
use crate::observe::{Counter, L1Lookup, L2Lookup};

/// What to do with a request.
#[derive(Debug)]
pub enum Begin {
    /// Answer it with this entry.
    Hit(Rc<Entry>),
    /// Pass it through.
    Bypass(Bypass),
    /// Ask L2, if there is one, then the origin.
    Miss(Box<Exchange>),
}

/// A request that L1 could not answer.
#[derive(Debug)]
pub struct Exchange {
    policy: Rc<Policy>,
    key: Box<[u8]>,
    hash: u128,
    head_request: bool,
    why: Forward,
    rule: Rc<Rule>,
    fill: Option<Fill>,
}

impl Exchange {
    /// Decides what to do with a request; `ended` if no body follows its head.
    pub fn begin(
        policy: &Rc<Policy>,
        head: &RequestHead<'_>,
        ended: bool,
        now_ms: u64,
        worker: &mut Worker,
    ) -> Begin {
        worker.path.clear();
        normalise_path(&mut worker.path, head.path_and_query().0);
        let rule = policy.rule(head.method, &worker.path);
        if let Err(reason) = cacheable(head, ended, rule).and_then(|()| {
            let query = &rule.query;
            write_key(&mut worker.key, head, &worker.path, &policy.key, query).map_err(Into::into)
        }) {
            worker.counters.count(Counter::Request(Outcome::Bypass));
            worker.counters.count(Counter::Bypass(reason));
            return Begin::Bypass(reason);
        }
        let why = match worker.l1.get(&worker.key) {
            Some(entry) if entry.is_fresh(now_ms) => {
                let entry = Rc::clone(entry);
                worker.counters.count(Counter::L1(L1Lookup::Hit));
                worker.counters.count(Counter::Request(Outcome::L1Hit));
                return Begin::Hit(entry);
            }
            Some(_) => {
                worker.counters.count(Counter::L1(L1Lookup::Stale));
                Forward::Stale
            }
            None => {
                worker.counters.count(Counter::L1(L1Lookup::Miss));
                Forward::UriMiss
            }
        };
        Begin::Miss(Box::new(Self {
            policy: Rc::clone(policy),
            hash: stable_hash(&worker.key),
            key: worker.key.as_slice().into(),
            head_request: head.method == b"HEAD",
            why,
            rule: Rc::clone(rule),
            fill: None,
        }))
    }

    /// The key's hash, to look up in L2.
    #[must_use]
    pub const fn hash(&self) -> u128 {
        self.hash
    }

    /// L2 had `bytes` for the key: the entry to answer with, now in L1 too, or none.
    pub fn found_in_l2(
        &mut self,
        bytes: &[u8],
        now_ms: u64,
        worker: &mut Worker,
    ) -> Option<Rc<Entry>> {
        let max = self.policy.l2.as_ref().map_or(0, |l2| l2.max_entry) + self.key.len();
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
        self.keep(&entry, worker);
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

    /// The origin's response head arrived; `ended` if no body follows. Returns the `Cache-Status` to
    /// add, and the entry if the response is already complete and stored.
    pub fn respond(
        &mut self,
        fields: Fields<'_>,
        ended: bool,
        now_ms: u64,
        worker: &mut Worker,
    ) -> (String, Option<Rc<Entry>>) {
        worker.counters.count(Counter::Request(Outcome::Miss));
        let status = status_of(fields);
        let mut stored = None;
        let refused = match self.plan(fields, now_ms) {
            Ok(fill) => {
                self.fill = Some(fill);
                if ended {
                    stored = self.finish(worker);
                }
                None
            }
            Err(reason) => {
                worker.counters.count(Counter::NotStored(reason));
                Some(reason.as_str())
            }
        };
        let name = &self.policy.cache_name;
        (cache_status::forwarded(name, self.why, status, refused.is_none(), refused), stored)
    }

    /// Whether the body's chunks are wanted.
    #[must_use]
    pub const fn wants_body(&self) -> bool {
        self.fill.is_some()
    }

    /// A chunk of the body streamed by.
    pub fn chunk(&mut self, data: Vec<u8>, worker: &mut Worker) {
        let Some(mut fill) = self.fill.take() else { return };
        match fill.chunk(data, self.policy.fill_budget, worker) {
            Ok(()) => self.fill = Some(fill),
            Err(reason) => {
                fill.abandon(worker);
                worker.counters.count(Counter::NotStored(reason));
            }
        }
    }

    /// The response is complete: stores it in L1 and returns it for L2.
    pub fn finish(&mut self, worker: &mut Worker) -> Option<Rc<Entry>> {
        match self.fill.take()?.finish(&self.key, worker) {
            Ok(entry) => {
                let entry = Rc::new(entry);
                worker.counters.count(Counter::Fill);
                self.keep(&entry, worker);
                Some(entry)
            }
            Err(reason) => {
                worker.counters.count(Counter::NotStored(reason));
                None
            }
        }
    }

    /// The body cannot be copied any further.
    pub fn give_up(&mut self, worker: &mut Worker) {
        if let Some(fill) = self.fill.take() {
            fill.abandon(worker);
            worker.counters.count(Counter::NotStored(NotStored::Incomplete));
        }
    }

    /// The stream is gone, finished or not.
    pub fn abandon(mut self, worker: &mut Worker) {
        self.give_up(worker);
    }

    fn plan(&self, fields: Fields<'_>, now_ms: u64) -> Result<Fill, NotStored> {
        if self.head_request {
            return Err(NotStored::Method);
        }
        let cookies_ignored = self.rule.cookies == Cookies::Ignore;
        let found = storable(fields, &self.rule.lifetime, cookies_ignored)?;
        let meta = Meta {
            status: found.status,
            stored_ms: now_ms,
            fresh_until_ms: now_ms.saturating_add(found.fresh_ms),
            age_s: found.age_s,
        };
        let fields = stored_fields(fields, cookies_ignored);
        Fill::new(meta, fields, found.content_length, self.policy.max_fill())
    }

    fn keep(&self, entry: &Rc<Entry>, worker: &mut Worker) {
        if entry.len() - self.key.len() <= self.policy.l1_max_entry {
            let before = worker.l1.evictions();
            if !worker.l1.insert(Rc::clone(entry)) && self.policy.l1_budget > 0 {
                worker.counters.count(Counter::Refusal);
            }
            worker.counters.add(Counter::Eviction, worker.l1.evictions() - before);
        }
    }
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

fn status_of(fields: Fields<'_>) -> u16 {
    let text = fields.get(b":status").and_then(|s| std::str::from_utf8(s).ok());
    text.and_then(|s| s.parse().ok()).unwrap_or(0)
}
