//! A request with the origin: what it is asked, and what its answer means.

use std::rc::Rc;

use super::behind::Behind;
use super::exchange::Exchange;
use super::fill::{Fill, Limits};
use super::{Outcome, Worker};
use crate::collapse::Ended;
use crate::entry::{Entry, MAX_TAGS, Meta};
use crate::http::cache_status::{Forward, Forwarded};
use crate::http::conditional::Conditions;
use crate::http::fields::Fields;
use crate::http::freshness::Times;
use crate::http::response::ResponseHead;
use crate::http::storable::{Asked, NotStored, Storable, storable};
use crate::http::stored_fields::Excluded;
use crate::http::vary::{self, Names, Varies};
use crate::observe::Counter;

/// What becomes of the origin's answer.
#[derive(Debug)]
pub enum Respond {
    /// It goes on to the client.
    Pass,
    /// It goes on as a 304: the client has it already.
    NotModified,
    /// This is the answer in its place, and why.
    Serve(Rc<Entry>, Outcome),
}

impl Exchange {
    /// Whether the client wants no answer but a stored one (`only-if-cached`: RFC 9111, 5.2.1.7).
    #[must_use]
    pub fn must_not_forward(&self) -> bool {
        self.wanted().only_if_cached
    }

    /// The request goes to the origin now. Gives every field of it that must change, with its new value
    /// or none to be taken away.
    pub fn forward(
        &mut self,
        now_ms: u64,
        worker: &Worker,
        mut change: impl FnMut(&[u8], Option<&[u8]>),
    ) {
        self.asked_ms = now_ms;
        self.stored = self.stored.take().filter(|entry| worker.may_use(entry));
        if self.record.as_ref().is_some_and(|record| !worker.may_use(record)) {
            (self.record, self.variant) = (None, None);
        }
        self.epoch = worker.generations.epoch();
        // What the key says is what the origin must see.
        let head = self.head();
        if let Some(target) = self.rule.query.normalised_target(head.target) {
            change(b":path", Some(&target));
        }
        if let Some(authority) = self.policy.key.normalised_authority(&head) {
            change(b":authority", Some(&authority));
        }
        for (name, value) in self.policy.normalisers.rewrites(self.request()) {
            change(name, value);
        }
        if self.is_head {
            return;
        }
        let validators = self.stored.as_ref().and_then(|entry| entry.validators());
        let validating = validators.is_some();
        let kept_back = self.has.condition && (validating || self.keeps_back(worker));
        if let Some(validators) = validators {
            change(b"if-none-match", validators.if_none_match);
            change(b"if-modified-since", validators.if_modified_since);
            for name in [&b"range"[..], b"if-range"].into_iter().filter(|_| self.has.range) {
                change(name, None);
            }
        } else if kept_back {
            change(b"if-none-match", None);
            change(b"if-modified-since", None);
        }
        self.validating = validating;
        self.kept_back = kept_back;
    }

    /// Whether a client's condition is better kept from the origin, so that there is something to store:
    /// not if nothing would be.
    fn keeps_back(&self, worker: &Worker) -> bool {
        let asked = self.asked();
        let of_one = asked.authorization && !self.rule.store.authorization_ignored;
        let refused = worker.refused.knows(self.key.hash(), self.asked_ms);
        !(self.has.range || asked.no_store || of_one || refused)
    }

