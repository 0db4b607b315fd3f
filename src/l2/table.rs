//! The table of generations that all instances share: what to say to it, and what it says.
//!
//! One sorted set: a member for each cell ever bumped, its score the sequence number of its last bump;
//! and one member with score `inf`, the incarnation. It is table and feed at once.

use super::L2Error;
use super::resp::{self, Reply};
use crate::coherence::{Asked, Bumped, Followed, Layout};

/// Bumps cells in one step. Returns their number, and those of them that were bumped since all was known, each
/// with its number till now.
///
/// `KEYS[1]` the set, `ARGV[1]` the incarnation that must go, `ARGV[2]` the one that is known, `ARGV[3]` the
/// highest number that is known, `ARGV[4]` the one up to which all is, then the cells. A set that has no
/// incarnation, or has lost what is known of this one, gets another. Every incarnation is higher than all
/// before it, and every number higher than the incarnation it belongs to: by that each tells which table it
/// is of.
const SCRIPT: &[u8] =
    b"local top = redis.call('ZREVRANGEBYSCORE', KEYS[1], '(inf', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
local last, known, highest = tonumber(top[2] or 0), tonumber(ARGV[2]), tonumber(ARGV[3])
local synced = tonumber(ARGV[4])
local time = redis.call('TIME')
local number = math.max(time[1] * 1000000 + time[2], last + 1, highest + 1)
local old = redis.call('ZRANGEBYSCORE', KEYS[1], 'inf', 'inf')
local now = tonumber(string.sub(old[1] or 'i0', 2))
if now == 0 or now == tonumber(ARGV[1]) or (now == known and last < highest and now < highest) then
  if now > 0 then redis.call('ZREM', KEYS[1], old[1]) end
  now = math.max(number, now + 1, known + 1)
  redis.call('ZADD', KEYS[1], 'inf', string.format('i%.0f', now))
end
local answer = {string.format('%.0f', math.max(number, now + 1))}
for i = 5, #ARGV do
  local before = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if before and tonumber(before) > synced then
    table.insert(answer, ARGV[i])
    table.insert(answer, before)
  end
  redis.call('ZADD', KEYS[1], answer[1], ARGV[i])
end
return answer";

/// The set's key.
pub(super) fn table_key(prefix: &str, slots: usize, tag_mark: &str) -> String {
    format!("{prefix}generations:{slots}{tag_mark}")
}

/// Writes the command that bumps cells, and gives the table another incarnation if it has the one that is to
/// be `replaced`.
pub(super) fn write_bump(
    out: &mut Vec<u8>,
    key: &str,
    replaced: u64,
    asked: &Asked,
    cells: &[(usize, u64)],
) {
    let texts: Vec<String> = cells.iter().map(|(cell, _)| cell.to_string()).collect();
    let known = [replaced, asked.synced.incarnation, asked.highest, asked.synced.number];
    let known = known.map(|n| n.to_string());
    let mut parts: Vec<&[u8]> = vec![b"EVAL", SCRIPT, b"1", key.as_bytes()];
    parts.extend(known.iter().map(String::as_bytes));
    parts.extend(texts.iter().map(String::as_bytes));
    resp::command(out, &parts);
}

/// Writes the command that asks what is new.
pub(super) fn write_follow(out: &mut Vec<u8>, key: &str, asked: &Asked) {
    // From what is known on, not from above it: a table that lost it is noticed.
    let from = if asked.from == 0 { "-inf".into() } else { asked.from.to_string() };
    let parts: [&[u8]; 5] =
        [b"ZRANGEBYSCORE", key.as_bytes(), from.as_bytes(), b"inf", b"WITHSCORES"];
    resp::command(out, &parts);
}

/// How long a probe's key lives, in ms.
const PROBE_MS: &[u8] = b"10000";

