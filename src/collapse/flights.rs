//! Who waits for whom in a worker.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::closed_enum::closed_enum;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that wait for one fetch.
    pub per_key: usize,
    /// Requests that wait, in all.
    pub in_all: usize,
    /// The longest one waits, in ms.
    pub wait_ms: u64,
}

/// Which fetch a request leads: what it fetches, and a number that no other fetch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The hash of what is fetched.
    pub hash: u128,
    number: u64,
}

/// What a request does that nothing stored answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It asks the origin, for all.
    Leads(Ticket),
    /// It waits for who does.
    Follows,
    /// It asks the origin, for itself.
    Alone(Alone),
}

closed_enum! {
    /// Why a request asks the origin by itself although others ask for the same.
    pub enum Alone {
        /// Too many wait already.
        Limit => "limit",
        /// It has waited for long enough.
        Waited => "waited",
        /// The response was not to be shared.
        Unshared => "unshared",
        /// The origin failed.
        Failed => "failed",
    }
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// What it brought is stored, and answers who waits.
    Stored,
    /// What it brought is not to be shared.
    Unshared,
    /// The origin failed.
    Failed,
    /// It brought nothing: its client left, say.
    Lost,
}

/// What a request does that has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It looks for what is stored; if that does not answer it, it joins again.
    Look,
    /// It takes something stale, if it may; else it asks the origin.
    Failed,
    /// It asks the origin, for itself.
    Alone(Alone),
    /// It asks the origin, for all.
    Leads(Ticket),
}

/// The fetches under way, and who waits.
#[derive(Debug, Default)]
pub struct Flights {
    by_key: HashMap<u128, Flight>,
    /// Who may go on.
    due: VecDeque<(u32, Verdict)>,
    /// Who may go on, but not all at once: all of them ask the origin.
    held: VecDeque<(u32, Alone)>,
    /// Who waits in a flight.
    waiting: usize,
    next: u64,
    /// Fetches that ended here and nobody here goes on with, for other workers to hear of.
    ended: Vec<(u128, Ended)>,
    /// The time as of the last call that told it.
    now_ms: u64,
}

#[derive(Debug)]
struct Flight {
    /// The leader's number; none while another worker leads.
    leader: Option<u64>,
    /// When it began to lead.
    since_ms: u64,
    /// Until when others wait for it; if another worker leads, until when it does unless it says so again.
    until_ms: u64,
    /// How long a leader is waited for.
    wait_ms: u64,
    /// Contexts, with the time until which they wait; the first came first.
    followers: VecDeque<(u32, u64)>,
}

impl Flights {
    /// A request for `hash` cannot be answered. `may_lead` says whether what it would fetch could be shared;
    /// if not it waits for who leads, or asks alone.
    pub fn join(
        &mut self,
        hash: u128,
        context: u32,
        may_lead: bool,
        now_ms: u64,
        limits: Limits,
    ) -> Option<Joined> {
        self.now_ms = now_ms;
        let full = self.len() >= limits.in_all;
        let Some(flight) = self.by_key.get_mut(&hash) else {
            return may_lead.then(|| Joined::Leads(self.lead(hash, limits.wait_ms)));
        };
        if flight.leader.is_some() && flight.until_ms <= now_ms && may_lead {
            // Whoever leads takes too long: those who wait for it wait for this one as well.
            return Some(Joined::Leads(self.lead(hash, limits.wait_ms)));
        }
        if full || flight.followers.len() >= limits.per_key {
            return Some(Joined::Alone(Alone::Limit));
        }
        flight.followers.push_back((context, now_ms.saturating_add(limits.wait_ms)));
        self.waiting += 1;
        Some(Joined::Follows)
    }

    /// Somebody new leads the fetch of `hash` from here on.
    fn lead(&mut self, hash: u128, wait_ms: u64) -> Ticket {
        self.next += 1;
        let (number, since_ms) = (self.next, self.now_ms);
        let flight = self.by_key.entry(hash).or_insert_with(|| Flight {
            leader: None,
            since_ms,
            until_ms: 0,
            wait_ms,
            followers: VecDeque::new(),
        });
        flight.leader = Some(number);
        (flight.since_ms, flight.until_ms) = (since_ms, since_ms.saturating_add(wait_ms));
        Ticket { hash, number }
    }

