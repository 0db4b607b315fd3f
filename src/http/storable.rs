//! Whether a response may be stored, and for how long it is fresh (RFC 9111, 3 and 4.2).
//!
//! This is the conservative subset the read path needs: 200 and configured negative statuses, no
//! validation, no variants. What it does not understand it does not store.

use std::time::SystemTime;

use super::cache_control::{CacheControl, delta_seconds};
use super::fields::{Fields, FieldsBuf};
use crate::closed_enum::closed_enum;

/// How long responses are fresh that do not say so themselves.
#[derive(Clone, Debug, Default)]
pub struct Lifetime {
    /// For 200, in ms; none means only what the response says.
    pub ttl_ms: Option<u64>,
    /// For negative answers, in ms.
    pub negative_ttl_ms: u64,
    /// Statuses kept as negative answers.
    pub negative_statuses: Vec<u16>,
}

closed_enum! {
    /// Why a response is not stored.
    pub enum NotStored {
        /// The status is neither 200 nor a configured negative one.
        Status => "status",
        /// `no-store`.
        NoStore => "no_store",
        /// `no-cache`: it would need validation.
        NoCache => "no_cache",
        /// `private`.
        Private => "private",
        /// `Set-Cookie` on a route that respects cookies.
        SetCookie => "set_cookie",
        /// `Vary` names a field that the key does not hold.
        Vary => "vary",
        /// Neither the response nor the policy says how long it is fresh.
        NoFreshness => "no_freshness",
        /// Already stale when it arrived.
        Stale => "stale",
        /// Larger than any level takes.
        TooLarge => "too_large",
        /// Cut short: no end of stream, or not as long as `Content-Length` says.
        Incomplete => "incomplete",
        /// Too many responses are being copied already.
        FillBudget => "fill_budget",
        /// Answered to a method that is looked up but not stored (`HEAD`).
        Method => "method",
    }
}

/// A response that may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storable {
    /// Its status.
    pub status: u16,
    /// Age on arrival, in seconds.
    pub age_s: u32,
    /// How much longer it is fresh, in ms.
    pub fresh_ms: u64,
    /// Its `Content-Length`, if it has one.
    pub content_length: Option<u64>,
}

/// Decides whether a response head may be stored; `cookies_ignored` as the route declares it.
///
/// # Errors
/// The first reason against it.
pub fn storable(
    fields: Fields<'_>,
    lifetime: &Lifetime,
    cookies_ignored: bool,
) -> Result<Storable, NotStored> {
    let status = fields.get(b":status").and_then(delta_seconds).and_then(|s| u16::try_from(s).ok());
    let status = status.unwrap_or_default();
    let negative = lifetime.negative_statuses.contains(&status);
    if status != 200 && !negative {
        return Err(NotStored::Status);
    }
    let directives = CacheControl::parse(fields.all(b"cache-control"));
    if directives.no_store {
        return Err(NotStored::NoStore);
    }
    if directives.private.is_some() {
        return Err(NotStored::Private);
    }
    if directives.no_cache.is_some() {
        return Err(NotStored::NoCache);
    }
    if !cookies_ignored && fields.get(b"set-cookie").is_some() {
        return Err(NotStored::SetCookie);
    }
    if !fields.all(b"vary").all(|line| varies_not(line, cookies_ignored)) {
        return Err(NotStored::Vary);
    }
    let policy = if negative { Some(lifetime.negative_ttl_ms) } else { lifetime.ttl_ms };
    let lifetime_ms =
        explicit_lifetime(fields, &directives).or(policy).ok_or(NotStored::NoFreshness)?;
    let age_s = fields.get(b"age").and_then(delta_seconds).unwrap_or(0);
    let fresh_ms = lifetime_ms.saturating_sub(u64::from(age_s) * 1000);
    if fresh_ms == 0 {
        return Err(NotStored::Stale);
    }
    Ok(Storable { status, age_s, fresh_ms, content_length: content_length(fields) })
}

/// What the response itself says, in ms: `s-maxage`, then `max-age`, then `Expires` (4.2.1).
fn explicit_lifetime(fields: Fields<'_>, directives: &CacheControl) -> Option<u64> {
    if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
        return Some(u64::from(seconds) * 1000);
    }
    let expires = fields.get(b"expires")?;
    let (Some(expires), Some(date)) = (date(expires), fields.get(b"date").and_then(date)) else {
        return Some(0); // an invalid date, "0" above all, means already expired (5.3)
    };
    let lifetime = expires.duration_since(date).unwrap_or_default();
    Some(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX))
}

fn date(text: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(text).ok()?.trim()).ok()
}

fn content_length(fields: Fields<'_>) -> Option<u64> {
    std::str::from_utf8(fields.get(b"content-length")?).ok()?.trim().parse().ok()
}

