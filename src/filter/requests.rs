//! A request comes in: it is answered, asked about in L2, or goes on to the origin.

use std::cell::OnceCell;

use super::Module;
use super::reply::Reply;
use super::root::Root;
use super::shared::Shared;
use super::stream::Stream;
use super::tunnel;
use crate::config::Role;
use crate::engine::{self, Admission, Begin, Exchange, Found, FromL2, Outcome};
use crate::host::{Action, Buffer, FieldMap, Host};
use crate::http::fields::Fields;
use crate::l2::L2Error;
use crate::observe::{Counter, L2Lookup};

impl<H: Host> Module<H> {
    /// A request's head arrives.
    pub fn on_request_head(&mut self, context: u32, ended: bool) -> Action {
        let (newest, root_id) = self.newest;
        let Some(root) = self.roots.get_mut(&root_id).filter(|_| newest == context) else {
            return Action::Continue;
        };
        root.serves = true;
        let Some(policy) = &root.policy else { return Action::Continue };
        if policy.role != Role::Cache {
            self.streams.insert(context, (root_id, Stream::Tunnelled));
            return Action::Continue;
        }
        let Ok(block) = self.host.fields(FieldMap::Request) else { return Action::Continue };
        let shared = Shared::new(&self.host, self.bell);
        self.worker.generations.refresh(&shared);
        self.health.refresh(&shared);
        // Asked for once at most: each time is a call of the host.
        let clock = OnceCell::new();
        let now_ms = || *clock.get_or_init(|| self.host.now_ms());
        let alone = self.worker.is_alone;
        let tier = |hash| policy.tier.as_ref()?.get(&shared, hash, alone, now_ms);
        let process = (&shared, tier);
        match Exchange::begin(policy, block, ended, now_ms, process, &mut self.worker) {
            Begin::Hit(entry, level, now_ms) => {
                let sent = self.reply.plain_hit(&self.host, policy, &entry, level, now_ms);
                self.share(root_id);
                match sent {
                    Ok(next) => {
                        self.streams.extend(next.map(|stream| (context, (root_id, stream))));
                        Action::Pause
                    }
                    Err(error) => {
                        self.log_error(&format!("a hit cannot be sent: {error}"));
                        Action::Continue
                    }
                }
            }
            Begin::Absent(rule, index, body) => {
                match self.reply.absent(&self.host, policy, &rule, index, &body) {
                    Ok(next) => {
                        self.streams.extend(next.map(|stream| (context, (root_id, stream))));
                        Action::Pause
                    }
                    Err(error) => {
                        self.log_error(&format!("no answer for an absent id is sent: {error}"));
                        Action::Continue
                    }
                }
            }
            Begin::OnlyIfCached => match self.reply.only_if_cached(&self.host, policy) {
                Ok(()) => Action::Pause,
                Err(error) => {
                    self.log_error(&format!("a 504 cannot be sent: {error}"));
                    Action::Continue
                }
            },
            Begin::Purge(block) => self.purge(root_id, Fields::new(&block)),
            Begin::Serve(exchange, found) => self.serve((context, root_id), exchange, &found),
            Begin::Bypass(reason, mut invalidation) => {
                if let Some(write) = &mut invalidation {
                    self.note_write(write);
                }
                self.streams.insert(context, (root_id, Stream::Bypassed(reason, invalidation)));
                if ended {
                    self.request_ended(context);
                }
                Action::Continue
            }
            Begin::Miss(exchange) => self.ask((context, root_id), exchange),
        }
    }

    /// Purges what the request at hand says, and tells its client.
    fn purge(&mut self, root_id: u32, fields: Fields<'_>) -> Action {
        let Some(policy) = self.roots.get(&root_id).and_then(|root| root.policy.clone()) else {
            return Action::Continue;
        };
        let source = self.host.source().ok();
        let (purged, soft) = engine::purge(&policy, fields, source.as_deref(), &mut self.worker);
        self.worker.counters.count(Counter::Purge(purged));
        self.publish(root_id);
        match Reply::purged(&self.host, purged, soft) {
            Ok(()) => Action::Pause,
            Err(error) => {
                self.log_error(&format!("a purge cannot be answered: {error}"));
                Action::Continue
            }
        }
    }

