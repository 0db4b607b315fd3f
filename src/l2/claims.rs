//! Leases that all instances share: who fetches something for the fleet.
//!
//! A lease is a key that expires, beside the entry's own and on the same node of a cluster. Whoever sets it
//! fetches; the others look for the entry, and claim again, until they find one of them.

use super::redis_key;
use super::resp::{self, Reply};

/// How long a lease holds without being renewed, in ms.
const HOLDS_MS: u64 = 2_000;
/// How old it is when it is renewed.
const RENEWED_MS: u64 = HOLDS_MS / 2;
/// Leases held at the same time: what is beyond runs out by itself.
const MOST: usize = 1_024;

/// Who claims: a request that waits, or the hash of what is to be fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claimant {
    /// This context.
    Stream(u32),
    /// A refresh of what lies under this hash.
    Refresh(u128),
}

/// What is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// For whom.
    pub claimant: Claimant,
    /// The hash of what is fetched.
    pub lease: u128,
    /// Tells whose the lease is.
    pub token: u64,
    /// The hash of what is looked for at the same time.
    pub entry: u128,
}

/// Who holds a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody any more.
    Nobody,
    /// Whoever claimed it with this token.
    Token(u64),
    /// Nobody is to have it for a while: what was fetched is not for others.
    Closed,
}

/// What becomes of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is held for longer.
    Renew,
    /// Somebody else may have it.
    GiveBack,
    /// Nobody may, for as long as a lease holds.
    Close,
}

/// In the place of a token.
const CLOSED: &[u8] = b"-";

/// The leases that this worker holds in Redis.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Each with its token, the time until which it is renewed, and when it was last.
    leases: Vec<(u128, u64, u64, u64)>,
}

impl Held {
    /// A lease is ours, and is renewed for so long.
    pub(super) fn take(&mut self, claim: &Claim, now_ms: u64, longest_ms: u64) {
        if self.leases.len() < MOST {
            self.leases.push((claim.lease, claim.token, now_ms + longest_ms, now_ms));
        }
    }

    /// It is not any more.
    pub(super) fn give_back(&mut self, lease: u128, token: u64) {
        self.leases.retain(|(of, held, ..)| (*of, *held) != (lease, token));
    }

    /// Those that must be renewed now.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<(u128, u64)> {
        self.leases.retain(|(.., until_ms, _)| *until_ms > now_ms);
        let due = self.leases.iter_mut().filter(|(.., at_ms)| *at_ms + RENEWED_MS <= now_ms);
        due.map(|(lease, token, _, at_ms)| {
            *at_ms = now_ms;
            (*lease, *token)
        })
        .collect()
    }
}

/// The key of a lease: it has the prefix, and in a cluster it lies where the entry does.
fn lease_key(prefix: &str, lease: u128) -> String {
    let key = redis_key(prefix, lease);
    if prefix.contains('{') { key + ":lease" } else { format!("{prefix}{{{key}}}:lease") }
}

/// Writes the commands that claim leases and look for the entries. The entries come last: what comes after a
/// large value may be lost to the `direct` transport.
pub(super) fn write_claims(out: &mut Vec<u8>, prefix: &str, claims: &[Claim]) {
    let holds = HOLDS_MS.to_string();
    for claim in claims {
        let (lease, token) = (lease_key(prefix, claim.lease), format!("{:016x}", claim.token));
        let parts: [&[u8]; 6] =
            [b"SET", lease.as_bytes(), token.as_bytes(), b"NX", b"PX", holds.as_bytes()];
        resp::command(out, &parts);
        resp::command(out, &[b"GET", lease.as_bytes()]);
    }
    for claim in claims {
        resp::command(out, &[b"GET", redis_key(prefix, claim.entry).as_bytes()]);
    }
}

