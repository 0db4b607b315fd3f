//! Workers of one process that keep a space, and an origin that changes meanwhile.

use std::rc::Rc;

use serde_json::json;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::source::tests::space;
use super::source::{Ask, Asking, Came};
use super::*;
use crate::coherence::{Memory, Pointer};
use crate::http::fields::{Fields, block};

/// How long lists wait for writes, in ms.
const SETTLE: u64 = 5_000;

struct Process {
    shared: Memory,
    now_ms: u64,
    list: Vec<u64>,
    etag: Option<&'static str>,
    /// When the list was asked for, and what the answer was.
    reads: Vec<(u64, u16)>,
}

fn policy() -> SpacePolicy {
    let source = SourcePolicy::Http(HttpSource {
        cluster: "origin".into(),
        timeout_ms: 1_000,
        path: "/ids".into(),
        fields: vec![(b":authority"[..].into(), b"a"[..].into())],
        paging: Paging::One,
        ids: Pointer::parse("/ids/*").unwrap(),
        total: None,
        concurrency: 1,
    });
    SpacePolicy {
        max_age_ms: 3_600_000,
        refresh_ms: 600_000,
        grace_ms: 1_000,
        recent: 1_000,
        ..space(source, 1_000)
    }
}

fn process(list: &[u64]) -> Process {
    let (shared, list) = (Memory::default(), list.to_vec());
    Process { shared, now_ms: 1_700_000_000_000, list, etag: None, reads: Vec::new() }
}

impl Process {
    fn worker(&self, policy: SpacePolicy, seed: u64) -> Space {
        let space = Space::new(Rc::new(policy), None, SETTLE, seed);
        space.open(&self.shared);
        space
    }

    /// Lets time pass for these workers.
    fn pass(&mut self, workers: &mut [&mut Space], ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.now_ms < end_ms {
            self.now_ms += 50;
            for worker in workers.iter_mut() {
                let asks = worker.tick(&self.shared, Some(true), self.now_ms);
                asks.into_iter().for_each(|ask| self.answer(worker, ask));
            }
        }
    }

    fn answer(&mut self, worker: &mut Space, Ask { ticket, what }: Ask) {
        let Asking::Http(request) = what else { panic!("{what:?}") };
        let condition = Fields::new(&request).get(b"if-none-match");
        let is_same = self.etag.is_some() && condition == self.etag.map(str::as_bytes);
        let status = if is_same { 304 } else { 200 };
        self.reads.push((self.now_ms, status));
        let text = status.to_string();
        let mut fields = vec![(":status", &*text)];
        fields.extend(self.etag.map(|etag| ("etag", etag)));
        let fields = block(&fields);
        let body = if is_same { String::new() } else { json!({"ids": self.list}).to_string() };
        let came = Came::Http(Fields::new(&fields), body.as_bytes());
        let asks = worker.came(&self.shared, ticket, came, self.now_ms);
        asks.into_iter().for_each(|ask| self.answer(worker, ask));
    }

    fn ask(&self, worker: &mut Space, id: u64) -> Verdict {
        worker.verdict(&self.shared, id.to_string().as_bytes(), self.now_ms).unwrap().0
    }

    fn add(&self, worker: &mut Space, id: u64, anew: bool) {
        worker.add(&self.shared, &[hash(id.to_string().as_bytes())], Count::Created, anew);
    }
}

#[test]
fn a_list_waits_for_a_write_whose_outcome_is_not_known() {
    let mut process = process(&[1, 2]);
    let mut a = process.worker(policy(), 11);
    process.pass(&mut [&mut a], 1_000);
    // A write goes on; a gateway gives up after 30 s, and the list is asked for.
    process.add(&mut a, 7, false);
    process.pass(&mut [&mut a], 30_000);
    process.add(&mut a, 7, true);
    assert_eq!(process.ask(&mut a, 999), Verdict::Absent);
    process.pass(&mut [&mut a], 1_000);
    // It is carried out all the same.
    process.list.push(7);
    process.pass(&mut [&mut a], 20_000);
    assert_ne!(process.ask(&mut a, 7), Verdict::Absent, "{:?}", process.reads);
    assert!(process.reads.len() > 1 && process.ask(&mut a, 999) == Verdict::Absent);
}

