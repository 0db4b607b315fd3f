//! Redis dies in the middle of many writes: once it is back, all of them are seen everywhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::clients::{Asker, History, Plan, drive, join};
use super::{Cast, GRACE, checker, findings};
use crate::harness::{Envoy, Redis};
use crate::report::Report;

const KEYS: usize = 400;
const WRITERS: usize = 16;
/// Connections to each instance that read all keys, so many that both workers have some.
const CHECKERS: usize = 12;
/// After how many of a round's writes Redis dies, and how long it is away.
const ROUNDS: [(usize, Duration); 3] = [
    (100, Duration::from_millis(500)),
    (200, Duration::from_millis(1_500)),
    (300, Duration::from_millis(3_000)),
];
/// Reads go on through both instances meanwhile.
const READERS: Plan = Plan {
    keys: KEYS,
    writers: 0,
    readers: 8,
    write_pause: Duration::ZERO,
    read_pause: Duration::from_millis(5),
};

pub fn run(report: &mut Report) {
    let mut cast = Cast::full("drill-coherence-burst", KEYS);
    let start = Instant::now();
    let mut all = read_all(&cast, start);
    let mut older = 0;
    for (number, round) in (1..).zip(ROUNDS) {
        let Cast { envoys, redis, .. } = &mut cast;
        let mut written = History::default();
        let read = drive(envoys, READERS, start, || {
            written = write_all(envoys, redis, start, round);
        });
        all = join([all, written, read]);
        sleep(GRACE);
        let last = read_all(&cast, start);
        // Through either instance: what was acknowledged is long past.
        let judge = [checker::violations, checker::lags];
        let found: Vec<_> = judge.iter().flat_map(|f| f(&all.writes, &last.reads)).collect();
        found.iter().take(5).for_each(findings::show);
        report.figure(&format!("round_{number}_older_reads"), found.len());
        older += found.len();
        all = join([all, last]);
    }
    report.check("no read after the recovery is older than a write", older == 0);
    findings::requests(report, &all);
    cast.report_shares(report);
}

/// Writes every key once through the first instance; Redis is killed on the way and comes back.
fn write_all(
    envoys: &[Envoy],
    redis: &mut Redis,
    start: Instant,
    (dies_after, away): (usize, Duration),
) -> History {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut asker = Asker::new(envoys, 0, start);
                    loop {
                        let key = next.fetch_add(1, Ordering::Relaxed);
                        if key >= KEYS {
                            return asker.seen;
                        }
                        asker.write(key);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        while done.load(Ordering::Relaxed) < dies_after {
            sleep(Duration::from_millis(1));
        }
        redis.process.kill();
        sleep(away);
        let written = join(writers.into_iter().map(|writer| writer.join().expect("a writer")));
        redis.restart();
        written
    })
}

/// Reads every key over many connections to each instance.
fn read_all(cast: &Cast, start: Instant) -> History {
    std::thread::scope(|scope| {
        let checkers: Vec<_> = (0..CHECKERS * cast.envoys.len())
            .map(|number| {
                scope.spawn(move || {
                    let mut asker = Asker::new(&cast.envoys, number % cast.envoys.len(), start);
                    (0..KEYS).for_each(|key| asker.read(key));
                    asker.seen
                })
            })
            .collect();
        join(checkers.into_iter().map(|checker| checker.join().expect("a checker")))
    })
}
