//! What a VM says before it ends by a panic or for lack of memory.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::exports::give_up;
use super::{Envoy, Host};

thread_local! {
    static SPOKEN: Cell<bool> = const { Cell::new(false) };
}

/// Says why, and gives up what waits for this VM, once.
fn speak(why: &str) {
    if !SPOKEN.replace(true) {
        Envoy.log(log::Level::Error, why);
        give_up();
    }
}

/// Speaks when something panics.
pub(super) fn install() {
    std::panic::set_hook(Box::new(|info| speak(&info.to_string())));
}

/// The usual allocator, but that it speaks when there is no memory left.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn checked(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        speak("tiercel: no memory is left");
    }
    memory
}

// SAFETY: all is done by `System`.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        checked(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        checked(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        checked(unsafe { System.realloc(memory, layout, len) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}
