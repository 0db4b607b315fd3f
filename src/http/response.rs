//! The parts of a response head that decide whether it is stored.

use super::cache_control::CacheControl;
use super::fields::Fields;

/// A response head, read in one pass. Of fields that must be single the first counts.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead<'a> {
    /// `:status`; 0 if there is none.
    pub status: u16,
    /// `Cache-Control`, all lines of it.
    pub cache_control: CacheControl,
    /// `Age`.
    pub age: Option<&'a [u8]>,
    /// `Date`.
    pub date: Option<&'a [u8]>,
    /// `Expires`.
    pub expires: Option<&'a [u8]>,
    /// `Content-Length`.
    pub content_length: Option<u64>,
    /// Whether there is a `Set-Cookie` field.
    pub set_cookie: bool,
    /// Whether there is a `Vary` field.
    pub vary: bool,
    /// Every field.
    pub fields: Fields<'a>,
}

impl<'a> ResponseHead<'a> {
    /// Reads the head out of the host's field block.
    #[must_use]
    pub fn read(fields: Fields<'a>) -> Self {
        let mut head = Self { fields, ..Self::default() };
        for (name, value) in fields.iter() {
            match name {
                b":status" => head.status = number(value).unwrap_or(0),
                b"cache-control" => head.cache_control.read(value),
                b"age" => head.age = head.age.or(Some(value)),
                b"date" => head.date = head.date.or(Some(value)),
                b"expires" => head.expires = head.expires.or(Some(value)),
                b"content-length" => head.content_length = number(value),
                b"set-cookie" => head.set_cookie = true,
                b"vary" => head.vary = true,
                _ => {}
            }
        }
        head
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}
