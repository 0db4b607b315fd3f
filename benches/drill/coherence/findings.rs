//! What the checker finds in a history, as figures.

use std::time::Duration;

use super::checker::{Late, lags, percentile, settled, violations};
use super::clients::History;
use crate::harness::Envoy;
use crate::load::share;
use crate::report::Report;

/// How many of a kind are printed in full.
const SHOWN: usize = 5;
/// Writes are so many that a sound cache misses often, but far from always.
const LEAST_HITS: f64 = 0.25;
/// How much of what led to a violation is printed: for so long before the write, and so many events.
const BEFORE: Duration = Duration::from_millis(100);
const TOLD: usize = 60;

/// A time in which Redis was not what it should be.
pub type Trouble = (Duration, Duration);

/// Requests, and what must never be: an error, or a read that is older than what was acknowledged
/// through its own instance.
pub fn requests(report: &mut Report, history: &History) {
    let hits = history.reads.iter().filter(|read| read.cache_status.contains("; hit")).count();
    report.figure("writes", history.writes.len());
    report.figure("reads", history.reads.len());
    let ratio = share(hits as u64, history.reads.len() as u64);
    report.figure("hit_ratio", ratio);
    report.check("the cache is not coherent by storing nothing", ratio >= LEAST_HITS);
    report.figure("failed", history.failed.len());
    history.failed.iter().take(SHOWN).for_each(|failure| println!("    {failure}"));
    report.check("no request failed", history.failed.is_empty());

    let violations = violations(&history.writes, &history.reads);
    let of =
        |kind: &str| violations.iter().filter(|late| late.read.cache_status.contains(kind)).count();
    report.figure("violations", violations.len());
    report.figure("violations_l1_hit", of("detail=l1"));
    report.figure("violations_l2_hit", of("detail=l2"));
    report.figure("violations_forwarded", of("fwd="));
    violations.iter().take(SHOWN).for_each(show);
    let first = violations.iter().min_by_key(|late| late.read.sent);
    first.iter().for_each(|late| tell(history, late));
    report.check("no read is older than a write through its instance", violations.is_empty());
}

/// How long reads through one instance return what was replaced through the other. What falls into
/// `troubles` is counted apart, for no bound holds there.
pub fn lag(report: &mut Report, history: &History, troubles: &[Trouble]) -> Duration {
    let lags = lags(&history.writes, &history.reads);
    let troubled = |from: Duration, to: Duration| {
        troubles.iter().any(|(begin, end)| from < *end && to > *begin)
    };
    let (apart, usual): (Vec<_>, Vec<_>) =
        lags.iter().partition(|late| troubled(late.missed.acknowledged, late.read.sent));
    let times = |lates: &[&Late<'_>]| lates.iter().map(|late| late.lag()).collect::<Vec<_>>();
    quantiles(report, "other_instance_older_reads", &times(&usual));

    let settled = settled(&history.writes, &history.reads);
    let (settled_apart, settled): (Vec<_>, Vec<_>) = settled
        .into_iter()
        .partition(|(write, took)| troubled(write.acknowledged, write.acknowledged + *took));
    let took = |pairs: &[(_, Duration)]| pairs.iter().map(|pair| pair.1).collect::<Vec<_>>();
    quantiles(report, "other_instance_write_settled", &took(&settled));
    if !troubles.is_empty() {
        quantiles(report, "trouble_older_reads", &times(&apart));
        quantiles(report, "trouble_write_settled", &took(&settled_apart));
    }
    percentile(&times(&usual), 99)
}

/// How many connections each worker of an instance took; whether none was left out.
pub fn workers(report: &mut Report, name: &str, envoy: &Envoy) -> bool {
    let mut admin = crate::harness::Client::new(envoy.admin);
    let text = admin.get("/stats?filter=^listener.127.*worker_.*downstream_cx_total").body;
    let text = String::from_utf8_lossy(&text).into_owned();
    let counts: Vec<u64> =
        text.lines().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    report.figure(&format!("{name}_connections_by_worker"), counts.clone());
    !counts.is_empty() && !counts.contains(&0)
}

pub fn show(late: &Late<'_>) {
    let Late { read, missed } = late;
    println!(
        "    key {}: read through {} at {:.4} s, answered at {:.4} s with version {}, but version {} \
         was acknowledged through {} at {:.4} s, {:.1} ms before: {}",
        read.key,
        read.instance,
        read.sent.as_secs_f64(),
        read.received.as_secs_f64(),
        read.version,
        missed.version,
        missed.instance,
        missed.acknowledged.as_secs_f64(),
        ms(late.lag()),
        read.cache_status,
    );
}

/// Prints all that happened to the key, from shortly before the write that was missed.
fn tell(history: &History, late: &Late<'_>) {
    let Late { read, missed } = late;
    let from = missed.sent.saturating_sub(BEFORE);
    let shown = |key, end: Duration, begin: Duration| {
        key == read.key && end >= from && begin <= read.received
    };
    let writes = history.writes.iter().filter(|w| shown(w.key, w.acknowledged, w.sent));
    let reads = history.reads.iter().filter(|r| shown(r.key, r.received, r.sent));
    let mut events: Vec<_> = writes
        .map(|w| (w.sent, w.acknowledged, w.instance, w.version, "write"))
        .chain(reads.map(|r| (r.sent, r.received, r.instance, r.version, &*r.cache_status)))
        .collect();
    events.sort_unstable_by_key(|(sent, ..)| *sent);
    println!("    what happened to key {} before the first of them:", read.key);
    for (sent, ended, instance, version, what) in events.iter().rev().take(TOLD).rev() {
        let (sent, ended) = (sent.as_secs_f64(), ended.as_secs_f64());
        println!("      {sent:.4} to {ended:.4} s through {instance}: version {version}, {what}");
    }
}

fn quantiles(report: &mut Report, name: &str, times: &[Duration]) {
    report.figure(name, times.len());
    report.figure(&format!("{name}_p50_ms"), ms(percentile(times, 50)));
    report.figure(&format!("{name}_p99_ms"), ms(percentile(times, 99)));
    report.figure(&format!("{name}_max_ms"), ms(percentile(times, 100)));
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
