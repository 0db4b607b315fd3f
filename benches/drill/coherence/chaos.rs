//! Redis suffers fifty times in three minutes, by chance, while the checker looks.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Cast, GRACE, PLAN, findings, sleep_until};
use crate::harness::{Envoy, Redis};
use crate::load::Random;
use crate::report::Report;

const EVENTS: u32 = 50;
const LASTS: Duration = Duration::from_secs(180);
/// Memory that is there by then is needed.
const WARM: u32 = 10;
const GROWTH: f64 = 1.1;
const SEED: u64 = 7;

pub fn run(report: &mut Report) {
    let mut cast = Cast::full("drill-coherence-chaos", PLAN.keys);
    let Cast { envoys, redis, .. } = &mut cast;
    let (start, mut troubles, mut warm) = (Instant::now(), Vec::new(), 0);
    let mut count = [0_u32; 4];
    let history = super::clients::drive(envoys, PLAN, start, || {
        let mut random = Random::new(SEED);
        for n in 1..=EVENTS {
            sleep_until(start, LASTS * n / (EVENTS + 1));
            let began = start.elapsed();
            let kind = torment(redis, &mut random);
            count[kind] += 1;
            troubles.push((began, start.elapsed() + GRACE));
            if n == WARM {
                warm = memory(envoys);
            }
        }
        sleep_until(start, LASTS);
    });
    let end = memory(envoys);
    for (name, count) in ["killed", "stopped", "restarted", "flushed"].iter().zip(count) {
        report.figure(name, count);
    }
    findings::requests(report, &history);
    findings::lag(report, &history, &troubles);
    for (name, envoy) in ["a", "b"].iter().zip(envoys.iter()) {
        let to = |state: &str| envoy.metric(&format!("tiercel_l2_transitions{{to=\"{state}\"}}"));
        report.figure(&format!("{name}_degraded"), to("degraded"));
        report.figure(&format!("{name}_state_at_the_end"), envoy.metric("tiercel_l2_state"));
    }
    report.figure("vm_memory_bytes_warm", warm);
    report.figure("vm_memory_bytes_end", end);
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    report.check("memory is flat", end as f64 <= warm as f64 * GROWTH);
    cast.report_shares(report);
}

/// One event, by chance; which.
fn torment(redis: &mut Redis, random: &mut Random) -> usize {
    let away = Duration::from_millis(100 + random.below(1_900));
    let kind = random.below(4);
    match kind {
        0 => {
            redis.process.kill();
            sleep(away);
            redis.restart();
        }
        1 => {
            redis.process.signal("STOP");
            sleep(away);
            redis.process.signal("CONT");
        }
        2 => redis.restart(),
        _ => drop(redis.command(&[b"FLUSHALL"])),
    }
    usize::try_from(kind).expect("one of four")
}

fn memory(envoys: &[Envoy]) -> u64 {
    envoys.iter().map(|envoy| envoy.metric("tiercel_vm_memory_bytes")).sum()
}