    /// A chunk of a request's body arrives.
    pub fn on_request_body(&mut self, context: u32, len: usize, end_of_stream: bool) -> Action {
        if let Some((_, Stream::Bypassed(_, Some(write)))) = self.streams.get_mut(&context)
            && len > 0
            && write.wants_request()
        {
            let data = self.host.buffer(Buffer::RequestBody, len).ok();
            write.request_chunk(data.filter(|data| data.len() == len), &mut self.worker);
        }
        if end_of_stream {
            self.request_ended(context);
        }
        self.role(context)
            .map_or(Action::Continue, |role| tunnel::on_body(role, end_of_stream, &self.host))
    }

    /// All of a request is there, and about to go on.
    fn request_ended(&mut self, context: u32) {
        if let Some((root, Stream::Bypassed(_, Some(write)))) = self.streams.get_mut(&context) {
            let root = *root;
            write.request_ended(&mut self.worker);
            self.tell_of_ids(root);
        }
    }

    /// A request's trailers arrive.
    pub fn on_request_trailers(&mut self, context: u32) -> Action {
        self.request_ended(context);
        self.role(context).map_or(Action::Continue, tunnel::on_trailers)
    }

    /// Asks L2 for the stream at hand, or the origin if there is none or it is busy.
    fn ask(&mut self, (context, root_id): (u32, u32), mut exchange: Box<Exchange>) -> Action {
        let root = self.roots.get_mut(&root_id).filter(|r| r.has_l2() && exchange.wants_l2());
        if let Some(root) = root {
            match root.look_up(&self.host, &self.health, (context, exchange.hash())) {
                Ok(()) => {
                    self.streams.insert(context, (root_id, Stream::AwaitingL2(exchange)));
                    return Action::Pause;
                }
                Err(error) => exchange.l2_failed(error, &mut self.worker),
            }
        }
        self.forward((context, root_id), exchange)
    }

    /// Sends the request at hand on to the origin, unless its client does not want that.
    pub(super) fn forward(
        &mut self,
        (context, root): (u32, u32),
        mut exchange: Box<Exchange>,
    ) -> Action {
        if exchange.must_not_forward() {
            self.worker.counters.count(Counter::Request(Outcome::OnlyIfCached));
            match self.reply.only_if_cached(&self.host, exchange.policy()) {
                Ok(()) => return Action::Pause,
                Err(error) => self.log_error(&format!("a 504 cannot be sent: {error}")),
            }
        }
        let now_ms = self.host.now_ms();
        let name = self.host.cluster().ok();
        exchange.goes_to(name.as_deref(), &mut self.worker);
        let stale = exchange.spares_origin(now_ms, &mut self.worker);
        if let Some(found) = stale.or_else(|| exchange.bridges(now_ms, &mut self.worker)) {
            return self.serve((context, root), exchange, &found);
        }
        match self.join((context, root), exchange, now_ms) {
            Ok(exchange) => self.fetch((context, root), exchange, now_ms),
            Err(action) => action,
        }
    }

    /// Sends the request at hand on to the origin, unless another instance does so or that has enough to do.
    pub(super) fn fetch(
        &mut self,
        stream: (u32, u32),
        exchange: Box<Exchange>,
        now_ms: u64,
    ) -> Action {
        let mut exchange = match self.claim(stream, exchange, now_ms) {
            Ok(exchange) => exchange,
            Err(action) => return action,
        };
        match exchange.admit(now_ms, &mut self.worker) {
            Admission::Fetch if exchange.detaches() => self.detach(stream, exchange, now_ms),
            Admission::Fetch => self.send_on(stream, exchange, now_ms),
            Admission::Stale(found) => {
                exchange.refused(&mut self.worker);
                self.post(stream.1);
                self.serve(stream, exchange, &found)
            }
            Admission::Refused => {
                exchange.refused(&mut self.worker);
                self.post(stream.1);
                match self.reply.limited(&self.host, exchange.policy()) {
                    Ok(()) => Action::Pause,
                    Err(error) => {
                        self.log_error(&format!("a 503 cannot be sent: {error}"));
                        self.send_on(stream, exchange, now_ms)
                    }
                }
            }
        }
    }

