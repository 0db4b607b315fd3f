//! What writes make stale is told to the other workers, and to Redis; what others made stale is heard of.

use std::rc::Rc;

use super::Module;
use super::shared::Shared;
use crate::coherence::{
    Asked, Bump, Bumped, Cells, Followed, Intent, Reach, Stamp, Verdict, keeper,
};
use crate::collapse;
use crate::config::Policy;
use crate::engine::{Invalidation, News};
use crate::entry::encode_unsealed;
use crate::host::Host;
use crate::l2::{L2Error, Question};
use crate::observe::{Coherence, Counter};

/// Bumps that are sent again in one call.
pub(super) const MOST_AGAIN: usize = 2_000;

impl<H: Host> Module<H> {
    /// A filter was configured: joins the process's table with so many slots for tags. `tagging` tells which
    /// tags its routes name.
    pub(super) fn join_generations(&mut self, root: u32, slots: usize, tagging: u64) {
        self.bell = self.bell.or_else(|| Shared::define_bell(&self.host));
        let shared = Shared::new(&self.host, self.bell);
        collapse::open(&shared);
        let generations = &mut self.worker.generations;
        let is_open = generations.is_open(slots);
        if !is_open {
            generations.open(&shared, slots, self.host.now_ms());
        }
        let before = self.worker.tagging.replace(tagging);
        if !is_open || before != Some(tagging) {
            // What is there may lack tags by which writes would reach it.
            self.worker.l1.clear();
        }
        if is_open && before.is_some_and(|before| before != tagging) {
            // In what all share, too, should these tags have been named before.
            generations.distrust(&shared, self.host.now_ms());
        }
        if let Some(root) = self.roots.get_mut(&root) {
            root.attach(&self.host, generations, &shared);
        }
        self.health.attach(&shared, self.worker.generations.scope());
    }

    /// Sees what the other workers made stale, if they rang.
    pub(super) fn refresh_generations(&mut self) {
        let shared = Shared::new(&self.host, self.bell);
        self.worker.generations.refresh(&shared);
        self.health.refresh(&shared);
    }

    /// Tells everybody what this worker made stale. What is held back until then may go on after it.
    pub(super) fn publish(&mut self, root: u32) {
        let generations = &mut self.worker.generations;
        if !generations.has_bumps() {
            return;
        }
        let shared = Shared::new(&self.host, self.bell);
        let Some(cells) = generations.publish(&shared, self.host.now_ms()) else {
            self.worker.counters.count(Counter::Coherence(Coherence::NotPublished));
            return self.log_error("other workers cannot be told what a write made stale");
        };
        self.worker.counters.count(Counter::Coherence(Coherence::Published));
        if let Some(root) = self.roots.get_mut(&root) {
            root.bump(&self.host, cells);
        }
    }

    /// A write is about to go on: should this VM not see its end, another one sees to it.
    pub(super) fn note_write(&mut self, write: &mut Invalidation) {
        let intent = write.intent(&mut self.worker);
        let shared = Shared::new(&self.host, self.bell);
        let noted = self.intents.note(&shared, &intent, self.host.now_ms());
        if noted.is_none() {
            self.worker.counters.count(Counter::Coherence(Coherence::NotNoted));
        }
        write.is_noted(noted);
    }

    /// A write has come to its end.
    pub(super) fn written(&mut self, root_id: u32, write: Invalidation) {
        let noted = write.noted();
        write.end(self.host.now_ms(), &mut self.worker);
        self.post(root_id);
        if let Some(id) = noted {
            self.intents.strike(&Shared::new(&self.host, self.bell), id);
        }
    }

