//! RESP2, the part a cache needs: commands out, simple and bulk replies in.

use std::io::Write;

use super::L2Error;

/// A reply, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `+text`.
    Simple(&'a [u8]),
    /// `-text`, without the sign.
    Error(&'a [u8]),
    /// `:number`.
    Integer(i64),
    /// `$…`: a value.
    Bulk(&'a [u8]),
    /// `$-1`: no value.
    Nil,
}

/// Lines longer than this are not RESP.
const MAX_LINE: usize = 4 << 10;

/// Appends a command.
pub fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let _ = write!(out, "*{}\r\n", parts.len()); // writing to a Vec cannot fail
    for part in parts {
        let _ = write!(out, "${}\r\n", part.len());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// Takes the next reply off the front of `replies`.
///
/// # Errors
/// `Protocol` if the bytes are not a whole reply of a known kind.
pub fn next_reply<'a>(replies: &mut &'a [u8]) -> Result<Reply<'a>, L2Error> {
    let (kind, rest) = replies.split_first().ok_or(L2Error::Protocol)?;
    let (line, rest) = line(rest)?;
    let (reply, rest) = match kind {
        b'+' => (Reply::Simple(line), rest),
        b'-' => (Reply::Error(line), rest),
        b':' => (Reply::Integer(number(line)?), rest),
        b'$' => match number(line)? {
            -1 => (Reply::Nil, rest),
            length => {
                let length = usize::try_from(length).map_err(|_| L2Error::Protocol)?;
                let (value, rest) = rest.split_at_checked(length).ok_or(L2Error::Protocol)?;
                (Reply::Bulk(value), rest.strip_prefix(b"\r\n").ok_or(L2Error::Protocol)?)
            }
        },
        _ => return Err(L2Error::Protocol),
    };
    *replies = rest;
    Ok(reply)
}

/// Takes the head of an array off the front of `replies`: how many replies belong to it.
///
/// # Errors
/// What Redis says instead, or `Protocol`.
pub fn next_array(replies: &mut &[u8]) -> Result<usize, L2Error> {
    match replies.split_first() {
        Some((b'*', rest)) => {
            let (line, rest) = line(rest)?;
            *replies = rest;
            usize::try_from(number(line)?).map_err(|_| L2Error::Protocol)
        }
        Some((b'-', _)) => match next_reply(replies)? {
            Reply::Error(text) => Err(L2Error::from_reply(text)),
            _ => Err(L2Error::Protocol),
        },
        _ => Err(L2Error::Protocol),
    }
}

fn line(bytes: &[u8]) -> Result<(&[u8], &[u8]), L2Error> {
    let head = bytes.get(..bytes.len().min(MAX_LINE)).unwrap_or_default();
    let end = head.iter().position(|b| *b == b'\r').ok_or(L2Error::Protocol)?;
    let (line, rest) = bytes.split_at_checked(end).ok_or(L2Error::Protocol)?;
    Ok((line, rest.strip_prefix(b"\r\n").ok_or(L2Error::Protocol)?))
}

fn number(line: &[u8]) -> Result<i64, L2Error> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(L2Error::Protocol)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET", b"k", b"\r\n\0", b"PX", b"5"]);
        assert_eq!(out, b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n\r\n\0\r\n$2\r\nPX\r\n$1\r\n5\r\n");
    }

    #[test]
    fn replies_are_read_in_order() {
        let mut bytes = &b"$3\r\na\r\n\r\n$-1\r\n+OK\r\n-ERR no\r\n:-7\r\n$0\r\n\r\n"[..];
        for expected in [
            Reply::Bulk(b"a\r\n"),
            Reply::Nil,
            Reply::Simple(b"OK"),
            Reply::Error(b"ERR no"),
            Reply::Integer(-7),
            Reply::Bulk(b""),
        ] {
            assert_eq!(next_reply(&mut bytes), Ok(expected));
        }
        assert_eq!(next_reply(&mut bytes), Err(L2Error::Protocol));
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in [
            &b""[..],
            b"$",
            b"$5\r\nabc\r\n",
            b"$3\r\nabcd\r\n",
            b"$-2\r\n",
            b"$x\r\n",
            b"HTTP/1.1 400\r\n",
            b"+OK",
            b"+OK\n",
            b"+OK\rX",
            b"*1\r\n$1\r\na\r\n",
            b"$99999999999999999999\r\n",
            b":\r\n",
            b"$9223372036854775807\r\nx",
        ] {
            assert_eq!(next_reply(&mut &bytes[..]), Err(L2Error::Protocol), "{bytes:?}");
        }
        let endless = vec![b'+'; MAX_LINE * 2];
        assert_eq!(next_reply(&mut &endless[..]), Err(L2Error::Protocol));
    }
}
