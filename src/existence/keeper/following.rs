//! What the fleet says: recent ids, and its last filter.

use std::rc::Rc;

use super::{Around, Doing, Errand, Event, Keeper, Made};
use crate::coherence::SharedData;
use crate::existence::fleet::News;
use crate::existence::head::{Head, UNMEASURED};
use crate::existence::source::Asking;
use crate::existence::space::Place;
use crate::existence::{Assembly, DecodeError};

impl Keeper {
    /// Asks the fleet what is new, if it is time.
    pub(super) fn poll<S: SharedData>(&mut self, head: &Head, around: &Around<'_, S>) {
        let Some(fleet) = around.fleet else { return };
        let is_due = around.now_ms.abs_diff(self.polled_ms) >= fleet.poll_ms;
        if is_due && self.in_flight(|errand| *errand == Errand::Poll) == 0 {
            self.polled_ms = around.now_ms;
            self.send(Errand::Poll, Asking::Redis(fleet.keys.poll(head.score)), around);
        }
    }

    /// A piece of the fleet's filter, of so many ids at most, came or did not.
    pub(super) fn has_piece(&mut self, index: usize, piece: Option<&[u8]>, most: usize) {
        let Doing::Loading(snapshot, assembly, _) = &mut self.doing else { return };
        let snapshot = *snapshot;
        let added = match (piece, assembly.as_mut()) {
            (None, _) => Err(DecodeError::Truncated),
            (Some(piece), None) => {
                let begun = Assembly::new(snapshot.serial, piece).map(|begun| begun.within(most));
                begun.map(|begun| *assembly = Some(Box::new(begun)))
            }
            (Some(piece), Some(assembly)) => assembly.add(index, piece),
        };
        if let Err(error) = added {
            // Until there is another one.
            self.refused = snapshot.serial;
            self.events.push(Event::Refused(error));
            self.doing = Doing::Nothing;
            return;
        }
        let filter = assembly.as_mut().and_then(|assembly| assembly.finish());
        if let Some(filter) = filter {
            self.doing = Doing::Publishing(Rc::new(filter), Made::Fleet(snapshot), None, 0);
        }
    }

    /// The fleet says what is new.
    pub(super) fn hear<S: SharedData>(
        &mut self,
        place: &mut Place,
        news: &News,
        around: &Around<'_, S>,
    ) {
        self.learn(place, news.incarnation, around);
        let Around { shared, now_ms, .. } = *around;
        let added = place.known.recent.add(shared, &place.names, &news.ids, false);
        let score = news.ids.iter().map(|(_, score)| *score).max().unwrap_or(0);
        self.snapshot = news.snapshot;
        let ended = news.snapshot.filter(|snapshot| snapshot.incarnation == news.incarnation);
        let mut missed = false;
        Head::change(shared, &place.names, |head| {
            // Ids that are in the fleet's last list are no longer told: some of them may never have been heard here.
            let known =
                if head.base == UNMEASURED { head.score } else { head.score.max(head.base) };
            let base = ended.map_or(0, |snapshot| snapshot.base);
            missed = head.heard_ms > 0 && base > known;
            head.heard_ms = now_ms;
            if added {
                head.score = head.score.max(score).max(if missed { base } else { 0 });
            }
            true
        });
        if missed {
            place.known.recent.lose(shared, &place.names);
            self.events.push(Event::Lost);
        }
    }

    /// Learns which set of recent ids there is. If it is another one than before, ids are lost.
    pub(super) fn learn<S: SharedData>(
        &mut self,
        place: &Place,
        incarnation: u64,
        around: &Around<'_, S>,
    ) {
        let (mut lost, mut changed) = (false, false);
        Head::change(around.shared, &place.names, |head| {
            changed = head.incarnation != incarnation;
            // Where none was known before, none was lost.
            lost = changed && (head.serial > 0 || head.incarnation > 0);
            if changed {
                (head.incarnation, head.score) = (incarnation, 0);
            }
            if lost {
                head.base = UNMEASURED;
            }
            changed
        });
        if lost {
            place.known.recent.lose(around.shared, &place.names);
            self.events.push(Event::Lost);
        }
    }
}
