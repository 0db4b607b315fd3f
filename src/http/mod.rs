//! What HTTP says: identity, directives, what may be stored, what is told to the client.

pub mod cache_control;
pub mod cache_status;
pub mod fields;
pub mod key;
pub mod request;
pub mod response;
pub mod storable;
