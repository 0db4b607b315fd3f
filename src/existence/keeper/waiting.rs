//! What a keeper holds and waits for: the space, the lease of the fleet, answers.

use super::{Around, Doing, Errand, Keeper, LONGEST_MS};
use crate::coherence::{SharedData, numbers, value_of};
use crate::existence::SourcePolicy;
use crate::existence::source::{Ask, Asking};

/// How long a worker keeps a space without saying so again, in ms.
const HOLDS_MS: u64 = 1_000;
/// How long after its own time-out the host may tell of a call, in ms.
const LATE_MS: u64 = 10_000;
/// How often a lease is renewed, in ms.
const RENEW_MS: u64 = 1_500;

impl Keeper {
    /// Takes, or goes on with, the keeping of the space; false if another worker keeps it. One that is `proven` to be
    /// a worker takes it from one that is not.
    pub(in super::super) fn holds(
        &mut self,
        shared: &impl SharedData,
        name: &[u8],
        (token, proven): (u64, bool),
        now_ms: u64,
    ) -> bool {
        let (bytes, cas) = shared.get(name).unwrap_or_default();
        let mut next = numbers(&bytes);
        let (holder, until_ms, is_proven) = (next(), next(), next() == 1);
        // A clock that was set back does not keep it from others.
        let held = until_ms > now_ms && until_ms - now_ms <= HOLDS_MS && (is_proven || !proven);
        if holder != token && held {
            if !matches!(self.doing, Doing::Nothing) {
                *self = Self { tickets: self.tickets, ..Self::new(self.random.u64(..)) };
            }
            return false;
        }
        shared.set(name, &value_of(&[token, now_ms + HOLDS_MS, u64::from(proven)]), cas)
    }

    /// Asks something, under a ticket of its own.
    pub(super) fn send<S>(&mut self, errand: Errand, what: Asking, around: &Around<'_, S>) {
        self.tickets = self.tickets.wrapping_add(1);
        let until_ms = around.now_ms + Self::timeout_ms(around) + LATE_MS;
        self.errands.push((self.tickets, errand, until_ms));
        self.out.push(Ask { ticket: self.tickets, what });
    }

    pub(super) fn in_flight(&self, of: impl Fn(&Errand) -> bool) -> usize {
        self.errands.iter().filter(|(_, errand, _)| of(errand)).count()
    }

    /// Time is not what it was: what is waited for begins anew.
    pub(super) fn leap<S>(&mut self, around: &Around<'_, S>) {
        let now_ms = around.now_ms;
        self.quiet.1 = now_ms;
        self.not_before_ms = self.not_before_ms.min(now_ms + LONGEST_MS);
        if let Doing::Settling(_, until_ms) = &mut self.doing {
            *until_ms = now_ms + around.settle_ms;
        }
        let longest_ms = LATE_MS + Self::timeout_ms(around);
        for (.., until_ms) in &mut self.errands {
            *until_ms = (*until_ms).min(now_ms + longest_ms);
        }
    }

    /// Says that it still reads the list, if it is time.
    pub(super) fn renew<S>(&mut self, around: &Around<'_, S>) {
        if let Some((fleet, (token, said_ms))) = around.fleet.zip(self.lease)
            && around.now_ms.abs_diff(said_ms) >= RENEW_MS
        {
            self.lease = Some((token, around.now_ms));
            self.send(Errand::Nothing, Asking::Redis(fleet.keys.renew(token)), around);
        }
    }

    /// How long the source may take for an answer, in ms.
    fn timeout_ms<S>(around: &Around<'_, S>) -> u64 {
        match &around.space.source {
            SourcePolicy::Http(http) => u64::from(http.timeout_ms),
            SourcePolicy::Redis(_) | SourcePolicy::Static(_) => 0,
        }
    }
}
