//! Replies of Redis: what is read is written again as the same, and no part of it is a reply.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::l2::resp::{Reply, next_reply};

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    loop {
        let before = rest;
        let Ok(reply) = next_reply(&mut rest) else {
            assert_eq!(rest, before, "nothing is taken off what is no reply");
            return;
        };
        let read = before.strip_suffix(rest).expect("a part of the input");
        for end in 0..read.len() {
            assert!(next_reply(&mut &read[..end]).is_err());
        }
        let printed = print(reply);
        assert!(printed.len() <= read.len());
        assert_eq!(next_reply(&mut &printed[..]), Ok(reply));
    }
});

fn print(reply: Reply<'_>) -> Vec<u8> {
    match reply {
        Reply::Simple(text) => [b"+", text, b"\r\n"].concat(),
        Reply::Error(text) => [b"-", text, b"\r\n"].concat(),
        Reply::Integer(number) => format!(":{number}\r\n").into_bytes(),
        Reply::Bulk(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
        Reply::Nil => b"$-1\r\n".to_vec(),
    }
}
