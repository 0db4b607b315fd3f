//! What has ended is forgotten: streams, and filters.

use super::Module;
use super::stream::Stream;
use crate::config::Role;
use crate::host::Host;
use crate::observe::{Counter, L2Lookup};

impl<H: Host> Module<H> {
    /// Forgets contexts that have ended. Envoy would tell of each by a callback, which costs a hit more
    /// than anything else that can be left out; the few streams still known at a tick are asked for.
    /// `root` must be the context at hand.
    pub(super) fn sweep(&mut self, root: u32) {
        let queue = self.lease_queue();
        let host = &self.host;
        let ended = self.streams.extract_if(|id, _| host.set_context(*id).is_err());
        let ended: Vec<_> = ended.collect();
        let known = self.roots.len();
        let gone = self.roots.extract_if(|id, _| host.set_context(*id).is_err());
        let unsent = gone.map(|(_, root)| root.unsent()).sum();
        // The root lives: it is the one that was called.
        let _ = host.set_context(root);
        self.has_moved(queue);
        for (id, (of, stream)) in ended {
            self.forget(id, of, stream);
        }
        if self.roots.len() != known {
            self.leave_behind();
            // A probe may have gone with its client.
            self.probed_ms = None;
            self.skip_stores(unsent);
            self.leave_spaces();
            self.set_l1_budget();
        }
        self.settle(root);
    }

    /// A stream is gone before it came to its end.
    pub(super) fn forget(&mut self, context: u32, root: u32, stream: Stream) {
        let worker = &mut self.worker;
        match stream {
            Stream::Bypassed(_, Some(write)) => return self.written(root, *write),
            Stream::AwaitingL2(exchange) => {
                worker.counters.count(Counter::L2(L2Lookup::Abandoned));
                exchange.abandon(worker);
            }
            Stream::Forwarded(exchange, _) | Stream::Claiming(exchange) => exchange.abandon(worker),
            Stream::Following(exchange) => worker.flights.gone(exchange.follows(), context),
            Stream::Tunnelled
            | Stream::Bypassed(_, None)
            | Stream::Emptied
            | Stream::Retyped(_) => return,
        }
        self.post(root);
    }

    /// The filters of a VM share one L1: it is as large as the largest of them wants it.
    pub(super) fn set_l1_budget(&mut self) {
        let policies = self.roots.values().filter_map(|root| root.policy.as_ref());
        let budgets = policies
            .filter(|p| p.role == Role::Cache && p.l1_budget > 0)
            .fold((0, 0), |(a, b), p| (a.max(p.l1_budget), b.max(p.negative_budget)));
        self.worker.l1.set_budgets(budgets.0, budgets.1);
    }
}