/// Writes the command that renews a lease, gives it back, or closes it, if it is ours still.
pub(super) fn write_keep(out: &mut Vec<u8>, prefix: &str, (lease, token): (u128, u64), keep: Keep) {
    const RENEW: &[u8] = b"if redis.call('GET', KEYS[1]) == ARGV[1] then \
        return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";
    const GIVE_BACK: &[u8] = b"if redis.call('GET', KEYS[1]) == ARGV[1] then \
        return redis.call('DEL', KEYS[1]) end return 0";
    const CLOSE: &[u8] = b"if redis.call('GET', KEYS[1]) == ARGV[1] then \
        return redis.call('SET', KEYS[1], '-', 'PX', ARGV[2]) end return 0";
    let (key, token) = (lease_key(prefix, lease), format!("{token:016x}"));
    let holds = HOLDS_MS.to_string();
    let script = match keep {
        Keep::Renew => RENEW,
        Keep::GiveBack => GIVE_BACK,
        Keep::Close => CLOSE,
    };
    let parts: [&[u8]; 6] =
        [b"EVAL", script, b"1", key.as_bytes(), token.as_bytes(), holds.as_bytes()];
    resp::command(out, &parts);
}

/// Who holds a lease, by what it says.
pub(super) fn holder(reply: Reply<'_>) -> Option<Holder> {
    match reply {
        Reply::Bulk(CLOSED) => Some(Holder::Closed),
        Reply::Bulk(token) => {
            let token = std::str::from_utf8(token).ok()?;
            u64::from_str_radix(token, 16).ok().map(Holder::Token)
        }
        Reply::Nil => Some(Holder::Nobody),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const CLAIM: Claim = Claim { claimant: Claimant::Stream(1), lease: 7, token: 0xab, entry: 8 };

    #[test]
    fn a_lease_lies_where_the_entry_does() {
        let hex = "00000000000000000000000000000007";
        assert_eq!(lease_key("t:", 7), format!("t:{{t:{hex}}}:lease"));
        assert_eq!(lease_key("{t}:", 7), format!("{{t}}:{hex}:lease"));
    }

    #[test]
    fn claims_are_written() {
        let mut out = Vec::new();
        write_claims(&mut out, "t:", &[CLAIM]);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("*6\r\n$3\r\nSET\r\n$44\r\nt:{t:0000"), "{text}");
        let set =
            "$16\r\n00000000000000ab\r\n$2\r\nNX\r\n$2\r\nPX\r\n$4\r\n2000\r\n*2\r\n$3\r\nGET";
        assert!(text.contains(set), "{text}");
        let all = [(Keep::Renew, "PEXPIRE"), (Keep::GiveBack, "DEL"), (Keep::Close, "'-', 'PX'")];
        for (keep, what) in all {
            let mut out = Vec::new();
            write_keep(&mut out, "t:", (7, 0xab), keep);
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with("*6\r\n$4\r\nEVAL") && text.contains(what), "{text}");
        }
    }

    #[test]
    fn a_lease_says_who_holds_it() {
        for (reply, expected) in [
            (Reply::Nil, Some(Holder::Nobody)),
            (Reply::Bulk(b"-"), Some(Holder::Closed)),
            (Reply::Bulk(b"00000000000000ab"), Some(Holder::Token(0xab))),
            (Reply::Bulk(b"nonsense"), None),
            (Reply::Integer(7), None),
        ] {
            assert_eq!(holder(reply), expected);
        }
    }

    #[test]
    fn leases_are_renewed_while_they_are_held() {
        let mut held = Held::default();
        held.take(&CLAIM, 0, 10_000);
        assert!(held.due(999).is_empty());
        assert_eq!(held.due(1_000), [(7, 0xab)]);
        assert!(held.due(1_999).is_empty());
        assert_eq!(held.due(2_000), [(7, 0xab)]);
        held.give_back(7, 0xac);
        assert_eq!(held.due(3_000), [(7, 0xab)]);
        held.give_back(7, 0xab);
        assert!(held.due(9_000).is_empty());
        held.take(&CLAIM, 0, 10_000);
        assert!(held.due(10_000).is_empty());
    }
}
