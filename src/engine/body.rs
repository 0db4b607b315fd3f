//! A body of a write, or of its answer, copied while it streams by.

use serde_json::Value;

use crate::json;

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

    /// Takes a chunk, if there is one and it fits. Returns how many bytes of memory that took.
    pub(super) fn chunk(&mut self, data: Option<Vec<u8>>, most: usize) -> usize {
        let Self::Copied(body) = self else { return 0 };
        let Some(data) = data.filter(|data| data.len() <= most.saturating_sub(body.len())) else {
            *self = Self::Unknown;
            return 0;
        };
        let before = body.capacity();
        body.extend_from_slice(&data);
        body.capacity() - before
    }

    pub(super) fn json(&self) -> Option<Value> {
        match self {
            Self::Copied(body) => json::body(body),
            Self::Unwanted | Self::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn all_the_memory_that_it_takes_is_told() {
        let mut body = Body::new(true);
        let told: usize = (0..1_100).map(|_| body.chunk(Some(vec![b'x']), 1_100)).sum();
        let Body::Copied(copied) = &body else { panic!("{body:?}") };
        assert!(told == copied.capacity() && told > 1_100, "{told}");
        assert_eq!(body.chunk(Some(vec![b'x']), 1_100), 0);
        assert!(matches!(body, Body::Unknown));
    }
}
