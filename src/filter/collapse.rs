//! Requests that wait for what others are fetching: they are answered, or go on, from callbacks of a root only.

use std::rc::Rc;

use super::Module;
use super::root::Root;
use super::shared::Shared;
use super::stream::Stream;
use crate::collapse::{Alone, Ended, Flights, Joined, Ticket, Verdict};
use crate::engine::Exchange;
use crate::host::{Action, Host};

/// Requests that are answered in one callback: then others have their turn.
const MOST_AT_ONCE: usize = 128;
/// Requests that ask the origin for themselves after they have waited, at each tick.
const HELD_A_TICK: usize = 64;

impl<H: Host> Module<H> {
    /// The queue by which this worker is known to the others, if there are any.
    pub(super) fn lease_queue(&self) -> Option<u32> {
        if self.worker.is_alone {
            return None;
        }
        let caches = self.roots.iter().filter(|(_, root)| root.queue().is_some());
        caches.min_by_key(|(id, _)| **id)?.1.queue()
    }

    /// The filter whose queue it was may be gone.
    pub(super) fn has_moved(&mut self, from: Option<u32>) {
        if let (Some(from), Some(to)) = (from, self.lease_queue())
            && from != to
        {
            let refreshes: Vec<_> = self.worker.refreshing().collect();
            let shared = Shared::new(&self.host, self.bell);
            self.worker.flights.moves(&shared, (from, to), refreshes.into_iter());
        }
    }

    /// The request at hand goes to the origin, unless another one does for it: then what to do with it.
    pub(super) fn join(
        &mut self,
        (context, root): (u32, u32),
        mut exchange: Box<Exchange>,
        now_ms: u64,
    ) -> Result<Box<Exchange>, Action> {
        let Some((hash, may_lead)) = exchange.shares(&self.worker, now_ms) else {
            return Ok(exchange);
        };
        let queue = self.lease_queue();
        let shared = Shared::new(&self.host, self.bell);
        let (place, limits) = ((&shared, queue), exchange.policy().waiting);
        let flights = &mut self.worker.flights;
        let Some(joined) = flights.enter(place, (hash, context), may_lead, now_ms, limits) else {
            return Ok(exchange);
        };
        exchange.joined(hash, joined, &mut self.worker);
        self.take_place((context, root), exchange, joined, now_ms)
    }

    /// The request at hand waits, or goes to the origin.
    fn take_place(
        &mut self,
        (context, root): (u32, u32),
        exchange: Box<Exchange>,
        joined: Joined,
        now_ms: u64,
    ) -> Result<Box<Exchange>, Action> {
        match joined {
            Joined::Follows => {
                self.streams.insert(context, (root, Stream::Following(exchange)));
                Err(Action::Pause)
            }
            // Another worker may have stored it between our look and our lease.
            Joined::Leads(_) if self.lease_queue().is_some() => {
                self.look_again((context, root), exchange, now_ms, true)
            }
            Joined::Leads(_) | Joined::Alone(_) => Ok(exchange),
        }
    }

    /// Answers the request at hand with what is stored by now.
    fn look_again(
        &mut self,
        stream: (u32, u32),
        mut exchange: Box<Exchange>,
        now_ms: u64,
        leads: bool,
    ) -> Result<Box<Exchange>, Action> {
        self.refresh_generations();
        let shared = Shared::new(&self.host, self.bell);
        let (policy, alone) = (Rc::clone(exchange.policy()), self.worker.is_alone);
        let look = |hash| policy.tier.as_ref()?.get(&shared, hash, alone, || now_ms);
        let Some(found) = exchange.look_again(now_ms, look, &mut self.worker) else {
            return Ok(exchange);
        };
        if leads {
            exchange.found_after_all(&mut self.worker);
            self.settle(stream.1);
        }
        Err(self.serve(stream, exchange, &found))
    }

    /// Whether something may be fetched that nobody waits for.
    pub(super) fn may_refresh(&self, hash: u128, now_ms: u64) -> bool {
        let shared = Shared::new(&self.host, self.bell);
        Flights::may_refresh((&shared, self.lease_queue()), hash, now_ms)
    }

    /// Tells other workers of the fetches that ended, and ours that some may go on.
    pub(super) fn settle(&mut self, root: u32) {
        if !self.worker.flights.has_news() {
            return;
        }
        let queue = self.lease_queue();
        let Self { host, worker, roots, bell, .. } = self;
        worker.flights.tell((&Shared::new(host, *bell), queue), |other, message| {
            // A worker that is gone needs not be told, and one that is not sees it by the lease.
            let _ = host.enqueue(other, message);
        });
        if worker.flights.has_due()
            && let Some(root) = roots.get_mut(&root)
        {
            root.wake(host);
        }
    }