#[test]
fn that_a_list_has_not_changed_is_said_of_the_filter_in_use() {
    let mut process = process(&[1, 2]);
    let (mut a, mut b) = (process.worker(policy(), 11), process.worker(policy(), 12));
    process.etag = Some("\"A\"");
    process.pass(&mut [&mut a], 1_000);
    assert_eq!(process.ask(&mut a, 2), Verdict::Listed);
    // One worker stands still, the other one takes over.
    (process.list, process.etag) = (vec![1], Some("\"B\""));
    process.pass(&mut [&mut b], 2_000);
    process.ask(&mut b, 999);
    process.pass(&mut [&mut b], 10_000);
    assert_eq!(process.ask(&mut b, 2), Verdict::Absent);
    // The list becomes what it was; then the first one takes over again.
    process.add(&mut b, 2, false);
    (process.list, process.etag) = (vec![1, 2], Some("\"A\""));
    process.add(&mut b, 2, false);
    process.pass(&mut [&mut a], 900);
    assert_eq!(process.ask(&mut a, 2), Verdict::Recent);
    assert_eq!(process.ask(&mut a, 999), Verdict::Absent);
    process.pass(&mut [&mut a], 20_000);
    assert_ne!(process.ask(&mut a, 2), Verdict::Absent, "{:?}", process.reads);
}

#[test]
fn whoever_asks_is_remembered_until_the_list_may_be_read() {
    let mut process = process(&[1, 2]);
    let mut a = process.worker(SpacePolicy { grace_ms: 10_000, ..policy() }, 11);
    process.pass(&mut [&mut a], 1_000);
    process.list.push(7);
    assert_eq!(process.ask(&mut a, 7), Verdict::Absent);
    process.pass(&mut [&mut a], 20_000);
    assert_eq!((process.ask(&mut a, 7), process.reads.len()), (Verdict::Listed, 2));
}

#[test]
fn a_list_from_the_future_is_read_anew() {
    let mut process = process(&[1, 2]);
    let mut a = process.worker(policy(), 11);
    process.pass(&mut [&mut a], 1_000);
    // The clock was two hours ahead.
    process.now_ms -= 7_200_000;
    process.list.push(7);
    assert_eq!(process.ask(&mut a, 8), Verdict::OldList);
    process.pass(&mut [&mut a], 20_000);
    assert_eq!(process.ask(&mut a, 7), Verdict::Listed);
    assert_eq!(process.ask(&mut a, 8), Verdict::Absent);
}

#[test]
fn numbers_that_json_rounds_are_no_list() {
    let mut process = process(&[1]);
    let mut a = process.worker(policy(), 11);
    let mut asks = Vec::new();
    while asks.is_empty() {
        process.now_ms += 50;
        asks = a.tick(&process.shared, Some(true), process.now_ms);
    }
    let (fields, ticket) = (block(&[(":status", "200")]), asks[0].ticket);
    let came = Came::Http(Fields::new(&fields), b"{\"ids\": [1, 12345678901234567890123]}");
    a.came(&process.shared, ticket, came, process.now_ms);
    process.now_ms += 50;
    a.tick(&process.shared, Some(true), process.now_ms);
    assert_eq!(process.ask(&mut a, 2), Verdict::NoList);
    assert!(a.take_lines().iter().any(|(_, line)| line.contains("not used: malformed")));
}

#[test]
fn no_id_at_all_is_none_that_does_not_exist() {
    let mut process = process(&[1, 2]);
    let pattern = Some(Pattern::parse("[0-9]*").unwrap());
    let mut a = process.worker(SpacePolicy { pattern, ..policy() }, 11);
    process.pass(&mut [&mut a], 1_000);
    assert_eq!(process.ask(&mut a, 3), Verdict::Absent);
    assert_eq!(a.verdict(&process.shared, b"", process.now_ms), None);
    assert_eq!(a.verdict(&process.shared, b"\xff", process.now_ms), None);
}

fn in_fleet(shared: &Memory) -> Space {
    let space = Space::new(Rc::new(policy()), Some(("p:", 200)), SETTLE, 5);
    space.open(shared);
    space
}

#[test]
fn what_is_lost_while_ids_are_sent_is_told_the_next_time() {
    let shared = Memory::default();
    let mut a = in_fleet(&shared);
    a.add(&shared, &[1], Count::Created, false);
    let first = a.send(1_000).unwrap();
    a.lose(&shared);
    a.came(&shared, first.ticket, Came::Redis(b"$2\r\ni9\r\n"), 1_001);
    let says = |ask: &Ask| matches!(&ask.what, Asking::Redis(text) if text.windows(8).any(|w| w == b"\n1\r\n$1\r\n"));
    // It is said until Redis has taken it.
    let second = a.send(1_002).unwrap();
    assert!(says(&second) && !says(&first));
    a.came(&shared, second.ticket, Came::Nothing, 1_003);
    let third = a.send(1_004).unwrap();
    assert!(says(&third) && a.send(1_005).is_none());
    let fourth = a.send(10_000).unwrap();
    assert!(says(&fourth));
    a.came(&shared, fourth.ticket, Came::Redis(b"$2\r\ni9\r\n"), 10_001);
    assert_eq!(a.send(10_002), None);
}

