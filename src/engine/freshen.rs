//! What the origin's answer does to what is stored already (RFC 9111, 4.3.3 to 4.3.5).

use std::rc::Rc;

use super::exchange::Exchange;
use super::origin::meta;
use super::{Worker, keep};
use crate::coherence::Tags;
use crate::entry::{Entry, MAX_TAGS, Meta, Variants};
use crate::http::etag::EntityTag;
use crate::http::fields::{Fields, FieldsBuf};
use crate::http::freshness::Times;
use crate::http::response::ResponseHead;
use crate::http::storable::{Asked, NotStored, storable};
use crate::http::stored_fields::Excluded;
use crate::http::validation;

impl Exchange {
    /// The origin says by a 304 that `stored` is still good (RFC 9111, 4.3.4). Returns it as it is now, and
    /// whether it is stored so.
    pub(super) fn validated(
        &self,
        stored: &Rc<Entry>,
        head: &ResponseHead<'_>,
        now_ms: u64,
        worker: &mut Worker,
    ) -> (Rc<Entry>, bool) {
        if validation::selects(Fields::new(&stored.fields_of_origin()), head.fields) {
            return self.freshen(stored, head, now_ms, worker);
        }
        // Without a tag of its own it says too little to update what is stored, and nothing against it.
        let other = EntityTag::of(head.fields).is_some_and(|new| {
            !EntityTag::of(stored.fields()).is_some_and(|old| old.is_weakly(new))
        });
        if other {
            worker.invalidate(&self.key, &self.policy.tag_key);
        }
        (Rc::clone(stored), false)
    }

    /// Updates `stored` by a response that is about it.
    fn freshen(
        &self,
        stored: &Rc<Entry>,
        head: &ResponseHead<'_>,
        now_ms: u64,
        worker: &mut Worker,
    ) -> (Rc<Entry>, bool) {
        let block = self.updated_fields(stored, head, now_ms);
        let mut updated = ResponseHead::read(Fields::new(&block), &self.policy.targets);
        updated.status = stored.meta().status;
        updated.age = head.age;
        // Without a date it is as old as its way took, not as the first answer.
        updated.date = head.date;
        updated.set_cookie |= head.set_cookie;
        let times = Times { asked_ms: self.asked_ms, received_ms: now_ms };
        // It was asked about by a request that may have been HEAD, and is a GET's all the same.
        let asked = Asked { head: false, ..self.asked() };
        let tags = self.tags.with(stored.tags());
        let found = storable(&updated, &self.rule.store, asked, times)
            .and_then(|found| self.still_fits(&updated, &tags, now_ms, worker).map(|()| found))
            .map(|mut found| {
                self.jitter(&mut found, now_ms, worker);
                found
            });
        let meta = match &found {
            Ok(found) => meta(found, updated.status, times),
            // For this once it is as good as new.
            Err(_) => {
                Meta { stored_ms: now_ms, fresh_until_ms: now_ms, age_s: 0, ..*stored.meta() }
            }
        };
        let own_etag = stored.meta().own_etag;
        let meta = Meta { own_etag, ..meta };
        let entry = Entry::new(meta, stored.key().clone(), block.clone(), stored.body().into());
        let entry = Rc::new(entry.with_tags(tags.as_slice().into(), self.epoch));
        match found {
            Ok(_) => {
                keep(&self.policy, &entry, worker);
                worker.store(Rc::clone(&entry), true);
                self.renew_record(entry.useful_until_ms(), now_ms, worker);
            }
            Err(reason) if reason.is_of_the_response() => {
                worker.invalidate(&self.key, &self.policy.tag_key);
            }
            Err(_) => {}
        }
        (entry, found.is_ok())
    }

    /// The fields of `stored` as `head` updates them (3.2), without what may not be stored of either by
    /// what both say together (3.1).
    fn updated_fields(&self, stored: &Entry, head: &ResponseHead<'_>, now_ms: u64) -> Box<[u8]> {
        let (ignored, others) = (self.rule.store.cookies_ignored, &self.policy.not_stored);
        let excluded = Excluded::new(head, ignored, others);
        let mut update = FieldsBuf::default();
        excluded.stored_fields(&mut update, now_ms);
        let update = update.to_block();
        let mut fields = FieldsBuf::default();
        let (stored, update) = (stored.fields(), Fields::new(&update));
        validation::freshen(&mut fields, stored, update, |name| excluded.contains(name));
        let block = fields.to_block();
        let updated = ResponseHead::read(Fields::new(&block), &self.policy.targets);
        let excluded = Excluded::new(&updated, ignored, others);
        excluded.kept().collect::<FieldsBuf>().to_block()
    }

    /// Whether an updated response, with these tags, may stay where it is stored.
    fn still_fits(
        &self,
        updated: &ResponseHead<'_>,
        tags: &Tags,
        now_ms: u64,
        worker: &mut Worker,
    ) -> Result<(), NotStored> {
        self.may_store(worker)?;
        if tags.as_slice().len() > MAX_TAGS {
            return Err(NotStored::TooManyTags);
        }
        let Some(names) = self.names(updated)? else { return Ok(()) };
        let record = self.record(now_ms, worker);
        let known = record.and_then(|record| Variants::read(record.body()));
        let fits = known.is_some_and(|known| names.is_subset_of(known.names()));
        if fits { Ok(()) } else { Err(NotStored::Vary) }
    }

    /// What was stored is no longer the origin's answer, although nothing takes its place.
    pub(super) fn outdate(
        &self,
        head: &ResponseHead<'_>,
        reason: NotStored,
        now_ms: u64,
        worker: &mut Worker,
    ) {
        let Some(stored) = &self.stored else { return };
        // Any other error may be this client's alone.
        let replaces = matches!(head.status, 200..=399 | 404 | 410)
            && (reason.is_of_the_response()
                || matches!(reason, NotStored::TooLarge | NotStored::FillBudget));
        let of_head = reason == NotStored::Method;
        if of_head && head.status == 200 {
            // RFC 9111, 4.3.5.
            let (known, len) = (stored.fields_of_origin(), stored.body().len() as u64);
            if validation::head_agrees(Fields::new(&known), len, head.fields) {
                self.freshen(stored, head, now_ms, worker);
            } else {
                worker.invalidate(&self.key, &self.policy.tag_key);
            }
        } else if !of_head && replaces {
            worker.invalidate(&self.key, &self.policy.tag_key);
        }
    }
}
