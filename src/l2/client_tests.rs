//! What a client sends, and whom it answers.

use std::rc::Rc;

use super::L2Error;
use super::answers::Answer;
use super::claims::{Claim, Claimant, Holder};
use super::client::{Client, MAX_DELETES, Question};
use crate::coherence::{Bump, Bumped, Followed, Generations, Memory, Reach, Verdict};
use crate::config::load;
use crate::entry::{Entry, sample};
use serde_json::json;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn client(more: &serde_json::Value) -> Client {
    let mut l2 = json!({"cluster": "l2", "key_prefix": "t:", "max_in_flight": 2, "max_batch": 3});
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
    assert!(generations.attach(&shared, scope, 1));
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
fn leases_that_wait_are_bounded() {
    let mut client = client(&json!({}));
    (0..3_000).for_each(|lease| client.give_back((lease, 1), false));
    let call = client.next_call(&known(), 0, false).unwrap();
    let sent = call.body.windows(4).filter(|part| part == b"EVAL").count();
    assert_eq!(sent, 1_024);
    assert!(client.next_call(&known(), 0, true).is_none());
}

#[test]
fn each_key_of_tags_has_a_table_of_its_own() {
    let table = |key: Option<&str>| {
        let coherence = json!({"tag_key": key});
        let config = json!({"role": "cache", "l2": {"cluster": "l2"}, "coherence": coherence});
        Client::new(load(config.to_string().as_bytes()).unwrap().l2.unwrap(), 256).table
    };
    assert_eq!(table(None), "tiercel:generations:256");
    let keyed = table(Some("a key of sixteen"));
    assert!(keyed.starts_with("tiercel:generations:256:") && keyed.len() == 40, "{keyed}");
    assert_ne!(keyed, table(Some("another, as long")));
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
    assert!(client.delete(hash) && client.delete(hash));
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
    client.ask(Question { reach: Reach::All, ..Question::default() });
    let call = client.next_call(&known(), 0, true).unwrap();
    assert!(call.body.starts_with(b"*10\r\n$4\r\nEVAL") && call.lookups().is_none());
    client.sent(call, 1, 0);
    let table = "*2\r\n$2\r\ni9\r\n$3\r\ninf\r\n+OK\r\n";
    let mut given = Vec::new();
    let body = format!("*3\r\n$2\r\n42\r\n$1\r\n4\r\n$2\r\n40\r\n{table}");
    client.received(1, Some(b"200"), body.as_bytes(), 0, |answer| given.push(answer));
    let asked = known().ask(client.scope(), Reach::All);
    let followed = Followed { incarnation: Some(9), cells: vec![] };
    let bumped = Bumped { number: 42, before: vec![(4, 40)] };
    assert_eq!(
        given,
        [
            Answer::Bumped(asked, vec![(3, 11), (4, 10)], bumped),
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
    assert_eq!((client.take_overtaken(), client.take_overtaken(), client.store_bytes), (1, 0, 0));
    // Without a table nothing could be trusted: stores wait.
    assert!(client.store(entry(b"body")));
    assert!(client.next_call(&Generations::default(), 0, true).is_none());
    assert!(client.next_call(&known(), 0, true).is_some());
}

#[test]
fn stores_wait_for_company_and_expire_with_their_freshness() {
    let mut client = client(&json!({"ttl_factor": 1.5, "write_budget": "1KiB"}));
    assert!(client.store(entry(b"body")));
    assert!(!client.has_full_batch() && client.next_call(&known(), 1_000_000, false).is_none());
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

#[test]
fn claims_are_answered_once_whatever_comes_back() {
    const CALL: &[u8] = b"*0\r\n+OK\r\n$2\r\nab\r\n$-1\r\n$2\r\ncd\r\n$-1\r\n$1\r\nx\r\n+OK\r\n";
    let claim = |context, token| {
        let claimant = Claimant::Stream(context);
        Claim { claimant, lease: 7, token, entry: u128::from(context) }
    };
    for len in 0..=CALL.len() {
        let mut client = client(&json!({}));
        assert!(client.claim(claim(1, 0xab)) && client.claim(claim(2, 0xef)));
        let call = client.next_call(&Generations::default(), 0, false).unwrap();
        client.sent(call, 1, 0);
        let mut answers = Vec::new();
        client.received(1, Some(b"200"), &CALL[..len], 0, |answer| match answer {
            Answer::Claimed(claim, holder, found) => {
                answers.push((claim.token, Some(holder), found));
            }
            Answer::NotClaimed(claim, _) => answers.push((claim.token, None, None)),
            _ => {}
        });
        let tokens: Vec<_> = answers.iter().map(|(token, ..)| *token).collect();
        assert_eq!(tokens, [0xab, 0xef], "{len}");
        if len == CALL.len() {
            let found = [(Holder::Token(0xab), None), (Holder::Token(0xcd), Some(&b"x"[..]))];
            for ((_, holder, entry), expected) in answers.into_iter().zip(found) {
                assert_eq!((holder, entry), (Some(expected.0), expected.1));
            }
        }
    }
}

/// who misses the moment at which Redis is not asked at all (a worker that stood still, a filter that
/// was just configured) counts leases for ever that are not there any more: no store waits for company from then on.
#[test]
fn leases_that_are_dropped_are_not_counted_any_more() {
    use crate::health::Gate;
    let mut client = client(&json!({}));
    client.give_back((7, 8), false);
    let recovering = Gate { table: true, reads: true, writes: false };
    client.set_gate(recovering, |_| {});
    assert!(client.miss_writes(|_| 0).is_empty());
    client.set_gate(Gate::OPEN, |_| {});
    assert!(client.store(entry(b"body")));
    assert!(client.next_call(&known(), 0, false).is_none(), "a lone store waits");
}

/// Redis may have heard of a newer one from others since.
#[test]
fn what_was_missed_takes_nobodys_place() {
    use crate::health::Gate;
    let mut client = client(&json!({}));
    client.set_gate(Gate { writes: false, ..Gate::OPEN }, |_| {});
    assert!(client.miss(entry(b"body"), |_| 1).is_empty());
    client.set_gate(Gate::OPEN, |_| {});
    assert!(client.write_back(0, |_| 1).is_empty());
    let call = client.next_call(&known(), 0, true).expect("a store");
    assert!(call.body.windows(8).any(|word| word == b"GETRANGE"));
    client.sent(call, 1, 0);
    client.received(1, Some(b"200"), b"$-1\r\n+OK\r\n", 0, |answer| {
        assert_eq!(answer, Answer::Stored);
    });
    assert!(
        client.write_back(0, |_| 1).is_empty() && client.next_call(&known(), 0, true).is_none()
    );
}
