//! Whether a response may be stored, and for how long it is fresh (RFC 9111, 3 and 4.2).
//!
//! This is the conservative subset the read path needs: 200 and configured negative statuses, no
//! validation, no variants. What it does not understand it does not store.

use std::time::SystemTime;

use super::cache_control::delta_seconds;
use super::fields::{Fields, FieldsBuf};
use super::response::ResponseHead;
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
        /// The request said `no-store`.
        RequestNoStore => "request_no_store",
        /// Answered to a method that is looked up but not stored (`HEAD`).
        Method => "method",
    }
}

/// A response that may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storable {
    /// Age on arrival, in seconds.
    pub age_s: u32,
    /// How much longer it is fresh, in ms.
    pub fresh_ms: u64,
}

/// What cookies mean for a response.
#[derive(Clone, Copy, Debug, Default)]
pub struct CookieRule {
    /// The route declares that cookies are not part of the identity.
    pub ignored: bool,
    /// The request carried some.
    pub sent: bool,
}

/// Decides whether a response may be stored.
///
/// # Errors
/// The first reason against it.
pub fn storable(
    head: &ResponseHead<'_>,
    lifetime: &Lifetime,
    cookies: CookieRule,
) -> Result<Storable, NotStored> {
    let negative = lifetime.negative_statuses.contains(&head.status);
    if head.status != 200 && !negative {
        return Err(NotStored::Status);
    }
    let directives = &head.cache_control;
    if directives.no_store {
        return Err(NotStored::NoStore);
    }
    if directives.private.is_some() {
        return Err(NotStored::Private);
    }
    if directives.no_cache.is_some() {
        return Err(NotStored::NoCache);
    }
    if !cookies.ignored && head.set_cookie {
        return Err(NotStored::SetCookie);
    }
    if head.vary {
        // A session that the cookie names, used and not begun: the answer is that session's.
        let session = cookies.sent && !head.set_cookie;
        let cookie_covered = cookies.ignored && !session;
        if !head.fields.all(b"vary").all(|line| varies_not(line, cookie_covered)) {
            return Err(NotStored::Vary);
        }
    }
    let policy = if negative { Some(lifetime.negative_ttl_ms) } else { lifetime.ttl_ms };
    let lifetime_ms = explicit_lifetime(head).or(policy).ok_or(NotStored::NoFreshness)?;
    let age_s = head.age.and_then(delta_seconds).unwrap_or(0);
    let fresh_ms = lifetime_ms.saturating_sub(u64::from(age_s) * 1000);
    if fresh_ms == 0 {
        return Err(NotStored::Stale);
    }
    Ok(Storable { age_s, fresh_ms })
}

/// What the response itself says, in ms: `s-maxage`, then `max-age`, then `Expires` (4.2.1).
fn explicit_lifetime(head: &ResponseHead<'_>) -> Option<u64> {
    if let Some(seconds) = head.cache_control.s_maxage.or(head.cache_control.max_age) {
        return Some(u64::from(seconds) * 1000);
    }
    let (Some(expires), Some(date)) = (date(head.expires?), head.date.and_then(date)) else {
        return Some(0); // an invalid date, "0" above all, means already expired (5.3)
    };
    let lifetime = expires.duration_since(date).unwrap_or_default();
    Some(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX))
}

fn date(text: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(text).ok()?.trim()).ok()
}

/// Whether a `Vary` line names nothing but what the key covers.
fn varies_not(line: &[u8], cookie_covered: bool) -> bool {
    line.split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .all(|name| name.is_empty() || cookie_covered && name.eq_ignore_ascii_case(b"cookie"))
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

/// Collects the fields of a response that are stored (cleared first); `others` are names, in lower
/// case, of fields that are not.
pub fn stored_fields(
    out: &mut FieldsBuf,
    fields: Fields<'_>,
    cookies_ignored: bool,
    others: &[Box<[u8]>],
) {
    out.clear();
    let listed = |name: &[u8]| {
        let mut names = fields.all(b"connection").flat_map(|line| line.split(|b| *b == b','));
        names.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(name))
    };
    let connection = fields.get(b"connection").is_some();
    for (name, value) in fields.iter() {
        let left_out = NEVER_STORED.contains(&name)
            || name.starts_with(b"x-envoy-")
            || cookies_ignored && matches!(name, b"set-cookie" | b"vary")
            || others.iter().any(|other| **other == *name)
            || connection && listed(name);
        if !left_out {
            out.push(name, value);
        }
    }
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
        let cookies = CookieRule { ignored: ignore, sent: false };
        let head = ResponseHead::read(Fields::new(&bytes));
        storable(&head, &lifetime, cookies).map(|s| s.fresh_ms / 1000)
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
    fn an_answer_from_the_session_is_nobody_elses() {
        let check = |fields: &[(&str, &str)], sent| {
            let bytes = block(fields);
            let lifetime = Lifetime { ttl_ms: Some(1_000), ..Lifetime::default() };
            let cookies = CookieRule { ignored: true, sent };
            storable(&ResponseHead::read(Fields::new(&bytes)), &lifetime, cookies).err()
        };
        let used = [(":status", "200"), ("vary", "Cookie")];
        let begun = [(":status", "200"), ("vary", "Cookie"), ("set-cookie", "session=new")];
        assert_eq!(check(&used, true), Some(NotStored::Vary));
        assert_eq!((check(&used, false), check(&begun, true)), (None, None));
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
            ("x-by-envoy", "v"),
        ]);
        let mut kept = FieldsBuf::default();
        stored_fields(&mut kept, Fields::new(&bytes), true, &[(*b"x-by-envoy").into()]);
        assert_eq!(kept.to_block(), block(&[("content-type", "application/json"), ("x-app", "v")]));
    }
}
