//! The worker's L2 client: queues, calls in flight, answers. What a call says is in `calls.rs`.

use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::HashMap;

use super::L2Error;
use super::answers::{Answer, Ticket, Waiting};
use super::resp::{self, Reply};
use super::table::table_key;
use crate::coherence::{Cells, Generations, Layout, Reach};
use crate::config::L2Policy;
use crate::entry::Entry;

/// Stores held back until there are this many, or until the next tick.
pub(super) const WRITE_BATCH: usize = 16;
/// Deletes that may wait, at most.
const MAX_DELETES: usize = 1_024;
/// Calls about the table in flight; beyond it bumps wait for company.
const MAX_TABLE_CALLS: usize = 4;

/// A callout to make.
#[derive(Debug)]
pub struct Call {
    /// Pipelined RESP.
    pub body: Vec<u8>,
    pub(super) waiting: Waiting,
}

impl Call {
    /// The number of look-ups, if it is a call of look-ups.
    #[must_use]
    pub const fn lookups(&self) -> Option<usize> {
        match &self.waiting {
            Waiting::Lookups(tickets, _) => Some(tickets.len()),
            Waiting::Stores(_) | Waiting::Deletes(_) | Waiting::Table(..) => None,
        }
    }
}

/// What is to be asked of the table of generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// How far back.
    pub reach: Reach,
    /// Gives the table an incarnation if it has none, or another than this one.
    pub replace: Option<u64>,
}

/// Queues and calls of one filter in one worker.
#[derive(Debug)]
pub struct Client {
    pub(super) policy: L2Policy,
    pub(super) scope: u64,
    pub(super) table: String,
    layout: Layout,
    pub(super) lookups: VecDeque<(Ticket, u128)>,
    pub(super) stores: VecDeque<Rc<Entry>>,
    pub(super) store_bytes: usize,
    pub(super) deletes: VecDeque<u128>,
    pub(super) bumps: Cells,
    pub(super) question: Option<Question>,
    /// Stores that something made stale before they were sent.
    pub(super) overtaken: u64,
    /// By token, with the time they were sent.
    in_flight: HashMap<u32, (Waiting, u64)>,
}

impl Client {
    /// A client with nothing to do, for a fleet whose tags fall into so many `slots`.
    #[must_use]
    pub fn new(policy: L2Policy, slots: usize) -> Self {
        Self {
            scope: policy.scope(slots),
            table: table_key(&policy.key_prefix, slots),
            layout: Layout::new(slots),
            policy,
            lookups: VecDeque::new(),
            stores: VecDeque::new(),
            store_bytes: 0,
            deletes: VecDeque::new(),
            bumps: Cells::new(),
            question: None,
            overtaken: 0,
            in_flight: HashMap::new(),
        }
    }

    /// The settings.
    #[must_use]
    pub const fn policy(&self) -> &L2Policy {
        &self.policy
    }

    /// Which table of generations it asks.
    #[must_use]
    pub const fn scope(&self) -> u64 {
        self.scope
    }

    /// Queues a look-up; false if there are so many that it would wait for others.
    pub fn look_up(&mut self, ticket: Ticket, hash: u128) -> bool {
        let free = self.policy.max_in_flight.saturating_sub(self.calls(false));
        if self.lookups.len() >= free.saturating_mul(self.policy.max_batch) {
            return false;
        }
        self.lookups.push_back((ticket, hash));
        true
    }

    /// Queues a store; false if the queue is full.
    pub fn store(&mut self, entry: Rc<Entry>) -> bool {
        if self.store_bytes + entry.len() > self.policy.write_budget {
            return false;
        }
        self.store_bytes += entry.len();
        self.stores.push_back(entry);
        true
    }

    /// Queues a delete, and drops stores of the same that are still queued. False if too many deletes
    /// wait.
    pub fn delete(&mut self, hash: u128) -> bool {
        let bytes = &mut self.store_bytes;
        self.stores.retain(|entry| {
            let stays = entry.key().hash() != hash;
            if !stays {
                *bytes -= entry.len();
            }
            stays
        });
        let queued = self.deletes.contains(&hash);
        if !queued && self.deletes.len() < MAX_DELETES {
            self.deletes.push_back(hash);
            return true;
        }
        queued
    }

