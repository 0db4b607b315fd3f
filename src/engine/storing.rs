//! A response is complete, or given up: what is stored of it, and where.

use std::rc::Rc;

use super::exchange::Exchange;
use super::fill::{Fill, Filled};
use super::{Worker, keep};
use crate::collapse::Ended;
use crate::entry::{Entry, Variants};
use crate::http::key::Key;
use crate::http::storable::NotStored;
use crate::http::vary::{self, Names};
use crate::observe::Counter;

impl Exchange {
    /// The response has ended: stores it, if it was to be stored. Returns its size.
    pub fn finish(mut self, worker: &mut Worker) -> Option<usize> {
        let Some(fill) = self.fill.take() else {
            self.end(Ended::Lost, worker);
            return None;
        };
        match self.store(fill, worker) {
            Ok(entry) => {
                worker.counters.count(Counter::Fill);
                // What must be validated at each use is nobody else's.
                let shared = entry.is_fresh(entry.meta().stored_ms);
                self.end(if shared { Ended::Stored } else { Ended::Unshared }, worker);
                Some(entry.len())
            }
            Err(reason) => {
                worker.counters.count(Counter::NotStored(reason));
                self.end_for(reason, 0, worker);
                None
            }
        }
    }

    fn store(&self, mut fill: Fill, worker: &mut Worker) -> Result<Rc<Entry>, NotStored> {
        if self.rule.synthesise_etag {
            fill.wants_etag();
        }
        let filled = fill.finish(worker)?;
        if self.is_overtaken(worker) {
            return Err(NotStored::Overtaken);
        }
        let key = self.place(&filled, worker).ok_or(NotStored::VaryValue)?;
        let now_ms = filled.meta.stored_ms;
        let younger = |known: &Rc<Entry>| {
            let meta = known.meta();
            // One from the future says nothing: the clock was set back.
            !meta.variants && meta.stored_ms > now_ms && !known.is_from_future(now_ms)
        };
        if worker.stored(key.as_bytes(), || now_ms).as_ref().is_some_and(younger) {
            return Err(NotStored::Overtaken);
        }
        let entry = filled.into_entry(key).with_tags(self.tags.as_slice().into(), self.epoch);
        let entry = Rc::new(entry);
        self.land(&entry, worker);
        keep(&self.policy, &entry, worker);
        worker.store(Rc::clone(&entry), !self.absent);
        worker.refused.forget(self.key.hash());
        Ok(entry)
    }

    /// The key that a response is stored under; if it varies the resource's record learns of it. None if
    /// the record tells variants apart by what must not be part of a key.
    fn place(&self, filled: &Filled, worker: &mut Worker) -> Option<Key> {
        let now_ms = filled.meta.stored_ms;
        let record = self.record(now_ms, worker);
        let mut until_ms = record.as_ref().map_or(0, |record| record.meta().fresh_until_ms);
        let known = record.and_then(|record| Variants::read(record.body()));
        let none = Names::default();
        let names = filled.names.as_ref().unwrap_or(&none);
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
        let len = filled.content_len();
        let added = variants.add(&self.key, &text, len, self.policy.variants);
        if let Some(before) = added.replaced {
            worker.l1.remove(before.as_bytes());
        }
        added.dropped.iter().for_each(|key| worker.forget(key));
        // A resource that no longer varies so lets its record expire.
        if names == variants.names() || until_ms == 0 {
            until_ms = until_ms.max(filled.useful_until_ms());
        }
        self.keep_record(&variants, now_ms, until_ms, worker);
        Some(added.key)
    }

    /// The record of the resource's variants, if there is one.
    pub(super) fn record(&self, now_ms: u64, worker: &mut Worker) -> Option<Rc<Entry>> {
        let known = worker
            .stored(self.key.as_bytes(), || now_ms)
            .or_else(|| self.record.as_deref().cloned())?;
        (known.meta().variants && known.is_fresh(now_ms)).then_some(known)
    }

    fn keep_record(&self, variants: &Variants, now_ms: u64, until_ms: u64, worker: &mut Worker) {
        let tags = self.policy.tag_key.of_resource(self.key.as_bytes());
        let record = variants.to_entry(&self.key, now_ms, until_ms);
        let record = Rc::new(record.with_tags(tags.as_slice().into(), self.epoch));
        self.land(&record, worker);
        keep(&self.policy, &record, worker);
        worker.store(record, true);
    }

    /// A variant lives on: so must the record by which it is found.
    pub(super) fn renew_record(&self, until_ms: u64, now_ms: u64, worker: &mut Worker) {
        let record = self.record(now_ms, worker).filter(|r| r.meta().fresh_until_ms < until_ms);
        if let Some(variants) = record.and_then(|record| Variants::read(record.body())) {
            self.keep_record(&variants, now_ms, until_ms, worker);
        }
    }

    /// The stream is gone, finished or not.
    pub fn abandon(mut self, worker: &mut Worker) {
        self.give_up(NotStored::Incomplete, worker);
        self.end(Ended::Lost, worker);
    }

    pub(super) fn give_up(&mut self, reason: NotStored, worker: &mut Worker) {
        if let Some(fill) = self.fill.take() {
            fill.abandon(worker);
            worker.counters.count(Counter::NotStored(reason));
            self.end_for(reason, 0, worker);
        }
    }
}