    /// Another worker leads in the place of the one with this ticket, whose request waits for it.
    pub fn leave_to_others(&mut self, ticket: Ticket, context: u32, until_ms: u64) {
        if let Some(flight) = self.led_by(ticket) {
            let waits_until_ms = flight.since_ms.saturating_add(flight.wait_ms);
            (flight.leader, flight.until_ms) = (None, until_ms);
            // It came first.
            flight.followers.push_front((context, waits_until_ms));
            self.waiting += 1;
        }
    }

    /// Whether somebody waits for the fetch with this ticket.
    #[must_use]
    pub fn has_followers(&self, ticket: Ticket) -> bool {
        self.by_key.get(&ticket.hash).is_some_and(|flight| !flight.followers.is_empty())
    }

    /// What the request with this ticket leads is fetched on its behalf: it waits for it as others may.
    pub fn wait_for_own(&mut self, ticket: Ticket, context: u32) -> bool {
        let now_ms = self.now_ms;
        let Some(flight) = self.led_by(ticket) else { return false };
        flight.followers.push_front((context, now_ms.saturating_add(flight.wait_ms)));
        self.waiting += 1;
        true
    }

    /// Whether the fetch with this ticket leads.
    #[cfg(test)]
    pub(super) fn is_led_by(&self, ticket: Ticket) -> bool {
        self.by_key.get(&ticket.hash).is_some_and(|f| f.leader == Some(ticket.number))
    }

    fn led_by(&mut self, ticket: Ticket) -> Option<&mut Flight> {
        self.by_key.get_mut(&ticket.hash).filter(|flight| flight.leader == Some(ticket.number))
    }

    /// A fetch has ended.
    pub fn ended(&mut self, ticket: Ticket, how: Ended) {
        if self.led_by(ticket).is_some() {
            self.end(ticket.hash, how);
            if !self.by_key.contains_key(&ticket.hash) {
                self.ended.push((ticket.hash, how));
            }
        }
    }

    /// A fetch that another worker led has ended.
    pub fn ended_elsewhere(&mut self, hash: u128, how: Ended, now_ms: u64) {
        self.now_ms = now_ms;
        if self.by_key.get(&hash).is_some_and(|flight| flight.leader.is_none()) {
            self.end(hash, how);
        }
    }

    /// A fetch that nobody waited for has ended.
    pub fn refreshed(&mut self, hash: u128) {
        self.ended.push((hash, Ended::Stored));
    }

    /// Fetches that ended here since this was last asked, with nobody here to go on with them.
    pub fn take_ended(&mut self) -> Vec<(u128, Ended)> {
        let mut ended = std::mem::take(&mut self.ended);
        // Others wait for whoever leads by now.
        ended.retain(|(hash, _)| !self.by_key.contains_key(hash));
        ended
    }

    fn end(&mut self, hash: u128, how: Ended) {
        if how == Ended::Lost {
            return self.pass_on(hash);
        }
        let Some(flight) = self.by_key.remove(&hash) else { return };
        self.waiting -= flight.followers.len();
        for (context, _) in flight.followers {
            match how {
                Ended::Unshared => self.held.push_back((context, Alone::Unshared)),
                Ended::Failed => self.due.push_back((context, Verdict::Failed)),
                Ended::Stored | Ended::Lost => self.due.push_back((context, Verdict::Look)),
            }
        }
    }

    /// The next who waits leads.
    fn pass_on(&mut self, hash: u128) {
        let Some(flight) = self.by_key.get_mut(&hash) else { return };
        match (flight.followers.pop_front(), flight.wait_ms) {
            (None, _) => {
                self.by_key.remove(&hash);
            }
            (Some((context, _)), wait_ms) => {
                self.waiting -= 1;
                let ticket = self.lead(hash, wait_ms);
                self.due.push_back((context, Verdict::Leads(ticket)));
            }
        }
    }

    /// Of those who wait for what other workers lead the first tries to lead.
    pub(super) fn ask_anew(&mut self) {
        let led_elsewhere = self.by_key.iter().filter(|(_, flight)| flight.leader.is_none());
        let hashes: Vec<_> = led_elsewhere.map(|(hash, _)| *hash).collect();
        hashes.into_iter().for_each(|hash| self.pass_on(hash));
    }

