//! What all instances share in Redis: the last filter, and what came into being since its list was read.
//!
//! The filter lies in pieces, all in one hash, and a head says in which. Recent ids are a sorted set,
//! their scores the time in µs, each higher than all before; one member with score `inf` tells the set from others:
//! if that is gone so are ids, and nobody knows which. The keys of a space lie on one node of a cluster.

use super::head::{Head, LAST, UNMEASURED};
use crate::l2::L2Error;
use crate::l2::resp::{Reply, command, next_array, next_reply};

/// Adds ids. `KEYS[1]` the set; `ARGV[1]` how long it is kept, in ms, `ARGV[2]` the most it may hold, `ARGV[3]` whether
/// others were lost on their way here, `ARGV[4]` the highest score known there: one who takes over from another Redis may
/// have a clock that is behind; then hashes. Where some are lost the set begins anew. Returns which set it is.
const ADD: &[u8] = b"local time = redis.call('TIME')
local top = redis.call('ZREVRANGEBYSCORE', KEYS[1], '(inf', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
local number = math.max(time[1] * 1000000 + time[2], tonumber(top[2] or 0) + 1, tonumber(ARGV[4]) + 1)
if ARGV[3] == '1' or redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[2]) then redis.call('DEL', KEYS[1]) end
local set = redis.call('ZRANGEBYSCORE', KEYS[1], 'inf', 'inf')[1]
if not set then
  set = string.format('i%.0f', number)
  redis.call('DEL', KEYS[1])
  redis.call('ZADD', KEYS[1], 'inf', set)
end
for i = 5, #ARGV do redis.call('ZADD', KEYS[1], string.format('%.0f', number + i), ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return set";

/// Makes a filter whose pieces are there the last one, unless recent ids were lost since its list was begun, or another
/// one's list was begun later. `KEYS[1]` the set, `KEYS[2]` the head, `KEYS[3]` the filter; `ARGV[1]` which set that must
/// be, `ARGV[2]` the head, `ARGV[3]` how long all are kept, in ms, `ARGV[4]` the score up to which recent ids are in its
/// list, `ARGV[5]` what keys of filters begin with, `ARGV[6]` how long the one before is kept. Returns 1 if it did, 0 if
/// not; -1 if the pieces are gone.
const COMMIT: &[u8] =
    b"if redis.call('ZRANGEBYSCORE', KEYS[1], 'inf', 'inf')[1] ~= ARGV[1] then return 0 end
local head = redis.call('GET', KEYS[2]) or ''
local last, complete, base, set = string.match(head, '^1 (%d+) (%d+) (%d+) (%d+)$')
if last and 'i' .. set == ARGV[1] then
  local later = tonumber(base) - tonumber(ARGV[4])
  if later == 0 then later = tonumber(complete) - tonumber(string.match(ARGV[2], '^1 %d+ (%d+)')) end
  if later > 0 then return 0 end
end
if redis.call('PEXPIRE', KEYS[3], ARGV[3]) == 0 then return -1 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
if last and ARGV[5] .. last ~= KEYS[3] then redis.call('PEXPIRE', ARGV[5] .. last, ARGV[6]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1";

/// Lets a lease last for another `ARGV[2]` ms, if it is still the one of the token in `ARGV[1]`.
const RENEW: &[u8] =
    b"if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1";

/// How long an instance that reads a list keeps others from it without saying so again, in ms.
const LEASE_MS: u64 = 5_000;
/// How long a filter that is not the last one is kept, in ms: others may be loading it, or it is not complete yet.
const SPARE_MS: u64 = 60_000;

/// Ids in the set, at most: twice the largest `recent`, and as many as are sent at once.
const MOST: usize = 3 << 15;

/// A space's keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    space: String,
}

/// The last filter of the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Its number.
    pub(super) serial: u64,
    /// When its list was complete, in ms since the epoch.
    pub(super) complete_ms: u64,
    /// The score up to which recent ids are in its list.
    pub(super) base: u64,
    /// The set that the others are in.
    pub(super) incarnation: u64,
}

impl Snapshot {
    /// Whether its list has all recent ids that a process no longer remembers which agrees on `head`.
    pub(super) const fn covers(&self, head: &Head) -> bool {
        head.serial == 0 || head.base != UNMEASURED && self.base >= head.base
    }
}

