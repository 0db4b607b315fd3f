//! Whether a process has several workers: one alone needs no leases.

use crate::coherence::SharedData;

const NAME: &[u8] = b"tiercel/peers";
/// How often a VM says that it lives, and how long it is believed.
const SAID_MS: u64 = 5_000;
const BELIEVED_MS: u64 = 4 * SAID_MS;
/// Until then others may not have said anything yet.
const YOUNG_MS: u64 = 1_000;
/// VMs that are told apart.
const MOST: usize = 128;

/// What a VM knows of the others.
#[derive(Debug, Default)]
pub struct Peers {
    began_ms: Option<u64>,
    others: usize,
}

impl Peers {
    /// Whether other workers may ask for the same: not if there is but one VM besides this one, which is the
    /// main thread's.
    #[must_use]
    pub fn are_there(&self, now_ms: u64) -> bool {
        let young = self.began_ms.is_none_or(|began_ms| now_ms < began_ms + YOUNG_MS);
        young || self.others > 1
    }

    /// Time passes: says now and then that the VM called `own` lives, and looks who else does.
    pub fn tick(&mut self, shared: &impl SharedData, own: u64, now_ms: u64) {
        self.began_ms.get_or_insert(now_ms);
        let (bytes, token) = shared.get(NAME).unwrap_or_default();
        let (records, _) = bytes.as_chunks::<16>();
        let mut all: Vec<(u64, u64)> = records
            .iter()
            .map(|record| {
                let (name, said) = record.split_at(8);
                let number = |bytes: &[u8]| bytes.first_chunk().copied().map(u64::from_le_bytes);
                (number(name).unwrap_or_default(), number(said).unwrap_or_default())
            })
            .filter(|(_, said_ms)| said_ms.abs_diff(now_ms) < BELIEVED_MS)
            .collect();
        let said = all.iter().find(|(name, _)| *name == own).map(|(_, said_ms)| *said_ms);
        all.retain(|(name, _)| *name != own);
        self.others = all.len();
        if said.is_none_or(|ms| now_ms.abs_diff(ms) >= SAID_MS) {
            all.truncate(MOST - 1);
            all.push((own, now_ms));
            let bytes: Vec<u8> = all
                .iter()
                .flat_map(|(name, said)| [name.to_le_bytes(), said.to_le_bytes()])
                .flatten()
                .collect();
            // Was somebody else faster, it is said at the next tick.
            let _ = shared.set(NAME, &bytes, token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coherence::Memory;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn one_worker_beside_the_main_thread_is_alone() {
        let shared = Memory::default();
        let mut vms: [Peers; 3] = Default::default();
        assert!(vms[0].are_there(10_000), "nobody knows yet");
        for now_ms in [10_000, 10_050, 11_000] {
            vms[0].tick(&shared, 1, now_ms);
            vms[1].tick(&shared, 2, now_ms);
        }
        assert!(!vms[0].are_there(11_000) && !vms[1].are_there(11_000));
        vms[2].tick(&shared, 3, 11_010);
        vms[0].tick(&shared, 1, 11_050);
        assert!(vms[0].are_there(11_050));
        // The third is gone, and after a while nobody believes in it.
        for now_ms in (12_000..33_000).step_by(1_000) {
            vms[0].tick(&shared, 1, now_ms);
            vms[1].tick(&shared, 2, now_ms);
        }
        assert!(!vms[0].are_there(32_000));
        assert!(shared.bytes() <= 3 * 16);
    }
}
