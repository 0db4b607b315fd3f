//! Fetches that no client waits for: a stale response was served, and is fetched again meanwhile.

use std::rc::Rc;

use super::Module;
use crate::engine::{Exchange, Found};
use crate::host::{Buffer, FieldMap, Host};
use crate::http::fields::Fields;
use crate::observe::Histogram;

impl<H: Host> Module<H> {
    /// Starts to fetch again what was just served.
    pub(super) fn refresh(&mut self, root: u32, mut exchange: Box<Exchange>, found: &Found) {
        let (policy, now_ms) = (Rc::clone(exchange.policy()), found.now_ms);
        let Some(origin) = &policy.origin else { return };
        exchange.goes_to(Some(origin.cluster.as_bytes()), &mut self.worker);
        let hash = found.entry.key().hash();
        if !exchange.probes() && !self.may_refresh(hash, now_ms) {
            return;
        }
        let head = exchange.refresh(&found.entry, now_ms, &mut self.worker);
        let Some(head) = head else { return };
        if let Ok(token) = self.host.call(&origin.cluster, &head, b"", origin.timeout_ms) {
            self.refreshes.insert(token, (root, exchange));
        } else {
            // No healthy host, say: the next request tries again.
            exchange.unanswered(now_ms, &mut self.worker);
        }
    }

    /// Such a fetch has ended; without a head it was reset.
    pub(super) fn refreshed(
        &mut self,
        root: u32,
        mut exchange: Box<Exchange>,
        has_head: bool,
        body_len: usize,
    ) {
        let block = has_head.then(|| self.host.fields(FieldMap::Call).ok()).flatten();
        let now_ms = self.host.now_ms();
        let Some(block) = block else { return exchange.unanswered(now_ms, &mut self.worker) };
        exchange.refreshed(&mut self.worker);
        self.refresh_generations();
        let (fields, ended) = (Fields::new(&block), body_len == 0);
        exchange.respond(fields, ended, now_ms, &mut self.worker, &mut Vec::new());
        if body_len > 0 && exchange.wants_chunk(body_len, &mut self.worker) {
            let body = self.host.buffer(Buffer::CallBody, body_len).ok();
            exchange.chunk(body.filter(|body| body.len() == body_len), &mut self.worker);
        }
        if let Some(len) = exchange.finish(&mut self.worker) {
            self.record(Histogram::EntryBytes, len);
        }
        self.post(root);
    }

    /// Gives up fetches whose answer never came, for their filter is gone.
    pub(super) fn expire_refreshes(&mut self, now_ms: u64) {
        let worker = &mut self.worker;
        let late = self.refreshes.extract_if(|_, (_, exchange)| exchange.is_overdue(now_ms));
        late.for_each(|(_, (_, exchange))| exchange.unanswered(now_ms, worker));
    }
}
