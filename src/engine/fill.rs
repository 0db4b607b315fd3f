//! A response being copied while it streams to its client.

use xxhash_rust::xxh3::xxh3_128;

use super::Worker;
use crate::entry::{Entry, Meta};
use crate::http::fields::Fields;
use crate::http::key::Key;
use crate::http::storable::NotStored;
use crate::http::vary::Names;

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
    names: Option<Names>,
    /// Whether it gets an `ETag` made of its body.
    etag: bool,
    /// The first chunk: most bodies have no other.
    first: Vec<u8>,
    more: Vec<Vec<u8>>,
    body_len: usize,
    expected: Option<u64>,
    limits: Limits,
    charged: usize,
}

/// A complete copy that has no place yet.
#[derive(Debug)]
pub(super) struct Filled {
    /// Status and times.
    pub(super) meta: Meta,
    fields: Box<[u8]>,
    /// The request fields that the response varies by.
    pub(super) names: Option<Names>,
    body: Box<[u8]>,
}

impl Filled {
    /// Bytes of fields and body.
    pub(super) const fn content_len(&self) -> usize {
        self.fields.len() + self.body.len()
    }

    /// Until when the response is of any use.
    pub(super) fn useful_until_ms(&self) -> u64 {
        self.meta.useful_until_ms(Fields::new(&self.fields))
    }

    /// The entry that is stored under `key`.
    pub(super) fn into_entry(self, key: Key) -> Entry {
        Entry::new(self.meta, key, self.fields, self.body)
    }
}

impl Fill {
    /// Starts a copy of a response that varies by `names` and whose body should have `expected` bytes.
    ///
    /// # Errors
    /// `TooLarge` if it is known to be longer than allowed, `FillBudget` if too much is being copied.
    pub(super) fn new(
        meta: Meta,
        fields: Box<[u8]>,
        names: Option<Names>,
        expected: Option<u64>,
        limits: Limits,
        worker: &mut Worker,
    ) -> Result<Self, NotStored> {
        let (first, more) = (Vec::new(), Vec::new());
        let mut fill = Self {
            meta,
            fields,
            names,
            etag: false,
            first,
            more,
            body_len: 0,
            expected,
            limits,
            charged: 0,
        };
        let least = usize::try_from(expected.unwrap_or(0)).unwrap_or(usize::MAX);
        if least > fill.room() {
            return Err(NotStored::TooLarge);
        }
        fill.charge(fill.fields.len(), worker)?;
        Ok(fill)
    }

    /// If it has no `ETag`, it gets one made of its body.
    pub(super) fn wants_etag(&mut self) {
        self.etag = Fields::new(&self.fields).get(b"etag").is_none();
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

    /// The stream has ended: the copy, if the response is complete.
    ///
    /// # Errors
    /// `Incomplete` if the length is not what `Content-Length` promised.
    pub(super) fn finish(mut self, worker: &mut Worker) -> Result<Filled, NotStored> {
        worker.filling = worker.filling.saturating_sub(self.charged);
        if self.expected.is_some_and(|n| n != self.body_len as u64) {
            return Err(NotStored::Incomplete);
        }
        self.first.reserve_exact(self.body_len - self.first.len());
        self.more.iter().for_each(|chunk| self.first.extend_from_slice(chunk));
        if self.etag {
            let etag = format!("\"{:032x}\"", xxh3_128(&self.first));
            let more = [(&b"etag"[..], etag.as_bytes())];
            let mut block = Vec::with_capacity(self.fields.len() + 64);
            Fields::new(&self.fields).write_with(more.into_iter(), &mut block);
            self.fields = block.into();
            self.meta.own_etag = true;
        }
        let body = self.first.into_boxed_slice();
        Ok(Filled { meta: self.meta, fields: self.fields, names: self.names, body })
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
    use crate::http::fields::FieldsBuf;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const FIELDS: usize = 4;

    fn fill(expected: Option<u64>, budget: usize, worker: &mut Worker) -> Result<Fill, NotStored> {
        let limits = Limits { entry: 100, worker: budget };
        let fields = FieldsBuf::default().to_block();
        Fill::new(Meta::default(), fields, None, expected, limits, worker)
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
            let filled = fill.finish(&mut worker);
            assert_eq!(filled.is_ok_and(|f| &*f.body == b"abcdef"), complete, "{expected:?}");
            assert_eq!(worker.filling, 0);
        }
    }

    #[test]
    fn an_etag_is_made_of_the_body() {
        let mut worker = Worker::new(0);
        let etag = |body: &[u8], worker: &mut Worker| {
            let mut fill = fill(None, 1_000, worker).unwrap();
            fill.wants_etag();
            fill.chunk(body.to_vec());
            let entry = fill.finish(worker).unwrap().into_entry(Key::new(b"k"));
            assert!(entry.fields().is_sound());
            entry.fields().get(b"etag").unwrap().to_vec()
        };
        let (a, b) = (etag(b"a", &mut worker), etag(b"b", &mut worker));
        assert!(a.len() == 34 && a[0] == b'"' && a != b && a == etag(b"a", &mut worker));
    }

    #[test]
    fn size_and_budget_are_bounds() {
        let mut worker = Worker::new(0);
        assert_eq!(fill(Some(97), 1_000, &mut worker).err(), Some(NotStored::TooLarge));
        assert_eq!(fill(None, FIELDS - 1, &mut worker).err(), Some(NotStored::FillBudget));
        let mut one = fill(Some(96), FIELDS + 50 + CHUNK_OVERHEAD, &mut worker).unwrap();
        assert_eq!(one.reserve(97, &mut worker), Err(NotStored::TooLarge));
        assert_eq!(one.reserve(51, &mut worker), Err(NotStored::FillBudget));
        assert_eq!(one.reserve(50, &mut worker), Ok(()));
        one.abandon(&mut worker);
        assert_eq!(worker.filling, 0);
    }
}