    /// The origin's response head arrived, and if it has `ended` there is no body. Writes the
    /// `Cache-Status` of whatever the client gets to `out`.
    pub fn respond(
        &mut self,
        fields: Fields<'_>,
        ended: bool,
        now_ms: u64,
        worker: &mut Worker,
        out: &mut Vec<u8>,
    ) -> Respond {
        let head = ResponseHead::read(fields, &self.policy.targets);
        self.heard(!is_failure(head.status), now_ms, worker);
        self.tell_of_ids(head.status, worker);
        self.tag_by(fields);
        let mut told = Forwarded::new(self.why, head.status);
        if let Some((entry, outcome, kept)) = self.stored_instead(&head, now_ms, worker) {
            self.count(outcome, worker);
            self.end(
                match outcome {
                    Outcome::Revalidated if kept && entry.is_fresh(now_ms) => Ended::Stored,
                    Outcome::Revalidated => Ended::Unshared,
                    _ => Ended::Failed,
                },
                worker,
            );
            told.ttl_s = Some(entry.ttl_s(now_ms));
            told.stored = kept;
            told.detail = Some(outcome.as_str());
            told.write(out, &self.policy.cache_name);
            return Respond::Serve(entry, outcome);
        }
        self.count(Outcome::Miss, worker);
        let refused = match self.plan(&head, ended, now_ms, worker) {
            Ok(fill) => {
                self.fill = Some(fill);
                None
            }
            Err(reason) => {
                worker.counters.count(Counter::NotStored(reason));
                self.outdate(&head, reason, now_ms, worker);
                if reason.is_of_the_response() && head.status < 500 {
                    worker.refused.note(self.key.hash(), now_ms);
                }
                self.end_for(reason, head.status, worker);
                Some(reason.as_str())
            }
        };
        told.stored = refused.is_none();
        told.detail = refused;
        told.write(out, &self.policy.cache_name);
        let conditions = || Conditions::read(self.request());
        if self.kept_back && head.status == 200 && conditions().not_modified(fields, None, now_ms) {
            return Respond::NotModified;
        }
        Respond::Pass
    }

    /// Takes the tags that the response names.
    fn tag_by(&mut self, fields: Fields<'_>) {
        let names = &self.policy.tag_fields;
        let lines = fields.iter().filter(|(name, _)| names.iter().any(|n| **n == **name));
        for (_, value) in lines {
            // One too many, and it is not stored.
            if self.tags.as_slice().len() > MAX_TAGS {
                return;
            }
            self.tags.extend(self.policy.tag_key.list(value).take(MAX_TAGS + 1));
        }
    }

    fn count(&self, outcome: Outcome, worker: &mut Worker) {
        worker.counters.count(match self.behind {
            None => Counter::Request(outcome),
            Some(Behind::Refresh(_)) => Counter::Refresh,
            Some(Behind::Detached) => Counter::Detached,
        });
    }

    /// The stored response that answers in the place of the origin's, why, and whether it was stored anew.
    fn stored_instead(
        &mut self,
        head: &ResponseHead<'_>,
        now_ms: u64,
        worker: &mut Worker,
    ) -> Option<(Rc<Entry>, Outcome, bool)> {
        let stored = Rc::clone(self.stored.as_deref()?);
        if head.status == 304 && self.validating {
            let (entry, kept) = self.validated(&stored, head, now_ms, worker);
            return Some((entry, Outcome::Revalidated, kept));
        }
        let hidden = is_failure(head.status) && self.stored_for_error(now_ms, worker).is_some();
        hidden.then_some((stored, Outcome::StaleIfError, false))
    }

    /// What is stored, if it may come in the place of an error.
    pub(super) fn stored_for_error(&self, now_ms: u64, worker: &Worker) -> Option<&Rc<Entry>> {
        let stored = self.stored.as_deref().filter(|_| self.why == Forward::Stale)?;
        let wanted = self.wanted();
        // Whoever wants to hear the origin hears its errors, too.
        let may_hide = wanted.no_cache.is_none()
            && stored.may_hide_an_error(now_ms, wanted.stale_if_error)
            && worker.may_use(stored);
        may_hide.then_some(stored)
    }

    pub(super) fn asked(&self) -> Asked {
        Asked {
            authorization: self.has.authorization,
            no_store: self.has.directives && self.head().cache_control().no_store,
            head: self.is_head,
            range: self.has.range,
        }
    }

    fn plan(
        &mut self,
        head: &ResponseHead<'_>,
        ended: bool,
        now_ms: u64,
        worker: &mut Worker,
    ) -> Result<Fill, NotStored> {
        let times = Times { asked_ms: self.asked_ms, received_ms: now_ms };
        let mut found = storable(head, &self.rule.store, self.asked(), times)?;
        self.jitter(&mut found, now_ms, worker);
        let framed = ended || head.content_length.is_some() || head.transfer_encoding;
        if !framed && !self.policy.store_unframed {
            return Err(NotStored::Unframed);
        }
        self.may_store(worker)?;
        let names = self.names(head)?;
        if let Some(names) = &names {
            let normalisers = &self.policy.normalisers;
            vary::write_values(&mut Vec::new(), names, self.request(), normalisers)
                .map_err(|_| NotStored::VaryValue)?;
        }
        let ignored = self.rule.store.cookies_ignored;
        let excluded = Excluded::new(head, ignored, &self.policy.not_stored);
        excluded.stored_fields(&mut worker.fields, now_ms);
        let limits = Limits { entry: self.policy.max_fill(), worker: self.policy.fill_budget };
        let meta = meta(&found, head.status, times);
        let block = worker.fields.to_block();
        Fill::new(meta, block, names, head.content_length, limits, worker)
    }

