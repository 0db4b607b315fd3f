//! Whatever happens to a list of ids, none that exists is ever refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)] // tests

use std::collections::BTreeSet;
use std::rc::Rc;

use proptest::prelude::*;
use tiercel::existence::{Build, Filter, Ids, Known, Limits, Verdict, Width, hash};

const LIMITS: Limits = Limits { max_age_ms: u64::MAX, monotonic: false };
const ROOM: usize = 12;

#[derive(Clone, Debug)]
enum Step {
    /// An id comes into being through us.
    Create(u16),
    /// An id that exists is asked for, and found.
    See(u16),
    Begin,
    /// The list ends; of what came into being meanwhile it has some, by chance.
    End(u16),
    GiveUp,
    /// What is known is kept, and read again by another one.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<u16>().prop_map(Step::Create),
        2 => any::<u16>().prop_map(Step::See),
        2 => Just(Step::Begin),
        2 => any::<u16>().prop_map(Step::End),
        1 => Just(Step::GiveUp),
        1 => Just(Step::Restart),
    ]
}

fn text(id: u16) -> Vec<u8> {
    format!("id-{id}").into_bytes()
}

fn filter(ids: impl Iterator<Item = u16>, width: Width) -> Filter {
    let mut list = Ids::default();
    ids.for_each(|id| list.add(hash(&text(id))));
    let mut build = Build::new(list, width, 0, 0);
    std::iter::repeat_with(|| build.step()).find_map(|filter| filter).unwrap()
}

proptest! {
    #[test]
    fn no_id_that_exists_is_refused(steps in prop::collection::vec(step(), 0..120), wide: bool) {
        let width = if wide { Width::Sixteen } else { Width::Eight };
        let (mut known, mut exist) = (Known::new(ROOM), BTreeSet::new());
        let mut reading: Option<BTreeSet<u16>> = None;
        for step in steps {
            match step {
                Step::Create(id) => {
                    exist.insert(id);
                    known.is_created(&text(id));
                }
                Step::See(n) => {
                    if let Some(id) = exist.iter().nth(usize::from(n) % exist.len().max(1)) {
                        known.is_seen(&text(*id));
                    }
                }
                Step::Begin => {
                    known.overlay.begins();
                    reading = Some(exist.clone());
                }
                Step::End(chance) => {
                    if let Some(before) = reading.take() {
                        let lucky = exist.iter().filter(|id| (*id ^ chance) % 3 == 0);
                        let list: BTreeSet<u16> = before.into_iter().chain(lucky.copied()).collect();
                        known.is_read(Rc::new(filter(list.into_iter(), width)));
                    }
                }
                Step::GiveUp => {
                    known.overlay.gives_up();
                    reading = None;
                }
                Step::Restart => {
                    let kept = known.filter().map(|filter| filter.encode());
                    let recent: Vec<u64> = known.overlay.hashes().collect();
                    // What found no room is not kept either: then nothing is.
                    let lost = known.overlay.has_lost();
                    (known, reading) = (Known::new(ROOM), None);
                    if let Some(bytes) = kept.filter(|_| !lost) {
                        known.take(Rc::new(Filter::decode(&bytes).unwrap()));
                    }
                    recent.into_iter().for_each(|hash| known.overlay.add(hash));
                }
            }
            for id in &exist {
                prop_assert_ne!(known.verdict(&text(*id), LIMITS, 0), Verdict::Absent, "{}", id);
            }
        }
    }

    #[test]
    fn bytes_of_all_kinds_are_no_filter_or_can_be_asked(bytes: Vec<u8>, hashes: Vec<u64>) {
        if let Ok(filter) = Filter::decode(&bytes) {
            hashes.iter().for_each(|hash| { let _ = filter.contains(*hash); });
        }
    }
}