    /// Makes stale what writes may have changed, or may still change, whose VM is gone.
    pub(super) fn see_to_orphans(&mut self, root_id: u32, now_ms: u64) {
        let shared = Shared::new(&self.host, self.bell);
        let orphans = self.intents.tick(&shared, self.is_worker, now_ms);
        if orphans.is_empty() {
            return;
        }
        let policies = self.roots.values().filter_map(|root| root.policy.as_ref());
        let guard_ms = policies.map(|policy| policy.coherence.guard_ms).max().unwrap_or(0);
        let uncertain_until_ms = now_ms.saturating_add(guard_ms);
        for Intent { tags, spaces } in orphans {
            self.worker.counters.count(Counter::Coherence(Coherence::Orphaned));
            self.worker.generations.bump(Bump { tags, soft: false, uncertain_until_ms });
            self.worker.news.extend(spaces.into_iter().map(|scope| (scope, News::Lost)));
        }
        self.post(root_id);
    }

    /// Puts into the process's store what this worker has taken into its own.
    pub(super) fn share(&mut self, root: u32) {
        if self.worker.shares.is_empty() {
            return;
        }
        let shares = std::mem::take(&mut self.worker.shares);
        let policy = self.roots.get(&root).and_then(|root| root.policy.as_ref());
        let Some((policy, tier)) = policy.and_then(|p| Some((p, p.tier.as_ref()?))) else { return };
        let (shared, now_ms) = (Shared::new(&self.host, self.bell), self.host.now_ms());
        for entry in shares.iter().filter(|entry| entry.len() <= tier.max_entry()) {
            let stamp = Stamp { incarnation: policy.tagging, number: entry.epoch() };
            let bytes = encode_unsealed(entry, stamp, usize::MAX);
            let how = (entry.is_negative(), entry.useful_until_ms());
            tier.put(&shared, entry.key().hash(), bytes, how, now_ms);
        }
    }

    /// Sees what the other workers made stale. If this worker keeps, asks Redis now and then what is new, and whether
    /// it is well, and says again what it has not confirmed.
    pub(super) fn follow_in_turn(&mut self, root_id: u32, now_ms: u64) {
        let shared = Shared::new(&self.host, self.bell);
        // Whatever the bell says.
        self.worker.generations.reload(&shared);
        self.follow_health(root_id, now_ms);
        let Some(policy) = self.kept_policy(root_id) else { return };
        let usual_ms = policy.coherence.feed_interval_ms;
        let Some(l2) = &policy.l2 else { return };
        let health = self.health_policy().unwrap_or(l2.health);
        let Some(interval_ms) = self.health.probe_ms(&health, usual_ms) else { return };
        // Who may be no worker finds out first, then leaves it to those who are, if there are any.
        let is_first = !std::mem::replace(&mut self.has_asked, true);
        let every_ms = match self.is_worker {
            true => interval_ms,
            false if is_first => 0,
            // A worker's first calls may be in vain, too: Envoy has not yet looked whether Redis is well.
            false => (usual_ms / 4).saturating_mul(1 << self.vain_calls.min(10)),
        };
        // What was asked by a filter that is gone gets no answer.
        let longest_ms = 2 * u64::from(l2.background_timeout_ms) + 1_000;
        let shared = Shared::new(&self.host, self.bell);
        if self.probed_ms.is_some_and(|ms| ms.abs_diff(now_ms) <= longest_ms) {
            if self.is_worker {
                keeper::renew(&shared, self.nonce, now_ms);
            }
            return;
        }
        let generations = &self.worker.generations;
        let own = (self.nonce, self.is_worker);
        let turn = keeper::take_turn(&shared, own, now_ms, every_ms, generations.epoch());
        if let Some(turn) = turn {
            let dirty = generations.dirty(turn.dirty_until, MOST_AGAIN);
            self.send_probe(root_id, (dirty, turn.reach, turn.term), now_ms);
        }
    }

    /// The policy of a root, if the process follows its table.
    fn kept_policy(&mut self, root_id: u32) -> Option<Rc<Policy>> {
        let shared = Shared::new(&self.host, self.bell);
        let root = self.roots.get_mut(&root_id)?;
        let follows = root.attach(&self.host, &mut self.worker.generations, &shared);
        root.policy.clone().filter(|_| follows)
    }

