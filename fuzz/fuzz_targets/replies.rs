//! What comes back from Redis for look-ups, for claims, and for bumps with a question about the table: whatever it is,
//! everyone is answered once, and what is taken for news is of the table.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::coherence::{Generations, Layout};
use tiercel::config::load;
use tiercel::l2::{Answer, Claim, Claimant, Client, Question};

const TICKETS: u32 = 3;
const SLOTS: usize = 256;

fuzz_target!(|input: &[u8]| {
    let config = br#"{"role": "cache", "l2": {"cluster": "l2"}}"#;
    let policy = load(config).expect("a configuration").l2.expect("an L2");
    let mut client = Client::new(policy, SLOTS);
    let generations = Generations::default();

    (1..=TICKETS).for_each(|ticket| assert!(client.look_up(ticket, ticket.into())));
    let call = client.next_call(&generations, 0, true).expect("look-ups");
    client.sent(call, 1, 0);
    let (mut tickets, mut told) = (Vec::new(), 0);
    client.received(1, Some(b"200"), input, 0, |answer| match answer {
        Answer::Found(ticket, _) | Answer::Absent(ticket) | Answer::Failed(ticket, _) => {
            assert_eq!(told, 1, "the table comes first");
            tickets.push(ticket);
        }
        other => told += table(other),
    });
    assert_eq!((tickets, told), ((1..=TICKETS).collect(), 1));

    client.bump(vec![(7, 1), (9, 1)]);
    client.ask(Question::default());
    let call = client.next_call(&generations, 0, true).expect("a bump");
    client.sent(call, 2, 0);
    let (mut bumped, mut told) = (0, 0);
    client.received(2, Some(b"200"), input, 0, |answer| match answer {
        Answer::Bumped(_, cells, _) => bumped += cells.len(),
        Answer::NotBumped(cells, _) => bumped += cells,
        other => told += table(other),
    });
    assert_eq!((bumped, told), (2, 1));

    for ticket in 1..=TICKETS {
        let claimant = Claimant::Stream(ticket);
        assert!(client.claim(Claim { claimant, lease: 7, token: ticket.into(), entry: 7 }));
    }
    let call = client.next_call(&generations, 0, true).expect("claims");
    client.sent(call, 3, 0);
    let (mut claims, mut told) = (Vec::new(), 0);
    client.received(3, Some(b"200"), input, 0, |answer| match answer {
        Answer::Claimed(claim, ..) | Answer::NotClaimed(claim, _) => {
            assert_eq!(told, 1, "the table comes first");
            claims.push(claim.claimant);
        }
        other => told += table(other),
    });
    let all: Vec<_> = (1..=TICKETS).map(Claimant::Stream).collect();
    assert_eq!((claims, told), (all, 1));
    assert!((1..=3).all(|token| !client.owns(token)));
});

fn table(answer: Answer<'_>) -> u32 {
    match answer {
        Answer::Followed(_, followed, _) => {
            let cells = Layout::new(SLOTS).cells();
            assert!(followed.cells.len() <= cells + 1 && followed.incarnation != Some(0));
            assert!(followed.cells.iter().all(|(cell, number)| *cell < cells && *number < 1 << 53));
        }
        Answer::NotFollowed(_) => {}
        other => panic!("{other:?}"),
    }
    1
}
