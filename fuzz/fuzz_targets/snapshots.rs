//! The memory that the workers of a process share, as another version of the module may have left it there, or a worker
//! that died half-way: whatever lies in it, nothing fails, and nothing goes on without end.
//!
//! Input: what lies under the names that are asked for, one part after the other, over and over.

#![no_main]

#[path = "../../tests/existence/memory.rs"]
mod memory;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use memory::Memory;
use tiercel::coherence::{Bump, Generations, Intent, Intents, SharedData, Tag, keeper};
use tiercel::collapse::{self, Flights, Peers};
use tiercel::config::Policy;
use tiercel::existence::source::{Ask, Came};
use tiercel::existence::{Count, Space};
use tiercel::health::Health;
use tiercel::l1::Tier;
use tiercel::l2::L2Error;
use tiercel_fuzz::{parts, policy};

const NOW_MS: u64 = 1_783_684_800_000;
/// Questions in one tick, at most.
const MOST: usize = 1_000;

fuzz_target!(|input: &[u8]| {
    let (shared, policy) = (Spoilt::new(input), policy());
    for of in &policy.spaces {
        [None, Some(("p:", 200))].into_iter().for_each(|fleet| {
            space(&shared, Space::new(Rc::clone(of), fleet, 200, 7));
        });
    }
    generations(&shared);
    others(&shared, &policy);
    health(&shared, &policy);
    writes(&shared);
    if let Some(tier) = Tier::new(1 << 20, 1 << 12) {
        for hash in [0, 1, u128::MAX] {
            let get = || tier.get(&shared, hash, false, || NOW_MS);
            let _ = get();
            tier.put(&shared, hash, b"value".to_vec(), (false, u64::MAX), NOW_MS);
            let _ = get();
        }
    }
});

/// Shared data in which something lies already.
struct Spoilt<'a> {
    written: Memory,
    asked: RefCell<HashSet<Vec<u8>>>,
    lies: Vec<&'a [u8]>,
    next: Cell<usize>,
}

impl<'a> Spoilt<'a> {
    fn new(mut rest: &'a [u8]) -> Self {
        let mut lies = vec![];
        while !rest.is_empty() {
            let [value, behind] = parts(rest);
            lies.push(value);
            rest = behind;
        }
        Self { written: Memory::default(), asked: RefCell::default(), lies, next: Cell::new(0) }
    }
}

impl SharedData for Spoilt<'_> {
    fn get(&self, name: &[u8]) -> Option<(Vec<u8>, u32)> {
        if self.asked.borrow_mut().insert(name.to_vec()) {
            let place = self.next.replace(self.next.get() + 1);
            let value = self.lies.get(place % self.lies.len().max(1));
            // As if that were nothing.
            let value = value.filter(|value| !value.is_empty())?;
            self.written.set(name, value, 0);
        }
        self.written.get(name)
    }

    fn set(&self, name: &[u8], value: &[u8], token: u32) -> bool {
        self.asked.borrow_mut().insert(name.to_vec());
        self.written.set(name, value, token)
    }

    fn bell(&self) -> Option<u64> {
        self.written.bell()
    }

    fn ring(&self) {
        self.written.ring();
    }
}

fn space(shared: &Spoilt<'_>, mut space: Space) {
    space.open(shared);
    for now_ms in (0..8).map(|tick| NOW_MS + 200 * tick) {
        let mut asks = space.tick(shared, Some(true), now_ms);
        let mut asked = 0;
        while let Some(Ask { ticket, .. }) = asks.pop() {
            asked += 1;
            assert!(asked < MOST, "it asks without end");
            asks.extend(space.came(shared, ticket, Came::Nothing, now_ms));
        }
        let _ = (space.verdict(shared, b"5", now_ms), space.standing(shared, now_ms));
        space.add(shared, &[1, 2, now_ms], Count::Created, now_ms % 400 == 0);
        space.is_seen(shared, 9);
    }
    space.lose(shared);
    let _ = space.verdict(shared, b"five", NOW_MS);
}

fn generations(shared: &Spoilt<'_>) {
    let mut generations = Generations::default();
    generations.open(shared, 256, NOW_MS);
    generations.attach(shared, 7, NOW_MS);
    let tag = Tag::from_bits(7);
    for bump in 0..4 {
        let epoch = generations.epoch();
        let uncertain_until_ms = if bump % 2 == 0 { 0 } else { NOW_MS };
        let tags = [tag].into_iter().collect();
        generations.bump(Bump { tags, soft: false, uncertain_until_ms });
        // What cannot be told counts here all the same.
        let told = generations.publish(shared, NOW_MS).is_some();
        let valid = generations.validity(&[tag], epoch) == tiercel::coherence::Validity::Current;
        assert!(!told || !valid, "a bump is lost");
        let _ = keeper::take_turn(shared, (1, bump > 1), NOW_MS + bump, 200, generations.epoch());
        generations.reload(shared);
    }
    generations.distrust(shared, NOW_MS);
}

fn others(shared: &Spoilt<'_>, policy: &Policy) {
    let (mut peers, mut flights) = (Peers::default(), Flights::default());
    collapse::open(shared);
    let place = (shared, Some(7));
    for (context, now_ms) in (1..).zip([NOW_MS, NOW_MS + 50, NOW_MS + 9_000]) {
        peers.tick(shared, 1, now_ms);
        flights.enter(place, (context.into(), context), true, now_ms, policy.waiting);
        flights.tick(place, std::iter::empty(), now_ms);
        let mut told = 0;
        flights.tell(place, |_, _| told += 1);
        assert!(told < MOST);
    }
}

/// Whatever is thought of L2, what happens to it changes that within bounds.
fn health(shared: &Spoilt<'_>, policy: &Policy) {
    let l2 = policy.l2.as_ref().expect("an L2").health;
    let mut health = Health::default();
    health.attach(shared, 7);
    let outcomes =
        [Err(L2Error::Timeout), Err(L2Error::Refused), Ok(()), Err(L2Error::Reset), Ok(())];
    for (outcome, now_ms) in outcomes.into_iter().cycle().zip(NOW_MS..NOW_MS + 20) {
        let probe = health.probe(1, now_ms);
        health.ended(shared, &l2, outcome, (now_ms - 1, now_ms));
        health.probed(shared, &l2, probe, (outcome, now_ms % 2 == 0), now_ms);
        health.suspect(shared, &l2, L2Error::OutOfMemory, now_ms);
        let wait_ms = health.probe_ms(&l2, 200).expect("probes");
        assert!(wait_ms <= l2.probe_ceiling_ms << 5);
        assert!(health.gate(None).table || health.gate(None).refusal().is_some());
        health.reload(shared);
    }
}

/// Writes of others that are noted, or seem to be.
fn writes(shared: &Spoilt<'_>) {
    let mut intents = Intents::new(1);
    for now_ms in [NOW_MS, NOW_MS + 300, NOW_MS + 9_000] {
        let noted = intents.note(shared, &Intent::default(), now_ms);
        assert!(intents.tick(shared, true, now_ms).len() <= MOST);
        noted.into_iter().for_each(|id| intents.strike(shared, id));
    }
    intents.abandon(shared, NOW_MS);
}
