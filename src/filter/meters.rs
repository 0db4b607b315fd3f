//! Hands counts over to the host.

use hashbrown::HashMap;

use crate::existence::{Count, Standing, Verdict};
use crate::health::Record;
use crate::host::{Host, MetricKind};
use crate::l1::Entries;
use crate::observe::{Counters, Gauge, Histogram};

/// The host's numbers of our metrics, and what gauges were last told.
#[derive(Debug)]
pub(super) struct Meters {
    counters: Vec<Option<u32>>,
    gauges: Vec<(Option<u32>, i64)>,
    histograms: Vec<Option<u32>>,
    /// The state of L2, and whether it is slow: what all workers agree on.
    health: [(Option<u32>, Option<u64>); 2],
    /// Metrics of spaces, by name.
    of_spaces: HashMap<String, u32>,
    /// Values for the histograms, not yet handed over.
    values: Vec<(Histogram, usize)>,
}

/// The names of a space's counters.
const SPACE_COUNTERS: fn() -> Vec<String> = || {
    let counts = Count::ALL.iter().map(|count| count.as_str());
    let all = counts.chain(Verdict::ALL.iter().map(|verdict| verdict.as_str()));
    all.map(|event| format!("existence.event.{event}")).collect()
};

/// The names of its gauges.
const SPACE_GAUGES: fn() -> Vec<String> =
    || Standing::default().values().iter().map(|(name, _)| (*name).to_owned()).collect();

/// Values kept for the next tick, at most.
const MAX_VALUES: usize = 4_096;

impl Meters {
    /// Defines every metric. One that the host refuses is left out.
    pub(super) fn define(host: &impl Host) -> Self {
        let define = |kind, name: &str| host.define_metric(kind, &format!("tiercel.{name}")).ok();
        let names = Counters::names();
        Self {
            counters: names.iter().map(|name| define(MetricKind::Counter, name)).collect(),
            gauges: Gauge::ALL.iter().map(|g| (define(MetricKind::Gauge, g.as_str()), 0)).collect(),
            histograms: Histogram::ALL
                .iter()
                .map(|h| define(MetricKind::Histogram, h.as_str()))
                .collect(),
            health: ["l2_state", "l2_slow"].map(|name| (define(MetricKind::Gauge, name), None)),
            of_spaces: HashMap::new(),
            values: Vec::new(),
        }
    }

    /// Defines the metrics of a space of ids.
    pub(super) fn define_space(&mut self, host: &impl Host, space: &str) {
        let kinds = [(MetricKind::Counter, SPACE_COUNTERS), (MetricKind::Gauge, SPACE_GAUGES)];
        for (kind, names) in kinds {
            for name in names() {
                let name = format!("{name}.space.{space}");
                if let Ok(metric) = host.define_metric(kind, &format!("tiercel.{name}")) {
                    self.of_spaces.insert(name, metric);
                }
            }
        }
    }

    /// Hands over what was counted of a space, and what it is at.
    pub(super) fn tell_space(
        &self,
        host: &impl Host,
        space: &str,
        counts: &[(&'static str, u64)],
        standing: &[(&'static str, u64)],
    ) {
        let metric = |name: &str| self.of_spaces.get(&format!("{name}.space.{space}"));
        for (event, count) in counts {
            if let Some(metric) = metric(&format!("existence.event.{event}")) {
                let _ = host.add_metric(*metric, i64::try_from(*count).unwrap_or(i64::MAX));
            }
        }
        // What all workers agree on: each says the same, sooner or later.
        for (name, value) in standing {
            if let Some(metric) = metric(name) {
                let _ = host.record_metric(*metric, *value);
            }
        }
    }

    /// Hands over how L2 fares.
    pub(super) fn tell_health(&mut self, host: &impl Host, record: &Record) {
        let values = [record.state.index() as u64, u64::from(record.slow)];
        for ((metric, told), value) in self.health.iter_mut().zip(values) {
            if let (Some(metric), true) = (metric, *told != Some(value)) {
                let _ = host.record_metric(*metric, value);
                *told = Some(value);
            }
        }
    }

    /// Hands over what was counted since the last time.
    pub(super) fn flush(&mut self, host: &impl Host, counters: &mut Counters, l1: &Entries) {
        for (place, count) in counters.take() {
            if let Some(Some(metric)) = self.counters.get(place) {
                // The host knows the metric: it gave us its number.
                let _ = host.add_metric(*metric, i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        for (histogram, value) in self.values.drain(..) {
            if let Some(Some(metric)) = self.histograms.get(histogram.index()) {
                let _ = host.record_metric(*metric, value as u64);
            }
        }
        for (gauge, (metric, told)) in Gauge::ALL.iter().zip(&mut self.gauges) {
            let value = match gauge {
                Gauge::L1Bytes => l1.weights().0 as u64,
                Gauge::L1NegativeBytes => l1.weights().1 as u64,
                Gauge::L1Entries => l1.len() as u64,
                Gauge::VmMemoryBytes => host.memory_bytes(),
            };
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            if let (Some(metric), true) = (metric, value != *told) {
                // All workers share the gauge: each adds what changed in its own part.
                let _ = host.add_metric(*metric, value - *told);
                *told = value;
            }
        }
    }

    /// Notes a value for a distribution.
    pub(super) fn record(&mut self, histogram: Histogram, value: usize) {
        if self.values.len() < MAX_VALUES {
            self.values.push((histogram, value));
        }
    }
}
