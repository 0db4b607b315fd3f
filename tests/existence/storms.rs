//! No id that exists is refused, whatever comes together.

use tiercel::existence::Verdict;

use super::storm::Storm;

const STEPS: usize = 1_500;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// One of so many steps brings a trouble; and of the same number one in two a write.
    pub one_in: u16,
    pub stalls: bool,
    pub crashes: bool,
    pub partitions: bool,
    /// Clocks differ by up to 2 s.
    pub skew: bool,
    /// Clocks are set by up to 2 s.
    pub leaps: bool,
    /// Redis loses the last second.
    pub failovers: bool,
    pub flushes: bool,
    pub pages: bool,
    pub etags: bool,
    /// Some pages take seconds.
    pub slow: bool,
    /// Rows go, and move.
    pub rows: bool,
}

fn rages(trouble: Trouble) {
    let mut refused = 0;
    for (one_in, seeds) in [(60, 0..4), (250, 4..7)] {
        for seed in seeds {
            let mut storm = Storm::new(seed * 7_919 + 1, Trouble { one_in, ..trouble });
            for step in 0..STEPS {
                if let Err(wrong) = storm.rage() {
                    panic!("one in {one_in}, seed {seed}, step {step}: {wrong}");
                }
            }
            refused += storm.refused;
        }
    }
    assert!(refused > 0, "nothing was refused at all");
}

macro_rules! storms {
    ($($name:ident: $($trouble:ident)*;)+) => {
        $(
            #[test]
            fn $name() {
                rages(Trouble { $($trouble: true,)* ..Trouble::default() });
            }
        )+
    };
}

storms! {
    writes_of_every_length:;
    clocks_that_differ: skew;
    clocks_that_are_set: leaps;
    lists_in_pages: pages rows;
    lists_in_pages_with_etags: pages rows etags;
    lists_with_etags: etags rows;
    workers_that_stand_still: stalls etags;
    workers_that_stand_still_and_slow_sources: stalls slow;
    workers_that_crash: crashes stalls;
    slow_sources: slow skew;
    instances_without_redis: partitions;
    instances_without_redis_and_slow_sources: partitions slow;
    failovers_of_redis: failovers;
    flushes_of_redis: flushes skew;
}

/// Whether a worker refuses an id in the next so many ms, but for the first of them.
fn is_refused(storm: &mut Storm, worker: usize, id: u32, (after, until): (u64, u64)) -> bool {
    storm.calm(after);
    (0..until / 20).any(|_| {
        storm.calm(20);
        storm.verdict(worker, id) == Verdict::Absent
    })
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_what_others_tell() {
    let mut storm = Storm::new(1, Trouble::default());
    storm.calm(5_000);
    storm.offset[1] -= 60_000;
    storm.calm(4_000);
    storm.make(0, 777);
    assert!(!is_refused(&mut storm, 2, 777, (700, 70_000)));
}

#[test]
fn a_reader_that_dies_keeps_others_from_reading_for_seconds_only() {
    for seed in 1..6 {
        let mut storm = Storm::new(seed, Trouble::default());
        storm.calm(6_000);
        let asks = (0..4_000).any(|_| {
            storm.calm(10);
            storm.reads(0)
        });
        if asks {
            storm.stalled = [u64::MAX, u64::MAX, 0, 0];
            storm.rows.push(777);
            storm.verdict(2, 777);
            assert!(!is_refused(&mut storm, 2, 777, (12_000, 10_000)), "seed {seed}");
        }
    }
}
