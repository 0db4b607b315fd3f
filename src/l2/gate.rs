//! What becomes of what is queued, and on its way, when Redis is not asked any more, and when it is again.

use std::rc::Rc;

use super::answers::{Answer, Waiting};
use super::client::{Client, Write};
use crate::entry::Entry;
use crate::health::Gate;

impl Client {
    /// What may be said to Redis.
    #[must_use]
    pub const fn gate(&self) -> Gate {
        self.gate
    }

    /// Changes what may be said to Redis. Who waits for what it is not asked any more gets an answer at once,
    /// though it may be on its way.
    pub fn set_gate(&mut self, gate: Gate, mut give: impl FnMut(Answer<'static>)) {
        self.gate = gate;
        let Some(error) = gate.refusal() else { return };
        let tickets = self.lookups.drain(..).map(|(ticket, _)| ticket);
        tickets.for_each(|ticket| give(Answer::Failed(ticket, error)));
        self.claims.drain(..).for_each(|claim| give(Answer::NotClaimed(claim, error)));
        let asking =
            |waiting: &Waiting| matches!(waiting, Waiting::Lookups(..) | Waiting::Claims(..));
        let asked = self.in_flight.extract_if(|_, (waiting, _)| asking(waiting));
        // What the table says to them is of no interest any more.
        asked.for_each(|(_, (waiting, _))| {
            waiting.fail(error, &mut |answer| match answer {
                Answer::NotFollowed(_) => {}
                answer => give(answer),
            });
        });
        if gate.table {
            return;
        }
        let errands = self.errands.drain(..).map(|(number, _)| number);
        errands.for_each(|number| give(Answer::Errand(number, Err(error))));
        // They stay dirty: the keeper sends them again.
        self.bumps.clear();
        if let Some(probe) = self.question.take().and_then(|question| question.probe) {
            give(Answer::Probed(probe, Err(error)));
        }
        // Leases run out.
        self.held = super::claims::Held::default();
        self.writes.retain(|write| !matches!(write, Write::Lease(..)));
        self.leases = 0;
    }

    /// Stores that wait are missed, as later ones are, until Redis takes writes again. Returns what is given up.
    pub fn miss_writes(&mut self, heat: impl Fn(&Entry) -> u8) -> Vec<Rc<Entry>> {
        (self.store_bytes, self.leases) = (0, 0);
        let writes = std::mem::take(&mut self.writes);
        let stores = writes.into_iter().filter_map(|write| match write {
            Write::Store(entry, _) => Some(entry),
            Write::Lease(..) => None,
        });
        stores.flat_map(|entry| self.missed.keep(entry, &heat)).collect()
    }

    /// Keeps a store for later. Returns what is given up for it, which may be itself.
    pub fn miss(&mut self, entry: Rc<Entry>, heat: impl Fn(&Entry) -> u8) -> Vec<Rc<Entry>> {
        self.missed.keep(entry, heat)
    }

    /// Queues what Redis missed, the hottest first, as far as there is room now. Returns what is given up.
    pub fn write_back(&mut self, now_ms: u64, heat: impl Fn(&Entry) -> u8) -> Vec<Rc<Entry>> {
        if self.missed.is_empty() || !self.gate.writes {
            return Vec::new();
        }
        let (mut rest, mut given_up) = (Vec::new(), Vec::new());
        for entry in self.missed.take_all(&heat) {
            if entry.useful_until_ms() <= now_ms {
                given_up.push(entry);
                continue;
            }
            // Half of the room is for what comes meanwhile.
            let has_room = self.store_bytes <= self.policy.write_budget / 2;
            if !has_room || !self.queue(Rc::clone(&entry), true) {
                rest.push(entry);
            }
        }
        given_up.extend(rest.into_iter().flat_map(|entry| self.missed.keep(entry, &heat)));
        given_up
    }

    /// Stores that are still to be sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        let queued = self.writes.iter().filter(|write| matches!(write, Write::Store(..)));
        self.missed.len() + queued.count()
    }
}