/// Writes the command that shows whether Redis takes writes, on the node that has the table.
pub(super) fn write_probe(out: &mut Vec<u8>, prefix: &str, key: &str) {
    // A user may be confined to keys with the prefix.
    let is_tagged = key.contains('{');
    let key = if is_tagged { format!("{key}:probe") } else { format!("{prefix}{{{key}}}:probe") };
    resp::command(out, &[b"SET", key.as_bytes(), b"1", b"PX", PROBE_MS]);
}

/// Reads what came of it.
///
/// # Errors
/// What Redis says instead.
pub(super) fn read_probe(replies: &mut &[u8]) -> Result<(), L2Error> {
    match resp::next_reply(replies)? {
        Reply::Simple(b"OK") => Ok(()),
        Reply::Error(text) => Err(L2Error::from_reply(text)),
        _ => Err(L2Error::Protocol),
    }
}

/// Reads what became of bumped cells.
///
/// # Errors
/// What Redis says instead.
pub(super) fn read_bumped(replies: &mut &[u8], layout: Layout) -> Result<Bumped, L2Error> {
    let count = resp::next_array(replies)?;
    if count > 2 * layout.cells() + 1 || count % 2 == 0 {
        return Err(L2Error::Protocol);
    }
    let mut next = || match resp::next_reply(replies)? {
        Reply::Bulk(text) => number(text).ok_or(L2Error::Protocol),
        _ => Err(L2Error::Protocol),
    };
    let number = next()?;
    let mut before = Vec::new();
    for _ in 0..count / 2 {
        let cell = usize::try_from(next()?).map_err(|_| L2Error::Protocol)?;
        before.push((cell, next()?));
    }
    Ok(Bumped { number, before })
}

/// Reads what is new.
///
/// # Errors
/// What Redis says instead.
pub(super) fn read_followed(replies: &mut &[u8], layout: Layout) -> Result<Followed, L2Error> {
    // Pairs; more than there are cells is not ours.
    let count = resp::next_array(replies)?;
    if count % 2 != 0 || count / 2 > layout.cells() + 1 {
        return Err(L2Error::Protocol);
    }
    let mut followed = Followed::default();
    let mut text = || match resp::next_reply(replies)? {
        Reply::Bulk(text) => Ok(text),
        _ => Err(L2Error::Protocol),
    };
    for _ in 0..count / 2 {
        let (member, score) = (text()?, text()?);
        if score == b"inf" {
            let id = member.strip_prefix(b"i").and_then(number).filter(|id| *id != 0);
            followed.incarnation = Some(id.ok_or(L2Error::Protocol)?);
            continue;
        }
        let cell = number(member).and_then(|cell| usize::try_from(cell).ok());
        let cell = cell.filter(|cell| *cell < layout.cells()).ok_or(L2Error::Protocol)?;
        followed.cells.push((cell, number(score).ok_or(L2Error::Protocol)?));
    }
    Ok(followed)
}

