//! Fetches that one instance makes for the whole fleet, where the route says so.

use super::behind::Behind;
use super::exchange::Exchange;
use super::{FromL2, Worker, Write};
use crate::l2::{Claim, Claimant};
use crate::observe::{Collapse, Counter};

/// What an exchange has to do with a lease in Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lease {
    /// It has not asked for one.
    #[default]
    None,
    /// It has, or goes without.
    Asked,
    /// This one is its own: its hash and token.
    Held(u128, u64),
}

impl Exchange {
    /// Whether it must ask who fetches, before it does.
    #[must_use]
    pub fn claims(&self) -> bool {
        self.lease == Lease::None && self.rule.fleet && !self.probes && self.leased().is_some()
    }

    /// The hash of what it would fetch for others.
    fn leased(&self) -> Option<u128> {
        match (self.leads, self.behind) {
            (Some(ticket), _) => Some(ticket.hash),
            (None, Some(Behind::Refresh(hash))) => Some(hash),
            (None, _) => None,
        }
    }

    /// What to ask.
    pub fn claim(&mut self, claimant: Claimant, worker: &mut Worker) -> Option<Claim> {
        self.lease = Lease::Asked;
        let token = worker.random.u64(..);
        Some(Claim { claimant, lease: self.leased()?, token, entry: self.hash() })
    }

    /// It is the one who fetches.
    pub const fn holds(&mut self, claim: &Claim) {
        self.lease = Lease::Held(claim.lease, claim.token);
    }

    /// Another instance fetches, and it waits for that.
    pub fn waits_for_fleet(&mut self, worker: &mut Worker) {
        if self.behind.is_none() && self.waits == 0 {
            self.waits = 1;
            worker.counters.count(Counter::Collapse(Collapse::Followed));
        }
    }

    /// What L2 has by now that is newer than what is to be fetched again.
    pub fn refreshed_in_l2(
        &mut self,
        bytes: &[u8],
        of: (u64, u64),
        now_ms: u64,
        worker: &mut Worker,
    ) -> bool {
        let known = self.stored.as_ref().map(|stored| stored.meta().stored_ms);
        match self.found_in_l2(bytes, of, now_ms, worker) {
            FromL2::Serve(found) => known < Some(found.entry.meta().stored_ms),
            FromL2::AskAgain | FromL2::Forward => false,
        }
    }

    /// Gives its lease back, if it has one, after everything that it has stored.
    pub(super) fn give_back(&mut self, worker: &mut Worker) {
        if let Lease::Held(lease, token) = self.lease {
            self.lease = Lease::Asked;
            worker.outbox.push(Write::GiveBack(lease, token));
        }
    }
}
