//! Memory that all workers of a process see, as the host offers it.

/// Named values that are replaced as a whole, and a bell.
pub trait SharedData {
    /// The value called `name`, and the token to replace just that one; none if there is none.
    fn get(&self, name: &[u8]) -> Option<(Vec<u8>, u32)>;
    /// Sets a value. With a token other than 0 only if nobody has set it since. Whether it was set.
    fn set(&self, name: &[u8], value: &[u8], token: u32) -> bool;
    /// How often the bell was rung, as far as that can be told: the same number as before means that it
    /// was not rung. None if there is no bell.
    fn bell(&self) -> Option<u64>;
    /// Rings the bell.
    fn ring(&self);
}

/// The numbers that a value consists of, one after the other; 0 where there are no more.
pub(crate) fn numbers(bytes: &[u8]) -> impl FnMut() -> u64 {
    let (numbers, _) = bytes.as_chunks::<8>();
    let mut numbers = numbers.iter().map(|n| u64::from_le_bytes(*n));
    move || numbers.next().unwrap_or_default()
}

/// The value that consists of these numbers.
pub(crate) fn value_of(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// Each failed attempt is somebody else's success, and each of those takes microseconds.
pub(crate) const ATTEMPTS: usize = 10_000;

/// Replaces a value by what `change` makes of it, however many others do the same; `change` may be
/// called several times, and none from it leaves everything as it is. Whether all went well.
pub(crate) fn update(
    shared: &impl SharedData,
    name: &[u8],
    mut change: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> bool {
    for _ in 0..ATTEMPTS {
        let (value, token) = shared.get(name).unwrap_or_default();
        match change(&value) {
            None => return true,
            Some(next) if shared.set(name, &next, token) => return true,
            Some(_) => {}
        }
    }
    false
}

#[cfg(test)]
type Values = std::collections::HashMap<Vec<u8>, (Vec<u8>, u32)>;

/// Shared data for tests: clones are the workers of one process.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    values: std::rc::Rc<std::cell::RefCell<Values>>,
    bell: std::rc::Rc<std::cell::Cell<u64>>,
}

#[cfg(test)]
impl Memory {
    pub(crate) fn len(&self) -> usize {
        self.values.borrow().len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.values.borrow().values().map(|(value, _)| value.len()).sum()
    }
}

#[cfg(test)]
impl SharedData for Memory {
    fn get(&self, name: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.values.borrow().get(name).cloned()
    }

    fn set(&self, name: &[u8], value: &[u8], token: u32) -> bool {
        let mut values = self.values.borrow_mut();
        let known = values.get(name).map_or(0, |(_, token)| *token);
        let free = token == 0 || known == 0 || token == known;
        if free {
            values.insert(name.to_vec(), (value.to_vec(), known + 1));
        }
        free
    }

    fn bell(&self) -> Option<u64> {
        Some(self.bell.get())
    }

    fn ring(&self) {
        self.bell.set(self.bell.get() + 1);
    }
}

#[cfg(test)]
pub(super) type Hook<'a> = Box<dyn FnOnce() + 'a>;

/// Shared data for tests in which others do something in between: of each list the last, then the one
/// before it.
#[cfg(test)]
pub(super) struct Hooked<'a> {
    pub(super) memory: Memory,
    /// Before a chunk of cells is written.
    pub(super) before_chunk: std::cell::RefCell<Vec<Hook<'a>>>,
    /// After the bell was rung.
    pub(super) after_ring: std::cell::RefCell<Vec<Hook<'a>>>,
}

#[cfg(test)]
impl SharedData for Hooked<'_> {
    fn get(&self, name: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.memory.get(name)
    }

    fn set(&self, name: &[u8], value: &[u8], token: u32) -> bool {
        if !name.ends_with(b"head")
            && let Some(hook) = self.before_chunk.borrow_mut().pop()
        {
            hook();
        }
        self.memory.set(name, value, token)
    }

    fn bell(&self) -> Option<u64> {
        self.memory.bell()
    }

    fn ring(&self) {
        self.memory.ring();
        if let Some(hook) = self.after_ring.borrow_mut().pop() {
            hook();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn an_update_is_made_of_what_is_there_when_it_succeeds() {
        let shared = Memory::default();
        let other = shared.clone();
        let mut rounds = 0;
        assert!(update(&shared, b"n", |value| {
            rounds += 1;
            if rounds < 3 {
                other.set(b"n", &[rounds], 0);
            }
            Some([value, b"!"].concat())
        }));
        // The first attempt met nothing, which no token protects: it wins. Creation is not contended.
        assert_eq!(
            shared.get(b"n").unwrap().0,
            if rounds == 1 { b"!".to_vec() } else { vec![2, b'!'] }
        );
        assert!(update(&shared, b"n", |_| None));
    }
}
