//! Starts the real parts: Envoy with the module, Redis, Redis Cluster, the demo origin.
//!
//! Every part listens on a free port, keeps its log in the test's folder, prints it when the test
//! fails, and is ended by its pid when the test is over, even by a panic.

pub mod client;
pub mod envoy;
pub mod origin;
pub mod process;
pub mod redis;
pub mod scene;
pub mod script;
pub mod wire;

pub use client::{Client, Response};
pub use envoy::Envoy;
pub use origin::Origin;
pub use redis::{Cluster, Redis};
pub use scene::Scene;
pub use script::{Asked, Script, reply};

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The longest anything may take to start or to settle. Generous: two noisy cores.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The project's root.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().find(|dir| dir.join("envoy").is_dir()).expect("the project around this crate")
}

/// The folder cargo builds into.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Waits until `check` gives a value.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(10));
    }
}
