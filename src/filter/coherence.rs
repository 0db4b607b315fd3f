//! What writes make stale is told to the other workers, and to Redis; what others made stale is heard of.

use super::Module;
use super::shared::Shared;
use crate::coherence::{Asked, Bumped, Cells, Followed, Reach, Stamp, Verdict, keeper};
use crate::collapse;
use crate::entry::encode_unsealed;
use crate::host::Host;
use crate::l2::{L2Error, Question};
use crate::observe::{Coherence, Counter};

/// Bumps that are sent again in one call.
const MOST_AGAIN: usize = 2_000;

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
    }

    /// Sees what the other workers made stale, if they rang.
    pub(super) fn refresh_generations(&mut self) {
        self.worker.generations.refresh(&Shared::new(&self.host, self.bell));
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

    /// Sees what the other workers made stale. If it is this worker's turn, asks Redis what is new, and says
    /// again what it has not confirmed.
    pub(super) fn follow_in_turn(&mut self, root: u32, now_ms: u64) {
        let shared = Shared::new(&self.host, self.bell);
        let generations = &mut self.worker.generations;
        // Whatever the bell says.
        generations.reload(&shared);
        let Some(root) = self.roots.get_mut(&root) else { return };
        if !root.attach(&self.host, generations, &shared) {
            return;
        }
        let Some(interval_ms) = root.policy.as_ref().map(|p| p.coherence.feed_interval_ms) else {
            return;
        };
        // Who may be no worker finds out first, then leaves it to those who are, if there are any.
        let is_first = !std::mem::replace(&mut self.has_asked, true);
        let patience = match self.is_worker {
            true => 1,
            false if is_first => 0,
            false => 4 << self.vain_calls.min(6),
        };
        let (every_ms, epoch) = (interval_ms.saturating_mul(patience), generations.epoch());
        let Some(turn) = keeper::take_turn(&shared, now_ms, every_ms, epoch) else { return };
        root.bump(&self.host, generations.dirty(turn.dirty_until, MOST_AGAIN));
        root.ask(&self.host, Question { reach: turn.reach, replace: None });
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
            keeper::heard(&shared, now_ms, asked.from == 0);
        }
        let (event, question) = match verdict {
            Verdict::Known => (Coherence::Followed, None),
            Verdict::Outdated => (Coherence::Outdated, None),
            Verdict::AskAll => {
                (Coherence::Adopted, Some(Question { reach: Reach::All, replace: None }))
            }
            Verdict::Make => {
                (Coherence::Made, Some(Question { reach: Reach::All, replace: Some(0) }))
            }
            Verdict::Replace(old) => {
                let text = "tiercel: Redis lost generations: what is in L2 is not trusted any more";
                self.host.log(log::Level::Warn, text);
                (Coherence::Lost, Some(Question { reach: Reach::All, replace: Some(old) }))
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
