//! What Redis does, in one step each.

use super::state::{Each, RESOURCES, State, Table};
use super::{Flaw, Fleet};

impl Fleet {
    /// The next number, for a sender who knows of one.
    fn number(&self, state: &mut State, known: u8) -> u8 {
        let clock = if self.is(Flaw::ClockBehind) { 0 } else { state.clock };
        let number = 1 + state.table.last().max(known).max(clock);
        state.clock = state.clock.max(number);
        number
    }

    /// The script that bumps: the number it took, and the incarnation.
    pub(super) fn bump(
        &self,
        state: &mut State,
        cells: &Each,
        versions: &Each,
        incarnation: u8,
        known: u8,
    ) -> (u8, u8) {
        let table = &state.table;
        let lost = table.incarnation < incarnation
            || table.incarnation == incarnation && table.last() < known;
        if table.incarnation == 0 || lost && !self.is(Flaw::ScriptTrusts) && !self.trusts_most() {
            state.table.incarnation = self.number(state, known);
        }
        let number = self.number(state, known);
        let table = &mut state.table;
        for at in (0..RESOURCES).filter(|at| cells[*at] != 0) {
            table.numbers[at] = number;
            table.versions[at] = versions[at].max(table.versions[at]);
        }
        (number, state.table.incarnation)
    }

    /// The script that puts a new incarnation in place of one that was seen.
    pub(super) fn renew(&self, state: &mut State, seen: u8, known: u8) {
        if state.table.incarnation == seen {
            state.table.incarnation = self.number(state, known);
        }
    }

    /// What `ZRANGEBYSCORE` answers: what is at least as new as `synced`.
    pub(super) fn range(table: &Table, synced: u8) -> Table {
        let mut reply = *table;
        reply.numbers.iter_mut().filter(|n| **n < synced).for_each(|n| *n = 0);
        reply
    }
}