/// What the fleet says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Which set of recent ids there is; 0 if there is none.
    pub(super) incarnation: u64,
    /// New ones, each a hash and its score.
    pub(super) ids: Vec<(u64, u64)>,
    /// The last filter.
    pub(super) snapshot: Option<Snapshot>,
}

impl Keys {
    /// Of a space, all with this prefix and on the same node of a cluster.
    pub(super) fn new(prefix: &str, scope: u64) -> Self {
        let space = format!("exists:{scope:016x}");
        let space = if prefix.contains('{') { space } else { format!("{{{space}}}") };
        Self { space: format!("{prefix}{space}") }
    }

    fn key(&self, what: &str) -> Vec<u8> {
        format!("{}:{what}", self.space).into_bytes()
    }

    fn filter(&self, serial: u64) -> Vec<u8> {
        self.key(&format!("filter:{serial}"))
    }

    /// Asks what is new above a score.
    pub(super) fn poll(&self, score: u64) -> Vec<u8> {
        let (mut out, from) = (Vec::new(), format!("({score}"));
        let recent = self.key("recent");
        command(&mut out, &[b"ZRANGEBYSCORE", &recent, from.as_bytes(), b"inf", b"WITHSCORES"]);
        command(&mut out, &[b"GET", &self.key("head")]);
        out
    }

    /// Asks to be the one who reads the list; and which set of recent ids there is, made if there is none.
    pub(super) fn claim(&self, token: u64, keep_ms: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let (token, holds) = (token.to_string(), LEASE_MS.to_string());
        let lease = self.key("lease");
        let parts: [&[u8]; 6] = [b"SET", &lease, token.as_bytes(), b"NX", b"PX", holds.as_bytes()];
        command(&mut out, &parts);
        out.extend(self.add(&[], keep_ms, usize::MAX, (0, false)));
        out
    }

    /// Lets another one read the list.
    pub(super) fn give_back(&self, token: u64) -> Vec<u8> {
        self.lease_for(token, 0)
    }

    /// Says that the list is still being read.
    pub(super) fn renew(&self, token: u64) -> Vec<u8> {
        self.lease_for(token, LEASE_MS)
    }

    fn lease_for(&self, token: u64, ms: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let (lease, token, ms) = (self.key("lease"), token.to_string(), ms.to_string());
        command(&mut out, &[b"EVAL", RENEW, b"1", &lease, token.as_bytes(), ms.as_bytes()]);
        out
    }

    /// Adds ids, with scores above `above`; `lost` says that there were others.
    pub(super) fn add(
        &self,
        hashes: &[u64],
        keep_ms: u64,
        most: usize,
        (above, lost): (u64, bool),
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let texts: Vec<String> = hashes.iter().map(|hash| format!("{hash:016x}")).collect();
        let (keep, most, above) = (keep_ms.to_string(), most.to_string(), above.to_string());
        let recent = self.key("recent");
        let lost: &[u8] = if lost { b"1" } else { b"0" };
        let mut parts: Vec<&[u8]> = vec![
            b"EVAL",
            ADD,
            b"1",
            &recent,
            keep.as_bytes(),
            most.as_bytes(),
            lost,
            above.as_bytes(),
        ];
        parts.extend(texts.iter().map(String::as_bytes));
        command(&mut out, &parts);
        out
    }

    /// Asks for a piece of a filter.
    pub(super) fn get_piece(&self, serial: u64, index: usize) -> Vec<u8> {
        let mut out = Vec::new();
        command(&mut out, &[b"HGET", &self.filter(serial), index.to_string().as_bytes()]);
        out
    }

    /// Keeps a piece of a filter.
    pub(super) fn set_piece(&self, serial: u64, index: usize, piece: &[u8]) -> Vec<u8> {
        let (mut out, filter) = (Vec::with_capacity(piece.len() + 256), self.filter(serial));
        command(&mut out, &[b"HSET", &filter, index.to_string().as_bytes(), piece]);
        command(&mut out, &[b"PEXPIRE", &filter, SPARE_MS.to_string().as_bytes()]);
        out
    }

