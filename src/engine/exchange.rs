//! One request on its way: key, L1, L2; what comes then is in `origin.rs`.

use std::rc::Rc;

use super::behind::Behind;
use super::claim::Lease;
use super::early::draw;
use super::elsewhere;
use super::existence::{Judgement, Passed, judge, judge_bypassed};
use super::fill::Fill;
use super::found::{Found, Level};
use super::held::{Held, Hold, Kept};
use super::invalidation::Invalidation;
use super::protection::{Fetch, Origin};
use super::{Bypass, Outcome, Worker};
use crate::coherence::{Filling, SharedData, Tags, Validity};
use crate::collapse::Ticket;
use crate::config::{Policy, Rule};
use crate::entry::Entry;
use crate::http::cache_control::CacheControl;
use crate::http::cache_status::Forward;
use crate::http::fields::Fields;
use crate::http::key::{Key, write_key};
use crate::http::percent::normalise;
use crate::http::query::QueryRule;
use crate::http::request::{Has, RequestHead};
use crate::observe::{Counter, Counters, L1Lookup};

/// What to do with a request.
#[derive(Debug)]
pub enum Begin {
    /// Answer it with this entry as it is, found on this level; the time, in ms since the epoch.
    Hit(Rc<Entry>, Level, u64),
    /// Answer it with this entry, as the request wants it.
    Serve(Box<Exchange>, Found),
    /// Tell it what its rule says of the id in this place, which does not exist: with this body.
    Absent(Rc<Rule>, usize, Vec<u8>),
    /// Tell it that nothing is stored: it does not want anything else.
    OnlyIfCached,
    /// Purge what it says. Its fields.
    Purge(Vec<u8>),
    /// Pass it through.
    Bypass(Bypass, Option<Box<Invalidation>>),
    /// Ask L2, if there is one, then the origin.
    Miss(Box<Exchange>),
}

impl Begin {
    /// A request is passed through; `block` are its fields.
    fn bypass(
        reason: Bypass,
        (policy, rule): (&Rc<Policy>, &Rc<Rule>),
        block: Vec<u8>,
        worker: &mut Worker,
    ) -> Self {
        worker.counters.count(Counter::Request(Outcome::Bypass));
        worker.counters.count(Counter::Bypass(reason));
        Self::Bypass(reason, Invalidation::of(policy, rule, block, &worker.held))
    }

    /// A request is answered by what its rule says of an id that does not exist.
    fn absent(
        rule: &Rc<Rule>,
        index: usize,
        with: &Filling<'_>,
        now_ms: u64,
        counters: &mut Counters,
    ) -> Self {
        counters.count(Counter::Request(Outcome::Absent));
        let body = rule.exists.get(index).map(|carried| carried.absent.body(with, now_ms));
        Self::Absent(Rc::clone(rule), index, body.unwrap_or_default())
    }
}

/// A request that L1 could not answer at once.
#[derive(Debug)]
pub struct Exchange {
    pub(super) policy: Rc<Policy>,
    pub(super) rule: Rc<Rule>,
    /// The request's fields as they came.
    pub(super) request: Vec<u8>,
    pub(super) has: Has,
    /// Whether the method is HEAD; else it is GET.
    pub(super) is_head: bool,
    /// The resource's key.
    pub(super) key: Key,
    /// The record of the resource's variants, if L1 or L2 has one.
    pub(super) record: Option<Kept>,
    /// The variant's key, if the record knows it.
    pub(super) variant: Option<Key>,
    pub(super) why: Forward,
    /// What is stored and cannot be served as it stands: stale, or not what the client wants.
    pub(super) stored: Option<Kept>,
    /// Whether L2 has nothing under the hash that was looked up last.
    pub(super) absent: bool,
    /// What its response depends on, as far as that is known.
    pub(super) tags: Tags,
    /// The epoch of the process from which on the response is valid.
    pub(super) epoch: u64,
    /// When the origin was asked, in ms since the epoch.
    pub(super) asked_ms: u64,
    /// Whether the origin was asked whether `stored` is still good.
    pub(super) validating: bool,
    /// Whether the client's own condition was kept from the origin.
    pub(super) kept_back: bool,
    /// Whether it is the cache that asks, and what for.
    pub(super) behind: Option<Behind>,
    pub(super) fill: Option<Fill>,
    /// Whether what is fresh is fetched again all the same.
    pub(super) early: bool,
    /// The fetch that others wait for.
    pub(super) leads: Option<Ticket>,
    /// How often it waited for another's, and for what it does or did last.
    pub(super) waits: u8,
    pub(super) follows: u128,
    /// Whether it waits for what is fetched for itself.
    pub(super) detached: bool,
    /// Whether it is the one of the fleet that fetches.
    pub(super) lease: Lease,
    /// The token of the one it waited for last.
    pub(super) holder: u64,
    /// Where it would go, and while it is there, that it is.
    pub(super) origin: Option<Rc<Origin>>,
    pub(super) fetch: Option<Fetch>,
    /// Whether it is to show whether the origin still fails.
    pub(super) probes: bool,
    /// The ids that it carries.
    pub(super) passed: Vec<Passed>,
    /// What it takes of the worker's memory.
    pub(super) hold: Hold,
}