#[test]
fn ids_lost_while_the_first_list_is_read_are_not_in_it() {
    let shared = Memory::default();
    let mut a = in_fleet(&shared);
    let (mut now_ms, mut set, mut page) = (1_000_000, "i9", None);
    for step in 0..60 {
        now_ms += 50;
        let mut asks = a.tick(&shared, Some(true), now_ms);
        // Another instance told Redis of 5, and Redis lost everything before this one heard of it.
        set = if step == 20 { "i8" } else { set };
        if let Some(ticket) = page.take_if(|_| step >= 30) {
            let fields = block(&[(":status", "200")]);
            let came = Came::Http(Fields::new(&fields), b"{\"ids\": [1]}");
            asks.extend(a.came(&shared, ticket, came, now_ms));
        }
        while let Some(Ask { ticket, what }) = asks.pop() {
            let Asking::Redis(commands) = what else {
                page = Some(ticket);
                continue;
            };
            let text = String::from_utf8_lossy(&commands).into_owned();
            let reply = if text.starts_with("*5\r\n$13\r\nZRANGEBYSCORE") {
                format!("*2\r\n$2\r\n{set}\r\n$3\r\ninf\r\n$-1\r\n")
            } else if text.contains("\r\nNX\r\n") {
                format!("+OK\r\n$2\r\n{set}\r\n")
            } else {
                "+OK\r\n".into()
            };
            asks.extend(a.came(&shared, ticket, Came::Redis(reply.as_bytes()), now_ms));
        }
        let verdict = a.verdict(&shared, b"5", now_ms).unwrap().0;
        assert_ne!(verdict, Verdict::Absent, "step {step}");
    }
}

#[test]
fn a_keeper_that_stood_still_does_not_bring_an_older_list_back() {
    let mut process = process(&[1, 2]);
    let (mut a, mut b) = (process.worker(policy(), 11), process.worker(policy(), 12));
    let mut c = process.worker(policy(), 13);
    process.pass(&mut [&mut a, &mut c], 1_000);
    assert_eq!(process.ask(&mut a, 999), Verdict::Absent);
    // A reads the list anew, and stands still when it has come.
    let mut n = 0;
    while process.reads.len() == 1 {
        process.pass(&mut [&mut a, &mut c], 50);
        n += 1;
        assert!(n < 1_000);
    }
    // B takes over; an id comes into being, and is in B's list.
    process.pass(&mut [&mut b, &mut c], 2_000);
    process.add(&mut c, 7, false);
    process.list.push(7);
    process.add(&mut c, 7, false);
    assert_eq!(process.ask(&mut c, 999), Verdict::Absent);
    process.pass(&mut [&mut b, &mut c], 12_000);
    assert_eq!(process.ask(&mut c, 7), Verdict::Listed);
    // B stands still (or its VM begins anew), and A goes on.
    process.pass(&mut [&mut c], 0);
    process.now_ms += 1_100;
    for _ in 0..40 {
        process.pass(&mut [&mut a], 50);
        assert_ne!(process.ask(&mut a, 7), Verdict::Absent, "{:?}", process.reads);
    }
    process.pass(&mut [&mut a, &mut c], 200);
    assert_ne!(process.ask(&mut c, 7), Verdict::Absent, "{:?}", process.reads);
}

#[test]
fn what_redis_no_longer_tells_is_not_refused_by_who_was_cut_off() {
    // The score up to which recent ids are in the fleet's last list, and may not be told any more.
    for (base, expected) in [(0, Verdict::Absent), (50, Verdict::Full)] {
        let shared = Memory::default();
        let mut a = in_fleet(&shared);
        let mut now_ms = 1_000_000;
        for step in 0..40 {
            now_ms += 50;
            let mut asks = a.tick(&shared, Some(true), now_ms);
            while let Some(Ask { ticket, what }) = asks.pop() {
                let Asking::Redis(commands) = what else {
                    let fields = block(&[(":status", "200")]);
                    let came = Came::Http(Fields::new(&fields), b"{\"ids\": [1]}");
                    asks.extend(a.came(&shared, ticket, came, now_ms));
                    continue;
                };
                let text = String::from_utf8_lossy(&commands).into_owned();
                let head = format!("1 5 6 {base} 9");
                let reply = if text.contains("WITHSCORES") && step < 30 {
                    "*2\r\n$2\r\ni9\r\n$3\r\ninf\r\n$-1\r\n".into()
                } else if text.contains("WITHSCORES") {
                    format!("*2\r\n$2\r\ni9\r\n$3\r\ninf\r\n${}\r\n{head}\r\n", head.len())
                } else if text.contains("\r\nNX\r\n") {
                    "+OK\r\n$2\r\ni9\r\n".into()
                } else {
                    "-ERR no\r\n".to_owned()
                };
                asks.extend(a.came(&shared, ticket, Came::Redis(reply.as_bytes()), now_ms));
            }
            if step == 29 {
                assert_eq!(a.verdict(&shared, b"7", now_ms).unwrap().0, Verdict::Absent);
            }
        }
        assert_eq!(a.verdict(&shared, b"7", now_ms).unwrap().0, expected, "{base}");
    }
}