    /// Whether nothing made the resource stale since it was asked for, or may do so still.
    pub(super) fn may_store(&self, worker: &Worker) -> Result<(), NotStored> {
        let tags = self.tags.as_slice();
        if tags.len() > MAX_TAGS {
            Err(NotStored::TooManyTags)
        } else if self.is_overtaken(worker) {
            Err(NotStored::Overtaken)
        } else if worker.generations.is_uncertain(tags, self.asked_ms) {
            // Asked while the write could be carried out still: before it, the answer is overtaken.
            Err(NotStored::Uncertain)
        } else {
            Ok(())
        }
    }

    /// The request fields that a response varies by, here.
    pub(super) fn names(&self, head: &ResponseHead<'_>) -> Result<Option<Names>, NotStored> {
        let varies = head.vary.then(|| vary::read(head.fields, |name| self.varies_not(name, head)));
        let own = match varies {
            Some(Varies::Any) => return Err(NotStored::Vary),
            None | Some(Varies::No) => None,
            Some(Varies::On(names)) => Some(names),
        };
        match (own, &self.policy.keyed) {
            (Some(own), Some(keyed)) => own.union(keyed).map(Some).ok_or(NotStored::Vary),
            (own, keyed) => Ok(own.or_else(|| keyed.clone())),
        }
    }

    /// Whether a field of `Vary` does not count here.
    fn varies_not(&self, name: &[u8], head: &ResponseHead<'_>) -> bool {
        // A session that the cookie names, used and not begun: the answer is that session's.
        let session = self.has.cookie && !head.set_cookie;
        let store = &self.rule.store;
        self.policy.normalisers.ignores(name)
            || store.cookies_ignored && !session && name == b"cookie"
            || store.authorization_ignored && name == b"authorization"
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
}

/// Whether a status says that the origin failed (RFC 5861, 4).
const fn is_failure(status: u16) -> bool {
    matches!(status, 500 | 502..=504)
}

pub(super) fn meta(found: &Storable, status: u16, times: Times) -> Meta {
    let (now_ms, took_ms) = (times.received_ms, times.received_ms.saturating_sub(times.asked_ms));
    Meta {
        status,
        stored_ms: now_ms,
        fresh_until_ms: found.fresh_until_ms,
        age_s: found.age_s,
        stale_while_revalidate_s: found.stale_while_revalidate_s,
        stale_if_error_s: found.stale_if_error_s,
        never_stale: found.never_stale,
        shared: found.shared,
        immutable: found.immutable,
        variants: false,
        own_etag: false,
        took_ms: u32::try_from(took_ms).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::super::Begin;
    use super::*;
    use crate::coherence::Memory;
    use crate::config::load;
    use crate::http::fields::block;

    /// A head of 60 KiB has room for a hundred lines of 129, which are sorted anew for each.
    #[test]
    fn no_more_tags_are_kept_than_show_that_there_are_too_many() {
        let policy = Rc::new(load(json!({"role": "cache"}).to_string().as_bytes()).unwrap());
        let request =
            [(":method", "GET"), (":authority", "a"), (":scheme", "http"), (":path", "/")];
        let (mut worker, shared) = (Worker::new(1), Memory::default());
        let of = (&shared, |_| None);
        let begun =
            Exchange::begin(&policy, block(&request).into(), true, || 1_000, of, &mut worker);
        let Begin::Miss(mut exchange) = begun else { panic!("{begun:?}") };
        let line = |n: u32| (0..129).map(|tag| format!("{n}-{tag}")).collect::<Vec<_>>().join(" ");
        let lines: Vec<_> = (0..50).map(line).collect();
        let lines: Vec<_> = lines.iter().map(|line| ("surrogate-key", &**line)).collect();
        exchange.tag_by(Fields::new(&block(&lines)));
        assert!((MAX_TAGS + 1..2 * MAX_TAGS).contains(&exchange.tags.as_slice().len()));
        assert_eq!(exchange.may_store(&worker), Err(NotStored::TooManyTags));
    }
}
