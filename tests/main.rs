//! Behaviour on real Envoy, real Redis and the demo origin: one file a behaviour.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods)] // tests have clocks and threads
#![allow(clippy::doc_markdown, missing_docs, unreachable_pub)] // one crate, read by its own tests only

mod harness;

mod artefacts;
mod bodies;
mod coherence;
mod collapse;
mod concurrency;
mod configuration;
mod cookies;
mod detached;
mod early;
mod fields;
mod fleet;
mod freshness;
mod health;
mod hostile;
mod hostile_redis;
mod ids;
mod keys;
mod l2_cluster;
mod l2_direct;
mod l2_forged;
mod l2_hits;
mod l2_trouble;
mod limits;
mod metrics;
mod negative;
mod oversized;
mod poisoning;
mod policy_table;
mod protection;
mod purge;
mod semantics;
mod tags;
mod workers;
mod write_table;
