//! Resources whose responses were not for storing: their clients' conditions go to the origin.

/// Resources that share a slot forget each other.
const SLOTS: usize = 1_024;
/// How long a resource is remembered.
const KEPT_MS: u64 = 60_000;

/// A bounded table of hashes, each with the end of its time.
#[derive(Debug)]
pub(super) struct Refused {
    slots: Box<[(u128, u64)]>,
}

impl Default for Refused {
    fn default() -> Self {
        Self { slots: vec![(0, 0); SLOTS].into() }
    }
}

impl Refused {
    /// The response of the resource with this hash was not for storing.
    pub(super) fn note(&mut self, hash: u128, now_ms: u64) {
        self.set(hash, now_ms.saturating_add(KEPT_MS));
    }

    /// It was stored after all.
    pub(super) fn forget(&mut self, hash: u128) {
        self.set(hash, 0);
    }

    /// Whether the last response of the resource was not for storing.
    pub(super) fn knows(&self, hash: u128, now_ms: u64) -> bool {
        self.slots.get(slot(hash)).is_some_and(|(of, until)| *of == hash && now_ms < *until)
    }

    fn set(&mut self, hash: u128, until_ms: u64) {
        if let Some(slot) = self.slots.get_mut(slot(hash)) {
            *slot = (hash, until_ms);
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
const fn slot(hash: u128) -> usize {
    hash as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_was_refused_is_known_for_a_while() {
        let mut refused = Refused::default();
        assert!(!refused.knows(0, 0) && !refused.knows(7, 1_000));
        refused.note(7, 1_000);
        assert!(refused.knows(7, 1_000) && refused.knows(7, 60_999) && !refused.knows(7, 61_000));
        assert!(!refused.knows(7 + SLOTS as u128, 1_000));
        refused.note(7 + SLOTS as u128, 1_000);
        assert!(!refused.knows(7, 1_000));
        refused.forget(7 + SLOTS as u128);
        assert!(!refused.knows(7 + SLOTS as u128, 1_000));
    }
}
