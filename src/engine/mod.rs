//! What to do with a request: the read path L1, L2, origin, without any I/O.

mod exchange;
mod fill;
mod worker;

pub use exchange::{Begin, Exchange};
pub use worker::Worker;

use crate::closed_enum::closed_enum;
use crate::http::key::KeyRefusal;

closed_enum! {
    /// How a request ended.
    pub enum Outcome {
        /// Answered from the worker's store.
        L1Hit => "l1_hit",
        /// Answered from Redis.
        L2Hit => "l2_hit",
        /// Asked of the origin; the answer may have been stored.
        Miss => "miss",
        /// Passed through.
        Bypass => "bypass",
    }
}

closed_enum! {
    /// Why a request was passed through.
    pub enum Bypass {
        /// Neither GET nor HEAD.
        Method => "method",
        /// The route says so.
        Route => "route",
        /// A GET with a body.
        Body => "body",
        /// `Authorization`: the answer may be for one user.
        Authorization => "authorization",
        /// `Cookie`, on a route that respects cookies.
        Cookie => "cookie",
        /// `Range`: only complete responses are stored.
        Range => "range",
        /// No path.
        NoPath => "no_path",
        /// The key would be too long.
        KeyTooLong => "key_too_long",
        /// A query parameter that the route requires is missing or empty.
        ParameterMissing => "parameter_missing",
        /// A query parameter that should be an id is none.
        NotAnId => "not_an_id",
    }
}

impl From<KeyRefusal> for Bypass {
    fn from(refusal: KeyRefusal) -> Self {
        match refusal {
            KeyRefusal::NoPath => Self::NoPath,
            KeyRefusal::TooLong => Self::KeyTooLong,
            KeyRefusal::ParameterMissing => Self::ParameterMissing,
            KeyRefusal::NotAnId => Self::NotAnId,
        }
    }
}
