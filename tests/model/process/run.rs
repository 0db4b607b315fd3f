//! What a worker does, one host call after the other.

use super::state::{Cause, Each, Entry, Fetch, Purpose, RESOURCES, Run, State, Step, Wrong};
use super::{Flaw, Process};

impl Process {
    /// The next host call of what the worker is doing.
    pub(super) fn go(&self, state: &mut State, worker: usize) {
        match state.workers[worker].run.take() {
            Some(Run::Bump { cause, step, epoch, changed }) => {
                let overtaken = step == Step::RaiseHead && epoch != state.head.epoch;
                let write = matches!(cause, Cause::Write { .. });
                let next = if overtaken && write && !self.is(Flaw::HeadBeforeCells) {
                    // The cells are written again, for the epoch that is next now.
                    let step = Step::ReadHead;
                    Some(Run::Bump { cause, step, epoch, changed })
                } else {
                    let (epoch, changed) = self.bump_step(state, cause, step, epoch, changed);
                    let next = self.after(cause, step);
                    next.map(|step| Run::Bump { cause, step, epoch, changed })
                };
                state.workers[worker].run = next;
            }
            Some(Run::Head { purpose, bell }) => {
                let head = state.head;
                self.read_on(state, worker, Run::Chunks { purpose, bell, head, next: 0 });
            }
            Some(Run::Chunks { purpose, bell, head, next }) => {
                state.workers[worker].mirror.cells[next] = state.cells[next];
                self.read_on(state, worker, Run::Chunks { purpose, bell, head, next: next + 1 });
            }
            None => {}
        }
    }

    /// Goes on to the next chunk that the head marks; after the last the copy is current.
    fn read_on(&self, state: &mut State, worker: usize, run: Run) {
        let Run::Chunks { purpose, bell, head, next } = run else { return };
        let mirror = &mut state.workers[worker].mirror;
        let changed = |chunk: &usize| head.marks[*chunk] != mirror.head.marks[*chunk];
        if let Some(next) = (next..RESOURCES).find(changed) {
            state.workers[worker].run = Some(Run::Chunks { purpose, bell, head, next });
        } else {
            mirror.head = head;
            mirror.bell = if self.is(Flaw::BellAfterReading) { state.bell } else { bell };
            self.attend(state, worker, purpose);
        }
    }

    /// Does what the worker looked for: its copy is current.
    pub(super) fn attend(&self, state: &mut State, worker: usize, purpose: Purpose) {
        let this = &mut state.workers[worker];
        match purpose {
            Purpose::Read { resource, floor } => {
                let entry = this.l1[resource].filter(|e| this.mirror.allows(resource, *e));
                if let Some(entry) = entry {
                    state.wrong = (entry.value < floor).then_some(Wrong::StaleRead);
                } else if this.fetch.is_none() && state.budget.fetches > 0 {
                    state.budget.fetches -= 1;
                    let epoch = this.mirror.head.epoch;
                    this.fetch = Some(Fetch { resource, epoch, value: None });
                }
            }
            Purpose::Fill => {
                let Some(Fetch { resource, epoch, value: Some(value) }) = this.fetch.take() else {
                    return;
                };
                let late = self.is(Flaw::EpochAtFill);
                let epoch = if late { this.mirror.head.epoch } else { epoch };
                let entry = Entry { value, epoch };
                if this.mirror.allows(resource, entry) {
                    this.l1[resource] = Some(entry);
                    this.store = Some((resource, entry));
                }
            }
            Purpose::Send => {
                let Some((resource, entry)) = this.store.take() else { return };
                if this.mirror.allows(resource, entry) || self.is(Flaw::StampUnchecked) {
                    let synced = usize::from(this.mirror.head.synced);
                    let newer = |bump: &(usize, u8)| bump.0 == resource && bump.1 > entry.value;
                    if state.feed.iter().take(synced).any(newer) {
                        state.wrong = Some(Wrong::StaleStamp);
                    }
                }
            }
        }
    }

    /// A host call of a bump. What it has read, and which chunks it has changed.
    fn bump_step(
        &self,
        state: &mut State,
        cause: Cause,
        step: Step,
        mut epoch: u8,
        mut changed: [bool; RESOURCES],
    ) -> (u8, [bool; RESOURCES]) {
        match (step, cause) {
            (Step::ReadHead, _) => {
                epoch = state.head.epoch;
                if let (Cause::Follow { numbers, .. }, true) =
                    (cause, self.is(Flaw::SyncedBeforeCells))
                {
                    state.head.synced = state.head.synced.max(newest(numbers));
                }
            }
            (Step::Cell(resource), _) => {
                let cell = &mut state.cells[resource];
                let before = *cell;
                match cause {
                    Cause::Write { .. } => cell.local = cell.local.max(epoch + 1),
                    Cause::Follow { numbers, .. } if numbers[resource] > cell.number => {
                        cell.number = numbers[resource];
                        cell.local = cell.local.max(epoch + 1);
                    }
                    Cause::Follow { .. } => {}
                }
                changed[resource] = before != *cell;
            }
            (Step::RaiseHead, _) => self.raise(state, cause, changed),
            (Step::Ring, _) => state.bell += 1,
            (Step::Finish, Cause::Write { resource, version }) => {
                state.finished[resource] = state.finished[resource].max(version);
            }
            (Step::Finish, Cause::Follow { versions, .. }) => {
                for (finished, version) in state.finished.iter_mut().zip(versions) {
                    *finished = version.max(*finished);
                }
            }
        }
        (epoch, changed)
    }

    /// Raises the head's epoch and what else is in it, in one compare-and-swap.
    fn raise(&self, state: &mut State, cause: Cause, changed: [bool; RESOURCES]) {
        let named: [bool; RESOURCES] = std::array::from_fn(|at| match cause {
            Cause::Write { resource, .. } => at == resource,
            // Even if somebody else has written it: he may not have marked it yet.
            Cause::Follow { numbers, .. } => {
                numbers[at] > state.head.synced || self.is(Flaw::SyncedBeforeCells)
            }
        });
        let marked = if self.is(Flaw::OnlyChangedMarked) { changed } else { named };
        state.head.epoch += 1;
        for chunk in (0..RESOURCES).filter(|chunk| marked[*chunk]) {
            state.head.marks[chunk] = state.head.epoch;
        }
        if let Cause::Follow { numbers, .. } = cause {
            state.head.synced = state.head.synced.max(newest(numbers));
        }
    }

    /// What comes after a step.
    fn after(&self, cause: Cause, step: Step) -> Option<Step> {
        let first = match cause {
            Cause::Write { resource, .. } => Step::Cell(resource),
            Cause::Follow { .. } => Step::Cell(0),
        };
        let early = self.is(Flaw::HeadBeforeCells);
        let swapped = self.is(Flaw::BellBeforeHead);
        Some(match step {
            Step::ReadHead if early => Step::RaiseHead,
            Step::ReadHead => first,
            Step::Cell(0) if matches!(cause, Cause::Follow { .. }) => Step::Cell(1),
            Step::Cell(_) if early => Step::Finish,
            Step::Cell(_) if swapped => Step::Ring,
            Step::Cell(_) => Step::RaiseHead,
            Step::RaiseHead if swapped => Step::Finish,
            Step::RaiseHead => Step::Ring,
            Step::Ring if early => first,
            Step::Ring if swapped => Step::RaiseHead,
            Step::Ring => Step::Finish,
            Step::Finish => return None,
        })
    }
}

fn newest(numbers: Each) -> u8 {
    numbers.into_iter().max().unwrap_or_default()
}
