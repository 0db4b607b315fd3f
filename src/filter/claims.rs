//! Requests, and refreshes, that ask Redis first who of the fleet fetches.

use super::Module;
use super::root::Root;
use super::stream::Stream;
use crate::engine::{Exchange, FromL2};
use crate::host::{Action, Host};
use crate::l2::{Claim, Claimant, Holder, L2Error};
use crate::observe::{Collapse, Counter};

/// How long after the end of its wait a claim may be answered still.
const GRACE_MS: u64 = 5_000;

/// Who waits for Redis, or for another instance.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) root: u32,
    /// Until when: then it fetches itself.
    until_ms: u64,
    /// Whether Redis is being asked.
    asking: bool,
    /// What is to be fetched again, if no client waits for it.
    pub(super) refresh: Option<Box<Exchange>>,
}

impl<H: Host> Module<H> {
    /// The request at hand is to be fetched: unless another instance does so.
    pub(super) fn claim(
        &mut self,
        (context, root): (u32, u32),
        mut exchange: Box<Exchange>,
        now_ms: u64,
    ) -> Result<Box<Exchange>, Action> {
        let claimant = Claimant::Stream(context);
        if !exchange.claims() || !self.ask_fleet(root, claimant, &mut exchange) {
            return Ok(exchange);
        }
        let until_ms = now_ms.saturating_add(exchange.policy().waiting.wait_ms);
        let waiting = Waiting { root, until_ms, asking: true, refresh: None };
        self.claims.insert(claimant, waiting);
        self.streams.insert(context, (root, Stream::Claiming(exchange)));
        Err(Action::Pause)
    }

    /// As [`Self::claim`], for what is to be fetched again.
    pub(super) fn claim_refresh(
        &mut self,
        root: u32,
        hash: u128,
        mut exchange: Box<Exchange>,
        now_ms: u64,
    ) -> Option<Box<Exchange>> {
        let claimant = Claimant::Refresh(hash);
        if self.claims.contains_key(&claimant) {
            // From before the origin failed and was well again: that one will do.
            exchange.abandon(&mut self.worker);
            return None;
        }
        if !exchange.claims() || !self.ask_fleet(root, claimant, &mut exchange) {
            return Some(exchange);
        }
        let until_ms = now_ms.saturating_add(exchange.policy().waiting.wait_ms);
        let waiting = Waiting { root, until_ms, asking: true, refresh: Some(exchange) };
        self.claims.insert(claimant, waiting);
        None
    }

    fn ask_fleet(&mut self, root: u32, claimant: Claimant, exchange: &mut Exchange) -> bool {
        if !self.hears_of_fleet(root) {
            return false;
        }
        let Some(claim) = exchange.claim(claimant, &mut self.worker) else { return false };
        self.roots.get_mut(&root).is_some_and(|root| root.claim(&self.host, claim))
    }

    /// Whether what other instances store could be read, and trusted, which it cannot be without the table.
    fn hears_of_fleet(&self, root: u32) -> bool {
        let root = self.roots.get(&root).filter(|root| root.reads_l2());
        root.and_then(Root::scope).is_some_and(|scope| self.worker.generations.knows(scope))
    }

    /// Redis has answered a claim: who fetches, and what it had `found` by then, in a table that was
    /// asked about at this epoch.
    pub(super) fn claimed(
        &mut self,
        claim: &Claim,
        (holder, found): (Holder, Option<&[u8]>),
        (epoch, now_ms): (u64, u64),
    ) {
        let Some(mut waiting) = self.claims.remove(&claim.claimant) else { return };
        waiting.asking = false;
        let ours = holder == Holder::Token(claim.token);
        let exchange = self.take_claiming(claim.claimant, &mut waiting);
        let root = self.roots.get_mut(&waiting.root);
        let scope = root.as_ref().and_then(|root| root.scope());
        let root = root.filter(|_| ours);
        let Some(mut exchange) = exchange else {
            if let Some(root) = root {
                root.give_back(&self.host, (claim.lease, claim.token), false);
            }
            return;
        };
        if let Some(root) = root {
            exchange.holds(claim);
            root.hold(claim, now_ms, exchange.policy().waiting.wait_ms);
        }
        let of = (scope.unwrap_or(0), epoch);
        match found.map(|bytes| exchange.found_in_l2(bytes, of, now_ms, &mut self.worker)) {
            Some(FromL2::Serve(found)) if exchange.takes(&found) => {
                exchange.found_after_all(&mut self.worker);
                exchange.answered(&mut self.worker);
                self.post(waiting.root);
                if let Claimant::Stream(context) = claim.claimant {
                    let action = self.serve((context, waiting.root), exchange, &found);
                    self.resume_if(action);
                }
            }
            // One of several variants: that is looked for first.
            Some(FromL2::AskAgain) if ours => {
                exchange.looks_elsewhere(&mut self.worker);
                self.post(waiting.root);
                self.wait_for_fleet(claim.claimant, waiting, exchange);
            }
            _ if ours || !exchange.waits_for_fleet(holder, &mut self.worker) => {
                self.fetch_claimed(claim.claimant, waiting.root, exchange, now_ms);
            }
            _ => self.wait_for_fleet(claim.claimant, waiting, exchange),
        }
    }