/// A whole number below 2^53; Redis may write it as a double.
fn number(text: &[u8]) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let text = std::str::from_utf8(text).ok()?;
    let double = || {
        let n: f64 = text.parse().ok()?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked
        (n.fract() == 0.0 && (0.0..EXACT).contains(&n)).then_some(n as u64)
    };
    text.parse().ok().filter(|number| *number < 1 << 53).or_else(double)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coherence::Stamp;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const LAYOUT: Layout = Layout::new(256);

    #[test]
    fn questions_are_written() {
        let mut out = Vec::new();
        let synced = Stamp { incarnation: 9, number: 42 };
        let asked = Asked { scope: 0, synced, highest: 50, from: 42, epoch: 1 };
        write_bump(&mut out, "t:generations:256", 7, &asked, &[(3, 9), (250, 9)]);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("*10\r\n$4\r\nEVAL\r\n"));
        let end = "\r\n$1\r\n7\r\n$1\r\n9\r\n$2\r\n50\r\n$2\r\n42\r\n$1\r\n3\r\n$3\r\n250\r\n";
        assert!(text.ends_with(end), "{text}");
        for (number, from) in [(42, "$2\r\n42"), (0, "$4\r\n-inf")] {
            let mut out = Vec::new();
            write_follow(&mut out, "k", &Asked { from: number, ..asked });
            let command = format!(
                "*5\r\n$13\r\nZRANGEBYSCORE\r\n$1\r\nk\r\n{from}\r\n$3\r\ninf\r\n$10\r\nWITHSCORES\r\n"
            );
            assert_eq!(String::from_utf8(out).unwrap(), command);
        }
    }

    /// a user who may touch `prefix*` alone may not write the probe's key: with such an ACL L2 is
    /// degraded (`auth`) for ever.
    #[test]
    fn the_key_of_a_probe_has_the_prefix_and_the_slot_of_the_table() {
        let mut out = Vec::new();
        write_probe(&mut out, "t:", "t:generations:256");
        let text = String::from_utf8(out).unwrap();
        let key = text.lines().nth(4).unwrap();
        assert!(key.starts_with("t:"), "{key}");
        assert!(key.contains("{t:generations:256}"), "{key}");
    }

    #[test]
    fn answers_are_read() {
        let text = "*4\r\n$1\r\n7\r\n$16\r\n1732460000000000\r\n$4\r\ni255\r\n$3\r\ninf\r\n:1\r\n";
        let mut replies = text.as_bytes();
        let followed = read_followed(&mut replies, LAYOUT).unwrap();
        let cells = vec![(7, 1_732_460_000_000_000)];
        assert_eq!(followed, Followed { incarnation: Some(255), cells });
        assert_eq!(replies, b":1\r\n");
        assert_eq!(read_followed(&mut &b"*0\r\n"[..], LAYOUT), Ok(Followed::default()));
        let text =
            b"*5\r\n$19\r\n1.73246000000001e15\r\n$1\r\n7\r\n$2\r\n12\r\n$1\r\n8\r\n$2\r\n13\r\n";
        let before = vec![(7, 12), (8, 13)];
        let bumped = Bumped { number: 1_732_460_000_000_010, before };
        assert_eq!(read_bumped(&mut &text[..], LAYOUT), Ok(bumped));
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in [
            "$-1\r\n",
            "*1\r\n$1\r\n7\r\n",
            "*2\r\n$1\r\n7\r\n",
            "*2\r\n$1\r\nx\r\n$1\r\n7\r\n",
            "*2\r\n$9\r\n999999999\r\n$1\r\n7\r\n",
            "*2\r\n$1\r\n7\r\n$3\r\n1.5\r\n",
            "*2\r\n$1\r\n7\r\n$2\r\n-1\r\n",
            "*2\r\n$1\r\n7\r\n$16\r\n9732460000000900\r\n",
            "*2\r\n$2\r\ni0\r\n$3\r\ninf\r\n",
            "*2\r\n$1\r\n7\r\n:1\r\n",
            "*99999999\r\n",
            "*-1\r\n",
        ] {
            assert_eq!(
                read_followed(&mut text.as_bytes(), LAYOUT),
                Err(L2Error::Protocol),
                "{text}"
            );
        }
        let loading = &mut &b"-LOADING wait\r\n"[..];
        assert_eq!(read_followed(loading, LAYOUT), Err(L2Error::Loading));
        for (text, error) in [
            (&b"-OOM no\r\n"[..], L2Error::OutOfMemory),
            (b":7\r\n", L2Error::Protocol),
            (b"*0\r\n", L2Error::Protocol),
            (b"*1\r\n:7\r\n", L2Error::Protocol),
            (b"*2\r\n$1\r\n7\r\n$1\r\n8\r\n", L2Error::Protocol),
            (b"*3\r\n$1\r\n7\r\n$1\r\nx\r\n$1\r\n8\r\n", L2Error::Protocol),
            (b"*99999\r\n$1\r\n7\r\n", L2Error::Protocol),
        ] {
            assert_eq!(read_bumped(&mut &text[..], LAYOUT), Err(error));
        }
    }
}
