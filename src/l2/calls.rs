//! What a call says: commands in RESP, one after the other, with `QUIT` behind them.

use super::answers::{Waiting, Written};
use super::claims::{write_claims, write_keep};
use super::client::{Call, Client, Question, Write};
use super::table::{write_bump, write_follow, write_probe};
use super::{redis_key, resp};
use crate::coherence::{Generations, Reach};
use crate::entry::{encode, encoded_len_limit};

/// Bytes of stores sent in one call.
const MAX_WRITE_CALL: usize = 256 << 10;
/// Stores an entry unless there is one that was received later: by the begin of both (`entry/codec.rs`).
const SET_LATE: &[u8] = b"local old, new = redis.call('GETRANGE', KEYS[1], 0, 23), ARGV[1] \
    if #old == 24 and string.sub(old, 1, 3) == string.sub(new, 1, 3) and \
    struct.unpack('<I8', old, 17) >= struct.unpack('<I8', new, 17) then return false end \
    return redis.call('SET', KEYS[1], new, 'PX', ARGV[2])";

impl Client {
    /// What is new in the table, and look-ups: what they find is valid against that. The table comes
    /// first, for Redis sends no more than 64 KiB and the value it is at before it reads on: what comes
    /// after a large value would be lost to the `direct` transport, whose way to Redis is closed by then.
    pub(super) fn lookup_call(&mut self, generations: &Generations) -> Call {
        let count = self.lookups.len().min(self.policy.max_batch);
        let mut body = self.begin((count + 2) * (self.policy.key_prefix.len() + 64));
        let asked = generations.ask(self.scope, Reach::New);
        write_follow(&mut body, &self.table, &asked);
        let mut tickets = Vec::with_capacity(count);
        for (ticket, hash) in self.lookups.drain(..count) {
            let key = redis_key(&self.policy.key_prefix, hash);
            resp::command(&mut body, &[b"GET", key.as_bytes()]);
            tickets.push(ticket);
        }
        end(body, Waiting::Lookups(tickets, asked))
    }

    pub(super) fn delete_call(&mut self) -> Call {
        let count = self.deletes.len();
        let mut body = self.begin(count * (self.policy.key_prefix.len() + 64));
        for hash in self.deletes.drain(..) {
            let key = redis_key(&self.policy.key_prefix, hash);
            resp::command(&mut body, &[b"DEL", key.as_bytes()]);
        }
        end(body, Waiting::Deletes(count))
    }

    /// Bumps, and what is new in the table.
    pub(super) fn table_call(&mut self, generations: &Generations) -> Call {
        let Question { reach, replace, probe } = self.question.take().unwrap_or_default();
        let cells = std::mem::take(&mut self.bumps);
        let reach = if replace.is_some() { Reach::All } else { reach };
        let asked = generations.ask(self.scope, reach);
        let mut body = self.begin(1_024);
        let bumps = replace.is_some() || !cells.is_empty();
        if bumps {
            write_bump(&mut body, &self.table, replace.unwrap_or(0), &asked, &cells);
        }
        if probe.is_some() {
            write_probe(&mut body, &self.policy.key_prefix, &self.table);
        }
        write_follow(&mut body, &self.table, &asked);
        end(body, Waiting::Table(bumps.then_some(cells), probe, asked))
    }

    /// Commands of somebody else's.
    pub(super) fn errand_call(&self, number: u64, commands: &[u8]) -> Call {
        let mut body = self.begin(commands.len());
        body.extend_from_slice(commands);
        end(body, Waiting::Errand(number))
    }

    /// Claims, and what is new in the table, as look-ups do.
    pub(super) fn claim_call(&mut self, generations: &Generations) -> Call {
        let mut body = self.begin(self.claims.len() * 256);
        let asked = generations.ask(self.scope, Reach::New);
        write_follow(&mut body, &self.table, &asked);
        let claims = std::mem::take(&mut self.claims);
        write_claims(&mut body, &self.policy.key_prefix, &claims);
        end(body, Waiting::Claims(claims, asked))
    }

    /// Stores of what is still valid, and leases; none if there is nothing.
    pub(super) fn write_call(&mut self, generations: &Generations, now_ms: u64) -> Option<Call> {
        let mut body = self.begin(self.store_bytes.min(MAX_WRITE_CALL));
        let mut written = Vec::new();
        while let Some(write) = self.writes.pop_front() {
            let (entry, is_late) = match write {
                Write::Store(entry, is_late) => (entry, is_late),
                Write::Lease(lease, token, keep) => {
                    self.leases -= 1;
                    write_keep(&mut body, &self.policy.key_prefix, (lease, token), keep);
                    written.push(Written::Lease);
                    continue;
                }
            };
            let full = body.len() + encoded_len_limit(entry.len()) > MAX_WRITE_CALL;
            if full && !written.is_empty() {
                self.writes.push_front(Write::Store(entry, is_late));
                break;
            }
            self.store_bytes -= entry.len();
            let stamp = generations.stamp(self.scope, entry.tags(), entry.epoch());
            let Some(stamp) = stamp else {
                self.overtaken += 1;
                continue;
            };
            let (fresh_ms, useful_ms) = (entry.meta().fresh_until_ms, entry.useful_until_ms());
            let left_ms = fresh_ms.saturating_sub(now_ms);
            let stale_ms = useful_ms.saturating_sub(fresh_ms.max(now_ms));
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss
            )] // a TTL needs no exactness
            let expiry_ms = ((left_ms as f64 * self.policy.ttl_factor) as u64 + stale_ms).max(1);
            let key = redis_key(&self.policy.key_prefix, entry.key().hash());
            let value = encode(&entry, stamp, self.policy.compress_above, &self.policy.secrets);
            let expiry = expiry_ms.to_string();
            let (key, expiry) = (key.as_bytes(), expiry.as_bytes());
            if is_late {
                resp::command(&mut body, &[b"EVAL", SET_LATE, b"1", key, &value, expiry]);
                written.push(Written::Late);
            } else {
                resp::command(&mut body, &[b"SET", key, &value, b"PX", expiry]);
                written.push(Written::Store);
            }
        }
        (!written.is_empty()).then(|| end(body, Waiting::Writes(written)))
    }

    fn begin(&self, capacity: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(capacity);
        if let Some((user, password)) = &self.policy.auth {
            let (user, password) = (user.as_bytes(), password.as_bytes());
            if user.is_empty() {
                resp::command(&mut body, &[b"AUTH", password]);
            } else {
                resp::command(&mut body, &[b"AUTH", user, password]);
            }
        }
        body
    }
}

fn end(mut body: Vec<u8>, waiting: Waiting) -> Call {
    resp::command(&mut body, &[b"QUIT"]);
    Call { body, waiting }
}
