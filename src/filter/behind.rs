//! Fetches that the cache makes itself: of what is served stale meanwhile, and on behalf of clients who may
//! leave.

use std::rc::Rc;

use super::Module;
use super::stream::Stream;
use crate::engine::{Exchange, Found, Outcome, Respond};
use crate::host::{Action, Buffer, FieldMap, Host};
use crate::http::fields::Fields;
use crate::observe::{Counter, Histogram};

/// A fetch under way.
#[derive(Debug)]
pub(super) struct Fetching {
    root: u32,
    /// The client on whose behalf it is made.
    client: Option<u32>,
    exchange: Box<Exchange>,
}

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
        if let Err(exchange) = self.fetch_behind(Fetching { root, client: None, exchange }, &head) {
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
        match self.fetch_behind(Fetching { root, client: Some(context), exchange: fetch }, &head) {
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
    fn fetch_behind(&mut self, fetching: Fetching, head: &[u8]) -> Result<(), Box<Exchange>> {
        let policy = Rc::clone(fetching.exchange.policy());
        let token = policy
            .origin
            .as_ref()
            .and_then(|origin| self.host.call(&origin.cluster, head, b"", origin.timeout_ms).ok());
        let Some(token) = token else { return Err(fetching.exchange) };
        self.behind.insert(token, fetching);
        Ok(())
    }

    /// Such a fetch has ended; without a head it was reset.
    pub(super) fn fetched_behind(
        &mut self,
        Fetching { root, client, mut exchange }: Fetching,
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
        let status = self.reply.begin_status();
        let respond = exchange.respond(fields, ended, now_ms, &mut self.worker, status);
        // What is stored is found by all who wait; what is not is for its own client.
        let client = client.filter(|_| !exchange.wants_body());
        let is_wanted = client.is_some() || exchange.wants_chunk(body_len, &mut self.worker);
        // It belongs to this context alone.
        let body = (is_wanted && !ended)
            .then(|| self.host.buffer(Buffer::CallBody, body_len).ok())
            .flatten()
            .filter(|body| body.len() == body_len);
        if let Some((context, own)) = client.and_then(|context| self.take_detached(context)) {
            let sent = match respond {
                Respond::Serve(entry, outcome) => {
                    self.worker.counters.count(Counter::Request(outcome));
                    self.reply.answer(&self.host, &own, &entry, outcome, now_ms)
                }
                Respond::Pass | Respond::NotModified => {
                    self.worker.counters.count(Counter::Request(Outcome::Miss));
                    let body = body.as_deref().unwrap_or_default();
                    self.reply.pass(&self.host, &own, fields, body)
                }
            };
            match sent {
                Ok(next) => self.streams.extend(next.map(|stream| (context, (root, stream)))),
                Err(error) => self.log_error(&format!("no answer is sent: {error}")),
            }
        } else if is_wanted && !ended {
            exchange.chunk(body, &mut self.worker);
        }
        if let Some(len) = exchange.finish(&mut self.worker) {
            self.record(Histogram::EntryBytes, len);
        }
        self.in_hand = None;
        self.post(root);
        // The root lives: it is the one that was called.
        let _ = self.host.set_context(root);
    }

    /// The client on whose behalf something was fetched, if it waits still. It is then the context at hand.
    fn take_detached(&mut self, context: u32) -> Option<(u32, Box<Exchange>)> {
        let (root, stream) = self.streams.remove(&context)?;
        let own = match stream {
            Stream::Following(own) if own.waits_for_own() => own,
            other => {
                self.streams.insert(context, (root, other));
                return None;
            }
        };
        self.worker.flights.gone(own.follows(), context);
        self.takes_in_hand(context).then_some((context, own))
    }

    /// Gives up the fetches of filters that are gone, as the host has. Whoever waits for one goes on without.
    pub(super) fn leave_behind(&mut self) {
        let roots = &self.roots;
        let lost = self.behind.extract_if(|_, fetching| !roots.contains_key(&fetching.root));
        let lost: Vec<_> = lost.map(|(_, lost)| lost.exchange).collect();
        let claims = self.claims.extract_if(|_, waiting| !roots.contains_key(&waiting.root));
        let refreshes: Vec<_> = claims.filter_map(|(_, waiting)| waiting.refresh).collect();
        for exchange in lost.into_iter().chain(refreshes) {
            exchange.answered(&mut self.worker);
            exchange.abandon(&mut self.worker);
        }
    }

    /// Gives up fetches whose answer never came.
    pub(super) fn expire_behind(&mut self, now_ms: u64) {
        let late = self.behind.extract_if(|_, fetching| fetching.exchange.is_overdue(now_ms));
        let late: Vec<_> = late.map(|(_, late)| late).collect();
        for Fetching { root, exchange, .. } in late {
            exchange.unanswered(now_ms, &mut self.worker);
            self.post(root);
        }
    }
}
