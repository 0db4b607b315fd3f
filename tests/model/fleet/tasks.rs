//! What workers do for their instance, one host call or one command of Redis after the other.

use std::array::from_fn;

use super::state::{
    Each, Entry, Fetching, Following, Instance, Look, Sending, State, Stored, Table, Task, Writing,
};
use super::{Flaw, Fleet};

impl Fleet {
    /// The next step of a task, and what is left of it. `pick` is which of the entries in L2 is found.
    pub(super) fn step(
        &self,
        state: &mut State,
        at: usize,
        task: Task,
        pick: usize,
    ) -> Option<Task> {
        match task {
            Task::Write { resource, version, step } => {
                let step = self.write(&mut state.instances[at], resource, version, step)?;
                Some(Task::Write { resource, version, step })
            }
            Task::Call { dirty, versions, known, synced, step: Sending::Sent } => {
                let new = |at: usize| dirty[at] != 0 && state.table.numbers[at] > synced;
                let before = from_fn(|at| if new(at) { state.table.numbers[at] } else { 0 });
                let number = Self::bump(state, dirty, versions, known);
                let step = Sending::Answered { number, before };
                Some(Task::Call { dirty, versions, known, synced, step })
            }
            Task::Call { dirty, step: Sending::Answered { number, before }, .. } => {
                self.confirm(&mut state.instances[at], dirty, number, before);
                None
            }
            Task::Follow { .. } => self.follow(state, at, task, pick),
            Task::Fetch { resource, epoch, step } => {
                let step = self.fetch(state, at, resource, epoch, step)?;
                Some(Task::Fetch { resource, epoch, step })
            }
        }
    }

    fn write(
        &self,
        instance: &mut Instance,
        resource: usize,
        version: u8,
        step: Writing,
    ) -> Option<Writing> {
        match step {
            Writing::Answered => Some(Writing::Cell { epoch: instance.epoch }),
            Writing::Cell { epoch } => {
                let cell = &mut instance.cells[resource];
                cell.local = cell.local.max(epoch + 1);
                cell.dirty = cell.dirty.max(epoch + 1);
                cell.recent = true;
                Some(Writing::Head { epoch })
            }
            // What L2 still had may have been taken for valid at the newer epoch meanwhile.
            Writing::Head { epoch } if epoch != instance.epoch && !self.is(Flaw::EpochKept) => {
                Some(Writing::Cell { epoch: instance.epoch })
            }
            Writing::Head { .. } => {
                instance.epoch += 1;
                instance.finished[resource] = instance.finished[resource].max(version);
                // What was sent before that is sent once more: its epoch has changed.
                let cell = &mut instance.cells[resource];
                cell.version = cell.version.max(version);
                None
            }
        }
    }

    fn confirm(&self, instance: &mut Instance, sent: Each, number: u8, before: Each) {
        instance.epoch += 1;
        let epoch = instance.epoch;
        let cells = instance.cells.iter_mut().zip(sent).zip(before);
        for ((cell, sent), before) in cells.filter(|((_, sent), _)| *sent != 0) {
            // Nobody hears of it by the feed any more.
            if before > cell.number && !self.is(Flaw::OthersHidden) {
                cell.local = cell.local.max(epoch);
            }
            cell.number = cell.number.max(number);
            if cell.dirty == sent || self.is(Flaw::AnyEpoch) {
                cell.dirty = 0;
            }
        }
    }

