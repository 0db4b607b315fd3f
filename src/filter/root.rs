//! One filter of the configuration in one worker: its policy and its L2 client.

use std::rc::Rc;

use crate::coherence::{Cells, Generations, SharedData};
use crate::config::{Policy, Role, Transport};
use crate::entry::Entry;
use crate::health::{Gate, Health};
use crate::host::{Host, HostResult};
use crate::http::fields::FieldsBuf;
use crate::l2::{Answer, Claim, Client, L2Error, Question, Ticket};

/// What we say to ourselves.
const WAKE: &[u8] = b"1";

/// What becomes of a store.
#[derive(Debug)]
pub(super) enum Queued {
    /// It is sent.
    Now,
    /// Perhaps later; these are given up for it.
    Later(Vec<Rc<Entry>>),
    /// Too much waits.
    NoRoom,
    /// L2 does not take it, or there is none.
    NotForL2,
}

/// A root context.
#[derive(Debug, Default)]
pub(super) struct Root {
    /// What it does; none until it is configured.
    pub(super) policy: Option<Rc<Policy>>,
    l2: Option<L2>,
    /// When it was configured, in ms since the epoch.
    since_ms: u64,
    /// Whether it has seen a request.
    pub(super) serves: bool,
    /// Whether it was said that its L2 is not used.
    warned: bool,
    /// Our own queue: a message to it comes back in the same turn of the worker's event loop.
    queue: Option<u32>,
    woken: bool,
}

#[derive(Debug)]
struct L2 {
    client: Client,
    call_head: Vec<u8>,
}

impl Root {
    /// Takes a policy. The root must be the context at hand.
    pub(super) fn configure(
        &mut self,
        policy: Policy,
        host: &impl Host,
        name: &str,
    ) -> HostResult<()> {
        if policy.role == Role::Cache && self.queue.is_none() {
            self.queue = Some(host.open_queue(name)?);
        }
        self.l2 = policy.l2.as_ref().map(|l2| L2 {
            client: Client::new(l2.clone(), policy.coherence.slots),
            call_head: call_head(l2.transport),
        });
        self.policy = Some(Rc::new(policy));
        self.since_ms = host.now_ms();
        Ok(())
    }

