//! What can go wrong on the way to Redis and back.

use crate::closed_enum::closed_enum;

closed_enum! {
    /// Why L2 gave no answer. Whatever it is, the request goes on to the origin.
    pub enum L2Error {
        /// No answer within the timeout.
        Timeout => "timeout",
        /// Nobody there: connection refused, no healthy host.
        Refused => "refused",
        /// The connection broke before the answer was complete.
        Reset => "reset",
        /// The answer is not what was asked for.
        Protocol => "protocol",
        /// `-LOADING`: Redis is starting.
        Loading => "loading",
        /// `-NOAUTH`, `-WRONGPASS`, `-NOPERM`.
        Auth => "auth",
        /// `-OOM`: Redis is full.
        OutOfMemory => "oom",
        /// `-READONLY`, `-MISCONF`, `-NOREPLICAS`: no writes, for it is a replica, or cannot keep them.
        ReadOnly => "readonly",
        /// `-MOVED`, `-ASK`, `-CLUSTERDOWN`, `-TRYAGAIN`.
        Cluster => "cluster",
        /// Any other error reply.
        Server => "server",
        /// The table of generations is not known: what is in L2 cannot be trusted.
        Unsynced => "unsynced",
        /// As many calls in flight as allowed; this one was not made.
        Saturated => "saturated",
        /// Envoy refused the callout: no such cluster, or it failed at once.
        Dispatch => "dispatch",
        /// Not asked: Redis fails.
        Degraded => "degraded",
        /// Not asked: Redis takes too long.
        Slow => "slow",
    }
}

/// What an error says of Redis as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It is of no use.
    Clear,
    /// Something went wrong; often enough it means the same.
    Vague,
    /// Nothing: it was not asked.
    Nothing,
}

impl L2Error {
    /// What it says of Redis as a whole, if it came from the table of generations.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::Refused | Self::Loading | Self::Auth | Self::OutOfMemory | Self::ReadOnly => {
                Severity::Clear
            }
            Self::Timeout
            | Self::Reset
            | Self::Protocol
            | Self::Cluster
            | Self::Server
            | Self::Dispatch => Severity::Vague,
            Self::Unsynced | Self::Saturated | Self::Degraded | Self::Slow => Severity::Nothing,
        }
    }

    /// Reads an error reply, without its leading `-`. What `redis_proxy` says itself is in lower case.
    #[must_use]
    pub fn from_reply(text: &[u8]) -> Self {
        let word = text.split(|b| *b == b' ').next().unwrap_or_default();
        match word {
            b"LOADING" | b"BUSY" | b"MASTERDOWN" => Self::Loading,
            b"NOAUTH" | b"WRONGPASS" | b"NOPERM" => Self::Auth,
            b"OOM" => Self::OutOfMemory,
            b"READONLY" | b"MISCONF" | b"NOREPLICAS" => Self::ReadOnly,
            b"MOVED" | b"ASK" | b"CLUSTERDOWN" | b"TRYAGAIN" | b"CROSSSLOT" => Self::Cluster,
            _ if text == b"no upstream host" || text == b"upstream failure" => Self::Refused,
            _ if text == b"upstream protocol error" => Self::Protocol,
            _ => Self::Server,
        }
    }

    /// What the callout's own status says, before any reply is read; none if it is 200.
    #[must_use]
    pub fn from_call_status(status: Option<&[u8]>) -> Option<Self> {
        match status {
            Some(b"200") => None,
            Some(b"504") => Some(Self::Timeout),
            Some(b"503") => Some(Self::Refused),
            Some(_) => Some(Self::Protocol),
            None => Some(Self::Reset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn replies_have_their_kind() {
        for (text, kind) in [
            ("LOADING Redis is loading the dataset in memory", L2Error::Loading),
            ("NOAUTH Authentication required.", L2Error::Auth),
            ("OOM command not allowed", L2Error::OutOfMemory),
            ("READONLY You can't write", L2Error::ReadOnly),
            ("MISCONF Redis is configured to save RDB snapshots, but", L2Error::ReadOnly),
            ("MOVED 3999 127.0.0.1:6381", L2Error::Cluster),
            ("upstream failure", L2Error::Refused),
            ("no upstream host", L2Error::Refused),
            ("WRONGTYPE Operation", L2Error::Server),
            ("", L2Error::Server),
        ] {
            assert_eq!(L2Error::from_reply(text.as_bytes()), kind, "{text}");
        }
    }
}
