//! The host's shared data and its metrics, as the core wants them.

use std::cell::Cell;

use crate::coherence::SharedData;
use crate::host::{Host, MetricKind};

/// Memory of the process.
#[derive(Debug)]
pub(super) struct Shared<'a, H> {
    host: &'a H,
    bell: Option<u32>,
    /// What the bell said when it was last asked: within one callback that is all there is to know.
    rung: Cell<Option<u64>>,
}

impl<'a, H: Host> Shared<'a, H> {
    pub(super) const fn new(host: &'a H, bell: Option<u32>) -> Self {
        Self { host, bell, rung: Cell::new(None) }
    }

    /// The number of the gauge that is the bell. Counters can be set back by whoever may use Envoy's admin
    /// interface; gauges cannot.
    pub(super) fn define_bell(host: &H) -> Option<u32> {
        host.define_metric(MetricKind::Gauge, "tiercel.coherence_bell").ok()
    }
}

impl<H: Host> SharedData for Shared<'_, H> {
    fn get(&self, name: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.host.shared(name).ok()
    }

    fn set(&self, name: &[u8], value: &[u8], token: u32) -> bool {
        self.host.set_shared(name, value, token).is_ok()
    }

    fn bell(&self) -> Option<u64> {
        if self.rung.get().is_none() {
            self.rung.set(self.host.metric(self.bell?).ok());
        }
        self.rung.get()
    }

    fn ring(&self) {
        if let Some(bell) = self.bell {
            // Without a bell everything is read anew at every look.
            let _ = self.host.add_metric(bell, 1);
            self.rung.set(None);
        }
    }
}