    /// Asks Redis what is new and whether it takes writes, and says these bumps again.
    pub(super) fn send_probe(
        &mut self,
        root_id: u32,
        (dirty, reach, keeper): (Cells, Reach, u64),
        now_ms: u64,
    ) {
        let Some(root) = self.roots.get_mut(&root_id) else { return };
        let probe = Some(self.health.probe(keeper, now_ms));
        root.replay(&self.host, dirty);
        root.ask(&self.host, Question { reach, replace: None, probe });
        self.probed_ms = Some(now_ms);
    }

    /// The table in Redis has answered, for its own sake or with look-ups, perhaps after it refused bumps.
    /// Whether what lies in L2 can be trusted by that.
    pub(super) fn followed(
        &mut self,
        asked: &Asked,
        followed: &Followed,
        (alone, is_refused): (bool, bool),
        now_ms: u64,
    ) -> bool {
        self.is_worker = true;
        let mut roots = self.roots.values_mut();
        let Some(root) = roots.find(|root| root.scope() == Some(asked.scope)) else {
            return false;
        };
        let guard_ms = root.policy.as_ref().map_or(0, |policy| policy.coherence.guard_ms);
        let shared = Shared::new(&self.host, self.bell);
        let generations = &mut self.worker.generations;
        let verdict = generations.follow(&shared, asked, followed, now_ms, guard_ms);
        // What is lost was not heard.
        if alone && matches!(verdict, Verdict::Known | Verdict::AskAll) {
            keeper::heard(&shared, self.nonce, now_ms, asked.from == 0);
        }
        let (event, question) = match verdict {
            Verdict::Known => (Coherence::Followed, None),
            Verdict::Outdated => (Coherence::Outdated, None),
            Verdict::AskAll => {
                (Coherence::Adopted, Some(Question { reach: Reach::All, ..Question::default() }))
            }
            Verdict::Make => (
                Coherence::Made,
                Some(Question { reach: Reach::All, replace: Some(0), probe: None }),
            ),
            Verdict::Replace(old) => {
                let text = "tiercel: Redis lost generations: what is in L2 is not trusted any more";
                self.host.log(log::Level::Warn, text);
                (
                    Coherence::Lost,
                    Some(Question { reach: Reach::All, replace: Some(old), probe: None }),
                )
            }
        };
        self.worker.counters.count(Counter::Coherence(event));
        // Where bumps are refused so would be the next: that can wait for its turn.
        if let Some(question) = question.filter(|_| !is_refused) {
            root.ask(&self.host, question);
        }
        verdict == Verdict::Known
    }

    /// The table in Redis has not answered.
    pub(super) fn not_followed(&mut self, error: L2Error) {
        if !self.is_worker {
            self.vain_calls += 1;
            return;
        }
        self.worker.counters.count(Counter::Coherence(Coherence::NotFollowed));
        self.worker.counters.count(Counter::L2Error(error));
    }

    /// Redis has bumped these cells.
    pub(super) fn bumped(&mut self, asked: &Asked, cells: &Cells, bumped: &Bumped, now_ms: u64) {
        self.worker.counters.count(Counter::Coherence(Coherence::Confirmed));
        let roots = self.roots.values().filter(|root| root.scope() == Some(asked.scope));
        let guards = roots.filter_map(|root| root.policy.as_ref()).map(|p| p.coherence.guard_ms);
        let guard_ms = guards.max().unwrap_or(0);
        let shared = Shared::new(&self.host, self.bell);
        self.worker.generations.confirm(&shared, asked, cells, bumped, (now_ms, guard_ms));
    }

    /// Redis may not have bumped so many cells: they stay dirty, and are sent again.
    pub(super) fn not_bumped(&mut self, cells: usize, error: L2Error) {
        if cells > 0 {
            self.worker.counters.count(Counter::Coherence(Coherence::NotConfirmed));
        }
        self.worker.counters.count(Counter::L2Error(error));
    }
}
