//! Whether a stored response may answer a request (RFC 9111, 4.2.4 and 5.2.1).

use super::cache_control::CacheControl;

/// What a stored response knows of its own freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is fresh.
    pub fresh: bool,
    /// Ms of freshness left; negative when stale.
    pub ttl_ms: i64,
    /// Its age, in seconds.
    pub age_s: u64,
    /// Seconds it is served stale while it is fetched again.
    pub stale_while_revalidate_s: u32,
    /// It must never be served stale.
    pub never_stale: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
}

/// What to do with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Serve it.
    Fresh,
    /// Serve it stale: the client asked for that (`max-stale`).
    Stale,
    /// Serve it stale and fetch it again meanwhile (RFC 5861, 3).
    Refresh,
    /// Ask the origin, for it is stale.
    Validate,
    /// Ask the origin, for the client wants it so, though it is fresh.
    Refused,
}

/// Decides what to do with a stored response for a request with these directives.
#[must_use]
pub fn reuse(stored: Standing, wanted: &CacheControl) -> Reuse {
    if wanted.no_cache.is_some() {
        return if stored.fresh { Reuse::Refused } else { Reuse::Validate };
    }
    let young_enough = wanted.max_age.is_none_or(|most| stored.age_s <= u64::from(most));
    if stored.fresh {
        // A reload says max-age=0: what never changes need not be asked for (RFC 8246, 2).
        let young = stored.immutable || young_enough;
        let lasts = wanted.min_fresh.is_none_or(|least| stored.ttl_ms >= i64::from(least) * 1000);
        return if young && lasts { Reuse::Fresh } else { Reuse::Refused };
    }
    // Unless max-stale is there too, max-age wants nothing stale (5.2.1.1).
    let unwanted = wanted.max_age.is_some() && wanted.max_stale.is_none();
    if stored.never_stale || wanted.min_fresh.is_some() || unwanted || !young_enough {
        return Reuse::Validate;
    }
    let within = |seconds: u32| stored.ttl_ms >= -1000 * i64::from(seconds);
    if wanted.max_stale.is_some_and(within) {
        Reuse::Stale
    } else if stored.stale_while_revalidate_s > 0 && within(stored.stale_while_revalidate_s) {
        Reuse::Refresh
    } else {
        Reuse::Validate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn check(ttl_s: i64, request: &str, change: impl FnOnce(&mut Standing)) -> Reuse {
        let mut stored = Standing {
            fresh: ttl_s > 0,
            ttl_ms: ttl_s * 1000,
            age_s: 60,
            stale_while_revalidate_s: 0,
            never_stale: false,
            immutable: false,
        };
        change(&mut stored);
        reuse(stored, &CacheControl::parse([request.as_bytes()]))
    }

    #[test]
    fn rfc9111_5_2_1_what_the_client_wants() {
        use Reuse::{Fresh, Refused, Stale, Validate};
        for (ttl_s, request, expected) in [
            (10, "", Fresh),
            (-1, "", Validate),
            (10, "no-cache", Refused),
            (-1, "no-cache", Validate),
            (10, "max-age=60", Fresh),
            (10, "max-age=59", Refused),
            (10, "max-age=0", Refused),
            (10, "max-age=junk", Refused),
            (10, "max-age=0, max-stale", Refused),
            (10, "max-age=60, max-stale", Fresh),
            (10, "min-fresh=10", Fresh),
            (10, "min-fresh=11", Refused),
            (-5, "max-stale", Stale),
            (-5, "max-stale=5", Stale),
            (-5, "max-stale=4", Validate),
            (-5, "max-stale, min-fresh=1", Validate),
            (-5, "max-age=60, max-stale=100", Stale),
            (-5, "max-age=59, max-stale=100", Validate),
            (-5, "max-age=10", Validate),
        ] {
            assert_eq!(check(ttl_s, request, |_| {}), expected, "{ttl_s} {request}");
        }
    }

    #[test]
    fn rfc9111_4_2_4_what_forbids_stale_answers() {
        let never = |stored: &mut Standing| stored.never_stale = true;
        assert_eq!(check(-1, "max-stale", never), Reuse::Validate);
        assert_eq!(check(10, "", never), Reuse::Fresh);
        assert_eq!(check(10, "max-age=0, max-stale", never), Reuse::Refused);
    }

    #[test]
    fn rfc5861_3_stale_while_revalidate() {
        let swr = |stored: &mut Standing| stored.stale_while_revalidate_s = 10;
        assert_eq!(check(-10, "", swr), Reuse::Refresh);
        assert_eq!(check(-11, "", swr), Reuse::Validate);
        assert_eq!(check(-5, "max-age=0", swr), Reuse::Validate);
        assert_eq!(check(-5, "max-age=3600", swr), Reuse::Validate);
        assert_eq!(check(-5, "max-age=3600, max-stale=1", swr), Reuse::Refresh);
        assert_eq!(check(-5, "no-cache", swr), Reuse::Validate);
        assert_eq!(check(0, "", |_| {}), Reuse::Validate);
    }

    #[test]
    fn rfc8246_2_a_reload_does_not_ask_for_what_never_changes() {
        let immutable = |stored: &mut Standing| stored.immutable = true;
        assert_eq!(check(10, "max-age=0", immutable), Reuse::Fresh);
        assert_eq!(check(10, "no-cache", immutable), Reuse::Refused);
        assert_eq!(check(-1, "max-age=0", immutable), Reuse::Validate);
    }
}