impl Exchange {
    /// Decides what to do with a request; `block` are its fields, and `ended` says that no body
    /// follows. The time is asked for only if something is stored, and `tier`, which gives what the
    /// process's workers share under a hash, only if this one has nothing; in `shared` lies what is known of ids.
    pub fn begin(
        policy: &Rc<Policy>,
        block: Vec<u8>,
        ended: bool,
        now_ms: impl Fn() -> u64,
        (shared, tier): (&impl SharedData, impl Fn(u128) -> Option<Vec<u8>>),
        worker: &mut Worker,
    ) -> Begin {
        let head = RequestHead::read(Fields::new(&block));
        worker.path.clear();
        let (path, query) = head.path_and_query();
        normalise(&mut worker.path, path);
        let rule = policy.rule(head.method, &worker.path, query.unwrap_or_default());
        if let Err(reason) = cacheable(&head, ended, rule, policy).and_then(|()| {
            let query = &rule.query;
            write_key(&mut worker.key, &head, &worker.path, &policy.key, query).map_err(Into::into)
        }) {
            // What is not for the cache at all is for the origin, whatever else is said.
            let for_cache = !matches!(reason, Bypass::Method | Bypass::Route);
            if for_cache && !rule.directives_ignored && head.cache_control().only_if_cached {
                worker.counters.count(Counter::Request(Outcome::OnlyIfCached));
                return Begin::OnlyIfCached;
            }
            if head.method == b"PURGE" && policy.purge.is_some() {
                return Begin::Purge(block);
            }
            let with = Filling::of_head(&worker.path, query, head.fields);
            let of = (&**policy, &**rule);
            let seems = ended && !is_distrusted(&head, policy);
            if seems
                && let Some(index) =
                    judge_bypassed(reason, of, &with, &mut worker.spaces, shared, &now_ms)
            {
                return Begin::absent(rule, index, &with, now_ms(), &mut worker.counters);
            }
            return Begin::bypass(reason, (policy, &Rc::clone(rule)), block, worker);
        }
        let text = std::mem::take(&mut worker.key);
        let of_l1 = (policy.l1_budget > 0).then(|| worker.stored(&text, &now_ms)).flatten();
        let of_l1 = of_l1.map(|entry| (entry, Level::L1, now_ms()));
        let with = Filling::of_head(&worker.path, query, head.fields);
        let mut passed = Vec::new();
        if !rule.exists.is_empty() && !of_l1.as_ref().is_some_and(|(e, _, now)| e.is_fresh(*now)) {
            let once = matches!(rule.query, QueryRule::Only(_));
            match judge((policy, rule, once), &with, &mut worker.spaces, shared, &now_ms) {
                Judgement::Pass(ids) => passed = ids,
                Judgement::Absent(index) => {
                    worker.key = text;
                    return Begin::absent(rule, index, &with, now_ms(), &mut worker.counters);
                }
            }
        }
        let mut key = None;
        let mut stored = match of_l1 {
            Some((entry, level, now_ms)) if entry.is_fresh(now_ms) => Some((entry, level, now_ms)),
            of_l1 => {
                let key = key.insert(Key::new(&text));
                let known = of_l1.as_ref().map(|(entry, ..)| &**entry);
                let found = elsewhere::shared(policy, key, known, &now_ms, &tier, worker);
                found.map(|entry| (entry, Level::Shared, now_ms())).or(of_l1)
            }
        };
        worker.key = text;
        let plain = head.has.nothing_special() && policy.origin.is_some();
        let found = stored.as_mut().filter(|_| plain);
        let early = found.is_some_and(|found| draw(policy, rule, found, &mut key, &tier, worker));
        if let Some((entry, level, now_ms)) = &stored
            && head.has.nothing_special()
            && !early
            && !entry.meta().variants
            && entry.is_fresh(*now_ms)
        {
            let (found, outcome) = level.fresh();
            if policy.tier.is_some() && entry.offer() {
                worker.shares.push(Rc::clone(entry));
            }
            worker.counters.count(Counter::L1(found));
            worker.counters.count(Counter::Request(outcome));
            return Begin::Hit(Rc::clone(entry), *level, *now_ms);
        }
        let key = key.unwrap_or_else(|| Key::new(&worker.key));
        let mut tags = policy.tag_key.of_resource(key.as_bytes());
        let with = Filling::of_head(&worker.path, query, head.fields);
        rule.tags.iter().for_each(|template| template.fill(&with, &policy.tag_key, &mut tags));
        let (has, is_head, epoch) = (head.has, head.method == b"HEAD", worker.generations.epoch());
        let mut exchange = Box::new(Self::new(
            (policy, rule),
            block,
            (has, is_head),
            (key, tags, epoch),
            &worker.held,
        ));
        (exchange.early, exchange.passed) = (early, passed);
        if let Some((entry, level, now_ms)) = stored
            && let Some(found) = exchange.found_in_l1(entry, level, now_ms, &tier, worker)
        {
            worker.counters.count(Counter::L1(found.level.fresh().0));
            return Begin::Serve(exchange, found);
        }
        if worker.held.bytes() > policy.held_budget && !exchange.must_not_forward() {
            let Self { rule, request, .. } = *exchange;
            return Begin::bypass(Bypass::Memory, (policy, &rule), request, worker);
        }
        worker.counters.count(Counter::L1(match exchange.stored {
            Some(_) => L1Lookup::Stale,
            None => L1Lookup::Miss,
        }));
        Begin::Miss(exchange)
    }