    /// Sends the request at hand on to the origin.
    pub(super) fn send_on(
        &mut self,
        (context, root): (u32, u32),
        mut exchange: Box<Exchange>,
        now_ms: u64,
    ) -> Action {
        let host = &self.host;
        // A request that cannot be changed goes on as it is: the origin then answers more than was needed.
        exchange.forward(now_ms, &self.worker, |name, value| {
            let _ = match value {
                Some(value) => host.set_field(FieldMap::Request, name, value),
                None => host.remove_field(FieldMap::Request, name),
            };
        });
        self.streams.insert(context, (root, Stream::Forwarded(exchange, false)));
        Action::Continue
    }

    /// Gives L2's answer to a request that waits for it.
    pub(super) fn answer(
        &mut self,
        context: u32,
        found: Result<Option<&[u8]>, L2Error>,
        (epoch, now_ms): (u64, u64),
    ) {
        // A client that left meanwhile has no stream any more.
        let Some((root_id, Stream::AwaitingL2(mut exchange))) = self.streams.remove(&context)
        else {
            return;
        };
        if !self.takes_in_hand(context) {
            self.worker.counters.count(Counter::L2(L2Lookup::Abandoned));
            return exchange.abandon(&mut self.worker);
        }
        let next = match found {
            Ok(Some(bytes)) => {
                let scope = self.roots.get(&root_id).and_then(Root::scope);
                let of = (scope.unwrap_or(0), epoch);
                exchange.found_in_l2(bytes, of, now_ms, &mut self.worker)
            }
            Ok(None) => {
                exchange.absent_in_l2(&mut self.worker);
                FromL2::Forward
            }
            Err(error) => {
                exchange.l2_failed(error, &mut self.worker);
                FromL2::Forward
            }
        };
        // What L2 had is for the process's other workers, too.
        self.post(root_id);
        let stream = (context, root_id);
        let action = match next {
            FromL2::Serve(found) => self.serve(stream, exchange, &found),
            FromL2::AskAgain => self.ask(stream, exchange),
            FromL2::Forward => self.forward(stream, exchange),
        };
        self.resume_if(action);
    }

    /// Makes a paused request the one at hand; false if its client is gone.
    pub(super) fn takes_in_hand(&mut self, context: u32) -> bool {
        // A client that left in this very turn has a context still, but nothing behind it.
        let is_there = self.host.set_context(context).is_ok() && !self.host.has_ended();
        self.in_hand = is_there.then_some(context);
        is_there
    }

    /// Lets the request at hand, which waits, go on if that is what is to be done with it.
    pub(super) fn resume_if(&mut self, action: Action) {
        self.in_hand = None;
        if action == Action::Continue
            && let Err(error) = self.host.resume_request()
        {
            self.log_error(&format!("a request cannot go on: {error}"));
        }
    }

    /// Answers the stream at hand from the cache, in the form that its request asks for.
    pub(super) fn serve(
        &mut self,
        (context, root): (u32, u32),
        exchange: Box<Exchange>,
        found: &Found,
    ) -> Action {
        self.reply.begin_hit(&exchange, found);
        let (entry, outcome, now_ms) = (&*found.entry, found.outcome, found.now_ms);
        match self.reply.answer(&self.host, &exchange, entry, outcome, now_ms) {
            Ok(next) => self.streams.extend(next.map(|stream| (context, (root, stream)))),
            Err(error) => {
                self.log_error(&format!("a hit cannot be sent: {error}"));
                return self.send_on((context, root), exchange, now_ms);
            }
        }
        if found.refresh {
            self.refresh(root, exchange, found);
        }
        Action::Pause
    }
}
