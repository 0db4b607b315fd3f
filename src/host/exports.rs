//! What the host calls: the callbacks of the proxy-wasm ABI 0.2.1 that this module needs.
//!
//! Callbacks that are not exported are not called. Entering the VM costs more than most host calls, so
//! `proxy_on_done`, `proxy_on_log` and `proxy_on_delete` are left out: streams that end early are
//! found at ticks (docs/benchmarks.md).
#![allow(unsafe_code)]

use std::cell::RefCell;

#[cfg(feature = "trap")]
use super::Host;
use super::{Action, Envoy, last_words};
use crate::filter::Module;

thread_local! {
    static MODULE: RefCell<Module<Envoy>> = RefCell::new(Module::new(Envoy, random_seed()));
}

unsafe extern "C" {
    fn __wasm_call_ctors();
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(out: *mut u8, len: usize) -> u16;
}

fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the buffer is ours and as long as said. A host without randomness leaves zeros: the
    // table then has a known seed, which costs protection against chosen keys, not correctness.
    unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) };
    u64::from_le_bytes(bytes)
}

/// Runs `f` on the module. The host never calls back into a running callback; if it did, the inner
/// call would be answered with `otherwise` instead of a trap.
fn with<T>(otherwise: T, f: impl FnOnce(&mut Module<Envoy>) -> T) -> T {
    MODULE.with(|module| match module.try_borrow_mut() {
        Ok(mut module) => f(&mut module),
        Err(_) => otherwise,
    })
}

/// Gives up what waits for this VM, which is about to end.
pub(super) fn give_up() {
    MODULE.with(|module| {
        // SAFETY: whoever changes the module at this moment never goes on.
        unsafe { &*module.as_ptr() }.give_up();
    });
}

#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: the host calls this once, before anything else.
    unsafe { __wasm_call_ctors() };
    last_words::install();
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(len: usize) -> *mut u8 {
    let memory: Box<[std::mem::MaybeUninit<u8>]> = Box::new_uninit_slice(len);
    Box::into_raw(memory).cast()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_root: u32, _configuration_len: usize) -> u32 {
    with(0, |module| u32::from(module.on_vm_start()))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root: u32, configuration_len: usize) -> u32 {
    with(0, |module| u32::from(module.on_configure(root, configuration_len)))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, root: u32) {
    with((), |module| module.on_create(context, root));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root: u32) {
    with((), |module| module.on_tick(root));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_queue_ready(root: u32, queue: u32) {
    with((), |module| module.on_queue_ready(root, queue));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    root: u32,
    token: u32,
    fields: u32,
    body_len: usize,
    _trailers: u32,
) {
    with((), |module| module.on_call_response(root, token, fields > 0, body_len));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, _fields: u32, end_of_stream: u32) -> u32 {
    #[cfg(feature = "trap")]
    trap();
    with(Action::Continue, |module| module.on_request_head(context, end_of_stream != 0)) as u32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(context: u32, len: usize, end_of_stream: u32) -> u32 {
    with(Action::Continue, |module| module.on_request_body(context, len, end_of_stream != 0)) as u32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(context: u32, _trailers: u32) -> u32 {
    with(Action::Continue, |module| module.on_request_trailers(context)) as u32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(context: u32, _fields: u32, end_of_stream: u32) -> u32 {
    with(Action::Continue, |module| module.on_response_head(context, end_of_stream != 0)) as u32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(context: u32, len: usize, end_of_stream: u32) -> u32 {
    with((), |module| module.on_response_body(context, len, end_of_stream != 0));
    Action::Continue as u32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(context: u32, _trailers: u32) -> u32 {
    with((), |module| module.on_response_trailers(context));
    Action::Continue as u32
}

/// Ends the VM, in the way that the request at hand asks for.
#[cfg(feature = "trap")]
#[allow(clippy::panic)] // it is for tests
fn trap() {
    let block = Envoy.fields(super::FieldMap::Request).unwrap_or_default();
    match crate::http::fields::Fields::new(&block).get(b"x-test-trap") {
        Some(b"panic") => panic!("as asked"),
        Some(b"memory") => loop {
            std::mem::forget(std::hint::black_box(Vec::<u8>::with_capacity(16 << 20)));
        },
        Some(_) => std::process::abort(),
        None => {}
    }
}
