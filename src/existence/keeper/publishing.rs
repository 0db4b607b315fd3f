//! A filter becomes the one that all workers of the process use.

use std::rc::Rc;

use super::{Around, Doing, Event, Keeper, Made, PUBLISHED};
use crate::coherence::SharedData;
use crate::existence::Filter;
use crate::existence::head::Head;
use crate::existence::space::Place;

impl Keeper {
    /// A number for a filter that no other instance gives to another one: higher than those of all before, whatever
    /// their clocks said.
    pub(super) fn serial(&mut self, last: u64, now_ms: u64) -> u64 {
        let last = self.snapshot.map_or(last, |snapshot| snapshot.serial.max(last));
        let least = (now_ms << 10).max(last.saturating_add(1));
        least.saturating_add(self.random.u64(..1 << 10))
    }

    /// Puts some pieces of a filter into the memory of the process, and makes it the one in use once all are there.
    pub(super) fn publish<S: SharedData>(
        &mut self,
        place: &mut Place,
        (filter, made, slot, mut next): (Rc<Filter>, Made, Option<u64>, usize),
        around: &Around<'_, S>,
    ) {
        let Around { shared, now_ms, .. } = *around;
        // The same to the end: another worker may change which one is in use.
        let slot = slot.unwrap_or_else(|| 1 - Head::get(shared, &place.names).slot.min(1));
        let serial = match made {
            Made::Here(_, serial, _) => serial,
            Made::Fleet(snapshot) => snapshot.serial,
        };
        for _ in 0..PUBLISHED {
            if next == filter.pieces() {
                break;
            }
            if !shared.set(&place.names.piece(slot, next), &filter.piece(serial, next), 0) {
                return;
            }
            next += 1;
        }
        if next < filter.pieces() {
            self.doing = Doing::Publishing(filter, made, Some(slot), next);
            return;
        }
        let head = place.known.follow(shared, &place.names);
        let from = match made {
            Made::Here(begun, ..) => begun.from,
            Made::Fleet(snapshot) => {
                // What the filter lacks is moved behind all else.
                let ids = place.known.recent.above(head.from, snapshot.base);
                let lost = place.known.recent.has_lost(head.from);
                if !place.known.recent.add(shared, &place.names, &ids, true) {
                    return;
                }
                if lost { head.from } else { head.next }
            }
        };
        let mut is_taken = false;
        Head::change(shared, &place.names, |head| {
            is_taken = false;
            // Another worker kept the space meanwhile, and has another filter.
            let is_late = match made {
                Made::Here(begun, ..) => head.from > begun.from,
                Made::Fleet(snapshot) => !snapshot.covers(head),
            };
            if is_late || head.serial >= serial {
                return false;
            }
            head.base = match made {
                Made::Here(begun, ..) => {
                    begun.end(head);
                    begun.base_for(head)
                }
                // Ids were lost meanwhile: it lacks them, and nobody has them any more.
                Made::Fleet(snapshot) if snapshot.incarnation != head.incarnation => return false,
                Made::Fleet(snapshot) => snapshot.base,
            };
            (head.serial, head.slot) = (serial, slot);
            (head.complete_ms, head.from) = (filter.complete_ms(), from);
            is_taken = true;
            true
        });
        if !is_taken {
            return self.give_back(around);
        }
        let head = place.known.follow(shared, &place.names);
        place.known.take(Rc::clone(&filter), &head);
        self.failures = 0;
        match made {
            Made::Here(begun, _, took_ms) => {
                let all_ms = now_ms.saturating_sub(begun.at_ms);
                self.events.push(Event::Built(filter.ids(), all_ms, took_ms));
                self.give_back(around);
            }
            Made::Fleet(_) => self.events.push(Event::Loaded(filter.ids())),
        }
    }
}
