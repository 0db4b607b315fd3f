//! One page of a list that the API gives: how it is asked for, and what it says.

use std::fmt::Write;

use serde_json::Value;

use super::super::{HttpSource, Paging, hash};
use super::Failure;
use super::tally::Tally;
use crate::coherence::{Pointer, canonical_json};
use crate::http::fields::{Fields, FieldsBuf};
use crate::http::response::status;
use crate::json;

/// Cursors longer than this do not fit into a path.
const MAX_CURSOR: usize = 4 << 10;
/// `ETag`s longer than this are not kept.
const MAX_ETAG: usize = 1 << 10;

/// What a page says, but for its ids.
#[derive(Debug)]
pub(super) struct Page {
    /// How many ids there are in all; none if it is not configured where that is said.
    pub(super) total: Option<usize>,
    /// How many are here.
    pub(super) ids: usize,
    /// The same for the same ids in whatever order.
    pub(super) digest: u64,
    /// Where the next page is.
    pub(super) next: Option<String>,
    /// Empty if there is none.
    pub(super) etag: Vec<u8>,
}

impl Page {
    /// Reads a response; its ids go to `tally`, if it is not read for the second time.
    pub(super) fn read(
        source: &HttpSource,
        most: usize,
        mut tally: Option<&mut Tally>,
        fields: Fields<'_>,
        body: &[u8],
    ) -> Result<Self, Failure> {
        if status(fields) != 200 {
            return Err(Failure::Status);
        }
        let length = fields.get(b"content-length");
        let is_cut = length.is_some_and(|length| length != body.len().to_string().as_bytes());
        if is_cut && fields.get(b"content-encoding").is_none() {
            return Err(Failure::Incomplete);
        }
        if !json::fits(body, json::PAGE) {
            return Err(Failure::TooMany);
        }
        let document = serde_json::from_slice(body).map_err(|_| Failure::Malformed)?;
        let total = source.total.as_ref().map(|place| total(place, &document, most)).transpose()?;
        if total.is_none() && !source.ids.leads(&document) {
            return Err(Failure::Malformed);
        }
        if let Some(tally) = tally.as_mut() {
            tally.page(most)?;
        }
        let (mut ids, mut digest) = (0, 0_u64);
        let are_all = source.ids.visit(&document, &mut |value| {
            let id = canonical_json(value).filter(|id| !id.is_empty());
            let Some(id) = id else { return false };
            ids += 1;
            let hash = match tally.as_mut() {
                Some(tally) => tally.add(&id),
                None => hash(id.as_bytes()),
            };
            digest = digest.wrapping_add(hash);
            true
        });
        if !are_all {
            return Err(Failure::Malformed);
        }
        let next = match &source.paging {
            Paging::Cursor { next, .. } => cursor(next, &document)?,
            Paging::One | Paging::Numbers { .. } => None,
        };
        let etag = fields.get(b"etag").filter(|etag| etag.len() <= MAX_ETAG).unwrap_or_default();
        Ok(Self { total, ids, digest, next, etag: etag.to_vec() })
    }
}

fn value<'a>(place: &Pointer, document: &'a Value) -> Option<&'a Value> {
    let mut found = None;
    place.visit(document, &mut |value| {
        found = Some(value);
        false
    });
    found
}

fn total(place: &Pointer, document: &Value, most: usize) -> Result<usize, Failure> {
    let text = value(place, document).and_then(canonical_json).ok_or(Failure::Malformed)?;
    let total: u64 = text.parse().map_err(|_| Failure::Malformed)?;
    usize::try_from(total).ok().filter(|total| *total <= most).ok_or(Failure::TooMany)
}

/// Where the next page is; none behind the last.
fn cursor(place: &Pointer, document: &Value) -> Result<Option<String>, Failure> {
    let next = match value(place, document) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(next)) => next.clone(),
        Some(Value::Number(next)) => next.to_string(),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            return Err(Failure::Malformed);
        }
    };
    if next.len() > MAX_CURSOR {
        return Err(Failure::Malformed);
    }
    Ok(Some(next).filter(|next| !next.is_empty()))
}

/// The block of fields that asks for a page: the one that a parameter says, if it is not `etag`.
pub(super) fn request(
    source: &HttpSource,
    parameter: Option<(&str, &str)>,
    etag: Option<&[u8]>,
) -> Box<[u8]> {
    let mut path = source.path.clone();
    if let Some((name, value)) = parameter {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(name);
        path.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                path.push(char::from(byte));
            } else {
                let _ = write!(path, "%{byte:02X}"); // writing to a String cannot fail
            }
        }
    }
    let mut fields = FieldsBuf::default();
    fields.push(b":method", b"GET");
    fields.push(b":path", path.as_bytes());
    fields.push(b":scheme", b"http");
    fields.extend(source.fields.iter().map(|(name, value)| (&**name, &**value)));
    // A cache on the way must not give a list from before this one was begun.
    for (name, value) in
        [(&b"accept"[..], &b"application/json"[..]), (b"cache-control", b"no-cache")]
    {
        if !source.fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            fields.push(name, value);
        }
    }
    if let Some(etag) = etag {
        fields.push(b"if-none-match", etag);
    }
    fields.to_block()
}
