//! The shell: turns the host's callbacks into events for the core, and the core's decisions into
//! host calls. [`Module`] is generic over the host, so all of it runs in tests without a proxy.

mod behind;
mod claims;
mod coherence;
mod collapse;
mod existence;
mod health;
mod last_words;
mod meters;
mod module;
mod reply;
mod requests;
mod responses;
mod root;
mod shared;
#[cfg(test)]
mod simulation;
mod stream;
mod sweep;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_claims;
#[cfg(test)]
mod tests_degraded;
#[cfg(test)]
mod tests_health;
#[cfg(test)]
mod tests_stale;
mod tunnel;

pub use module::Module;
