//! A synthetic resource whose query says how its answer looks.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
};
use hyper::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::body::Paced;
use crate::json;
use crate::session::mix;

const TEXT: &str = "the quick brown fox jumps over the lazy dog, again and again; ";
const MOST_BYTES: usize = 64 << 20;

/// What fills the body up.
#[derive(Clone, Copy, Debug, Default)]
enum Padding {
    /// Repetitive text.
    #[default]
    Text,
    /// Text that does not compress below half.
    Random,
}

/// What the query asks for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    size: usize,
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    reflected: Vec<String>,
    pub(crate) delay: Duration,
    chunks: usize,
    chunk_delay: Duration,
    chunked: bool,
    padding: Padding,
    plain: bool,
    revalidate: bool,
    /// No `Content-Type`.
    untyped: bool,
    /// No body.
    empty: bool,
}

impl Wanted {
    pub(crate) fn read(query: &str) -> Result<Self, String> {
        let mut wanted = Self { chunks: 1, ..Self::default() };
        for pair in query.split('&') {
            let (key, raw) = pair.split_once('=').unwrap_or((pair, ""));
            let number = || raw.parse::<u64>().map_err(|_| format!("{key} needs a whole number"));
            match key {
                "size" => wanted.size = usize::try_from(number()?).unwrap_or(usize::MAX),
                "status" => wanted.status = status(raw)?,
                "header" => wanted.headers.push(header(raw)?),
                "reflect" => wanted.reflected.push(raw.to_ascii_lowercase()),
                "delay_ms" => wanted.delay = Duration::from_millis(number()?),
                "chunks" => wanted.chunks = usize::try_from(number()?).unwrap_or(1),
                "chunk_delay_ms" => wanted.chunk_delay = Duration::from_millis(number()?),
                "chunked" => wanted.chunked = raw == "1",
                "random" if raw == "1" => wanted.padding = Padding::Random,
                "plain" => wanted.plain = raw == "1",
                "revalidate" => wanted.revalidate = raw == "1",
                "untyped" => wanted.untyped = raw == "1",
                "empty" => wanted.empty = raw == "1",
                _ => {}
            }
        }
        if wanted.size > MOST_BYTES {
            return Err(format!("size is at most {MOST_BYTES}"));
        }
        Ok(wanted)
    }

    /// The answer to one request; `number` is its place in the order of all echoes.
    pub(crate) fn answer(
        self,
        method: &Method,
        path: &str,
        query: &str,
        asked: &HeaderMap,
        number: u64,
        truncated: bool,
    ) -> Response<Paced> {
        let mut fields = Map::new();
        fields.insert("method".to_owned(), method.as_str().into());
        fields.insert("path".to_owned(), path.into());
        fields.insert("query".to_owned(), query.into());
        if !self.plain {
            fields.insert("n".to_owned(), number.into());
        }
        if !self.reflected.is_empty() {
            let value = |name: &String| asked.get(name).and_then(|value| value.to_str().ok());
            let seen: Map<String, Value> =
                self.reflected.iter().map(|name| (name.clone(), json!(value(name)))).collect();
            fields.insert("reflected".to_owned(), seen.into());
        }
        let body = if self.empty { Bytes::new() } else { self.padded(fields, path) };
        self.respond(body, asked, truncated)
    }

    /// Fills the object up to the wanted size, which it may exceed without padding.
    fn padded(&self, mut fields: Map<String, Value>, path: &str) -> Bytes {
        let bare = json::to_bytes(&fields);
        if bare.len() >= self.size {
            return bare;
        }
        fields.insert("pad".to_owned(), "".into());
        let room = self.size.saturating_sub(json::to_bytes(&fields).len());
        let pad: String = match self.padding {
            Padding::Text => TEXT.chars().cycle().take(room).collect(),
            Padding::Random => hex_stream(path, room),
        };
        fields.insert("pad".to_owned(), pad.into());
        json::to_bytes(&fields)
    }

    fn respond(self, body: Bytes, asked: &HeaderMap, truncated: bool) -> Response<Paced> {
        let length = body.len();
        let mut head = Response::new(());
        *head.status_mut() = self.status;
        let headers = head.headers_mut();
        let typed = self.headers.iter().any(|(name, _)| *name == CONTENT_TYPE);
        if !typed && !self.untyped {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        if self.revalidate
            && headers.get(ETAG).is_some_and(|tag| asked.get(IF_NONE_MATCH) == Some(tag))
        {
            *head.status_mut() = StatusCode::NOT_MODIFIED;
            return head.map(|()| Paced::whole(Bytes::new()));
        }
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&self.status);
        if bodiless {
            return head.map(|()| Paced::whole(Bytes::new()));
        }
        if !self.chunked {
            head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let body = if truncated {
            Paced::truncated(body)
        } else {
            Paced::pieces(body, self.chunks, self.chunk_delay, !self.chunked)
        };
        head.map(|()| body)
    }
}

fn status(raw: &str) -> Result<StatusCode, String> {
    let code: u16 = raw.parse().map_err(|_| "status needs a whole number".to_owned())?;
    // 1xx would not be a final answer.
    StatusCode::from_u16(code)
        .ok()
        .filter(|status| !status.is_informational())
        .ok_or_else(|| format!("{code} is no final status"))
}

/// `Name:Value`, percent-encoded; the value may hold any byte a header can.
fn header(raw: &str) -> Result<(HeaderName, HeaderValue), String> {
    let decoded: Vec<u8> = percent_decode_str(raw).collect();
    let colon = decoded.iter().position(|byte| *byte == b':');
    let (name, value) = colon
        .and_then(|colon| decoded.split_at_checked(colon))
        .ok_or_else(|| format!("header needs Name:Value, not {raw:?}"))?;
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    let name = HeaderName::from_bytes(name).map_err(|error| error.to_string())?;
    let value = HeaderValue::from_bytes(value).map_err(|error| error.to_string())?;
    Ok((name, value))
}

/// Hexadecimal digits that only depend on the seed text.
fn hex_stream(seed: &str, length: usize) -> String {
    let mut state = seed.bytes().fold(0, |state, byte| mix(state ^ u64::from(byte)));
    let mut out = String::with_capacity(length + 16);
    while out.len() < length {
        state = mix(state);
        // Writing to a string cannot fail.
        let _written = write!(out, "{state:016x}");
    }
    out.truncate(length);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_exact_and_repeatable() {
        for query in ["size=4096", "size=4096&random=1", "size=100&random=1"] {
            let wanted = Wanted::read(query).unwrap_or_default();
            let body = wanted.padded(Map::new(), "/echo/a");
            assert_eq!(body.len(), wanted.size, "{query}");
            assert_eq!(body, wanted.padded(Map::new(), "/echo/a"));
        }
        assert_ne!(hex_stream("/echo/a", 64), hex_stream("/echo/b", 64));
    }

    #[test]
    fn headers_are_decoded_as_bytes() {
        let (name, value) = header("X-Tag:%20a%2Cb%ff").unwrap_or((ETAG, HeaderValue::from(0)));
        assert_eq!((name.as_str(), value.as_bytes()), ("x-tag", b"a,b\xff".as_slice()));
        assert!(header("no-colon").is_err());
        assert!(header("a:b%0d%0ac: d").is_err());
    }

    #[test]
    fn bad_numbers_are_refused() {
        assert!(Wanted::read("size=x").is_err());
        assert!(Wanted::read("status=100").is_err());
        assert!(Wanted::read("utm=x&flag").is_ok());
    }
}