    /// Redis gave no answer to a claim: whoever asked fetches itself.
    pub(super) fn not_claimed(&mut self, claim: &Claim, error: L2Error, now_ms: u64) {
        self.worker.counters.count(Counter::L2Error(error));
        self.go_without_fleet(claim.claimant, now_ms);
    }

    /// Time passes: asks anew for those whose turn it may be. `root` must be the context at hand.
    pub(super) fn claim_again(&mut self, root: u32, now_ms: u64) {
        let mine =
            self.claims.iter().filter(|(_, waiting)| waiting.root == root && !waiting.asking);
        let mine: Vec<_> = mine.map(|(claimant, waiting)| (*claimant, waiting.until_ms)).collect();
        let hears = self.hears_of_fleet(root);
        for (claimant, until_ms) in mine {
            if !hears {
                self.go_without_fleet(claimant, now_ms);
                continue;
            }
            if until_ms <= now_ms {
                self.worker.counters.count(Counter::Collapse(Collapse::Waited));
                self.go_without_fleet(claimant, now_ms);
                continue;
            }
            let Some(mut waiting) = self.claims.remove(&claimant) else { continue };
            let Some(mut exchange) = self.take_claiming(claimant, &mut waiting) else { continue };
            // If there is no room it is asked at the next tick.
            let asking = self.ask_fleet(root, claimant, &mut exchange);
            self.wait_for_fleet(claimant, Waiting { asking, ..waiting }, exchange);
        }
        if let Some(r) = self.roots.get_mut(&root) {
            r.renew(now_ms);
        }
        // The root lives: it is the one that was called.
        let _ = self.host.set_context(root);
    }

    /// Those whose answer never came go without, and what nobody waits for is left.
    pub(super) fn expire_claims(&mut self, now_ms: u64) {
        let late = self.claims.iter().filter(|(_, waiting)| waiting.until_ms + GRACE_MS < now_ms);
        let late: Vec<_> = late.map(|(claimant, _)| *claimant).collect();
        for claimant in late {
            match claimant {
                Claimant::Stream(_) => self.go_without_fleet(claimant, now_ms),
                Claimant::Refresh(_) => {
                    let exchange = self.claims.remove(&claimant).and_then(|late| late.refresh);
                    if let Some(exchange) = exchange {
                        exchange.answered(&mut self.worker);
                        exchange.abandon(&mut self.worker);
                    }
                }
            }
        }
    }

    fn go_without_fleet(&mut self, claimant: Claimant, now_ms: u64) {
        let Some(mut waiting) = self.claims.remove(&claimant) else { return };
        if let Some(exchange) = self.take_claiming(claimant, &mut waiting) {
            self.fetch_claimed(claimant, waiting.root, exchange, now_ms);
        }
    }

    /// Who waits, whose context is then the one at hand; none if it is gone.
    fn take_claiming(
        &mut self,
        claimant: Claimant,
        waiting: &mut Waiting,
    ) -> Option<Box<Exchange>> {
        let Claimant::Stream(context) = claimant else { return waiting.refresh.take() };
        let (_, Stream::Claiming(exchange)) = self.streams.remove(&context)? else { return None };
        if !self.takes_in_hand(context) {
            exchange.abandon(&mut self.worker);
            self.settle(waiting.root);
            return None;
        }
        Some(exchange)
    }

    fn wait_for_fleet(
        &mut self,
        claimant: Claimant,
        mut waiting: Waiting,
        exchange: Box<Exchange>,
    ) {
        match claimant {
            Claimant::Stream(context) => {
                self.streams.insert(context, (waiting.root, Stream::Claiming(exchange)));
            }
            Claimant::Refresh(_) => waiting.refresh = Some(exchange),
        }
        self.claims.insert(claimant, waiting);
    }

    fn fetch_claimed(
        &mut self,
        claimant: Claimant,
        root: u32,
        exchange: Box<Exchange>,
        now_ms: u64,
    ) {
        match claimant {
            Claimant::Stream(context) => {
                let action = self.fetch((context, root), exchange, now_ms);
                self.resume_if(action);
            }
            Claimant::Refresh(_) => self.refresh_now(root, exchange, now_ms),
        }
    }
}
