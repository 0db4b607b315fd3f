//! What requests hold in a worker that are not answered yet, by the byte: heads and keys, and what is kept for them
//! alone. Their number is bounded, but one may take sixty times as much as another.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::entry::Entry;

/// What is held in a worker.
#[derive(Clone, Debug, Default)]
pub struct Held(Rc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bytes: Cell<usize>,
    /// How many hold each stored response.
    kept: RefCell<HashMap<*const Entry, usize>>,
}

/// What one request holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    of: Held,
    bytes: usize,
}

/// A stored response that a request holds, until it is dropped: L1 may have let it go since. It counts once, whoever
/// else holds it.
#[derive(Debug)]
pub(super) struct Kept {
    of: Held,
    entry: Rc<Entry>,
}

impl Held {
    /// Bytes, of all requests.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes.get()
    }

    /// Somebody holds so many bytes from now on.
    pub(super) fn charge(&self, bytes: usize) -> Hold {
        self.add(bytes);
        Hold { of: self.clone(), bytes }
    }

    fn has_room(&self, bytes: usize, most: usize) -> bool {
        self.bytes().saturating_add(bytes) <= most
    }

    fn add(&self, bytes: usize) {
        self.0.bytes.set(self.bytes() + bytes);
    }

    fn give_back(&self, bytes: usize) {
        self.0.bytes.set(self.bytes().saturating_sub(bytes));
    }

    fn keep(&self, entry: &Rc<Entry>) -> Kept {
        let mut kept = self.0.kept.borrow_mut();
        let holders = kept.entry(Rc::as_ptr(entry)).or_insert(0);
        if *holders == 0 {
            self.add(entry.len());
        }
        *holders += 1;
        Kept { of: self.clone(), entry: Rc::clone(entry) }
    }

    fn knows(&self, entry: &Rc<Entry>) -> bool {
        self.0.kept.borrow().contains_key(&Rc::as_ptr(entry))
    }
}

impl Hold {
    /// Whether there is room for the same once more, if all that is held is to be no more than `most`.
    pub(super) fn has_room_again(&self, most: usize) -> bool {
        self.of.has_room(self.bytes, most)
    }

    /// Holds a stored response too, if there is room.
    pub(super) fn keep(&self, entry: &Rc<Entry>, most: usize) -> Option<Kept> {
        let has_room = self.of.has_room(entry.len(), most) || self.of.knows(entry);
        has_room.then(|| self.of.keep(entry))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.of.give_back(self.bytes);
    }
}

impl Deref for Kept {
    type Target = Rc<Entry>;

    fn deref(&self) -> &Rc<Entry> {
        &self.entry
    }
}

impl Clone for Kept {
    fn clone(&self) -> Self {
        self.of.keep(&self.entry)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut kept = self.of.0.kept.borrow_mut();
        let holders = kept.get(&Rc::as_ptr(&self.entry)).copied().unwrap_or(0);
        if holders > 1 {
            kept.insert(Rc::as_ptr(&self.entry), holders - 1);
        } else {
            kept.remove(&Rc::as_ptr(&self.entry));
            self.of.give_back(self.entry.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::sample;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_is_charged_is_given_back() {
        let held = Held::default();
        let (first, second) = (held.charge(5), held.charge(7));
        assert_eq!(held.bytes(), 12);
        drop(first);
        assert_eq!(held.bytes(), 7);
        drop(second);
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn what_is_stored_counts_once_and_as_long_as_anybody_holds_it() {
        let held = Held::default();
        let (a, b) = (held.charge(5), held.charge(7));
        let (one, other) = (Rc::new(sample("k", b"body")), Rc::new(sample("k", b"body")));
        let most = 12 + one.len();
        let kept = a.keep(&one, most).unwrap();
        assert_eq!(held.bytes(), most);
        let again = b.keep(&one, most).unwrap();
        assert!(b.keep(&other, most).is_none());
        drop((a, kept));
        let cloned = again.clone();
        drop(again);
        assert_eq!(held.bytes(), 7 + one.len());
        drop((b, cloned));
        assert_eq!(held.bytes(), 0);
        assert!(held.0.kept.borrow().is_empty());
    }
}