    /// Other workers say how their fetches ended.
    pub(super) fn hear(&mut self, root: u32, messages: &[Vec<u8>]) {
        let now_ms = self.host.now_ms();
        messages.iter().for_each(|message| self.worker.flights.hear(message, now_ms));
        self.let_go_on(root, 0, now_ms);
    }

    /// Time passes for those who wait.
    pub(super) fn wait_no_longer(&mut self, root: u32, now_ms: u64) {
        if self.roots.get(&root).and_then(Root::queue).is_none() {
            return;
        }
        let shared = Shared::new(&self.host, self.bell);
        self.peers.tick(&shared, self.nonce | 1, now_ms);
        self.worker.is_alone = !self.peers.are_there(now_ms);
        let queue = self.lease_queue();
        let refreshes: Vec<_> = self.worker.refreshing().collect();
        self.worker.flights.tick((&shared, queue), refreshes.into_iter(), now_ms);
        self.let_go_on(root, HELD_A_TICK, now_ms);
    }

    /// Lets requests go on that need not wait any more. `root` must be the context at hand.
    fn let_go_on(&mut self, root: u32, held: usize, now_ms: u64) {
        let mut held = held;
        for _ in 0..MOST_AT_ONCE {
            let flights = &mut self.worker.flights;
            let next = flights.next_due().or_else(|| {
                held = held.checked_sub(1)?;
                flights.next_held()
            });
            let Some((context, verdict)) = next else { break };
            self.go_on(context, verdict, now_ms);
        }
        if !self.worker.flights.has_due() {
            self.worker.all_have_looked();
        }
        self.settle(root);
        // The root lives: it is the one that was called.
        let _ = self.host.set_context(root);
    }

    fn go_on(&mut self, context: u32, verdict: Verdict, now_ms: u64) {
        let known = self.streams.remove(&context);
        let Some((root, Stream::Following(mut exchange))) = known else {
            self.streams.extend(known.map(|stream| (context, stream)));
            if let Verdict::Leads(ticket) = verdict {
                self.worker.flights.ended(ticket, Ended::Lost);
            }
            return;
        };
        let verdict = match verdict {
            // What it fetches is for nobody else.
            Verdict::Leads(ticket) if !exchange.may_lead() => {
                self.worker.flights.ended(ticket, Ended::Lost);
                Verdict::Alone(Alone::Unshared)
            }
            verdict => verdict,
        };
        if let Verdict::Leads(ticket) = verdict {
            exchange.takes_over(ticket, &mut self.worker);
        }
        if !self.takes_in_hand(context) {
            return exchange.abandon(&mut self.worker);
        }
        let stream = (context, root);
        let next = match verdict {
            Verdict::Look => match self.look_again(stream, exchange, now_ms, false) {
                Ok(exchange) => Err(self.forward(stream, exchange)),
                answered => answered,
            },
            Verdict::Failed => {
                let Some(found) = exchange.stale_for_error(now_ms, &mut self.worker) else {
                    self.worker.flights.hold(context, Alone::Failed);
                    self.streams.insert(context, (root, Stream::Following(exchange)));
                    return;
                };
                Err(self.serve(stream, exchange, &found))
            }
            Verdict::Alone(why) => {
                exchange.goes_alone(why, &mut self.worker);
                Ok(exchange)
            }
            Verdict::Leads(ticket) => self.lead(stream, exchange, ticket, now_ms),
        };
        let action = match next {
            Ok(exchange) => self.fetch(stream, exchange, now_ms),
            Err(action) => action,
        };
        self.resume_if(action);
    }

    /// The request at hand leads, unless another worker does by now.
    fn lead(
        &mut self,
        stream: (u32, u32),
        mut exchange: Box<Exchange>,
        ticket: Ticket,
        now_ms: u64,
    ) -> Result<Box<Exchange>, Action> {
        let Some(queue) = self.lease_queue() else { return Ok(exchange) };
        let shared = Shared::new(&self.host, self.bell);
        let (place, limits) = ((&shared, queue), exchange.policy().waiting);
        let flights = &mut self.worker.flights;
        let joined = flights.go_first(place, (ticket, stream.0), now_ms, limits);
        exchange.joined(ticket.hash, joined, &mut self.worker);
        self.take_place(stream, exchange, joined, now_ms)
    }
}
