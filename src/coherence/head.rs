//! The head of the table: what a worker reads to know whether its copy is current.

use super::cells::CHUNKS;

const NUMBERS: usize = 5;
const LEN: usize = 8 * NUMBERS + 4 * CHUNKS;

/// Until which bump of the fleet something is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The incarnation of the table in Redis; 0 if there is none.
    pub incarnation: u64,
    /// The sequence number.
    pub number: u64,
}

/// The head. It is replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// How often anything was bumped, from a start that depends on the time.
    pub(super) epoch: u64,
    /// Which table in Redis the numbers are of.
    pub(super) scope: u64,
    /// When the filter was configured that says so, in ms since the epoch.
    pub(super) scope_since_ms: u64,
    /// The incarnation, and up to which sequence number the cells know everything of it; a number of 0
    /// says that they do not know it yet.
    pub(super) synced: Stamp,
    /// The epoch at which each chunk was changed last, less what does not fit.
    pub(super) marks: [u32; CHUNKS],
}

impl Head {
    pub(super) const fn new(epoch: u64) -> Self {
        Self {
            epoch,
            scope: 0,
            scope_since_ms: 0,
            synced: Stamp { incarnation: 0, number: 0 },
            marks: [0; CHUNKS],
        }
    }

    /// Goes on to a later epoch, in which these chunks were changed.
    pub(super) fn advance(&mut self, epoch: u64, chunks: &[usize]) {
        self.epoch = epoch;
        for chunk in chunks {
            if let Some(mark) = self.marks.get_mut(*chunk) {
                #[allow(clippy::cast_possible_truncation)] // compared for equality only
                let low = self.epoch as u32;
                *mark = low;
            }
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN);
        let Stamp { incarnation, number } = self.synced;
        for n in [self.epoch, self.scope, self.scope_since_ms, incarnation, number] {
            bytes.extend_from_slice(&n.to_le_bytes());
        }
        self.marks.iter().for_each(|mark| bytes.extend_from_slice(&mark.to_le_bytes()));
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, marks) = bytes.split_first_chunk::<{ 8 * NUMBERS }>()?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|n| u64::from_le_bytes(*n));
        let (marks, rest) = marks.as_chunks::<4>();
        let marks: Vec<u32> = marks.iter().map(|mark| u32::from_le_bytes(*mark)).collect();
        let marks = marks.try_into().ok().filter(|_| rest.is_empty())?;
        let mut next = || numbers.next().unwrap_or_default();
        let (epoch, scope, scope_since_ms) = (next(), next(), next());
        let synced = Stamp { incarnation: next(), number: next() };
        // One that leaves no room for bumps is no table's.
        let is_one = epoch <= u64::MAX / 2;
        is_one.then_some(Self { epoch, scope, scope_since_ms, synced, marks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_is_written_is_read() {
        let mut head = Head::new(u64::from(u32::MAX) + 7);
        head.scope = 3;
        head.synced = Stamp { incarnation: u64::MAX, number: 9 };
        head.advance(head.epoch + 1, &[0, 47]);
        assert_eq!((head.marks[0], head.marks[1], head.marks[47]), (7, 0, 7));
        let bytes = head.to_bytes();
        assert_eq!(Head::from_bytes(&bytes), Some(head));
        assert_eq!(Head::from_bytes(&bytes[..LEN - 1]), None);
        assert_eq!(Head::from_bytes(b""), None);
        assert_eq!(Head::from_bytes(&Head::new(u64::MAX).to_bytes()), None);
    }
}