/// Whether a `Vary` line names nothing but what the key covers.
fn varies_not(line: &[u8], cookies_ignored: bool) -> bool {
    line.split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .all(|name| name.is_empty() || cookies_ignored && name.eq_ignore_ascii_case(b"cookie"))
}

/// Fields that belong to one connection or one exchange, never to a stored response: hop-by-hop
/// (RFC 9110, 7.6.1), what this cache writes itself, and what Envoy measured on the way.
const NEVER_STORED: [&[u8]; 16] = [
    b":status",
    b"age",
    b"cache-status",
    b"connection",
    b"content-length",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-cache-status",
    b"x-cache-key",
];

/// The fields of a response as they are stored.
#[must_use]
pub fn stored_fields(fields: Fields<'_>, cookies_ignored: bool) -> FieldsBuf {
    let listed: Vec<&[u8]> = fields
        .all(b"connection")
        .flat_map(|line| line.split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    fields
        .iter()
        .filter(|(name, _)| {
            let cookie = cookies_ignored && (*name == b"set-cookie" || *name == b"vary");
            !cookie
                && !NEVER_STORED.contains(name)
                && !name.starts_with(b"x-envoy-")
                && !listed.iter().any(|l| l.eq_ignore_ascii_case(name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fields::block;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn check(fields: &[(&str, &str)], ttl_s: Option<u64>, ignore: bool) -> Result<u64, NotStored> {
        let lifetime = Lifetime {
            ttl_ms: ttl_s.map(|s| s * 1000),
            negative_ttl_ms: 5_000,
            negative_statuses: vec![404],
        };
        let bytes = block(fields);
        storable(Fields::new(&bytes), &lifetime, ignore).map(|s| s.fresh_ms / 1000)
    }

    #[test]
    fn the_policy_counts_where_the_response_is_silent() {
        for (fields, ttl, expected) in [
            (&[(":status", "200")][..], Some(60), Ok(60)),
            (&[(":status", "200")], None, Err(NotStored::NoFreshness)),
            (&[(":status", "404")], None, Ok(5)),
            (&[(":status", "500")], Some(60), Err(NotStored::Status)),
            (&[(":status", "206")], Some(60), Err(NotStored::Status)),
            (&[], Some(60), Err(NotStored::Status)),
            (&[(":status", "200"), ("cache-control", "max-age=9")], Some(60), Ok(9)),
            (&[(":status", "200"), ("cache-control", "max-age=9, s-maxage=8")], None, Ok(8)),
            (&[(":status", "200"), ("cache-control", "max-age=9"), ("age", "4")], None, Ok(5)),
            (&[(":status", "200"), ("age", "60")], Some(60), Err(NotStored::Stale)),
            (&[(":status", "200"), ("expires", "0")], Some(60), Err(NotStored::Stale)),
        ] {
            assert_eq!(check(fields, ttl, false), expected, "{fields:?}");
        }
        let dated = [
            (":status", "200"),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("expires", "Sunday, 06-Nov-94 08:50:37 GMT"),
        ];
        assert_eq!(check(&dated, None, false), Ok(60));
    }

    #[test]
    fn what_must_not_be_shared_is_not_stored() {
        for (name, value, why) in [
            ("cache-control", "no-store", NotStored::NoStore),
            ("cache-control", "private", NotStored::Private),
            ("cache-control", "private=\"x\"", NotStored::Private),
            ("cache-control", "no-cache", NotStored::NoCache),
            ("set-cookie", "a=b", NotStored::SetCookie),
            ("vary", "*", NotStored::Vary),
            ("vary", "Cookie", NotStored::Vary),
            ("vary", "Accept", NotStored::Vary),
        ] {
            assert_eq!(check(&[(":status", "200"), (name, value)], Some(60), false), Err(why));
        }
    }

    #[test]
    fn a_route_may_ignore_cookies_and_nothing_else() {
        let fields = [(":status", "200"), ("set-cookie", "a=b"), ("vary", "Cookie")];
        assert_eq!(check(&fields, Some(60), true), Ok(60));
        let fields = [(":status", "200"), ("vary", "Cookie, Accept")];
        assert_eq!(check(&fields, Some(60), true), Err(NotStored::Vary));
    }

    #[test]
    fn only_fields_of_the_response_itself_are_kept() {
        let bytes = block(&[
            (":status", "200"),
            ("content-type", "application/json"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("content-length", "3"),
            ("set-cookie", "a=b"),
            ("vary", "Cookie"),
            ("x-envoy-upstream-service-time", "7"),
            ("x-app", "v"),
        ]);
        let kept = stored_fields(Fields::new(&bytes), true).to_block();
        assert_eq!(kept, block(&[("content-type", "application/json"), ("x-app", "v")]));
    }
}
