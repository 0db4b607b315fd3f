//! What HTTP says: identity, directives, freshness, validation, ranges, what may be stored, what is
//! told to the client. Pure functions over fields and time; docs/semantics.md tells where each
//! requirement of the RFCs is met.

pub mod cache_control;
pub mod cache_status;
pub mod conditional;
pub mod date;
pub mod etag;
pub mod field_set;
pub mod fields;
pub mod form;
pub mod freshness;
pub mod key;
pub mod multipart;
pub mod normalise;
pub mod percent;
pub mod query;
pub mod range;
pub mod request;
pub mod response;
pub mod reuse;
pub mod storable;
pub mod stored_fields;
pub mod targeted;
pub mod uri;
pub mod validation;
pub mod vary;
mod weighted;