    /// A request about which nothing is known yet but what it says itself.
    pub(super) fn new(
        (policy, rule): (&Rc<Policy>, &Rc<Rule>),
        request: Vec<u8>,
        (has, is_head): (Has, bool),
        (key, tags, epoch): (Key, Tags, u64),
        held: &Held,
    ) -> Self {
        // A variant's key has the resource's in it.
        let bytes = size_of::<Self>() + request.len() + 2 * key.as_bytes().len();
        Self {
            hold: held.charge(bytes + size_of_val(tags.as_slice())),
            policy: Rc::clone(policy),
            rule: Rc::clone(rule),
            request,
            has,
            is_head,
            key,
            record: None,
            variant: None,
            why: Forward::UriMiss,
            stored: None,
            absent: false,
            tags,
            epoch,
            asked_ms: 0,
            validating: false,
            kept_back: false,
            behind: None,
            fill: None,
            early: false,
            leads: None,
            waits: 0,
            follows: 0,
            detached: false,
            lease: Lease::None,
            holder: 0,
            origin: None,
            fetch: None,
            probes: false,
            passed: Vec::new(),
        }
    }

    /// The request's head.
    pub(super) fn head(&self) -> RequestHead<'_> {
        RequestHead::read(Fields::new(&self.request))
    }

    /// What the client wants of the cache; nothing where the route gives it no say.
    pub(super) fn wanted(&self) -> CacheControl {
        if self.rule.directives_ignored || !self.has.directives {
            return CacheControl::default();
        }
        self.head().cache_control()
    }

    /// The request's fields.
    #[must_use]
    pub fn request(&self) -> Fields<'_> {
        Fields::new(&self.request)
    }

    /// Whether L2 could have an answer: not if what L1 has is to be asked of the origin whatever L2 has.
    #[must_use]
    pub fn wants_l2(&self) -> bool {
        self.stored.is_none() || self.wanted().no_cache.is_none()
    }

    /// The hash to look up in L2.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.variant.as_ref().unwrap_or(&self.key).hash()
    }

    /// The resource's key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// The policy it is treated by.
    #[must_use]
    pub const fn policy(&self) -> &Rc<Policy> {
        &self.policy
    }

    /// Whether a write made the resource stale since it was asked for.
    pub(super) fn is_overtaken(&self, worker: &Worker) -> bool {
        worker.generations.validity(self.tags.as_slice(), self.epoch) != Validity::Current
    }
}

/// Whether a request is for the cache at all.
fn cacheable(
    head: &RequestHead<'_>,
    ended: bool,
    rule: &Rule,
    policy: &Policy,
) -> Result<(), Bypass> {
    if head.method != b"GET" && head.method != b"HEAD" {
        Err(Bypass::Method)
    } else if rule.bypass {
        Err(Bypass::Route)
    } else if !ended {
        Err(Bypass::Body)
    } else if head.has.precondition {
        Err(Bypass::Precondition)
    } else if head.has.cookie && !rule.store.cookies_ignored {
        Err(Bypass::Cookie)
    } else if is_distrusted(head, policy) {
        Err(Bypass::Distrusted)
    } else {
        Ok(())
    }
}

/// Whether a request may not be what it seems to be.
fn is_distrusted(head: &RequestHead<'_>, policy: &Policy) -> bool {
    let other_scheme = head.has.other_scheme && !policy.forwarded_scheme_keyed;
    other_scheme || policy.distrusted.any_of(head.fields)
}
