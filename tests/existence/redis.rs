//! As much of Redis as spaces of ids use; only leases and hashes expire.

use std::collections::BTreeMap;

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

#[derive(Clone, Default)]
pub struct Redis {
    strings: BTreeMap<String, Vec<u8>>,
    /// Of each set: its members and their scores; the highest is no number.
    sets: BTreeMap<String, BTreeMap<String, u64>>,
    /// Hashes, and when they expire.
    hashes: BTreeMap<String, (u64, BTreeMap<String, Vec<u8>>)>,
    /// Until when leases hold, and by which token.
    leases: BTreeMap<String, (u64, String)>,
    now_us: u64,
}

const INF: u64 = u64::MAX;

impl Redis {
    /// Forgets everything.
    pub fn flush(&mut self) {
        let now_us = self.now_us;
        *self = Self { now_us, ..Self::default() };
    }

    /// Changes a byte of a piece that is kept.
    pub fn corrupt(&mut self) {
        let pieces = self.hashes.values_mut().flat_map(|(_, pieces)| pieces.values_mut());
        if let Some(piece) = pieces.last() {
            let at = piece.len() / 2;
            piece[at] ^= 1;
        }
    }

    /// Bytes of all filters.
    pub fn bytes(&self) -> usize {
        self.hashes.values().flat_map(|(_, pieces)| pieces.values()).map(Vec::len).sum()
    }

    fn expire(&mut self, key: &str, ms: &str) {
        let until_us = self.now_us + ms.parse::<u64>().unwrap() * 1_000;
        self.hashes.entry(key.to_owned()).and_modify(|hash| hash.0 = until_us);
    }

    /// Carries commands out. What they get.
    pub fn run(&mut self, mut commands: &[u8], now_ms: u64) -> Vec<u8> {
        self.now_us = now_ms * 1_000;
        self.hashes.retain(|_, (until_us, _)| *until_us > self.now_us);
        let mut replies = Vec::new();
        while !commands.is_empty() {
            let (frame, used) = decode(commands).unwrap().unwrap();
            commands = &commands[used..];
            let OwnedFrame::Array(parts) = frame else { panic!("{frame:?}") };
            let parts = parts.into_iter().map(|part| match part {
                OwnedFrame::BulkString(bytes) => bytes,
                other => panic!("{other:?}"),
            });
            let parts: Vec<Vec<u8>> = parts.collect();
            replies.extend(self.command(&parts));
        }
        replies
    }

