//! Fetches that a process's workers lead for each other.

use super::flights::{Alone, Ended, Flights, Joined, Limits, Ticket};
use super::lease::{self, Lease};
use crate::coherence::SharedData;

impl Flights {
    /// As [`Flights::join`], for a worker that has this `queue`, if there are others.
    pub fn enter(
        &mut self,
        (shared, queue): (&impl SharedData, Option<u32>),
        (hash, context): (u128, u32),
        may_lead: bool,
        now_ms: u64,
        limits: Limits,
    ) -> Option<Joined> {
        let joined = self.join(hash, context, may_lead, now_ms, limits);
        match (joined, queue) {
            (Some(Joined::Leads(ticket)), Some(queue)) => {
                Some(self.go_first((shared, queue), (ticket, context), now_ms, limits))
            }
            _ => joined,
        }
    }

    /// Takes the lease for a fetch. If another worker has it, the request waits for that.
    pub fn go_first(
        &mut self,
        (shared, queue): (&impl SharedData, u32),
        (ticket, context): (Ticket, u32),
        now_ms: u64,
        limits: Limits,
    ) -> Joined {
        match lease::take(shared, ticket.hash, queue, true, now_ms) {
            Lease::Theirs(_) if self.len() >= limits.in_all => {
                self.ended(ticket, Ended::Lost);
                Joined::Alone(Alone::Limit)
            }
            Lease::Theirs(until_ms) => {
                self.leave_to_others(ticket, context, until_ms);
                Joined::Follows
            }
            Lease::Mine | Lease::Nobodys => Joined::Leads(ticket),
        }
    }

    /// Tells other workers of what ended here; `send` puts a message into a queue.
    pub fn tell(
        &mut self,
        (shared, queue): (&impl SharedData, Option<u32>),
        mut send: impl FnMut(u32, &[u8]),
    ) {
        let ended = self.take_ended();
        let Some(queue) = queue else { return };
        for (hash, how) in ended {
            let waiting = lease::give_back(shared, hash, queue);
            waiting.iter().for_each(|other| send(*other, &lease::message(hash, how)));
        }
    }

    /// This worker ends: others may fetch what it leads, and what it `refreshes`. `send` puts a message into a queue.
    pub fn abandon(
        &self,
        (shared, queue): (&impl SharedData, Option<u32>),
        refreshes: impl Iterator<Item = u128>,
        send: impl Fn(u32, &[u8]),
    ) {
        let Some(queue) = queue else { return };
        for hash in self.led().map(|(hash, _)| hash).chain(refreshes) {
            let waiting = lease::give_back(shared, hash, queue);
            let message = lease::message(hash, Ended::Lost);
            waiting.iter().for_each(|other| send(*other, &message));
        }
    }

    /// This worker has another queue from now on, and nobody listens to the old one: what it leads, and what it
    /// `refreshes`, it goes on with; whoever waits for others asks anew.
    pub fn moves(
        &mut self,
        shared: &impl SharedData,
        (from, to): (u32, u32),
        refreshes: impl Iterator<Item = u128>,
    ) {
        for hash in self.led().map(|(hash, _)| hash).chain(refreshes) {
            lease::hand_over(shared, hash, from, to);
        }
        self.ask_anew();
    }

    /// What another worker says.
    pub fn hear(&mut self, message: &[u8], now_ms: u64) {
        if let Some((hash, how)) = lease::read_message(message) {
            self.ended_elsewhere(hash, how, now_ms);
        }
    }

    /// Time passes. What this worker leads, or `refreshes`, it goes on to.
    pub fn tick(
        &mut self,
        (shared, queue): (&impl SharedData, Option<u32>),
        refreshes: impl Iterator<Item = u128>,
        now_ms: u64,
    ) {
        if let Some(queue) = queue {
            let led = self.led().filter(|(_, ms)| ms.abs_diff(now_ms) > lease::RENEWED_MS);
            let led = led.map(|(hash, _)| hash);
            led.chain(refreshes).for_each(|hash| lease::renew(shared, hash, queue, now_ms));
        }
        let farthest_ms = now_ms.saturating_add(lease::FARTHEST_MS);
        self.expire((now_ms, farthest_ms), |hash| lease::held_until(shared, hash));
    }

    /// Whether a fetch that nobody waits for may begin: if no other worker has begun one.
    pub fn may_refresh(
        (shared, queue): (&impl SharedData, Option<u32>),
        hash: u128,
        now_ms: u64,
    ) -> bool {
        queue.is_none_or(|queue| {
            !matches!(lease::take(shared, hash, queue, false, now_ms), Lease::Theirs(_))
        })
    }
}
