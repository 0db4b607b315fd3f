//! How L2 fares: what calls say of it is told to all workers, and what they agree on is done.

use super::Module;
use super::coherence::MOST_AGAIN;
use super::shared::Shared;
use crate::coherence::{Reach, keeper};
use crate::entry::Entry;
use crate::health::{Change, HealthPolicy, Probe, Record, State};
use crate::host::Host;
use crate::l1::Entries;
use crate::l2::{Answer, L2Error, verdict};
use crate::observe::{Counter, L2Store, Transition};

/// How much what lies under an entry's key is asked for.
pub(super) fn heat(l1: &Entries) -> impl Fn(&Entry) -> u8 + '_ {
    |entry| l1.heat(entry.key().as_bytes())
}

impl<H: Host> Module<H> {
    /// Time passes: sees what the other workers found, and what the configuration says. `root_id` must be the
    /// context at hand.
    pub(super) fn follow_health(&mut self, root_id: u32, now_ms: u64) {
        let shared = Shared::new(&self.host, self.bell);
        self.health.attach(&shared, self.worker.generations.scope());
        self.health.reload(&shared);
        let forced = self.health_policy().map(|policy| policy.force);
        if let Some(force) = forced {
            let change = self.health.force(&shared, force, now_ms);
            self.tell_of_health(change, now_ms);
        }
        self.obey_health(root_id, now_ms);
        let l1 = &self.worker.l1;
        let roots = self.roots.values_mut();
        let given_up: Vec<_> = roots.flat_map(|root| root.write_back(now_ms, heat(l1))).collect();
        self.skip_stores(given_up.len());
    }

    /// A call of this root's to L2 has ended that was sent then, with these answers.
    pub(super) fn judge_call(
        &mut self,
        root: u32,
        answers: &[Answer<'_>],
        (sent_ms, now_ms): (u64, u64),
    ) {
        let root = self.roots.get(&root);
        // What Envoy's main thread asks reaches no Redis; and another L2 says nothing of this one.
        let counts = self.is_worker && root.is_some_and(|root| root.is_followed(&self.health));
        let Some(policy) = self.health_policy().filter(|_| counts) else { return };
        let shared = Shared::new(&self.host, self.bell);
        let outcome = verdict(answers);
        let change = outcome
            .and_then(|outcome| self.health.ended(&shared, &policy, outcome, (sent_ms, now_ms)));
        self.tell_of_health(change, now_ms);
        let refuses = answers.iter().find_map(|answer| match answer {
            Answer::NotStored(
                error @ (L2Error::OutOfMemory
                | L2Error::ReadOnly
                | L2Error::Auth
                | L2Error::Loading),
            ) => Some(*error),
            _ => None,
        });
        if let Some(error) = refuses {
            let shared = Shared::new(&self.host, self.bell);
            let change = self.health.suspect(&shared, &policy, error, now_ms);
            self.tell_of_health(change, now_ms);
        }
    }

    /// A probe of this worker's came back.
    pub(super) fn probed(
        &mut self,
        root_id: u32,
        (probe, outcome): (Probe, Result<(), L2Error>),
        (epoch, now_ms): (u64, u64),
    ) {
        self.probed_ms = None;
        if outcome.is_err() && !self.is_worker {
            return;
        }
        let Some(policy) = self.health_policy() else { return };
        let shared = Shared::new(&self.host, self.bell);
        // Who lost its turn meanwhile leaves it to who has it.
        if !keeper::keeps(&shared, self.nonce, probe.keeper) {
            return;
        }
        let generations = &self.worker.generations;
        let knows = generations.knows(self.health.scope());
        let caught_up = knows && generations.dirty(epoch, 1).is_empty();
        let change = self.health.probed(&shared, &policy, probe, (outcome, caught_up), now_ms);
        self.tell_of_health(change, now_ms);
        if self.health.record().state == State::Recovering && outcome.is_ok() {
            // Each step follows at once.
            let dirty = self.worker.generations.dirty(u64::MAX, MOST_AGAIN);
            self.send_probe(root_id, (dirty, Reach::Recent, probe.keeper), now_ms);
        }
    }

    /// Does what follows from what all agree on, as far as this worker has looked. `root_id` must be the context at hand, and a root: who waits for
    /// what is not asked any more is answered.
    pub(super) fn obey_health(&mut self, root_id: u32, now_ms: u64) {
        self.worker.is_degraded = !self.health.gate(None).table;
        let (mut answers, mut given_up) = (Vec::new(), 0);
        for root in self.roots.values_mut() {
            let gate = root.gate(&self.health);
            let (of_root, dropped) = root.set_gate(gate, heat(&self.worker.l1));
            answers.extend(of_root);
            given_up += dropped.len();
        }
        self.skip_stores(given_up);
        self.answer_all(root_id, answers, now_ms);
    }

    /// The settings by which L2's health is judged: those of the filter whose L2 it is. Of several the newest counts,
    /// though it may have seen no request yet: all workers must judge by the same.
    pub(super) fn health_policy(&self) -> Option<HealthPolicy> {
        let scope = self.health.scope();
        let roots = self.roots.iter().filter(|(_, root)| root.scope() == Some(scope));
        let (_, newest) = roots.max_by_key(|(id, root)| (root.since_ms(), **id))?;
        Some(newest.policy.as_ref()?.l2.as_ref()?.health)
    }

    /// What is to be said of L2: nothing of one that no filter has any more.
    pub(super) fn told_health(&self) -> Record {
        self.health_policy().map_or_else(Record::default, |_| *self.health.record())
    }

    pub(super) fn skip_stores(&mut self, stores: usize) {
        self.worker.counters.add(Counter::L2Store(L2Store::Skipped), stores as u64);
    }

    fn tell_of_health(&mut self, change: Option<Change>, now_ms: u64) {
        let Some(Change { before, after }) = change else { return };
        let counters = &mut self.worker.counters;
        if before.term != after.term {
            let lasted = match before.state {
                State::Degraded | State::Recovering => {
                    format!(" after {} ms", now_ms.saturating_sub(before.since_ms))
                }
                State::Normal | State::Suspect => String::new(),
            };
            let (state, cause) = (after.state, after.cause.as_str());
            let stage = match (state, after.reads) {
                (State::Recovering, true) => ", read again",
                (State::Recovering, false) => ", told what became stale",
                _ => "",
            };
            let text = format!("tiercel: L2 is {state}{stage}{lasted}: {cause}");
            let level = match state {
                State::Degraded | State::Suspect => log::Level::Warn,
                State::Normal | State::Recovering => log::Level::Info,
            };
            self.host.log(level, &text);
        }
        if before.state != after.state {
            counters.count(Counter::Health(after.state.into()));
        }
        if before.slow != after.slow {
            let speed = if after.slow { Transition::Slow } else { Transition::Prompt };
            counters.count(Counter::Health(speed));
            let level = if after.slow { log::Level::Warn } else { log::Level::Info };
            self.host.log(level, &format!("tiercel: L2 is {speed}"));
        }
    }
}
