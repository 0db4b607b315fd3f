//! A body of a write, or of its answer, copied while it streams by.

use serde_json::Value;

/// A body that may name tags.
#[derive(Debug)]
pub(super) enum Body {
    /// Nothing in it counts.
    Unwanted,
    /// So much of it has come.
    Copied(Vec<u8>),
    /// It is too long, or could not be copied.
    Unknown,
}

impl Body {
    pub(super) const fn new(wanted: bool) -> Self {
        if wanted { Self::Copied(Vec::new()) } else { Self::Unwanted }
    }

    pub(super) const fn is_wanted(&self) -> bool {
        matches!(self, Self::Copied(_))
    }

    /// Takes a chunk, if there is one and it fits. Returns how many bytes were taken.
    pub(super) fn chunk(&mut self, data: Option<Vec<u8>>, most: usize) -> usize {
        let Self::Copied(body) = self else { return 0 };
        let Some(data) = data.filter(|data| data.len() <= most.saturating_sub(body.len())) else {
            *self = Self::Unknown;
            return 0;
        };
        body.extend_from_slice(&data);
        data.len()
    }

    pub(super) fn json(&self) -> Option<Value> {
        match self {
            Self::Copied(body) => serde_json::from_slice(body).ok(),
            Self::Unwanted | Self::Unknown => None,
        }
    }
}
