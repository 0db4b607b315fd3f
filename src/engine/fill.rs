//! A response being copied while it streams to its client.

use super::Worker;
use crate::entry::{Entry, Meta};
use crate::http::key::Key;
use crate::http::storable::NotStored;

/// The copy so far. It charges the worker's fill budget until it is finished or dropped by
/// [`Fill::abandon`].
#[derive(Debug)]
pub struct Fill {
    meta: Meta,
    fields: Box<[u8]>,
    body: Vec<u8>,
    expected: Option<u64>,
    max: usize,
}

impl Fill {
    /// Starts a copy of a response whose body may have `max` bytes and should have `expected`.
    ///
    /// # Errors
    /// `TooLarge` if it is known to be longer than allowed.
    pub fn new(
        meta: Meta,
        fields: Box<[u8]>,
        expected: Option<u64>,
        max: usize,
    ) -> Result<Self, NotStored> {
        if fields.len() > max || expected.is_some_and(|n| n > (max - fields.len()) as u64) {
            return Err(NotStored::TooLarge);
        }
        let max = max - fields.len();
        Ok(Self { meta, fields, body: Vec::new(), expected, max })
    }

    /// Copies a chunk.
    ///
    /// # Errors
    /// Why the copy ends here; it must then be abandoned.
    pub fn chunk(
        &mut self,
        data: Vec<u8>,
        budget: usize,
        worker: &mut Worker,
    ) -> Result<(), NotStored> {
        if self.body.len() + data.len() > self.max {
            return Err(NotStored::TooLarge);
        }
        if worker.filling + data.len() > budget {
            return Err(NotStored::FillBudget);
        }
        worker.filling += data.len();
        if self.body.is_empty() {
            self.body = data; // most bodies are one chunk: take it as it is
        } else {
            self.body.extend_from_slice(&data);
        }
        Ok(())
    }

    /// The stream has ended: the entry, if the response is complete.
    ///
    /// # Errors
    /// `Incomplete` if the length is not what `Content-Length` promised.
    pub fn finish(self, key: Key, worker: &mut Worker) -> Result<Entry, NotStored> {
        worker.filling = worker.filling.saturating_sub(self.body.len());
        if self.expected.is_some_and(|n| n != self.body.len() as u64) {
            return Err(NotStored::Incomplete);
        }
        Ok(Entry::new(self.meta, key, self.fields, self.body.into_boxed_slice()))
    }

    /// Gives the copy up.
    pub fn abandon(self, worker: &mut Worker) {
        worker.filling = worker.filling.saturating_sub(self.body.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const META: Meta = Meta { status: 200, stored_ms: 0, fresh_until_ms: 1, age_s: 0 };

    fn fill(expected: Option<u64>, max: usize) -> Result<Fill, NotStored> {
        Fill::new(META, (*b"four").into(), expected, max)
    }

    #[test]
    fn only_complete_responses_become_entries() {
        let mut worker = Worker::new(0);
        for (expected, complete) in
            [(None, true), (Some(6), true), (Some(7), false), (Some(5), false)]
        {
            let mut fill = fill(expected, 100).unwrap();
            fill.chunk(b"abc".to_vec(), 100, &mut worker).unwrap();
            fill.chunk(b"def".to_vec(), 100, &mut worker).unwrap();
            assert_eq!(worker.filling, 6);
            let entry = fill.finish(Key::new(b"k"), &mut worker);
            assert_eq!(entry.map(|e| e.body() == b"abcdef").is_ok(), complete, "{expected:?}");
            assert_eq!(worker.filling, 0);
        }
    }

    #[test]
    fn size_and_budget_are_bounds() {
        let mut worker = Worker::new(0);
        assert_eq!(fill(Some(97), 100).map(|_| ()), Err(NotStored::TooLarge)); // fields take four
        let mut one = fill(Some(96), 100).unwrap();
        assert_eq!(one.chunk(vec![0; 97], 1_000, &mut worker), Err(NotStored::TooLarge));
        assert_eq!(one.chunk(vec![0; 50], 49, &mut worker), Err(NotStored::FillBudget));
        assert_eq!(one.chunk(vec![0; 50], 50, &mut worker), Ok(()));
        one.abandon(&mut worker);
        assert_eq!(worker.filling, 0);
    }
}
