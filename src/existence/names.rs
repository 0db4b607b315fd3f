//! What a space is called in the memory of the process.

/// Names of a space's values.
#[derive(Clone, Debug)]
pub(super) struct Names {
    space: String,
}

impl Names {
    pub(super) fn new(scope: u64) -> Self {
        Self { space: format!("tiercel/existence/{scope:016x}") }
    }

    /// What all agree on.
    pub(super) fn head(&self) -> Vec<u8> {
        format!("{}/head", self.space).into_bytes()
    }

    /// Who keeps it.
    pub(super) fn keeper(&self) -> Vec<u8> {
        format!("{}/keeper", self.space).into_bytes()
    }

    /// A chunk of the log of recent ids.
    pub(super) fn chunk(&self, index: u64) -> Vec<u8> {
        format!("{}/recent/{index}", self.space).into_bytes()
    }

    /// A piece of the filter in one of two places: values are replaced, never deleted, and somebody may still be
    /// reading the last filter.
    pub(super) fn piece(&self, slot: u64, index: usize) -> Vec<u8> {
        format!("{}/{slot}/{index}", self.space).into_bytes()
    }
}
