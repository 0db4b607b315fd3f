//! What requests hold in a worker that are not answered yet, by the byte: heads and keys, and what is kept for them
//! alone. Their number is bounded, but one may take sixty times as much as another.

use std::cell::Cell;
use std::rc::Rc;

/// What is held in a worker.
#[derive(Clone, Debug, Default)]
pub struct Held(Rc<Cell<usize>>);

/// What one request holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    of: Held,
    bytes: usize,
}

impl Held {
    /// Bytes, of all requests.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.get()
    }

    /// Somebody holds so many bytes from now on.
    pub(super) fn charge(&self, bytes: usize) -> Hold {
        let mut hold = Hold { of: self.clone(), bytes: 0 };
        hold.add(bytes);
        hold
    }
}

impl Hold {
    /// All bytes that are held in the worker, by whomever.
    pub(super) fn in_all(&self) -> usize {
        self.of.bytes()
    }

    /// It holds so many more.
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.of.0.set(self.of.bytes() + bytes);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.of.0.set(self.of.bytes().saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_is_charged_is_given_back() {
        let held = Held::default();
        let mut first = held.charge(5);
        let second = held.charge(7);
        first.add(1);
        assert_eq!((held.bytes(), second.in_all()), (13, 13));
        drop(first);
        assert_eq!(held.bytes(), 7);
        drop(second);
        assert_eq!(held.bytes(), 0);
    }
}