    /// Leaves its L2, as it is configured anew. Returns the answers of whoever waits for it.
    pub(super) fn leave_l2(
        &mut self,
        generations: &Generations,
        now_ms: u64,
    ) -> Vec<Answer<'static>> {
        let mut answers = Vec::new();
        if let Some(l2) = self.l2.take() {
            l2.client.close(generations, now_ms, |answer| answers.push(answer));
        }
        answers
    }

    /// Makes the process follow the table of its L2, unless it follows another one. Whether it follows
    /// this one. Only a filter that has seen a request takes it from another: a configuration may come to
    /// nothing.
    pub(super) fn attach(
        &mut self,
        host: &impl Host,
        generations: &mut Generations,
        shared: &impl SharedData,
    ) -> bool {
        let Some(scope) = self.scope() else { return false };
        let since_ms = if self.serves { self.since_ms } else { 0 };
        let attached = generations.attach(shared, scope, since_ms);
        if !attached && self.serves && !self.warned {
            self.warned = true;
            let text = "tiercel: L2 is not used: another filter of this process has another L2, and was \
                        configured later";
            host.log(log::Level::Error, text);
        }
        attached
    }

    /// Queues a look-up in L2, unless the request must do without.
    pub(super) fn look_up(
        &mut self,
        host: &impl Host,
        health: &Health,
        (ticket, hash): (Ticket, u128),
    ) -> Result<(), L2Error> {
        let (gate, is_followed) = (self.gate(health), self.is_followed(health));
        let l2 = self.l2.as_mut().ok_or(L2Error::Dispatch)?;
        let is_news = gate != l2.client.gate();
        let looked_up = match gate.refusal() {
            Some(_) if !is_followed => Err(L2Error::Unsynced),
            Some(error) => Err(error),
            None if l2.client.look_up(ticket, hash) => Ok(()),
            None => Err(L2Error::Saturated),
        };
        // Those who wait hear of the news when the host has ended this callback.
        if is_news || looked_up.is_ok() {
            self.wake(host);
        }
        looked_up
    }

    /// When it was configured, in ms since the epoch.
    pub(super) const fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// Whether its L2 is the one that the process follows.
    pub(super) fn is_followed(&self, health: &Health) -> bool {
        self.scope() == Some(health.scope())
    }

    /// What may be said to its L2: nothing if the process follows another one.
    pub(super) fn gate(&self, health: &Health) -> Gate {
        let l2 = self.policy.as_ref().and_then(|policy| policy.l2.as_ref());
        match l2 {
            Some(l2) if self.is_followed(health) => health.gate(l2.health.force),
            _ => Gate::SHUT,
        }
    }

    /// Whether there is an L2.
    pub(super) const fn has_l2(&self) -> bool {
        self.l2.is_some()
    }

    /// Whether anything is looked up in its L2.
    pub(super) fn reads_l2(&self) -> bool {
        self.l2.as_ref().is_some_and(|l2| l2.client.gate().reads)
    }

    /// Queues a store in L2, or keeps it for later.
    pub(super) fn store(
        &mut self,
        host: &impl Host,
        entry: &Rc<Entry>,
        heat: impl Fn(&Entry) -> u8,
    ) -> Queued {
        let l2 = self.l2.as_mut().map(|l2| &mut l2.client);
        let Some(l2) = l2.filter(|l2| entry.content_len() <= l2.policy().max_entry) else {
            return Queued::NotForL2;
        };
        if !l2.gate().writes {
            return Queued::Later(l2.miss(Rc::clone(entry), heat));
        }
        if !l2.store(Rc::clone(entry)) {
            return Queued::NoRoom;
        }
        if l2.has_full_batch() {
            self.wake(host);
        }
        Queued::Now
    }

    /// Stores that are still to be sent to L2.
    pub(super) fn unsent(&self) -> usize {
        self.l2.as_ref().map_or(0, |l2| l2.client.unsent())
    }

    /// Queues what Redis missed, once it takes writes again. Returns what is given up.
    pub(super) fn write_back(
        &mut self,
        now_ms: u64,
        heat: impl Fn(&Entry) -> u8,
    ) -> Vec<Rc<Entry>> {
        self.l2.as_mut().map_or_else(Vec::new, |l2| l2.client.write_back(now_ms, heat))
    }

    /// Changes what may be said to Redis. Returns the answers to what is not said any more, and the stores that
    /// are given up.
    pub(super) fn set_gate(
        &mut self,
        gate: Gate,
        heat: impl Fn(&Entry) -> u8,
    ) -> (Vec<Answer<'static>>, Vec<Rc<Entry>>) {
        let (mut answers, mut given_up) = (Vec::new(), Vec::new());
        if let Some(l2) = self.l2.as_mut().filter(|l2| l2.client.gate() != gate) {
            l2.client.set_gate(gate, |answer| answers.push(answer));
            if !gate.writes {
                given_up = l2.client.miss_writes(heat);
            }
        }
        (answers, given_up)
    }

    /// Queues a delete in L2; false if it is not done.
    pub(super) fn delete(&mut self, host: &impl Host, hash: u128) -> bool {
        let Some(l2) = &mut self.l2 else { return true };
        let queued = l2.client.delete(hash);
        self.wake(host);
        queued
    }

    /// Asks who of the fleet fetches; false if the request must do without.
    pub(super) fn claim(&mut self, host: &impl Host, claim: Claim) -> bool {
        let Some(l2) = &mut self.l2 else { return false };
        let queued = l2.client.claim(claim);
        self.wake(host);
        queued
    }

    /// A lease is held, and renewed for so long.
    pub(super) fn hold(&mut self, claim: &Claim, now_ms: u64, longest_ms: u64) {
        if let Some(l2) = &mut self.l2 {
            l2.client.hold(claim, now_ms, longest_ms);
        }
    }

    /// Queues that a lease is given back, or closed.
    pub(super) fn give_back(&mut self, host: &impl Host, lease: (u128, u64), close: bool) {
        if let Some(l2) = self.l2.as_mut().filter(|l2| l2.client.gate().table) {
            l2.client.give_back(lease, close);
            self.wake(host);
        }
    }

    /// Renews leases that are held for long.
    pub(super) fn renew(&mut self, now_ms: u64) {
        if let Some(l2) = &mut self.l2 {
            l2.client.renew(now_ms);
        }
    }

    /// Queues bumps for the table of generations. While Redis is not asked they stay dirty.
    pub(super) fn bump(&mut self, host: &impl Host, cells: Cells) {
        if self.l2.as_ref().is_some_and(|l2| l2.client.gate().table) {
            self.replay(host, cells);
        }
    }

    /// As [`Self::bump`], by the keeper, whose probe it belongs to.
    pub(super) fn replay(&mut self, host: &impl Host, cells: Cells) {
        if let Some(l2) = self.l2.as_mut().filter(|_| !cells.is_empty()) {
            l2.client.bump(cells);
            self.wake(host);
        }
    }

    /// Queues a question about the table of generations.
    pub(super) fn ask(&mut self, host: &impl Host, question: Question) {
        if let Some(l2) = &mut self.l2 {
            l2.client.ask(question);
            self.wake(host);
        }
    }

    /// Queues commands whose replies come back under `number`; false if there is no L2, or it is not asked.
    pub(super) fn run(&mut self, host: &impl Host, number: u64, commands: Vec<u8>) -> bool {
        let l2 = self.l2.as_mut().filter(|l2| l2.client.gate().table);
        let Some(l2) = l2 else { return false };
        l2.client.run(number, commands);
        self.wake(host);
        true
    }

    /// Which table of generations it follows, if there is an L2.
    pub(super) fn scope(&self) -> Option<u64> {
        self.l2.as_ref().map(|l2| l2.client.scope())
    }

    /// Stores that something made stale before they were sent, since this was last asked.
    pub(super) fn take_overtaken(&mut self) -> u64 {
        self.l2.as_mut().map_or(0, |l2| l2.client.take_overtaken())
    }

    /// Whether `queue` is the one this root wakes itself by.
    pub(super) fn owns_queue(&self, queue: u32) -> bool {
        self.queue == Some(queue)
    }

    /// Its queue, if it has one.
    pub(super) const fn queue(&self) -> Option<u32> {
        self.queue
    }

    /// Posts a message to ourselves, once: `on_queue_ready` then goes on. If even that fails, the next tick
    /// does.
    pub(super) fn wake(&mut self, host: &impl Host) {
        if let Some(queue) = self.queue.filter(|_| !self.woken) {
            self.woken = host.enqueue(queue, WAKE).is_ok();
        }
    }

    /// Empties the queue. Returns what other workers say.
    pub(super) fn wake_up(&mut self, host: &impl Host) -> Vec<Vec<u8>> {
        self.woken = false;
        let queue = self.queue.into_iter();
        let all = queue.flat_map(|queue| std::iter::from_fn(move || host.dequeue(queue).ok()));
        all.filter(|message| message != WAKE).collect()
    }

    /// Makes the calls that are due; `all` leaves no store waiting for company. Returns the answers of
    /// calls that failed at once, and the sizes of the batches sent.
    pub(super) fn flush(
        &mut self,
        host: &impl Host,
        generations: &Generations,
        now_ms: u64,
        all: bool,
    ) -> (Vec<Answer<'static>>, Vec<usize>) {
        let (mut answers, mut batches) = (Vec::new(), Vec::new());
        let Some(l2) = &mut self.l2 else { return (answers, batches) };
        while let Some(call) = l2.client.next_call(generations, now_ms, all) {
            let policy = l2.client.policy();
            let timeout_ms = call.timeout_ms(policy);
            match host.call(&policy.cluster, &l2.call_head, &call.body, timeout_ms) {
                Ok(token) => {
                    batches.extend(call.lookups());
                    l2.client.sent(call, token, now_ms);
                }
                Err(_) => Client::failed(call, |answer| answers.push(answer)),
            }
        }
        (answers, batches)
    }

    /// The answers of a callout that came back, and when it was sent.
    pub(super) fn received<'a>(
        &mut self,
        token: u32,
        status: Option<&[u8]>,
        body: &'a [u8],
        now_ms: u64,
    ) -> Option<(Vec<Answer<'a>>, u64)> {
        let mut answers = Vec::new();
        let give = |answer| answers.push(answer);
        let sent_ms = self.l2.as_mut()?.client.received(token, status, body, now_ms, give)?;
        Some((answers, sent_ms))
    }

    /// The answers of callouts that never came back.
    pub(super) fn expired(&mut self, now_ms: u64) -> Vec<Answer<'static>> {
        let mut answers = Vec::new();
        if let Some(l2) = &mut self.l2 {
            l2.client.expire(now_ms, |answer| answers.push(answer));
        }
        answers
    }

    /// Whether a callout is this root's.
    pub(super) fn owns_call(&self, token: u32) -> bool {
        self.l2.as_ref().is_some_and(|l2| l2.client.owns(token))
    }
}

fn call_head(transport: Transport) -> Vec<u8> {
    let authority: &[u8] = match transport {
        Transport::RedisProxy => b"redis_proxy",
        Transport::Direct => b"redis",
    };
    let fields: [(&[u8], &[u8]); 3] =
        [(b":method", b"POST"), (b":path", b"/"), (b":authority", authority)];
    fields.into_iter().collect::<FieldsBuf>().to_block().into()
}
