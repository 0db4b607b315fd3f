//! Fetches that the cache makes itself: of what is served stale meanwhile, and on behalf of clients who may
//! leave.

use std::rc::Rc;

use super::Module;
use super::stream::Stream;
use crate::engine::{Exchange, Found};
use crate::host::{Action, Buffer, FieldMap, Host};
use crate::http::fields::Fields;
use crate::observe::Histogram;

impl<H: Host> Module<H> {
    /// Starts to fetch again what was just served.
    pub(super) fn refresh(&mut self, root: u32, mut exchange: Box<Exchange>, found: &Found) {
        let (policy, now_ms) = (Rc::clone(exchange.policy()), found.now_ms);
        let Some(origin) = &policy.origin else { return };
        exchange.goes_behind(origin.cluster.as_bytes(), &mut self.worker);
        let hash = found.entry.key().hash();
        if !exchange.refresh(&found.entry, now_ms, &mut self.worker) {
            return;
        }
        if !exchange.probes() && !self.may_refresh(hash, now_ms) {
            return exchange.is_refreshed_elsewhere(&mut self.worker);
        }
        if let Some(exchange) = self.claim_refresh(root, hash, exchange, now_ms) {
            self.refresh_now(root, exchange, now_ms);
        }
    }

    /// Fetches again what nobody else does.
    pub(super) fn refresh_now(&mut self, root: u32, mut exchange: Box<Exchange>, now_ms: u64) {
        let head = exchange.ask_behind(now_ms, &self.worker);
        if let Err(exchange) = self.fetch_behind(root, exchange, &head) {
            // No healthy host, say: the next request tries again.
            exchange.unanswered(now_ms, &mut self.worker);
            self.post(root);
        }
    }

    /// Fetches on behalf of the request at hand, which waits for it.
    pub(super) fn detach(
        &mut self,
        (context, root): (u32, u32),
        mut exchange: Box<Exchange>,
        now_ms: u64,
    ) -> Action {
        if !exchange.waits_for_itself(context, &mut self.worker) {
            return self.send_on((context, root), exchange, now_ms);
        }
        let (fetch, head) = exchange.detach(now_ms, &self.worker);
        match self.fetch_behind(root, fetch, &head) {
            Ok(()) => {
                self.streams.insert(context, (root, Stream::Following(exchange)));
                Action::Pause
            }
            Err(mut fetch) => {
                self.worker.flights.gone(exchange.follows(), context);
                exchange.attach(&mut fetch);
                self.send_on((context, root), exchange, now_ms)
            }
        }
    }

    /// Sends a request of the cache's own to the origin. Gives back what cannot be sent.
    fn fetch_behind(
        &mut self,
        root: u32,
        exchange: Box<Exchange>,
        head: &[u8],
    ) -> Result<(), Box<Exchange>> {
        let policy = Rc::clone(exchange.policy());
        let token = policy
            .origin
            .as_ref()
            .and_then(|origin| self.host.call(&origin.cluster, head, b"", origin.timeout_ms).ok());
        let Some(token) = token else { return Err(exchange) };
        self.behind.insert(token, (root, exchange));
        Ok(())
    }

    /// Such a fetch has ended; without a head it was reset.
    pub(super) fn fetched_behind(
        &mut self,
        root: u32,
        mut exchange: Box<Exchange>,
        has_head: bool,
        body_len: usize,
    ) {
        let block = has_head.then(|| self.host.fields(FieldMap::Call).ok()).flatten();
        let now_ms = self.host.now_ms();
        let Some(block) = block else {
            exchange.unanswered(now_ms, &mut self.worker);
            return self.post(root);
        };
        exchange.answered(&mut self.worker);
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
    pub(super) fn expire_behind(&mut self, now_ms: u64) {
        let late = self.behind.extract_if(|_, (_, exchange)| exchange.is_overdue(now_ms));
        let late: Vec<_> = late.map(|(_, late)| late).collect();
        for (root, exchange) in late {
            exchange.unanswered(now_ms, &mut self.worker);
            self.post(root);
        }
    }
}
