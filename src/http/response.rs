//! The parts of a response head that decide whether it is stored.

use super::cache_control::CacheControl;
use super::etag::EntityTag;
use super::fields::Fields;
use super::targeted;

/// A response head, read in one pass. Of fields that must be single the first counts.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead<'a> {
    /// `:status`; 0 if there is none.
    pub status: u16,
    /// `Cache-Control`, all lines of it, or the targeted field that counts in its place (RFC 9213).
    pub cache_control: CacheControl,
    /// `Age`.
    pub age: Option<&'a [u8]>,
    /// `Date`.
    pub date: Option<&'a [u8]>,
    /// `Expires`; none if a targeted field counts.
    pub expires: Option<&'a [u8]>,
    /// `Last-Modified`.
    pub last_modified: Option<&'a [u8]>,
    /// Whether there is an `ETag` that is one, or a `Last-Modified` field.
    pub has_validator: bool,
    /// Whether there is a `Connection` field.
    pub connection: bool,
    /// `Content-Length`.
    pub content_length: Option<u64>,
    /// Whether there is a `Transfer-Encoding` field.
    pub transfer_encoding: bool,
    /// Whether there is a `Set-Cookie` field.
    pub set_cookie: bool,
    /// Whether there is a `Vary` field.
    pub vary: bool,
    /// Every field.
    pub fields: Fields<'a>,
}

impl<'a> ResponseHead<'a> {
    /// Reads the head out of the host's field block; `targets` are the targeted fields, in lower case, the
    /// most important first.
    #[must_use]
    pub fn read(fields: Fields<'a>, targets: &[Box<[u8]>]) -> Self {
        let mut head = Self { fields, ..Self::default() };
        let mut targeted = false;
        for (name, value) in fields.iter() {
            match name {
                b":status" => head.status = number(value).unwrap_or(0),
                b"cache-control" => head.cache_control.read(value),
                b"age" => head.age = head.age.or(Some(value)),
                b"date" => head.date = head.date.or(Some(value)),
                b"expires" => head.expires = head.expires.or(Some(value)),
                b"content-length" => head.content_length = number(value),
                b"transfer-encoding" => head.transfer_encoding = true,
                b"set-cookie" => head.set_cookie = true,
                b"vary" => head.vary = true,
                b"etag" => head.has_validator |= EntityTag::parse(value).is_some(),
                b"last-modified" => {
                    head.last_modified = head.last_modified.or(Some(value));
                    head.has_validator = true;
                }
                b"connection" => head.connection = true,
                _ => targeted |= name.ends_with(b"cache-control"),
            }
        }
        // Only a name that ends so can be a target: the policy sees to it.
        if targeted && let Some(directives) = targeted::read(fields, targets) {
            head.cache_control = directives;
            head.expires = None;
        }
        head
    }
}

/// The status in these fields; 0 if there is none.
#[must_use]
pub fn status(fields: Fields<'_>) -> u16 {
    fields.get(b":status").and_then(number).unwrap_or(0)
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}