    /// Queues bumps. There are never more than cells.
    pub fn bump(&mut self, cells: Cells) {
        for (cell, epoch) in cells {
            match self.bumps.iter_mut().find(|(known, _)| *known == cell) {
                Some((_, known)) => *known = epoch.max(*known),
                None => self.bumps.push((cell, epoch)),
            }
        }
    }

    /// Queues a question about the table.
    pub fn ask(&mut self, question: Question) {
        let known = self.question.unwrap_or_default();
        let reach = known.reach.max(question.reach);
        self.question = Some(Question { reach, replace: question.replace.or(known.replace) });
    }

    /// Stores that something made stale before they were sent, since this was last asked.
    pub fn take_overtaken(&mut self) -> u64 {
        std::mem::take(&mut self.overtaken)
    }

    /// Whether a flush would send something now.
    #[must_use]
    pub fn wants_flush(&self) -> bool {
        !self.lookups.is_empty()
            || !self.deletes.is_empty()
            || !self.bumps.is_empty()
            || self.question.is_some()
            || self.stores.len() >= WRITE_BATCH
    }

    /// The next call to make: the table first, then deletes, then look-ups; none when there is nothing to
    /// send or too much in flight. `all` sends the last few stores too instead of waiting for more. Calls
    /// may overtake each other on their way.
    pub fn next_call(&mut self, generations: &Generations, now_ms: u64, all: bool) -> Option<Call> {
        let has_news = !self.bumps.is_empty() || self.question.is_some();
        if has_news && self.calls(true) < MAX_TABLE_CALLS {
            return Some(self.table_call(generations));
        }
        if self.calls(false) >= self.policy.max_in_flight {
            return None;
        }
        if !self.deletes.is_empty() {
            return Some(self.delete_call());
        }
        if !self.lookups.is_empty() {
            return Some(self.lookup_call(generations));
        }
        // What nobody could trust waits until the table is known.
        let is_known = generations.ask(self.scope, Reach::New).synced.number > 0;
        if is_known && (self.stores.len() >= WRITE_BATCH || (all && !self.stores.is_empty())) {
            return self.store_call(generations, now_ms);
        }
        None
    }

    /// Calls in flight that are, or are not, about the table alone.
    fn calls(&self, about_table: bool) -> usize {
        let waiting = self.in_flight.values().map(|(waiting, _)| waiting);
        waiting.filter(|waiting| matches!(waiting, Waiting::Table(..)) == about_table).count()
    }

    /// The call was made: its answer will come under `token`, or is given up after the timeout.
    pub fn sent(&mut self, call: Call, token: u32, now_ms: u64) {
        self.in_flight.insert(token, (call.waiting, now_ms));
    }