    fn command(&mut self, parts: &[Vec<u8>]) -> Vec<u8> {
        let text: Vec<String> =
            parts.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        let text: Vec<&str> = text.iter().map(String::as_str).collect();
        match text[..] {
            ["GET", key] => bulk(self.strings.get(key).map(Vec::as_slice)),
            ["SET", key, token, "NX", "PX", ms] => {
                let lease = self.leases.entry(key.to_owned()).or_default();
                if lease.0 > self.now_us {
                    return bulk(None);
                }
                let until_us = self.now_us + ms.parse::<u64>().unwrap() * 1_000;
                *lease = (until_us, token.to_owned());
                b"+OK\r\n".to_vec()
            }
            ["HGET", key, field] => {
                let hash = self.hashes.get(key).map(|(_, hash)| hash);
                bulk(hash.and_then(|hash| hash.get(field)).map(Vec::as_slice))
            }
            ["HSET", key, field, _] => {
                let hash = self.hashes.entry(key.to_owned()).or_insert((u64::MAX, BTreeMap::new()));
                hash.1.insert(field.to_owned(), parts[3].clone());
                b":1\r\n".to_vec()
            }
            ["PEXPIRE", key, ms] => {
                self.expire(key, ms);
                b":1\r\n".to_vec()
            }
            ["EVAL", script, "1", key, token, ms] if script.starts_with("if redis.call('GET'") => {
                let until_us = self.now_us + ms.parse::<u64>().unwrap() * 1_000;
                let is_held =
                    |lease: &&mut (u64, String)| lease.0 > self.now_us && lease.1 == token;
                if let Some(lease) = self.leases.get_mut(key).filter(is_held) {
                    lease.0 = until_us;
                }
                b":1\r\n".to_vec()
            }
            ["ZRANGEBYSCORE", key, from, "inf", "WITHSCORES"] => {
                let from: u64 = from.strip_prefix('(').unwrap().parse().unwrap();
                let mut found: Vec<_> = self.sets.get(key).into_iter().flatten().collect();
                found.retain(|(_, score)| **score > from);
                found.sort_by_key(|(_, score)| **score);
                let mut reply = format!("*{}\r\n", 2 * found.len()).into_bytes();
                for (member, score) in found {
                    let score = if *score == INF { "inf".into() } else { score.to_string() };
                    reply.extend(bulk(Some(member.as_bytes())));
                    reply.extend(bulk(Some(score.as_bytes())));
                }
                reply
            }
            ["EVAL", script, "1", key, _, most, lost, above, ref hashes @ ..]
                if script.starts_with("local time") =>
            {
                let set = self.sets.entry(key.to_owned()).or_default();
                let top = set.values().filter(|score| **score != INF).max();
                let above: u64 = above.parse().unwrap();
                let number = self.now_us.max(top.map_or(0, |top| top + 1)).max(above + 1);
                if lost == "1" || set.len() > most.parse().unwrap() {
                    set.clear();
                }
                let name = set.iter().find(|(_, score)| **score == INF).map(|(name, _)| name);
                let name = name.cloned().unwrap_or_else(|| format!("i{number}"));
                if !set.contains_key(&name) {
                    set.clear();
                    set.insert(name.clone(), INF);
                }
                for (index, hash) in hashes.iter().enumerate() {
                    set.insert((*hash).to_owned(), number + 5 + index as u64);
                }
                bulk(Some(name.as_bytes()))
            }
            ["EVAL", _, "3", ref parts @ ..] => self.commit(parts),
            _ => panic!("{text:?}"),
        }
    }

    /// Makes a filter the last one.
    fn commit(&mut self, parts: &[&str]) -> Vec<u8> {
        let [key, head_key, filter, name, head, keep, base, begin, spare] = *parts else {
            panic!("{parts:?}");
        };
        let Some(set) = self.sets.get_mut(key).filter(|set| set.contains_key(name)) else {
            return b":0\r\n".to_vec();
        };
        let base: u64 = base.parse().unwrap();
        let known = self.strings.get(head_key).map(|head| String::from_utf8_lossy(head));
        let known = known.unwrap_or_default().into_owned();
        let words: Vec<_> = known.split(' ').collect();
        let begun: Vec<_> = head.split(' ').collect();
        let later = |words: &[&str]| {
            let of = |words: &[&str]| [3, 2].map(|n| words[n].parse::<u64>().unwrap());
            format!("i{}", words[4]) == name && of(words) > of(&begun)
        };
        if words.len() == 5 && later(&words) {
            return b":0\r\n".to_vec();
        }
        if !self.hashes.contains_key(filter) {
            return b":-1\r\n".to_vec();
        }
        set.retain(|_, score| *score >= base);
        self.strings.insert(head_key.to_owned(), head.as_bytes().to_vec());
        self.expire(filter, keep);
        if let Some(last) = words.get(1).map(|last| format!("{begin}{last}"))
            && last != filter
        {
            self.expire(&last, spare);
        }
        b":1\r\n".to_vec()
    }
}

fn bulk(value: Option<&[u8]>) -> Vec<u8> {
    let Some(value) = value else { return b"$-1\r\n".to_vec() };
    let mut reply = format!("${}\r\n", value.len()).into_bytes();
    reply.extend_from_slice(value);
    reply.extend_from_slice(b"\r\n");
    reply
}
