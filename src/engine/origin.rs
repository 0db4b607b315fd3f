//! A request with the origin: what it is asked, what its answer means, what is stored of it.

use std::rc::Rc;

use super::exchange::{Exchange, Found};
use super::fill::{Fill, Limits};
use super::{Outcome, Worker, keep};
use crate::entry::{Entry, Meta, Variants};
use crate::http::cache_status::{Forward, Forwarded};
use crate::http::conditional::Conditions;
use crate::http::fields::{Fields, FieldsBuf};
use crate::http::freshness::Times;
use crate::http::key::Key;
use crate::http::response::ResponseHead;
use crate::http::storable::{Asked, Excluded, NotStored, Storable, storable};
use crate::http::validation;
use crate::http::vary::{self, Names, Varies};
use crate::observe::Counter;

/// What becomes of the origin's answer.
#[derive(Debug)]
pub enum Respond {
    /// It goes on to the client.
    Pass,
    /// It goes on as a 304: the client has it already.
    NotModified,
    /// This is the answer in its place.
    Serve(Found),
}

impl Exchange {
    /// Whether the client wants no answer but a stored one (`only-if-cached`: RFC 9111, 5.2.1.7).
    #[must_use]
    pub fn must_not_forward(&self) -> bool {
        self.wanted().only_if_cached
    }

    /// The request goes to the origin now. Gives every field of it that must change, with its new value
    /// or none to be taken away.
    pub fn forward(&mut self, now_ms: u64, mut change: impl FnMut(&[u8], Option<&[u8]>)) {
        self.asked_ms = now_ms;
        // What the key says is what the origin must see.
        let target = self.request().get(b":path").unwrap_or_default();
        if let Some(target) = self.rule.query.normalised_target(target) {
            change(b":path", Some(&target));
        }
        for (name, value) in self.policy.normalisers.rewrites(self.request()) {
            change(name, value);
        }
        if self.is_head && !self.refresh {
            return;
        }
        let stored = self.stored.as_ref();
        let validators = stored.and_then(|entry| validation::validators(entry.fields()));
        let validating = validators.is_some();
        if let Some(validators) = validators {
            change(b"if-none-match", validators.if_none_match);
            change(b"if-modified-since", validators.if_modified_since);
            for name in [&b"range"[..], b"if-range"].into_iter().filter(|_| self.has.range) {
                change(name, None);
            }
        } else if self.has.condition && !self.has.range {
            change(b"if-none-match", None);
            change(b"if-modified-since", None);
        }
        self.validating = validating;
    }
}

impl Exchange {
    /// The origin's response head arrived. Writes the `Cache-Status` of whatever the client gets to
    /// `out`.
    pub fn respond(
        &mut self,
        fields: Fields<'_>,
        now_ms: u64,
        worker: &mut Worker,
        out: &mut Vec<u8>,
    ) -> Respond {
        let head = ResponseHead::read(fields, &self.policy.targets);
        let mut told = Forwarded::new(self.why, head.status);
        if let Some((entry, outcome)) = self.stored_instead(&head, now_ms, worker) {
            self.count(outcome, worker);
            told.ttl_s = Some(entry.ttl_s(now_ms));
            told.stored = outcome == Outcome::Revalidated;
            told.detail = Some(outcome.as_str());
            told.write(out, &self.policy.cache_name);
            return Respond::Serve(Found { entry, refresh: false, now_ms });
        }
        self.count(Outcome::Miss, worker);
        let refused = match self.plan(&head, now_ms, worker) {
            Ok(fill) => {
                self.fill = Some(fill);
                None
            }
            Err(reason) => {
                worker.counters.count(Counter::NotStored(reason));
                self.outdate(&head, reason, now_ms, worker);
                Some(reason.as_str())
            }
        };
        told.stored = refused.is_none();
        told.detail = refused;
        told.write(out, &self.policy.cache_name);
        // The client's own condition was kept from the origin, so that there is something to store.
        let kept_back = !self.is_head && self.has.condition && !self.has.range;
        if kept_back && head.status == 200 {
            let conditions = Conditions::read(self.request());
            if conditions.not_modified(fields, now_ms, now_ms) {
                return Respond::NotModified;
            }
        }
        Respond::Pass
    }

    fn count(&self, outcome: Outcome, worker: &mut Worker) {
        worker.counters.count(if self.refresh {
            Counter::Refresh
        } else {
            Counter::Request(outcome)
        });
    }

