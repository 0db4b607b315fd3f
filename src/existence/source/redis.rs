//! A list that is a set in Redis.

use super::super::RedisSource;
use super::tally::{Counting, Tally};
use super::{Ask, Asking, Came, Failure, Stage};
use crate::coherence::canonical;
use crate::l2::resp::{Reply, command, next_array, next_reply};

/// What is asked next, or waited for.
#[derive(Debug, Default)]
pub(super) struct Redis {
    step: Step,
    is_asked: bool,
    ticket: u32,
    /// Members when it began.
    members: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum Step {
    /// How many members it has.
    #[default]
    First,
    /// Some of them, from this cursor on.
    Scan(u64),
    /// How many it has now.
    Last,
}

impl Redis {
    pub(super) fn ask(&mut self, source: &RedisSource) -> Option<Ask> {
        if self.is_asked {
            return None;
        }
        self.is_asked = true;
        self.ticket = self.ticket.wrapping_add(1);
        let key = source.key.as_bytes();
        let mut out = Vec::new();
        match (self.step, source.sorted) {
            (Step::First | Step::Last, sorted) => {
                command(&mut out, &[if sorted { b"ZCARD" } else { b"SCARD" }, key]);
            }
            (Step::Scan(cursor), sorted) => {
                let name = if sorted { b"ZSCAN" } else { b"SSCAN" };
                let cursor = cursor.to_string();
                command(&mut out, &[name, key, cursor.as_bytes(), b"COUNT", b"1000"]);
            }
        }
        Some(Ask { ticket: self.ticket, what: Asking::Redis(out) })
    }

