//! The L2 tunnel's two filters (docs/design.md, 3).
//!
//! A POST becomes raw bytes to Redis. Its end of stream would half-close the socket, and
//! `redis_proxy` drops a half-closed client before it answers. So `open` adds a trailer when the body
//! ends, and `hold`, behind it, keeps that trailer: upstream never sees the end.

use crate::config::Role;
use crate::host::{Action, FieldMap, Host};

/// The request's body goes by.
pub(super) fn on_body(role: Role, end_of_stream: bool, host: &impl Host) -> Action {
    if role == Role::TunnelOpen && end_of_stream {
        // Refused only if there are trailers already, and then they do the same.
        let _ = host.add_field(FieldMap::RequestTrailers, b"x-tiercel-tunnel", b"1");
    }
    Action::Continue
}

/// The request's trailers arrive.
pub(super) const fn on_trailers(role: Role) -> Action {
    if matches!(role, Role::TunnelHold) { Action::Pause } else { Action::Continue }
}