    /// A request that waited for `hash` is gone.
    pub fn gone(&mut self, hash: u128, context: u32) {
        let Some(flight) = self.by_key.get_mut(&hash) else { return };
        let before = flight.followers.len();
        flight.followers.retain(|(follower, _)| *follower != context);
        self.waiting -= before - flight.followers.len();
        if flight.leader.is_none() && flight.followers.is_empty() {
            self.by_key.remove(&hash);
        }
    }

    /// Time passes: who has waited for long enough waits no more, and what another worker led for too long
    /// is led here; `renewed` gives until when it still does. That is not beyond `farthest_ms` unless the clock was
    /// set back.
    pub fn expire(
        &mut self,
        (now_ms, farthest_ms): (u64, u64),
        renewed: impl Fn(u128) -> Option<u64>,
    ) {
        self.now_ms = now_ms;
        let holds = |until_ms: u64| until_ms > now_ms && until_ms <= farthest_ms;
        let mut lost = Vec::new();
        let (held, waiting) = (&mut self.held, &mut self.waiting);
        self.by_key.retain(|hash, flight| {
            // Not the first alone: one that led for a while waits for longer than those behind it.
            flight.followers.retain(|(context, until_ms)| {
                let waits = *until_ms > now_ms;
                if !waits {
                    *waiting -= 1;
                    held.push_back((*context, Alone::Waited));
                }
                waits
            });
            if flight.leader.is_none() && !holds(flight.until_ms) {
                match renewed(*hash).filter(|until_ms| holds(*until_ms)) {
                    Some(until_ms) => flight.until_ms = until_ms,
                    None => lost.push(*hash),
                }
            }
            // What nobody waits for any more is led anew by whoever comes next.
            flight.until_ms > now_ms || !flight.followers.is_empty()
        });
        lost.into_iter().for_each(|hash| self.pass_on(hash));
    }

    /// The next who may go on, and what it does.
    pub fn next_due(&mut self) -> Option<(u32, Verdict)> {
        self.due.pop_front()
    }

    /// The next of those who ask the origin for themselves. Not to be called too often.
    pub fn next_held(&mut self) -> Option<(u32, Verdict)> {
        self.held.pop_front().map(|(context, why)| (context, Verdict::Alone(why)))
    }

    /// A request that may go on asks the origin for itself, with others like it.
    pub fn hold(&mut self, context: u32, why: Alone) {
        self.held.push_back((context, why));
    }

    /// Whether somebody may go on, or other workers must hear of something.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.has_due() || !self.ended.is_empty()
    }

    /// Whether somebody may go on.
    #[must_use]
    pub fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Fetches that this worker leads, and when each began.
    pub fn led(&self) -> impl Iterator<Item = (u128, u64)> {
        let led = self.by_key.iter().filter(|(_, flight)| flight.leader.is_some());
        led.map(|(hash, flight)| (*hash, flight.since_ms))
    }

    /// Requests that wait, for a fetch or for their turn.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting + self.due.len() + self.held.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn nobody_waits_behind_one_that_may_wait_longer() {
        let (mut flights, limits) =
            (Flights::default(), Limits { per_key: 9, in_all: 9, wait_ms: 1_000 });
        let Some(Joined::Leads(first)) = flights.join(7, 1, true, 0, limits) else {
            panic!("nobody leads")
        };
        for context in [2, 3] {
            assert_eq!(flights.join(7, context, true, 0, limits), Some(Joined::Follows));
        }
        // The second leads later, and finds that another worker does.
        flights.expire((900, 9_000), |_| None);
        flights.ended(first, Ended::Lost);
        let Some((2, Verdict::Leads(ticket))) = flights.next_due() else { panic!("nobody leads") };
        flights.leave_to_others(ticket, 2, 5_000);
        flights.expire((1_000, 9_000), |_| None);
        assert_eq!(flights.next_held(), Some((3, Verdict::Alone(Alone::Waited))));
        assert_eq!((flights.next_held(), flights.len()), (None, 1));
    }
}
