//! Which resources a write made stale: what was asked for before must not be stored after.

/// Resources that share a slot cost each other a store now and then, nothing else: with so many, one of
/// 650 fetches, if a hundred writes end meanwhile. 128 KiB.
const SLOTS: usize = 1 << 16;

/// How often each resource was made stale, in a bounded table of counts by hash.
#[derive(Debug)]
pub(super) struct Generations {
    slots: Box<[u16]>,
}

impl Default for Generations {
    fn default() -> Self {
        Self { slots: vec![0; SLOTS].into() }
    }
}

impl Generations {
    /// The generation of the resource with this hash.
    pub(super) fn of(&self, hash: u128) -> u16 {
        self.slots.get(slot(hash)).copied().unwrap_or_default()
    }

    /// The resource begins another generation.
    pub(super) fn bump(&mut self, hash: u128) {
        if let Some(slot) = self.slots.get_mut(slot(hash)) {
            *slot = slot.wrapping_add(1);
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
const fn slot(hash: u128) -> usize {
    hash as usize % SLOTS
}
