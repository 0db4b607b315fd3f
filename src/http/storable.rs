//! Whether a response may be stored (RFC 9111, 3).

use super::cache_control::FieldNames;
use super::freshness::{Lifetime, Times, freshness, initial_age_ms, needs_no_time};
use super::response::ResponseHead;
use super::stored_fields::is_limited;
use crate::closed_enum::closed_enum;

closed_enum! {
    /// Why a response is not stored.
    pub enum NotStored {
        /// A status that is never stored, or one that must be understood and is not.
        Status => "status",
        /// `no-store`.
        NoStore => "no_store",
        /// `no-cache`, and nothing to validate it by.
        NoCache => "no_cache",
        /// `private`.
        Private => "private",
        /// An answer to `Authorization` that does not say it may be shared.
        Authorization => "authorization",
        /// `Set-Cookie` on a route that respects cookies.
        SetCookie => "set_cookie",
        /// `Vary: *`, or by more fields than are kept apart.
        Vary => "vary",
        /// Neither the response nor the policy says how long it is fresh.
        NoFreshness => "no_freshness",
        /// Already stale when it arrived, never to be served so, and nothing to validate it by.
        Stale => "stale",
        /// Larger than any level takes.
        TooLarge => "too_large",
        /// Cut short: no end of stream, or not as long as `Content-Length` says.
        Incomplete => "incomplete",
        /// Neither `Content-Length` nor `Transfer-Encoding`: whether it was cut short cannot be told.
        Unframed => "unframed",
        /// Too many responses are being copied already.
        FillBudget => "fill_budget",
        /// The request said `no-store`.
        RequestNoStore => "request_no_store",
        /// Answered to a method that is looked up but not stored (`HEAD`).
        Method => "method",
        /// The request's value of a field that the response varies by must not be part of a key.
        VaryValue => "vary_value",
        /// A write whose outcome is unknown may make it stale still.
        Uncertain => "uncertain",
        /// It has more tags than an entry may have.
        TooManyTags => "too_many_tags",
        /// Made stale by a write, or followed by a newer one, while it was fetched.
        Overtaken => "overtaken",
    }
}

impl NotStored {
    /// Whether the response itself is the reason, and not the request or the cache.
    #[must_use]
    pub const fn is_of_the_response(self) -> bool {
        matches!(
            self,
            Self::NoStore
                | Self::NoCache
                | Self::Private
                | Self::SetCookie
                | Self::Vary
                | Self::NoFreshness
                | Self::Stale
                | Self::Unframed
        )
    }
}

/// Statuses whose meaning for a cache is known (RFC 9110, 15), for `must-understand`.
const UNDERSTOOD: [u16; 33] = [
    200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406,
    408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 500, 501, 502, 503,
];

/// Whether no response with this status is stored: 206, 304, 407, 412, 416 and 417 answer fields that
/// are not part of a key, and 428, 429, 431 and 511 tell one client what it did (RFC 6585, 3 to 6).
#[must_use]
pub const fn is_never_stored(status: u16) -> bool {
    !matches!(status, 200..=599)
        || matches!(status, 206 | 304 | 407 | 412 | 416 | 417 | 428 | 429 | 431 | 511)
}

/// What the policy says of a response.
#[derive(Clone, Debug, Default)]
pub struct StoreRule {
    /// Freshness where the response is silent.
    pub lifetime: Lifetime,
    /// Seconds a stale response is served while it is fetched again (RFC 5861, 3), where the response
    /// is silent.
    pub stale_while_revalidate_s: u32,
    /// Seconds a stale response is served in place of an error (RFC 5861, 4), where the response is
    /// silent.
    pub stale_if_error_s: u32,
    /// Cookies are not part of the identity.
    pub cookies_ignored: bool,
    /// `Authorization` is not part of the identity.
    pub authorization_ignored: bool,
}

/// What was asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// With `Authorization`.
    pub authorization: bool,
    /// With `no-store`.
    pub no_store: bool,
    /// By `HEAD`.
    pub head: bool,
    /// With `Range`, `If-Range` or `Expect`: an error may be about these.
    pub range: bool,
}

/// A response that may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storable {
    /// Age on arrival, in seconds.
    pub age_s: u32,
    /// Until when it is fresh, in ms since the epoch; in the past if it must be validated at once.
    pub fresh_until_ms: u64,
    /// Seconds it is served stale while it is fetched again.
    pub stale_while_revalidate_s: u32,
    /// Seconds it is served stale in place of an error.
    pub stale_if_error_s: u32,
    /// It must never be served stale.
    pub never_stale: bool,
    /// It may answer requests with `Authorization` (3.5).
    pub shared: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// Whether the policy says how long it is fresh, and not the response.
    pub by_policy: bool,
}

