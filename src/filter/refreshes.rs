//! Fetches that no client waits for: a stale response was served, and is fetched again meanwhile.

use super::Module;
use crate::engine::{Exchange, Found};
use crate::host::{Buffer, FieldMap, Host};
use crate::http::fields::Fields;
use crate::observe::Histogram;

impl<H: Host> Module<H> {
    /// Starts to fetch again what was just served.
    pub(super) fn refresh(&mut self, root: u32, mut exchange: Box<Exchange>, found: &Found) {
        let hash = found.entry.key().hash();
        if !self.may_refresh(hash, found.now_ms) {
            return;
        }
        let head = exchange.refresh(&found.entry, found.now_ms, &mut self.worker);
        let (Some(head), Some(origin)) = (head, exchange.policy().origin.as_ref()) else { return };
        match self.host.call(&origin.cluster, &head, b"", origin.timeout_ms) {
            Ok(token) => {
                self.refreshes.insert(token, (root, exchange));
            }
            // No healthy host, say: the next request tries again.
            Err(_) => exchange.refreshed(&mut self.worker),
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
        exchange.refreshed(&mut self.worker);
        let block = has_head.then(|| self.host.fields(FieldMap::Call).ok()).flatten();
        let Some(block) = block else { return exchange.abandon(&mut self.worker) };
        let now_ms = self.host.now_ms();
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
        late.for_each(|(_, (_, exchange))| exchange.refreshed(worker));
    }
}
