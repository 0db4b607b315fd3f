//! A policy with something of everything.

use std::rc::Rc;

use tiercel::config::{Policy, load};

/// The configuration of it.
pub const CONFIG: &str = include_str!("../policy.json");

/// The policy of `policy.json`.
///
/// # Panics
/// If that is refused.
#[must_use]
pub fn policy() -> Rc<Policy> {
    Rc::new(load(CONFIG.as_bytes()).expect("a configuration"))
}