/// Decides whether a response may be stored; `Vary` is the caller's.
///
/// # Errors
/// The first reason against it.
pub fn storable(
    head: &ResponseHead<'_>,
    rule: &StoreRule,
    asked: Asked,
    times: Times,
) -> Result<Storable, NotStored> {
    let directives = &head.cache_control;
    let understood = UNDERSTOOD.contains(&head.status);
    if asked.head {
        return Err(NotStored::Method);
    }
    if asked.no_store {
        return Err(NotStored::RequestNoStore);
    }
    if is_never_stored(head.status)
        || directives.must_understand && !understood
        || asked.range && head.status >= 400
    {
        return Err(NotStored::Status);
    }
    // 5.2.2.3: whoever understands the status lets must-understand win over no-store.
    if directives.no_store && !directives.must_understand {
        return Err(NotStored::NoStore);
    }
    if directives.private == Some(FieldNames::All) {
        return Err(NotStored::Private);
    }
    let revalidate = directives.must_revalidate || directives.s_maxage.is_some();
    let shared = directives.public || revalidate;
    if asked.authorization && !shared && !rule.authorization_ignored {
        return Err(NotStored::Authorization);
    }
    if !rule.cookies_ignored && head.set_cookie && !is_limited(directives, b"set-cookie") {
        return Err(NotStored::SetCookie);
    }
    let no_cache = directives.no_cache == Some(FieldNames::All);
    let found = freshness(head, &rule.lifetime, times);
    let (lifetime_ms, spent_ms) = match found {
        Some(found) if !no_cache => (found.lifetime_ms, found.spent_ms),
        Some(found) => (0, found.spent_ms),
        None if no_cache && needs_no_time(head) => (0, 0),
        None => return Err(NotStored::NoFreshness),
    };
    let never_stale = no_cache || revalidate || directives.proxy_revalidate;
    let seconds = |said: Option<u32>, policy| if never_stale { 0 } else { said.unwrap_or(policy) };
    let storable = Storable {
        age_s: u32::try_from(initial_age_ms(head, times) / 1000).unwrap_or(u32::MAX),
        fresh_until_ms: times.received_ms.saturating_add(lifetime_ms).saturating_sub(spent_ms),
        stale_while_revalidate_s: seconds(
            directives.stale_while_revalidate,
            rule.stale_while_revalidate_s,
        ),
        stale_if_error_s: seconds(directives.stale_if_error, rule.stale_if_error_s),
        never_stale,
        shared,
        immutable: directives.immutable,
        by_policy: found.is_some_and(|found| found.by_policy),
    };
    let stale_s = storable.stale_while_revalidate_s.max(storable.stale_if_error_s);
    let useful_until_ms = storable.fresh_until_ms.saturating_add(u64::from(stale_s) * 1000);
    if useful_until_ms <= times.received_ms && !head.has_validator {
        return Err(if no_cache { NotStored::NoCache } else { NotStored::Stale });
    }
    Ok(storable)
}

#[cfg(test)]
mod tests {
    use super::super::fields::{Fields, block};
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    const ETAG: (&str, &str) = ("etag", "\"a\"");
    const NO_CACHE: (&str, &str) = ("cache-control", "no-cache");

    fn check(
        fields: &[(&str, &str)],
        rule: &StoreRule,
        asked: Asked,
    ) -> Result<Storable, NotStored> {
        let mut all = fields.to_vec();
        if !fields.iter().any(|(name, _)| *name == ":status") {
            all.push((":status", "200"));
        }
        let bytes = block(&all);
        let times = Times { asked_ms: 100_000, received_ms: 100_000 };
        storable(&ResponseHead::read(Fields::new(&bytes), &[]), rule, asked, times)
    }

    fn refusal(fields: &[(&str, &str)]) -> Option<NotStored> {
        check(fields, &StoreRule::default(), Asked::default()).err()
    }