    /// The call could not be made.
    pub fn failed(call: Call, mut give: impl FnMut(Answer<'static>)) {
        call.waiting.fail(L2Error::Dispatch, &mut give);
    }

    /// Whether a callout is this client's.
    #[must_use]
    pub fn owns(&self, token: u32) -> bool {
        self.in_flight.contains_key(&token)
    }

    /// A callout came back with `status` and `body`: every command gets its answer.
    pub fn received<'a>(
        &mut self,
        token: u32,
        status: Option<&[u8]>,
        body: &'a [u8],
        now_ms: u64,
        mut give: impl FnMut(Answer<'a>),
    ) {
        let Some((waiting, sent_ms)) = self.in_flight.remove(&token) else { return };
        if let Some(mut error) = L2Error::from_call_status(status) {
            // The tunnel answers 200 before Redis does: Envoy's timeout then looks like a reset. It
            // is counted from the start of the event loop's round, hence before the call was made.
            let least_ms = u64::from(self.policy.timeout_ms) * 9 / 10;
            if error == L2Error::Reset && now_ms.saturating_sub(sent_ms) >= least_ms {
                error = L2Error::Timeout;
            }
            return waiting.fail(error, &mut give);
        }
        let mut replies = body;
        if self.policy.auth.is_some() {
            match resp::next_reply(&mut replies) {
                Ok(Reply::Simple(b"OK")) => {}
                Ok(Reply::Error(text)) => {
                    return waiting.fail(L2Error::from_reply(text), &mut give);
                }
                Ok(_) | Err(_) => return waiting.fail(L2Error::Protocol, &mut give),
            }
        }
        waiting.read(replies, self.layout, &mut give);
    }

    /// Gives up calls whose answer never came. Envoy's own timeout comes first: this only makes
    /// sure that no request can wait for ever.
    pub fn expire(&mut self, now_ms: u64, mut give: impl FnMut(Answer<'static>)) {
        let latest = 2 * u64::from(self.policy.timeout_ms) + 1_000;
        let late = self.in_flight.extract_if(|_, (_, sent)| *sent + latest < now_ms);
        late.for_each(|(_, (waiting, _))| waiting.fail(L2Error::Timeout, &mut give));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coherence::{Bump, Followed, Memory, Verdict};
    use crate::config::load;
    use crate::entry::sample;
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn client(more: &serde_json::Value) -> Client {
        let mut l2 =
            json!({"cluster": "l2", "key_prefix": "t:", "max_in_flight": 2, "max_batch": 3});
        let more = more.as_object().unwrap().clone();
        l2.as_object_mut().unwrap().extend(more);
        let config = json!({"role": "cache", "l2": l2}).to_string();
        Client::new(load(config.as_bytes()).unwrap().l2.unwrap(), 256)
    }

    /// What a process knows that has followed an empty table.
    fn known() -> Generations {
        let (shared, mut generations) = (Memory::default(), Generations::default());
        let scope = client(&json!({})).scope();
        generations.open(&shared, 256, 1_000);
        generations.attach(&shared, scope);
        let asked = generations.ask(scope, Reach::All);
        let followed = Followed { incarnation: Some(9), cells: Vec::new() };
        assert_eq!(generations.follow(&shared, &asked, &followed, 0, 0), Verdict::Known);
        generations
    }

    fn entry(body: &[u8]) -> Rc<Entry> {
        let entry = sample("k", body);
        let tags = entry.tags().into();
        Rc::new(entry.with_tags(tags, known().epoch()))
    }

    fn answers(client: &mut Client, token: u32, status: &str, body: &str) -> Vec<String> {
        let mut all = Vec::new();
        client.received(token, Some(status.as_bytes()), body.as_bytes(), 0, |answer| {
            if !matches!(answer, Answer::Followed(..) | Answer::NotFollowed(_)) {
                all.push(format!("{answer:?}"));
            }
        });
        all
    }

    #[test]
    fn look_ups_go_out_together_and_come_back_in_order() {
        let mut client = client(&json!({}));
        for ticket in 1..=3 {
            assert!(client.look_up(ticket, u128::from(ticket)));
        }
        let call = client.next_call(&known(), 0, false).unwrap();
        let text = String::from_utf8(call.body.clone()).unwrap();
        assert!(text.contains(
            "WITHSCORES\r\n*2\r\n$3\r\nGET\r\n$34\r\nt:00000000000000000000000000000001\r\n"
        ));
        assert!(text.ends_with("*1\r\n$4\r\nQUIT\r\n"));
        client.sent(call, 9, 0);
        assert!(client.owns(9) && client.next_call(&known(), 0, false).is_none());
        let replies = "*0\r\n$1\r\nx\r\n$-1\r\n-LOADING wait\r\n+OK\r\n";
        assert_eq!(
            answers(&mut client, 9, "200", replies),
            ["Found(1, [120])", "Absent(2)", "Failed(3, Loading)"]
        );
        assert!(!client.owns(9) && answers(&mut client, 9, "200", replies).is_empty());
    }

    #[test]
    fn every_trouble_answers_everyone() {
        for (status, body, expected) in [
            ("504", "", ["Failed(1, Timeout)", "Failed(2, Timeout)"]),
            ("503", "", ["Failed(1, Refused)", "Failed(2, Refused)"]),
            ("200", "", ["Failed(1, Protocol)", "Failed(2, Protocol)"]),
            ("200", "*0\r\n$1\r\nx\r\n$5\r\nab", ["Found(1, [120])", "Failed(2, Protocol)"]),
            ("200", "$1\r\nx\r\n$1\r\ny", ["Failed(1, Protocol)", "Failed(2, Protocol)"]),
            ("200", "-OOM\r\n$1\r\nx\r\n$-1\r\n", ["Failed(1, OutOfMemory)", "Absent(2)"]),
            ("200", "*0\r\ngarbage\r\n$1\r\nx\r\n", ["Failed(1, Protocol)", "Failed(2, Protocol)"]),
            ("200", "*0\r\n:1\r\n$-1\r\n", ["Failed(1, Protocol)", "Absent(2)"]),
        ] {
            let mut client = client(&json!({}));
            assert!(client.look_up(1, 1) && client.look_up(2, 2));
            let call = client.next_call(&known(), 0, false).unwrap();
            client.sent(call, 5, 0);
            assert_eq!(answers(&mut client, 5, status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_reset_after_the_timeout_is_a_timeout() {
        for (at_ms, expected) in [(1_044, L2Error::Reset), (1_045, L2Error::Timeout)] {
            let mut client = client(&json!({}));
            assert!(client.look_up(1, 1));
            let call = client.next_call(&known(), 1_000, false).unwrap();
            client.sent(call, 5, 1_000);
            let mut given = Vec::new();
            client.received(5, None, b"", at_ms, |answer| given.push(answer));
            assert_eq!(given, [Answer::Failed(1, expected)]);
        }
    }

    #[test]
    fn calls_in_flight_are_bounded() {
        let mut client = client(&json!({}));
        let queued = (0..100).filter(|ticket| client.look_up(*ticket, 1)).count();
        assert_eq!(queued, 6); // two calls of three
        for token in 0..2 {
            let call = client.next_call(&known(), 0, false).unwrap();
            client.sent(call, token, 0);
        }
        assert!(!client.look_up(7, 1) && client.next_call(&known(), 0, true).is_none());
        let mut given_up = 0;
        client.expire(1_100, |_| given_up += 1);
        assert_eq!(given_up, 0);
        client.expire(1_101, |_| given_up += 1);
        assert_eq!(given_up, 6);
        assert!(client.look_up(7, 1));
    }

    #[test]
    fn deletes_come_first_and_overtake_stores() {
        let mut client = client(&json!({}));
        let entry = entry(b"body");
        let hash = entry.key().hash();
        assert!(client.store(Rc::clone(&entry)) && client.look_up(1, hash));
        assert!(client.delete(hash) && client.delete(hash) && client.wants_flush());
        let call = client.next_call(&known(), 0, true).unwrap();
        let text = String::from_utf8(call.body.clone()).unwrap();
        let command = format!("*2\r\n$3\r\nDEL\r\n$34\r\nt:{hash:032x}\r\n");
        assert_eq!(text, format!("{command}*1\r\n$4\r\nQUIT\r\n"));
        client.sent(call, 1, 0);
        assert_eq!(answers(&mut client, 1, "200", ":1\r\n+OK\r\n"), ["Deleted"]);
        let call = client.next_call(&known(), 0, true).unwrap();
        assert_eq!(call.lookups(), Some(1));
        assert!(client.next_call(&known(), 0, true).is_none(), "the store was dropped");
        assert_eq!(client.store_bytes, 0);
        client.delete(7);
        client.sent(call, 2, 0);
        let call = client.next_call(&known(), 0, true).unwrap();
        client.sent(call, 3, 0);
        assert_eq!(answers(&mut client, 3, "504", ""), ["NotDeleted(Timeout)"]);
        // Bounded: what does not fit is told.
        let taken = (0..3_000_u128).filter(|hash| client.delete(*hash)).count();
        assert_eq!(taken, MAX_DELETES);
    }

    #[test]
    fn bumps_come_before_all_and_what_they_make_stale_is_not_stored() {
        let mut client = client(&json!({"max_in_flight": 1}));
        assert!(client.look_up(1, 1) && client.store(entry(b"body")));
        client.bump(vec![(3, 10), (4, 10)]);
        client.bump(vec![(3, 11)]);
        client.ask(Question { reach: Reach::All, replace: None });
        let call = client.next_call(&known(), 0, true).unwrap();
        assert!(call.body.starts_with(b"*9\r\n$4\r\nEVAL") && call.lookups().is_none());
        client.sent(call, 1, 0);
        let table = "*2\r\n$2\r\ni9\r\n$3\r\ninf\r\n+OK\r\n";
        let mut given = Vec::new();
        let body = format!("$2\r\n42\r\n{table}");
        client.received(1, Some(b"200"), body.as_bytes(), 0, |answer| given.push(answer));
        let asked = known().ask(client.scope(), Reach::All);
        let followed = Followed { incarnation: Some(9), cells: vec![] };
        assert_eq!(
            given,
            [
                Answer::Bumped(asked, vec![(3, 11), (4, 10)], 42),
                Answer::Followed(asked, followed, true),
            ]
        );
        // A question alone bumps nothing; look-ups do not wait for it.
        client.ask(Question::default());
        let call = client.next_call(&known(), 0, true).unwrap();
        assert!(call.body.starts_with(b"*5\r\n$13\r\nZRANGEBYSCORE"));
        client.sent(call, 2, 0);
        assert_eq!(client.next_call(&known(), 0, true).unwrap().lookups(), Some(1));
        // A new epoch: the store was overtaken.
        let mut later = known();
        let tags = entry(b"").tags().iter().copied().collect();
        later.bump(Bump { tags, ..Bump::default() });
        assert!(client.next_call(&later, 0, true).is_none());
        assert_eq!(
            (client.take_overtaken(), client.take_overtaken(), client.store_bytes),
            (1, 0, 0)
        );
        // Without a table nothing could be trusted: stores wait.
        assert!(client.store(entry(b"body")));
        assert!(client.next_call(&Generations::default(), 0, true).is_none());
        assert!(client.next_call(&known(), 0, true).is_some());
    }

    #[test]
    fn stores_wait_for_company_and_expire_with_their_freshness() {
        let mut client = client(&json!({"ttl_factor": 1.5, "write_budget": "1KiB"}));
        assert!(client.store(entry(b"body")));
        assert!(!client.wants_flush() && client.next_call(&known(), 1_000_000, false).is_none());
        let call = client.next_call(&known(), 1_000_000, true).unwrap();
        let text = String::from_utf8_lossy(&call.body).into_owned();
        assert!(text.contains("SET") && text.contains("PX\r\n$5\r\n95000\r\n"), "{text}");
        client.sent(call, 1, 0);
        assert_eq!(answers(&mut client, 1, "200", "+OK\r\n+OK\r\n"), ["Stored"]);
        // Stale before it could be written: gone at once, and counted as every other.
        assert!(client.store(entry(b"body")));
        let call = client.next_call(&known(), 2_000_000, true).unwrap();
        assert!(String::from_utf8_lossy(&call.body).contains("PX\r\n$1\r\n1\r\n"));
        assert!(!client.store(entry(&[0; 2_000])));
    }

    #[test]
    fn direct_calls_authenticate_first() {
        let mut client = client(&json!({
            "transport": "direct", "auth": {"username": "u", "password": "p"}
        }));
        for (body, expected) in [
            ("+OK\r\n*0\r\n$-1\r\n", "Absent(1)"),
            ("-WRONGPASS no\r\n", "Failed(1, Auth)"),
            ("$-1\r\n", "Failed(1, Protocol)"),
        ] {
            assert!(client.look_up(1, 1));
            let call = client.next_call(&known(), 0, false).unwrap();
            assert!(call.body.starts_with(b"*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n"));
            client.sent(call, 1, 0);
            assert_eq!(answers(&mut client, 1, "200", body), [expected]);
        }
    }
}
