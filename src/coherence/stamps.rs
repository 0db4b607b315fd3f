//! What lies in L2 says by its stamp until which bump of the fleet it is valid.

use super::generations::{Generations, Validity};
use super::head::Stamp;
use super::{Plane, Tag};

impl Generations {
    /// Which table the process follows; 0 for none.
    #[must_use]
    pub const fn scope(&self) -> u64 {
        self.head.scope
    }

    /// Whether it knows the table of this scope: without it nothing in L2 can be trusted.
    #[must_use]
    pub const fn knows(&self, scope: u64) -> bool {
        self.head.scope == scope && self.head.synced.number > 0
    }

    /// The stamp for L2 of what was fetched from `epoch` on with these tags; none if it is not for L2.
    #[must_use]
    pub fn stamp(&self, scope: u64, tags: &[Tag], epoch: u64) -> Option<Stamp> {
        let is_current = self.validity(tags, epoch) == Validity::Current;
        let is_clean = tags.iter().all(|tag| self.cell(Plane::Hard, *tag).dirty == 0);
        (self.knows(scope) && is_current && is_clean).then_some(self.head.synced)
    }

    /// Whether what lies in L2 with this stamp and these tags may be used.
    #[must_use]
    pub fn admits(&self, scope: u64, stamp: Stamp, tags: &[Tag]) -> Validity {
        if !self.knows(scope) || stamp.incarnation != self.head.synced.incarnation {
            return Validity::Invalid;
        }
        self.judge(tags, |cell| cell.dirty != 0 || cell.number > stamp.number)
    }
}
