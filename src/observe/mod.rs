//! What the cache tells about itself.

mod metrics;

pub use metrics::{
    Coherence, Collapse, Counter, Counters, Gauge, Histogram, L1Lookup, L2Delete, L2Lookup,
    L2Store, Protection, Transition,
};