    /// The stored response that answers in the place of the origin's, and why.
    fn stored_instead(
        &mut self,
        head: &ResponseHead<'_>,
        now_ms: u64,
        worker: &mut Worker,
    ) -> Option<(Rc<Entry>, Outcome)> {
        let stored = Rc::clone(self.stored.as_ref()?);
        if head.status == 304 && self.validating {
            return Some((self.freshen(&stored, head, now_ms, worker), Outcome::Revalidated));
        }
        // Whoever wants to hear the origin hears its errors, too.
        let wanted = self.wanted();
        let error = matches!(head.status, 500 | 502..=504)
            && self.why == Forward::Stale
            && wanted.no_cache.is_none();
        let hidden = error && stored.may_hide_an_error(now_ms, wanted.stale_if_error);
        hidden.then_some((stored, Outcome::StaleIfError))
    }

    /// The origin says by `head`, a 304 or what `HEAD` got, that `stored` is still good (RFC 9111, 4.3.4).
    fn freshen(
        &self,
        stored: &Rc<Entry>,
        head: &ResponseHead<'_>,
        now_ms: u64,
        worker: &mut Worker,
    ) -> Rc<Entry> {
        let ignored = self.rule.store.cookies_ignored;
        let excluded = Excluded::new(head, ignored, &self.policy.not_stored);
        let mut fields = FieldsBuf::default();
        validation::freshen(&mut fields, stored.fields(), head.fields, |n| excluded.contains(n));
        let block = fields.to_block();
        let mut updated = ResponseHead::read(Fields::new(&block), &self.policy.targets);
        updated.status = stored.meta().status;
        updated.age = head.age;
        // Without a date it is as old as its way took, not as the first answer.
        updated.date = head.date;
        updated.set_cookie |= head.set_cookie;
        let times = Times { asked_ms: self.asked_ms, received_ms: now_ms };
        // It was asked about by a request that may have been HEAD, and is a GET's all the same.
        let asked = Asked { head: false, ..self.asked() };
        let selected = validation::selects(stored.fields(), head.fields);
        match storable(&updated, &self.rule.store, asked, times) {
            Ok(found) if selected => {
                let meta = meta(&found, updated.status, now_ms);
                let entry =
                    Entry::new(meta, stored.key().clone(), block.clone(), stored.body().into());
                let entry = Rc::new(entry);
                keep(&self.policy, &entry, worker);
                worker.store(Rc::clone(&entry));
                self.renew_record(entry.useful_until_ms(), now_ms, worker);
                entry
            }
            found => {
                if found.err().is_none_or(NotStored::is_of_the_response) {
                    worker.forget(stored.key());
                }
                Rc::clone(stored)
            }
        }
    }

    /// What was stored is no longer the origin's answer, although nothing takes its place.
    fn outdate(
        &self,
        head: &ResponseHead<'_>,
        reason: NotStored,
        now_ms: u64,
        worker: &mut Worker,
    ) {
        let Some(stored) = &self.stored else { return };
        let of_head = reason == NotStored::Method;
        if of_head && head.status == 200 {
            // RFC 9111, 4.3.5.
            if validation::head_agrees(stored.fields(), stored.body().len() as u64, head.fields) {
                self.freshen(stored, head, now_ms, worker);
            } else {
                worker.forget(stored.key());
            }
        } else if !of_head && reason.is_of_the_response() && head.status < 500 {
            worker.forget(stored.key());
        }
    }

    fn asked(&self) -> Asked {
        Asked {
            authorization: self.has.authorization,
            no_store: self.has.directives && self.head().cache_control().no_store,
            head: self.is_head && !self.refresh,
        }
    }