    #[test]
    fn rfc9111_3_reasons_against_storing() {
        for (fields, why) in [
            (&[FRESH][..], None),
            (&[FRESH, (":status", "404")], None),
            (&[FRESH, (":status", "599")], None),
            (&[FRESH, (":status", "206")], Some(NotStored::Status)),
            (&[FRESH, (":status", "304")], Some(NotStored::Status)),
            (&[FRESH, (":status", "407")], Some(NotStored::Status)),
            (&[FRESH, (":status", "412")], Some(NotStored::Status)),
            (&[FRESH, (":status", "416")], Some(NotStored::Status)),
            (&[FRESH, (":status", "417")], Some(NotStored::Status)),
            (&[FRESH, (":status", "428")], Some(NotStored::Status)),
            (&[FRESH, (":status", "429")], Some(NotStored::Status)),
            (&[FRESH, (":status", "431")], Some(NotStored::Status)),
            (&[FRESH, (":status", "511")], Some(NotStored::Status)),
            (&[FRESH, (":status", "103")], Some(NotStored::Status)),
            (&[FRESH, (":status", "x")], Some(NotStored::Status)),
            (
                &[FRESH, (":status", "299"), ("cache-control", "must-understand")],
                Some(NotStored::Status),
            ),
            (&[FRESH, ("cache-control", "no-store")], Some(NotStored::NoStore)),
            (&[FRESH, ("cache-control", "no-store, must-understand")], None),
            (&[FRESH, ("cache-control", "private")], Some(NotStored::Private)),
            (&[FRESH, ("cache-control", "private=\"x\"")], None),
            (&[FRESH, ("set-cookie", "a=b")], Some(NotStored::SetCookie)),
            (&[FRESH, ("set-cookie", "a=b"), ("cache-control", "private=\"Set-Cookie\"")], None),
            (&[], Some(NotStored::NoFreshness)),
            (&[ETAG], Some(NotStored::NoFreshness)),
            (&[("cache-control", "max-age=0")], Some(NotStored::Stale)),
            (&[("cache-control", "max-age=0"), ETAG], None),
            (&[("cache-control", "max-age=0, stale-while-revalidate=1")], None),
            (&[("cache-control", "max-age=0, stale-if-error=1")], None),
            (
                &[("cache-control", "max-age=0, stale-if-error=1"), ("age", "1")],
                Some(NotStored::Stale),
            ),
            (
                &[("cache-control", "max-age=0, must-revalidate, stale-if-error=1")],
                Some(NotStored::Stale),
            ),
            (&[("cache-control", "max-age=0"), ("etag", "a")], Some(NotStored::Stale)),
            (&[FRESH, ("age", "60")], Some(NotStored::Stale)),
            (&[FRESH, ("cache-control", "no-cache")], Some(NotStored::NoCache)),
            (&[("cache-control", "no-cache"), ("last-modified", "x")], None),
            (&[FRESH, ("cache-control", "no-cache=\"x\"")], None),
            (&[NO_CACHE, ETAG, (":status", "404")], None),
            (&[NO_CACHE, ETAG, (":status", "299")], Some(NotStored::NoFreshness)),
            (&[NO_CACHE, ETAG, (":status", "299"), ("cache-control", "public")], None),
        ] {
            assert_eq!(refusal(fields), why, "{fields:?}");
        }
    }

    #[test]
    fn what_the_request_forbids() {
        let rule = StoreRule::default();
        let head = Asked { head: true, ..Asked::default() };
        let no_store = Asked { no_store: true, ..Asked::default() };
        let authorized = Asked { authorization: true, ..Asked::default() };
        assert_eq!(check(&[FRESH], &rule, head).err(), Some(NotStored::Method));
        assert_eq!(check(&[FRESH], &rule, no_store).err(), Some(NotStored::RequestNoStore));
        let range = Asked { range: true, ..Asked::default() };
        assert!(check(&[FRESH], &rule, range).is_ok());
        assert_eq!(
            check(&[FRESH, (":status", "400")], &rule, range).err(),
            Some(NotStored::Status)
        );
        // RFC 9111, 3.5.
        for (directive, stored) in [
            ("public", true),
            ("s-maxage=9", true),
            ("must-revalidate", true),
            ("proxy-revalidate", false),
            ("max-age=9", false),
        ] {
            let found = check(&[FRESH, ("cache-control", directive)], &rule, authorized);
            assert_eq!(found.is_ok(), stored, "{directive}");
            assert!(found.is_err() || found.is_ok_and(|found| found.shared));
        }
        let ignored = StoreRule { authorization_ignored: true, ..StoreRule::default() };
        assert!(check(&[FRESH], &ignored, authorized).is_ok_and(|found| !found.shared));
    }

    #[test]
    fn rfc5861_and_what_forbids_stale_answers() {
        let rule =
            StoreRule { stale_while_revalidate_s: 7, stale_if_error_s: 8, ..StoreRule::default() };
        for (directives, while_s, error_s) in [
            ("public", 7, 8),
            ("stale-while-revalidate=1", 1, 8),
            ("stale-if-error=2", 7, 2),
            ("stale-if-error=0", 7, 0),
            ("must-revalidate, stale-if-error=2", 0, 0),
            ("proxy-revalidate", 0, 0),
            ("s-maxage=9, stale-while-revalidate=1", 0, 0),
        ] {
            let found =
                check(&[FRESH, ETAG, ("cache-control", directives)], &rule, Asked::default());
            let found = found.unwrap();
            let seconds = (found.stale_while_revalidate_s, found.stale_if_error_s);
            assert_eq!(seconds, (while_s, error_s), "{directives}");
            assert_eq!(found.never_stale, error_s + while_s == 0, "{directives}");
        }
        let no_cache =
            check(&[("cache-control", "no-cache"), ETAG], &rule, Asked::default()).unwrap();
        assert!(no_cache.never_stale && no_cache.fresh_until_ms == 100_000);
    }
}
