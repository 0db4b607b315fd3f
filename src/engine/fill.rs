//! A response being copied while it streams to its client.

use super::Worker;
use crate::entry::{Entry, Meta};
use crate::http::key::Key;
use crate::http::storable::NotStored;

/// What a chunk costs besides its bytes, at most.
const CHUNK_OVERHEAD: usize = 32;

/// What a copy may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of one response.
    pub(super) entry: usize,
    /// Bytes of all responses a worker copies at the same time.
    pub(super) worker: usize,
}

/// The copy so far. It charges the worker's fill budget until it is finished or dropped by
/// [`Fill::abandon`].
#[derive(Debug)]
pub(super) struct Fill {
    meta: Meta,
    fields: Box<[u8]>,
    /// The first chunk: most bodies have no other.
    first: Vec<u8>,
    more: Vec<Vec<u8>>,
    body_len: usize,
    expected: Option<u64>,
    limits: Limits,
    charged: usize,
}

impl Fill {
    /// Starts a copy of a response whose body should have `expected` bytes.
    ///
    /// # Errors
    /// `TooLarge` if it is known to be longer than allowed, `FillBudget` if too much is being copied.
    pub(super) fn new(
        meta: Meta,
        fields: Box<[u8]>,
        expected: Option<u64>,
        limits: Limits,
        worker: &mut Worker,
    ) -> Result<Self, NotStored> {
        let (first, more) = (Vec::new(), Vec::new());
        let mut fill =
            Self { meta, fields, first, more, body_len: 0, expected, limits, charged: 0 };
        let least = usize::try_from(expected.unwrap_or(0)).unwrap_or(usize::MAX);
        if least > fill.room() {
            return Err(NotStored::TooLarge);
        }
        fill.charge(fill.fields.len(), worker)?;
        Ok(fill)
    }

    /// Makes room for a chunk of `len` bytes.
    ///
    /// # Errors
    /// Why the copy ends here; it must then be abandoned.
    pub(super) fn reserve(&mut self, len: usize, worker: &mut Worker) -> Result<(), NotStored> {
        if len > self.room() {
            return Err(NotStored::TooLarge);
        }
        self.charge(len + CHUNK_OVERHEAD, worker)
    }

    /// Adds a chunk that room was made for.
    pub(super) fn chunk(&mut self, data: Vec<u8>) {
        self.body_len += data.len();
        if self.first.is_empty() {
            self.first = data;
        } else {
            self.more.push(data);
        }
    }

    /// The stream has ended: the entry, if the response is complete.
    ///
    /// # Errors
    /// `Incomplete` if the length is not what `Content-Length` promised.
    pub(super) fn finish(mut self, key: Key, worker: &mut Worker) -> Result<Entry, NotStored> {
        worker.filling = worker.filling.saturating_sub(self.charged);
        if self.expected.is_some_and(|n| n != self.body_len as u64) {
            return Err(NotStored::Incomplete);
        }
        self.first.reserve_exact(self.body_len - self.first.len());
        self.more.iter().for_each(|chunk| self.first.extend_from_slice(chunk));
        Ok(Entry::new(self.meta, key, self.fields, self.first.into_boxed_slice()))
    }

    /// Gives the copy up.
    pub(super) fn abandon(self, worker: &mut Worker) {
        worker.filling = worker.filling.saturating_sub(self.charged);
    }

    /// Bytes of body still allowed.
    fn room(&self) -> usize {
        self.limits.entry.saturating_sub(self.fields.len() + self.body_len)
    }

    fn charge(&mut self, bytes: usize, worker: &mut Worker) -> Result<(), NotStored> {
        if bytes > self.limits.worker.saturating_sub(worker.filling) {
            return Err(NotStored::FillBudget);
        }
        worker.filling += bytes;
        self.charged += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const META: Meta = Meta { status: 200, stored_ms: 0, fresh_until_ms: 1, age_s: 0 };
    const FIELDS: usize = 10;

    fn fill(expected: Option<u64>, budget: usize, worker: &mut Worker) -> Result<Fill, NotStored> {
        let limits = Limits { entry: 100, worker: budget };
        Fill::new(META, [0; FIELDS].into(), expected, limits, worker)
    }

    #[test]
    fn only_complete_responses_become_entries() {
        let mut worker = Worker::new(0);
        for (expected, complete) in
            [(None, true), (Some(6), true), (Some(7), false), (Some(5), false)]
        {
            let mut fill = fill(expected, 1_000, &mut worker).unwrap();
            for chunk in [b"abc", b"def"] {
                fill.reserve(3, &mut worker).unwrap();
                fill.chunk(chunk.to_vec());
            }
            assert_eq!(worker.filling, FIELDS + 6 + 2 * CHUNK_OVERHEAD);
            let entry = fill.finish(Key::new(b"k"), &mut worker);
            assert_eq!(entry.map(|e| e.body() == b"abcdef").is_ok(), complete, "{expected:?}");
            assert_eq!(worker.filling, 0);
        }
    }

    #[test]
    fn size_and_budget_are_bounds() {
        let mut worker = Worker::new(0);
        assert_eq!(fill(Some(91), 1_000, &mut worker).err(), Some(NotStored::TooLarge));
        assert_eq!(fill(None, FIELDS - 1, &mut worker).err(), Some(NotStored::FillBudget));
        let mut one = fill(Some(90), FIELDS + 50 + CHUNK_OVERHEAD, &mut worker).unwrap();
        assert_eq!(one.reserve(91, &mut worker), Err(NotStored::TooLarge));
        assert_eq!(one.reserve(51, &mut worker), Err(NotStored::FillBudget));
        assert_eq!(one.reserve(50, &mut worker), Ok(()));
        one.abandon(&mut worker);
        assert_eq!(worker.filling, 0);
    }
}