    fn plan(
        &mut self,
        head: &ResponseHead<'_>,
        now_ms: u64,
        worker: &mut Worker,
    ) -> Result<Fill, NotStored> {
        let times = Times { asked_ms: self.asked_ms, received_ms: now_ms };
        let found = storable(head, &self.rule.store, self.asked(), times)?;
        let varies = match head.vary.then(|| vary::read(head.fields, |n| self.varies_not(n, head)))
        {
            Some(Varies::Any) => return Err(NotStored::Vary),
            None | Some(Varies::No) => None,
            Some(Varies::On(names)) => Some(names),
        };
        let names = match (varies, &self.policy.keyed) {
            (Some(own), Some(keyed)) => Some(own.union(keyed).ok_or(NotStored::Vary)?),
            (own, keyed) => own.or_else(|| keyed.clone()),
        };
        if let Some(names) = &names {
            let normalisers = &self.policy.normalisers;
            vary::write_values(&mut Vec::new(), names, self.request(), normalisers)
                .map_err(|_| NotStored::Vary)?;
        }
        let ignored = self.rule.store.cookies_ignored;
        let excluded = Excluded::new(head, ignored, &self.policy.not_stored);
        excluded.stored_fields(&mut worker.fields, now_ms);
        let limits = Limits { entry: self.policy.max_fill(), worker: self.policy.fill_budget };
        let meta = meta(&found, head.status, now_ms);
        let block = worker.fields.to_block();
        Fill::new(meta, block, names, head.content_length, limits, worker)
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

    /// The response has ended: stores it, if it was to be stored. Returns its size.
    pub fn finish(mut self, worker: &mut Worker) -> Option<usize> {
        let mut fill = self.fill.take()?;
        if self.rule.synthesise_etag {
            fill.wants_etag();
        }
        let plain = self.record.is_none() && fill.names().is_none();
        let place = if plain { Some(self.key) } else { self.place(&fill, worker) };
        let Some(key) = place else {
            fill.abandon(worker);
            worker.counters.count(Counter::NotStored(NotStored::Vary));
            return None;
        };
        match fill.finish(key, worker) {
            Ok(entry) => {
                let entry = Rc::new(entry);
                worker.counters.count(Counter::Fill);
                keep(&self.policy, &entry, worker);
                worker.store(Rc::clone(&entry));
                Some(entry.len())
            }
            Err(reason) => {
                worker.counters.count(Counter::NotStored(reason));
                None
            }
        }
    }

    /// The key that a response is stored under; if it varies the resource's record learns of it. None if
    /// the record tells variants apart by what must not be part of a key.
    fn place(&self, fill: &Fill, worker: &mut Worker) -> Option<Key> {
        let now_ms = fill.meta().stored_ms;
        let record = self.record(now_ms, worker);
        let mut until_ms = record.as_ref().map_or(0, |record| record.meta().fresh_until_ms);
        let known = record.and_then(|record| Variants::read(record.body()));
        let none = Names::default();
        let names = fill.names().unwrap_or(&none);
        let mut variants = match known {
            Some(known) if names.is_subset_of(known.names()) => known,
            _ if names.is_empty() => return Some(self.key.clone()),
            Some(known) => {
                let all = known.names().union(names).unwrap_or_else(|| names.clone());
                Variants::new(now_ms, all)
            }
            None => Variants::new(now_ms, names.clone()),
        };
        let mut text = Vec::new();
        let (all, normalisers) = (variants.names(), &self.policy.normalisers);
        vary::write_values(&mut text, all, self.request(), normalisers).ok()?;
        let (key, before) = variants.add(&self.key, &text, self.policy.max_variants);
        if let Some(before) = before {
            worker.l1.remove(before.as_bytes());
        }
        // A resource that no longer varies so lets its record expire.
        if names == variants.names() || until_ms == 0 {
            until_ms = until_ms.max(fill.useful_until_ms());
        }
        self.keep_record(&variants, now_ms, until_ms, worker);
        Some(key)
    }

    /// The record of the resource's variants, if there is one.
    fn record(&self, now_ms: u64, worker: &mut Worker) -> Option<Rc<Entry>> {
        let known = worker.l1.get(self.key.as_bytes()).or(self.record.as_ref())?;
        (known.meta().variants && known.is_fresh(now_ms)).then(|| Rc::clone(known))
    }

    fn keep_record(&self, variants: &Variants, now_ms: u64, until_ms: u64, worker: &mut Worker) {
        let record = variants.to_entry(&self.key, now_ms, until_ms);
        keep(&self.policy, &record, worker);
        worker.store(record);
    }

    /// A variant lives on: so must the record by which it is found.
    fn renew_record(&self, until_ms: u64, now_ms: u64, worker: &mut Worker) {
        let record = self.record(now_ms, worker).filter(|r| r.meta().fresh_until_ms < until_ms);
        if let Some(variants) = record.and_then(|record| Variants::read(record.body())) {
            self.keep_record(&variants, now_ms, until_ms, worker);
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
}

fn meta(found: &Storable, status: u16, now_ms: u64) -> Meta {
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
    }
}