    /// The next stage, if it is at its end.
    pub(super) fn answer(
        &mut self,
        source: &RedisSource,
        most: usize,
        tally: &mut Tally,
        ticket: u32,
        came: Came<'_>,
    ) -> Result<Option<Stage>, Failure> {
        if !self.is_asked || ticket != self.ticket {
            return Ok(None);
        }
        self.is_asked = false;
        let Came::Redis(replies) = came else { return Err(Failure::Unreachable) };
        // Behind all there is what Redis says to our leaving.
        let replies = replies.strip_suffix(b"+OK\r\n").unwrap_or(replies);
        if replies.first() == Some(&b'-') {
            return Err(Failure::Status);
        }
        match self.step {
            Step::First => {
                self.members = members(replies, most)?;
                self.step = Step::Scan(0);
            }
            Step::Scan(_) => {
                // Redis gives some twice when its table grows or shrinks meanwhile.
                tally.page(most.saturating_mul(2))?;
                self.step = match scan(replies, source.sorted, most, tally)? {
                    0 => Step::Last,
                    cursor => Step::Scan(cursor),
                };
            }
            Step::Last => {
                let at_least = members(replies, most)?.min(self.members);
                return Ok(Some(Stage::Count(Counting::new(at_least, Failure::Changed, most))));
            }
        }
        Ok(None)
    }
}

/// How many members there are; that there is none is no list, but a key that is gone.
fn members(mut replies: &[u8], most: usize) -> Result<usize, Failure> {
    match (next_reply(&mut replies), replies) {
        (Ok(Reply::Integer(0)), []) => Err(Failure::Incomplete),
        (Ok(Reply::Integer(members @ 1..)), []) => {
            let members = usize::try_from(members).ok().filter(|members| *members <= most);
            members.ok_or(Failure::TooMany)
        }
        _ => Err(Failure::Malformed),
    }
}

/// Reads some members; the cursor behind them. All of a small set come at once, and all may come twice, but not more.
fn scan(mut replies: &[u8], sorted: bool, most: usize, tally: &mut Tally) -> Result<u64, Failure> {
    let all = next_array(&mut replies).map_err(|_| Failure::Malformed)?;
    let cursor = std::str::from_utf8(bulk(&mut replies)?).map_err(|_| Failure::Malformed)?;
    let cursor = cursor.parse().map_err(|_| Failure::Malformed)?;
    let parts = next_array(&mut replies).map_err(|_| Failure::Malformed)?;
    for part in 0..parts {
        let text = bulk(&mut replies)?;
        // Beside each member of a sorted set stands its score.
        if sorted && part % 2 == 1 {
            continue;
        }
        let id = canonical(text);
        if id.is_empty() {
            return Err(Failure::Malformed);
        }
        tally.add(&id);
        if tally.len() > most.saturating_mul(3) {
            return Err(Failure::TooMany);
        }
    }
    let is_whole = all == 2 && replies.is_empty() && !(sorted && parts % 2 == 1);
    if is_whole { Ok(cursor) } else { Err(Failure::Malformed) }
}

fn bulk<'a>(replies: &mut &'a [u8]) -> Result<&'a [u8], Failure> {
    match next_reply(replies) {
        Ok(Reply::Bulk(text)) => Ok(text),
        _ => Err(Failure::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{SourcePolicy, SpacePolicy, hash};
    use super::super::tests::{end, space};
    use super::super::{Etags, List, Reading};
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn set(sorted: bool) -> SpacePolicy {
        space(SourcePolicy::Redis(RedisSource { key: "ids".into(), sorted }), 10)
    }

    /// Reads from these replies, one after the other; what was asked, and what came of it.
    fn read(sorted: bool, replies: &[&[u8]]) -> (Vec<String>, Option<Result<List, Failure>>) {
        let space = set(sorted);
        let mut reading = Reading::new(&space, &Etags::default());
        let mut asked = Vec::new();
        for reply in replies {
            let Some(Ask { ticket, what: Asking::Redis(request) }) = reading.ask(&space) else {
                break;
            };
            assert_eq!(reading.ask(&space), None);
            let words = String::from_utf8(request).unwrap();
            let words: Vec<_> = words.split("\r\n").skip(2).step_by(2).collect();
            asked.push(words.join(" "));
            reading.answer(&space, ticket.wrapping_sub(1), Came::Nothing);
            reading.answer(&space, ticket, Came::Redis(reply));
            reading.answer(&space, ticket, Came::Nothing);
        }
        (asked, end(&mut reading))
    }

    /// `*2`: a cursor, and these.
    fn page(cursor: &str, texts: &[&str]) -> Vec<u8> {
        let mut out = format!("*2\r\n${}\r\n{cursor}\r\n", cursor.len()).into_bytes();
        command(&mut out, &texts.iter().map(|text| text.as_bytes()).collect::<Vec<_>>());
        out
    }

    fn failure(replies: &[&[u8]]) -> Option<Failure> {
        read(false, replies).1.unwrap().err()
    }

    #[test]
    fn all_members_are_read() {
        let (a, b) = (page("17", &["1", "02"]), page("0", &["2", "70", "x"]));
        let (asked, list) = read(false, &[b":4\r\n", &a, &b, b":4\r\n"]);
        assert_eq!(
            asked,
            ["SCARD ids", "SSCAN ids 0 COUNT 1000", "SSCAN ids 17 COUNT 1000", "SCARD ids"]
        );
        let Some(Ok(List::Ids(ids, 70, etags))) = list else { panic!("{list:?}") };
        assert_eq!(etags, Etags::default());
        let mut expected = ["1", "2", "70", "x"].map(|id| hash(id.as_bytes()));
        expected.sort_unstable();
        assert_eq!(ids.buckets[0], expected);

        let scored = page("0", &["1", "100", "2", "200"]);
        let (asked, list) = read(true, &[b":2\r\n", &scored, b":2\r\n"]);
        assert_eq!(asked, ["ZCARD ids", "ZSCAN ids 0 COUNT 1000", "ZCARD ids"]);
        assert!(matches!(list, Some(Ok(List::Ids(_, 2, _)))), "{list:?}");
    }

    #[test]
    fn it_may_grow_and_shrink_as_long_as_none_is_missing() {
        let (three, end) = (page("0", &["1", "2", "3"]), b":3\r\n");
        for (first, last, expected) in [
            (":3\r\n", ":5\r\n", None),
            (":5\r\n", ":3\r\n", None),
            (":4\r\n", ":5\r\n", Some(Failure::Changed)),
            (":0\r\n", ":3\r\n", Some(Failure::Incomplete)),
            (":3\r\n", ":0\r\n", Some(Failure::Incomplete)),
            (":11\r\n", ":3\r\n", Some(Failure::TooMany)),
            (":3\r\n", ":11\r\n", Some(Failure::TooMany)),
            (":9223372036854775807\r\n", ":3\r\n", Some(Failure::TooMany)),
        ] {
            let found = failure(&[first.as_bytes(), &three, last.as_bytes()]);
            assert_eq!(found, expected, "{first} {last}");
        }
        let none = page("0", &[]);
        assert_eq!(failure(&[end, &none, end]), Some(Failure::Changed));
        // All of them twice, as when its table shrinks.
        let ten: Vec<_> = (0..10).map(|n| n.to_string()).collect();
        let ten: Vec<_> = ten.iter().map(|n| &**n).collect();
        let (some, rest) = (page("5", &ten), page("0", &ten));
        assert_eq!(failure(&[b":10\r\n", &some, &rest, b":10\r\n"]), None);
    }

    #[test]
    fn endless_ones_have_an_end() {
        let page = page("5", &["1", "2", "3"]);
        let replies: Vec<&[u8]> = [&b":3\r\n"[..]].into_iter().chain([&page[..]; 100]).collect();
        let (asked, list) = read(false, &replies);
        assert!(matches!(list, Some(Err(Failure::TooMany))) && asked.len() < 20, "{list:?}");
    }

    /// A reply of 32 MiB has five million.
    #[test]
    fn no_more_are_kept_of_one_reply_than_a_list_may_have() {
        let many: Vec<_> = (0..10_000).map(|n| n.to_string()).collect();
        let many: Vec<_> = many.iter().map(|n| &**n).collect();
        assert_eq!(failure(&[b":3\r\n", &page("5", &many)]), Some(Failure::TooMany));
    }

    #[test]
    fn errors_and_nonsense_are_failures() {
        assert_eq!(failure(&[b"-LOADING Redis is loading\r\n"]), Some(Failure::Status));
        assert_eq!(failure(&[b":3\r\n", b"-WRONGTYPE no\r\n"]), Some(Failure::Status));
        for nonsense in ["", "x", "$1\r\n1\r\n", ":-1\r\n", ":1\r\n:1\r\n", "*0\r\n", "$-1\r\n"] {
            assert_eq!(failure(&[nonsense.as_bytes()]), Some(Failure::Malformed), "{nonsense}");
        }
        for nonsense in [
            "",
            ":1\r\n",
            "*2\r\n",
            "*2\r\n$1\r\n0\r\n",
            "*2\r\n$1\r\n0\r\n*-1\r\n",
            "*2\r\n$1\r\nx\r\n*0\r\n",
            "*2\r\n$-1\r\n*0\r\n",
            "*3\r\n$1\r\n0\r\n*0\r\n",
            "*2\r\n$1\r\n0\r\n*0\r\n:1\r\n",
            "*2\r\n$1\r\n0\r\n*1\r\n$-1\r\n",
            "*2\r\n$1\r\n0\r\n*1\r\n$0\r\n\r\n",
            "*2\r\n$1\r\n0\r\n*2\r\n$1\r\n1\r\n",
            "*2\r\n$1\r\n0\r\n*9223372036854775807\r\n$1\r\n1\r\n",
        ] {
            let found = failure(&[b":3\r\n", nonsense.as_bytes()]);
            assert_eq!(found, Some(Failure::Malformed), "{nonsense}");
        }
        let odd = page("0", &["1", "100", "2"]);
        let (_, list) = read(true, &[b":2\r\n", &odd]);
        assert!(matches!(list, Some(Err(Failure::Malformed))));
    }

    #[test]
    fn without_an_answer_there_is_no_list() {
        let fields = crate::http::fields::Fields::new(&[]);
        for came in [Came::Nothing, Came::Http(fields, b"")] {
            let space = set(false);
            let mut reading = Reading::new(&space, &Etags::default());
            let ask = reading.ask(&space).unwrap();
            reading.answer(&space, ask.ticket, came);
            assert_eq!(reading.ask(&space), None);
            assert!(matches!(end(&mut reading), Some(Err(Failure::Unreachable))));
        }
    }
}
