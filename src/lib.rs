//! Tiercel: a three-level HTTP cache that runs as one WebAssembly filter inside stock Envoy.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod closed_enum;
pub mod coherence;
pub mod collapse;
pub mod config;
pub mod engine;
pub mod entry;
pub mod existence;
pub mod filter;
pub mod health;
pub mod host;
pub mod http;
mod json;
pub mod l1;
pub mod l2;
pub mod observe;
pub mod secrets;
