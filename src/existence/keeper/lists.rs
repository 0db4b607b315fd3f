//! When a list is read, and what becomes of it.

use std::rc::Rc;

use super::{Around, BACKOFF_MS, Begun, Doing, Errand, Event, Keeper, LONGEST_MS, keep_ms};
use crate::coherence::SharedData;
use crate::existence::Build;
use crate::existence::fleet::Snapshot;
use crate::existence::head::{Head, UNMEASURED};
use crate::existence::source::{Asking, Etags, Failure, List};
use crate::existence::space::Place;

impl Begun {
    /// The score up to which ids of others are in the list: not known if some were lost since it was begun.
    pub(super) const fn base_for(&self, head: &Head) -> u64 {
        if self.incarnation == head.incarnation { self.base } else { UNMEASURED }
    }

    /// It is at its end, and no other one is being read.
    pub(super) const fn end(&self, head: &mut Head) {
        if head.begun == self.from {
            head.begun = 0;
        }
    }
}

impl Keeper {
    /// Sees whether there is something to do.
    pub(super) fn begin<S: SharedData>(
        &mut self,
        place: &Place,
        head: &Head,
        around: &Around<'_, S>,
    ) {
        let Around { space, now_ms, .. } = *around;
        if around.fleet.is_some() && !self.has_polled {
            return;
        }
        let snapshot = self.snapshot.filter(|_| self.is_reachable);
        if let Some(snapshot) = snapshot.filter(|snapshot| self.is_better(snapshot, head, around)) {
            self.doing = Doing::Loading(snapshot, None, 0);
            return;
        }
        let age_ms = now_ms.abs_diff(head.complete_ms);
        let is_due = head.serial == 0
            || age_ms >= space.refresh_ms
            // Such a list is of no use to others.
            || self.is_reachable && head.base == UNMEASURED
            || head.wanted_ms > 0 && age_ms >= space.grace_ms
            || place.known.recent.is_nearly_full(head.from);
        if is_due && now_ms >= self.not_before_ms {
            return match around.fleet {
                Some(fleet) if self.is_reachable => {
                    let token = self.random.u64(..);
                    let commands = fleet.keys.claim(token, keep_ms(space));
                    self.send(Errand::Claim(token), Asking::Redis(commands), around);
                    self.doing = Doing::Claiming;
                }
                _ => self.mark(place, around),
            };
        }
        // What Redis has lost, or never had.
        let is_kept = head.serial == self.outdated
            || self.snapshot.is_some_and(|snapshot| snapshot.serial >= head.serial);
        let filter = place.known.filter().filter(|_| place.known.serial() == head.serial);
        if let Some(filter) = filter.filter(|_| !is_kept && head.base != UNMEASURED)
            && head.incarnation > 0
            && around.fleet.is_some()
            && now_ms >= self.not_before_ms
        {
            let snapshot = Snapshot {
                serial: head.serial,
                complete_ms: head.complete_ms,
                base: head.base,
                incarnation: head.incarnation,
            };
            self.doing = Doing::Storing(Rc::clone(filter), snapshot, 0);
        }
    }

    /// Whether the fleet's filter is to be used: it is newer, and has all ids that this process no longer remembers.
    pub(super) fn is_better<S>(
        &self,
        snapshot: &Snapshot,
        head: &Head,
        around: &Around<'_, S>,
    ) -> bool {
        let age_ms = around.now_ms.abs_diff(snapshot.complete_ms);
        snapshot.serial > head.serial
            && snapshot.serial != self.refused
            && snapshot.incarnation == head.incarnation
            && snapshot.covers(head)
            && age_ms <= around.space.max_age_ms
    }

    /// Notes since when no id has come into being.
    pub(super) fn listen(&mut self, next: u64, now_ms: u64) {
        if self.quiet.0 != next {
            self.quiet = (next, now_ms);
        }
    }

    /// Says where the list begins, and lets writes settle that may be under way.
    pub(super) fn mark<S: SharedData>(&mut self, place: &Place, around: &Around<'_, S>) {
        let now_ms = around.now_ms;
        let mut begun = Begun { from: 0, base: 0, incarnation: 0, at_ms: now_ms };
        Head::change(around.shared, &place.names, |head| {
            (begun.from, begun.incarnation) = (head.next, head.incarnation);
            begun.base = if head.incarnation > 0 { head.score } else { UNMEASURED };
            if around.fleet.is_none() {
                begun.base = 0;
            }
            (head.begun, head.wanted_ms) = (head.next, 0);
            true
        });
        self.listen(begun.from, now_ms);
        let is_quiet = begun.from == 0 || self.quiet.1 + around.settle_ms <= now_ms;
        let until_ms = if is_quiet { now_ms } else { now_ms + around.settle_ms };
        self.doing = Doing::Settling(begun, until_ms);
    }

    /// The list is at its end.
    pub(super) fn is_read<S: SharedData>(
        &mut self,
        place: &mut Place,
        begun: Begun,
        end: Result<List, Failure>,
        around: &Around<'_, S>,
    ) {
        match end {
            Err(failure) => self.failed(failure, around),
            Ok(List::Ids(ids, highest, etags)) => {
                let build = Build::new(ids, around.space.width, begun.at_ms, highest);
                self.doing = Doing::Building(begun, Box::new(build), etags, around.now_ms);
            }
            Ok(List::Unchanged) => {
                self.failures = 0;
                self.events.push(Event::Unchanged);
                Head::change(around.shared, &place.names, |head| {
                    // It was said of the filter that these ETags belong to, and of no other one.
                    let is_same = head.serial == self.etags.0;
                    if is_same {
                        head.complete_ms = begun.at_ms;
                        (head.from, head.base) = (begun.from, begun.base_for(head));
                    }
                    begun.end(head);
                    true
                });
                place.known.follow(around.shared, &place.names);
                self.give_back(around);
            }
        }
    }

    pub(super) fn give_back<S>(&mut self, around: &Around<'_, S>) {
        if let Some((fleet, (token, _))) = around.fleet.zip(self.lease.take()) {
            self.send(Errand::Nothing, Asking::Redis(fleet.keys.give_back(token)), around);
        }
    }

    pub(super) fn failed<S>(&mut self, failure: Failure, around: &Around<'_, S>) {
        let wait_ms = (BACKOFF_MS << self.failures.min(16)).min(LONGEST_MS);
        // Not all instances at the same time.
        let wait_ms = wait_ms / 2 + self.random.u64(..=wait_ms / 2);
        self.failures += 1;
        self.not_before_ms = around.now_ms + wait_ms;
        self.events.push(Event::Failed(failure, wait_ms));
        self.etags = (0, Etags::default());
        self.give_back(around);
    }
}