    fn follow(&self, state: &mut State, at: usize, task: Task, pick: usize) -> Option<Task> {
        let Task::Follow { incarnation, synced, known, mut look, step } = task else { return None };
        let step = match step {
            Following::Asked => {
                // Without a look-up it asks for more than is new, to see that that is still there.
                let all = look.is_none() && !self.is(Flaw::OnlyNewAsked) && !self.trusts_most();
                let reply = Self::range(state.table, if all { 0 } else { synced });
                if look.is_some() { Following::Get { reply } } else { Following::Replied { reply } }
            }
            Following::Get { reply } => {
                if let Some(look) = &mut look {
                    look.found =
                        state.l2.get(pick).copied().filter(|s| s.resource == look.resource);
                }
                Following::Replied { reply }
            }
            Following::Replied { reply } => {
                let next = self.judge(&state.instances[at], task, reply)?;
                if matches!(next, Following::Cells { .. }) && self.is(Flaw::SyncedBeforeCells) {
                    state.instances[at].synced = state.instances[at].synced.max(reply.last());
                }
                next
            }
            Following::Cells { reply, epoch, first } => {
                // Numbers of an earlier incarnation go; not what was confirmed under this one.
                let all = self.is(Flaw::LowerTaken);
                for (cell, number) in state.instances[at].cells.iter_mut().zip(reply.numbers) {
                    let old = first && (cell.number <= incarnation || all);
                    if number > cell.number || old && number != cell.number {
                        cell.number = number;
                        if number != 0 {
                            cell.local = cell.local.max(epoch + 1);
                        }
                    }
                }
                Following::Head { reply }
            }
            Following::Head { reply } => {
                let instance = &mut state.instances[at];
                instance.epoch += 1;
                if instance.incarnation == incarnation {
                    instance.synced = instance.synced.max(reply.last());
                    for (heard, version) in instance.heard.iter_mut().zip(reply.versions) {
                        *heard = version.max(*heard);
                    }
                }
                look?;
                Following::Use
            }
            Following::AdoptCells { reply, epoch } => {
                let instance = &mut state.instances[at];
                for cell in instance.cells.iter_mut().filter(|cell| cell.recent) {
                    // A new epoch, so that no answer to what was sent before clears it.
                    let again = match cell.dirty {
                        0 if self.is(Flaw::AgainSameEpoch) => cell.local,
                        dirty if self.is(Flaw::AgainSameEpoch) => dirty,
                        dirty => dirty.max(epoch + 1),
                    };
                    cell.dirty = if self.is(Flaw::NothingAgain) { cell.dirty } else { again };
                }
                if self.is(Flaw::HeadBeforeDirty) {
                    return None;
                }
                Following::AdoptHead { reply, epoch }
            }
            Following::AdoptHead { reply, epoch } => {
                let instance = &mut state.instances[at];
                instance.epoch += 1;
                if instance.incarnation == incarnation {
                    instance.incarnation = reply.incarnation;
                    instance.synced = 0;
                }
                if !self.is(Flaw::HeadBeforeDirty) {
                    return None;
                }
                Following::AdoptCells { reply, epoch }
            }
            Following::Renew { seen } => {
                let known =
                    state.instances[at].cells.iter().fold(incarnation, |n, c| n.max(c.number));
                Self::renew(state, seen, known);
                return None;
            }
            Following::Use => {
                look.into_iter().for_each(|look| self.look(state, at, incarnation, look));
                return None;
            }
        };
        Some(Task::Follow { incarnation, synced, known, look, step })
    }

    /// What a reply means to the instance as it is now; none if nothing.
    fn judge(&self, instance: &Instance, task: Task, reply: Table) -> Option<Following> {
        let Task::Follow { incarnation, synced, known, look, .. } = task else { return None };
        let epoch = instance.epoch;
        let news = Following::Cells { reply, epoch, first: instance.synced == 0 };
        if self.is(Flaw::NoIncarnation) {
            return Some(news);
        }
        if instance.incarnation != incarnation {
            return None;
        }
        let renew = Following::Renew { seen: reply.incarnation };
        let older = reply.incarnation < incarnation;
        if reply.incarnation == 0 || older {
            return Some(renew);
        }
        if reply.incarnation != instance.incarnation {
            return Some(if self.is(Flaw::HeadBeforeDirty) {
                Following::AdoptHead { reply, epoch }
            } else {
                Following::AdoptCells { reply, epoch }
            });
        }
        let lost = if self.trusts_most() {
            reply.last() < synced
        } else {
            let asked = if self.is(Flaw::OnlyNewAsked) { synced } else { 0 };
            look.is_none()
                && known.iter().zip(reply.numbers).any(|(known, number)| {
                    *known > incarnation && *known >= asked && number < *known
                })
        };
        Some(if lost { renew } else { news })
    }

    /// What a look-up makes of what it found, after its follow.
    fn look(&self, state: &mut State, at: usize, asked: u8, look: Look) {
        let instance = &mut state.instances[at];
        let cell = instance.cells[look.resource];
        let Some(found) = look.found else { return };
        let known = asked == instance.incarnation && found.incarnation == instance.incarnation;
        let synced = instance.synced != 0;
        let same = (known || self.is(Flaw::NoIncarnation)) && synced;
        if !same || cell.number > found.number || (cell.dirty != 0 && !self.is(Flaw::DirtyTrusted))
        {
            return;
        }
        let floor = if state.lost { 0 } else { look.bumped };
        state.stale |= found.value < floor.max(look.finished);
        if cell.local <= look.epoch {
            instance.l1[look.resource] = Some(Entry { value: found.value, epoch: look.epoch });
        }
    }

    fn fetch(
        &self,
        state: &mut State,
        at: usize,
        resource: usize,
        epoch: u8,
        step: Fetching,
    ) -> Option<Fetching> {
        let instance = &mut state.instances[at];
        let begun = if self.is(Flaw::EpochAtFill) { instance.epoch } else { epoch };
        let valid = instance.cells[resource].local <= begun;
        match step {
            Fetching::Asked => Some(Fetching::Answered { value: state.origin[resource] }),
            Fetching::Answered { value } => {
                if valid {
                    instance.l1[resource] = Some(Entry { value, epoch: begun });
                }
                (valid || self.is(Flaw::StampUnchecked)).then_some(Fetching::Filled { value })
            }
            Fetching::Filled { value } => {
                if (valid || self.is(Flaw::StampUnchecked)) && instance.synced != 0 {
                    let (incarnation, number) = (instance.incarnation, instance.synced);
                    state.store(Stored { resource, value, incarnation, number });
                }
                None
            }
        }
    }
}
