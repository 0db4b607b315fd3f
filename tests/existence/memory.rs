//! Memory of a process, for simulations and for fuzzing: clones are its workers'.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use tiercel::coherence::SharedData;

/// Values with the tokens to replace them, by name.
pub type Values = HashMap<Vec<u8>, (Vec<u8>, u32)>;

/// Memory of a process.
#[derive(Clone, Default)]
pub struct Memory {
    values: Rc<RefCell<Values>>,
    bell: Rc<Cell<u64>>,
}

impl SharedData for Memory {
    fn get(&self, name: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.values.borrow().get(name).cloned()
    }

    fn set(&self, name: &[u8], value: &[u8], token: u32) -> bool {
        let mut values = self.values.borrow_mut();
        let known = values.get(name).map_or(0, |(_, token)| *token);
        let free = token == 0 || token == known;
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
