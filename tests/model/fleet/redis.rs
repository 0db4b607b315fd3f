//! What Redis does, in one step each.

use super::Fleet;
use super::state::{Each, RESOURCES, State, Table};

impl Fleet {
    /// The next number, for a sender who knows of one. Redis' clock never goes back.
    fn number(state: &mut State, known: u8) -> u8 {
        let number = 1 + state.table.last().max(known).max(state.clock);
        state.clock = state.clock.max(number);
        number
    }

    /// The script that bumps: the number it took.
    pub(super) fn bump(state: &mut State, cells: Each, versions: Each, known: u8) -> u8 {
        if state.table.incarnation == 0 {
            state.table.incarnation = Self::number(state, known);
        }
        let number = Self::number(state, known);
        let table = &mut state.table;
        for at in (0..RESOURCES).filter(|at| cells[*at] != 0) {
            table.numbers[at] = number;
            table.versions[at] = versions[at].max(table.versions[at]);
            table.covered[at] = state.origin[at];
        }
        number
    }

    /// The script that puts a new incarnation in place of one that was seen.
    pub(super) fn renew(state: &mut State, seen: u8, known: u8) {
        if state.table.incarnation == seen {
            state.table.incarnation = Self::number(state, known);
        }
    }

    /// What `ZRANGEBYSCORE` answers: what is at least as new as `synced`.
    pub(super) fn range(table: Table, synced: u8) -> Table {
        let mut reply = table;
        reply.numbers.iter_mut().filter(|n| **n < synced).for_each(|n| *n = 0);
        reply
    }
}
