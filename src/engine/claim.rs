//! Fetches that one instance makes for the whole fleet, where the route says so.

use super::behind::Behind;
use super::collapse::MOST_WAITS;
use super::exchange::Exchange;
use super::found::Found;
use super::{Worker, Write};
use crate::entry::Entry;
use crate::l2::{Claim, Claimant, Holder};
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

    /// It asks no more who fetches.
    pub(super) const fn goes_without_lease(&mut self) {
        self.lease = Lease::Asked;
    }

    /// It is the one who fetches.
    pub const fn holds(&mut self, claim: &Claim) {
        self.lease = Lease::Held(claim.lease, claim.token);
    }

    /// Another instance fetches, and it waits for that; false if it need not: what is fetched is not for others, or
    /// it has waited for some already that brought nothing for it.
    pub fn waits_for_fleet(&mut self, holder: Holder, worker: &mut Worker) -> bool {
        let Holder::Token(holder) = holder else { return holder == Holder::Nobody };
        if self.holder != holder {
            if self.waits >= MOST_WAITS {
                return false;
            }
            self.holder = holder;
            self.waits += 1;
            if self.behind.is_none() {
                worker.counters.count(Counter::Collapse(Collapse::Followed));
            }
        }
        true
    }

    /// It has fetched nothing, but looks for something else first.
    pub fn looks_elsewhere(&mut self, worker: &mut Worker) {
        self.give_back(false, worker);
    }

    /// Whether what L2 has by now answers it: what is to be fetched again only if it is newer.
    #[must_use]
    pub fn takes(&self, found: &Found) -> bool {
        let received = |entry: &Entry| entry.meta().stored_ms;
        self.behind.is_none()
            || self.stored.as_deref().map(|stored| received(stored)) < Some(received(&found.entry))
    }

    /// Gives its lease back, if it has one, after everything that it has stored; or closes it, for what it fetched
    /// is not for others.
    pub(super) fn give_back(&mut self, close: bool, worker: &mut Worker) {
        if let Lease::Held(lease, token) = self.lease {
            self.lease = Lease::Asked;
            worker.outbox.push(Write::GiveBack(lease, token, close));
        }
    }
}