    /// Makes a filter the last one.
    pub(super) fn commit(&self, snapshot: &Snapshot, keep_ms: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let Snapshot { serial, complete_ms, base, incarnation } = snapshot;
        let head = format!("1 {serial} {complete_ms} {base} {incarnation}");
        let (set, keep, base) = (format!("i{incarnation}"), keep_ms.to_string(), base.to_string());
        let (recent, key, filter) = (self.key("recent"), self.key("head"), self.filter(*serial));
        let spare = SPARE_MS.to_string();
        let parts: [&[u8]; 12] = [
            b"EVAL",
            COMMIT,
            b"3",
            &recent,
            &key,
            &filter,
            set.as_bytes(),
            head.as_bytes(),
            keep.as_bytes(),
            base.as_bytes(),
            &self.key("filter:"),
            spare.as_bytes(),
        ];
        command(&mut out, &parts);
        out
    }
}

/// Reads what a poll says.
pub(super) fn news(mut replies: &[u8]) -> Result<News, L2Error> {
    let count = next_array(&mut replies)?;
    if count / 2 > MOST + 1 {
        return Err(L2Error::Protocol);
    }
    let mut news = News::default();
    for _ in 0..count / 2 {
        let member = bulk(&mut replies)?;
        let score = bulk(&mut replies)?;
        match member.strip_prefix('i') {
            Some(set) if score == "inf" => news.incarnation = number(set)?,
            Some(_) => return Err(L2Error::Protocol),
            None => {
                let hash = u64::from_str_radix(member, 16).map_err(|_| L2Error::Protocol)?;
                news.ids.push((hash, number(score)?));
            }
        }
    }
    news.snapshot = match next_reply(&mut replies)? {
        Reply::Nil => None,
        Reply::Bulk(head) => snapshot(head),
        Reply::Error(text) => return Err(L2Error::from_reply(text)),
        Reply::Simple(_) | Reply::Integer(_) => return Err(L2Error::Protocol),
    };
    Ok(news)
}

/// Reads a head; none if it is another version's, or has a number after which there is none.
fn snapshot(head: &[u8]) -> Option<Snapshot> {
    let mut words = std::str::from_utf8(head).ok()?.split(' ');
    words.next().filter(|version| *version == "1")?;
    let mut next = || words.next()?.parse().ok();
    let snapshot =
        Snapshot { serial: next()?, complete_ms: next()?, base: next()?, incarnation: next()? };
    Some(snapshot).filter(|snapshot| snapshot.serial <= LAST)
}

/// Reads what a claim says: whether we are the one, and which set of recent ids there is.
pub(super) fn claimed(mut replies: &[u8]) -> Result<(bool, u64), L2Error> {
    let ours = match next_reply(&mut replies)? {
        Reply::Simple(b"OK") => true,
        Reply::Nil => false,
        Reply::Error(text) => return Err(L2Error::from_reply(text)),
        _ => return Err(L2Error::Protocol),
    };
    Ok((ours, added(replies)?))
}

/// Reads which set of recent ids there is.
pub(super) fn added(mut replies: &[u8]) -> Result<u64, L2Error> {
    bulk(&mut replies)?.strip_prefix('i').ok_or(L2Error::Protocol).and_then(number)
}

fn bulk<'a>(replies: &mut &'a [u8]) -> Result<&'a str, L2Error> {
    match next_reply(replies)? {
        Reply::Bulk(text) => std::str::from_utf8(text).map_err(|_| L2Error::Protocol),
        Reply::Error(text) => Err(L2Error::from_reply(text)),
        _ => Err(L2Error::Protocol),
    }
}

/// A number as Redis writes it, in full or with an exponent.
fn number(text: &str) -> Result<u64, L2Error> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let float = text.parse::<f64>().map_err(|_| L2Error::Protocol)?;
    let is_whole = float.fract() == 0.0 && (0.0..9.0e15).contains(&float);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // range checked
    if is_whole { Ok(float as u64) } else { Err(L2Error::Protocol) }
}

/// Reads a piece; none if it is gone.
pub(super) fn piece(mut replies: &[u8]) -> Result<Option<&[u8]>, L2Error> {
    match next_reply(&mut replies)? {
        Reply::Bulk(piece) => Ok(Some(piece)),
        Reply::Nil => Ok(None),
        Reply::Error(text) => Err(L2Error::from_reply(text)),
        _ => Err(L2Error::Protocol),
    }
}

/// Whether a piece was kept.
pub(super) fn is_kept(mut replies: &[u8]) -> bool {
    let mut is_number = || matches!(next_reply(&mut replies), Ok(Reply::Integer(_)));
    is_number() && is_number()
}

/// Whether a filter was made the last one, or is not to be; none if it was not for another reason.
pub(super) fn committed(mut replies: &[u8]) -> Option<bool> {
    match next_reply(&mut replies) {
        Ok(Reply::Integer(number @ (0 | 1))) => Some(number == 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_keys_of_a_space_lie_on_one_node() {
        let text = |keys: &Keys| String::from_utf8(keys.get_piece(255, 3)).unwrap();
        assert!(
            text(&Keys::new("p:", 7))
                .contains("p:{exists:0000000000000007}:filter:255\r\n$1\r\n3\r\n")
        );
        assert!(text(&Keys::new("{p}", 7)).contains("\n{p}exists:0000000000000007:filter:255\r\n"));
    }

    #[test]
    fn news_are_read() {
        let text = "*6\r\n$16\r\n00000000000000ff\r\n$16\r\n1732460000000000\r\n$1\r\n7\r\n\
                    $7\r\n1.5e+15\r\n$2\r\ni9\r\n$3\r\ninf\r\n$9\r\n1 5 6 7 9\r\n";
        let snapshot = Snapshot { serial: 5, complete_ms: 6, base: 7, incarnation: 9 };
        let ids = vec![(255, 1_732_460_000_000_000), (7, 1_500_000_000_000_000)];
        let expected = News { incarnation: 9, ids, snapshot: Some(snapshot) };
        assert_eq!(news(text.as_bytes()), Ok(expected));
        assert_eq!(news(b"*0\r\n$-1\r\n"), Ok(News::default()));
        assert_eq!(news(b"*0\r\n$3\r\n2 5\r\n"), Ok(News::default()));
        // No other filter could follow that one.
        let last = b"*0\r\n$28\r\n1 18446744073709551615 6 7 9\r\n";
        assert_eq!(news(last), Ok(News::default()));
    }

    /// A reply of 32 MiB has two million.
    #[test]
    fn no_more_are_read_than_the_set_may_have() {
        let text = |count: usize| {
            let ids = "$1\r\n7\r\n$1\r\n5\r\n".repeat(count);
            news(format!("*{}\r\n{ids}$-1\r\n", 2 * count).as_bytes()).map(|news| news.ids.len())
        };
        assert_eq!((text(MOST), text(MOST + 2)), (Ok(MOST), Err(L2Error::Protocol)));
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in [
            "",
            "*0\r\n",
            "*2\r\n$1\r\nx\r\n$1\r\n7\r\n$-1\r\n",
            "*2\r\n$2\r\ni9\r\n$1\r\n7\r\n$-1\r\n",
            "*2\r\n$1\r\n7\r\n$2\r\n-1\r\n$-1\r\n",
            "*99999999\r\n$1\r\n7\r\n",
            "*0\r\n:7\r\n",
        ] {
            assert_eq!(news(text.as_bytes()), Err(L2Error::Protocol), "{text}");
        }
        assert_eq!(news(b"-LOADING wait\r\n"), Err(L2Error::Loading));
        assert_eq!(claimed(b"+OK\r\n$2\r\ni9\r\n"), Ok((true, 9)));
        assert_eq!(claimed(b"$-1\r\n$2\r\ni9\r\n"), Ok((false, 9)));
        for text in ["", "+OK\r\n", "+OK\r\n$2\r\nx9\r\n", ":1\r\n$2\r\ni9\r\n"] {
            assert_eq!(claimed(text.as_bytes()), Err(L2Error::Protocol), "{text}");
        }
        assert_eq!(
            (piece(b"$1\r\n\xff\r\n"), piece(b"$-1\r\n")),
            (Ok(Some(&b"\xff"[..])), Ok(None))
        );
        assert!(
            is_kept(b":1\r\n:1\r\n")
                && !is_kept(b"-OOM no\r\n:1\r\n")
                && committed(b":1\r\n") == Some(true)
        );
    }
}
