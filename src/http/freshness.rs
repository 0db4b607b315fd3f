//! How long a response is fresh, and how old it is (RFC 9111, 4.2).

use super::cache_control::delta_seconds;
use super::date;
use super::response::ResponseHead;

/// The share of its age at which a response is heuristically fresh (4.2.2).
const HEURISTIC_PART: u64 = 10;
/// The longest heuristic freshness, in ms: beyond a day a warning was due (RFC 7234, 5.5.4).
const HEURISTIC_MOST_MS: u64 = 24 * 60 * 60 * 1000;
/// Statuses that may be heuristically fresh (RFC 9110, 15.1), without 206.
const HEURISTIC: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// How long responses are fresh that do not say so themselves.
#[derive(Clone, Debug, Default)]
pub struct Lifetime {
    /// For 200, in ms; none means only what the response says.
    pub ttl_ms: Option<u64>,
    /// For negative answers, in ms.
    pub negative_ttl_ms: u64,
    /// Statuses kept as negative answers.
    pub negative_statuses: Vec<u16>,
    /// These times count even if the response says something else.
    pub overrides: bool,
    /// Whether a response without any other freshness is fresh for a tenth of its age (4.2.2).
    pub heuristic: bool,
}

/// When a response was asked for and when it came, in ms since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When the request went out.
    pub asked_ms: u64,
    /// When the response's head came in.
    pub received_ms: u64,
}

/// Freshness on arrival, both in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// The freshness lifetime (4.2.1).
    pub lifetime_ms: u64,
    /// What of it had passed on arrival.
    pub spent_ms: u64,
    /// Whether it is the policy's, and not the response's own.
    pub by_policy: bool,
}

/// The freshness of a response: `s-maxage`, `max-age`, `Expires`, the policy, the heuristic, in this
/// order; none if none of them says anything.
#[must_use]
pub fn freshness(head: &ResponseHead<'_>, policy: &Lifetime, times: Times) -> Option<Freshness> {
    let own = || explicit_ms(head, times).map(|ms| (ms, initial_age_ms(head, times), false));
    // The policy's own times begin here: a clock that runs late elsewhere must not end them before.
    let rule = || policy_ms(head.status, policy).map(|ms| (ms, age_value_ms(head), true));
    let said = if policy.overrides { rule().or_else(own) } else { own().or_else(rule) };
    let guess =
        || heuristic_ms(head, policy, times).map(|ms| (ms, initial_age_ms(head, times), true));
    let (lifetime_ms, spent_ms, by_policy) = said.or_else(guess)?;
    Some(Freshness { lifetime_ms, spent_ms, by_policy })
}

/// What the response itself says (4.2.1, 5.3).
fn explicit_ms(head: &ResponseHead<'_>, times: Times) -> Option<u64> {
    if let Some(seconds) = head.cache_control.s_maxage.or(head.cache_control.max_age) {
        return Some(u64::from(seconds) * 1000);
    }
    // An invalid date, "0" above all, means already expired.
    let expires = date::parse(head.expires?, times.received_ms).unwrap_or(0);
    let date = head.date.and_then(|text| date::parse(text, times.received_ms));
    Some(expires.saturating_sub(date.unwrap_or(times.received_ms)))
}

fn policy_ms(status: u16, policy: &Lifetime) -> Option<u64> {
    if policy.negative_statuses.contains(&status) {
        return Some(policy.negative_ttl_ms);
    }
    policy.ttl_ms.filter(|_| status == 200)
}

/// Whether a response that says nothing of its freshness may be stored all the same (3).
pub(super) fn needs_no_time(head: &ResponseHead<'_>) -> bool {
    HEURISTIC.contains(&head.status) || head.cache_control.public
}

/// A tenth of the time since the last change, a day at most (4.2.2).
fn heuristic_ms(head: &ResponseHead<'_>, policy: &Lifetime, times: Times) -> Option<u64> {
    if !policy.heuristic || !needs_no_time(head) {
        return None;
    }
    let changed = date::parse(head.last_modified?, times.received_ms)?;
    let date = head.date.and_then(|text| date::parse(text, times.received_ms));
    let since = date.unwrap_or(times.received_ms).saturating_sub(changed);
    Some((since / HEURISTIC_PART).min(HEURISTIC_MOST_MS))
}

/// `corrected_initial_age` (4.2.3), in ms. Dates have whole seconds, so what passed is counted in them.
pub(super) fn initial_age_ms(head: &ResponseHead<'_>, times: Times) -> u64 {
    let date = head.date.and_then(|text| date::parse(text, times.received_ms));
    let apparent_s = date.map_or(0, |date| (times.received_ms / 1000).saturating_sub(date / 1000));
    let delay_ms = times.received_ms.saturating_sub(times.asked_ms);
    (apparent_s * 1000).max(age_value_ms(head) + delay_ms)
}

/// `age_value`: the first number of `Age`; what is no number says nothing (5.1).
fn age_value_ms(head: &ResponseHead<'_>) -> u64 {
    let first = head.age.and_then(|text| text.split(|b| *b == b',').next());
    u64::from(first.and_then(delta_seconds).unwrap_or(0)) * 1000
}

#[cfg(test)]
mod tests {
    use super::super::fields::{Fields, block};
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW: u64 = 784_111_777_000;
    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");

    /// Lifetime and age in seconds.
    fn check(status: &str, fields: &[(&str, &str)], policy: &Lifetime) -> Option<(u64, u64)> {
        let mut all = vec![(":status", status)];
        all.extend(fields);
        let bytes = block(&all);
        let head = ResponseHead::read(Fields::new(&bytes), &[]);
        let times = Times { asked_ms: NOW - 2_000, received_ms: NOW + 300 };
        freshness(&head, policy, times).map(|f| (f.lifetime_ms / 1000, f.spent_ms / 1000))
    }

    #[test]
    fn rfc9111_4_2_1_the_order_of_what_counts() {
        let ttl = Lifetime { ttl_ms: Some(60_000), ..Lifetime::default() };
        for (fields, lifetime) in [
            (&[("cache-control", "max-age=9, s-maxage=8"), ("expires", "0")][..], Some(8)),
            (&[("cache-control", "max-age=9"), ("expires", "0")], Some(9)),
            (&[("expires", "Sun, 06 Nov 1994 08:50:37 GMT"), DATE], Some(60)),
            (&[("expires", "Sunday, 06-Nov-94 08:50:37 GMT"), DATE], Some(60)),
            (&[("expires", "Sun Nov  6 08:50:37 1994"), DATE], Some(60)),
            (&[("expires", "Sun, 06 Nov 1994 08:50:37 GMT")], Some(59)), // since it came
            (&[("expires", "0"), DATE], Some(0)),
            (&[("expires", "soon"), DATE], Some(0)),
            (&[("expires", "Sun, 06 Nov 1994 08:00:00 GMT"), DATE], Some(0)),
            (&[DATE], None),
        ] {
            let found = check("200", fields, &Lifetime::default());
            assert_eq!(found.map(|f| f.0), lifetime, "{fields:?}");
            let found = check("200", fields, &ttl);
            assert_eq!(found.map(|f| f.0), lifetime.or(Some(60)), "{fields:?} with a policy");
        }
        let overrides = Lifetime { overrides: true, ..ttl };
        let found = check("200", &[("cache-control", "max-age=9")], &overrides);
        assert_eq!(found.map(|f| f.0), Some(60));
        let found = check("201", &[("cache-control", "max-age=9")], &overrides);
        assert_eq!(found.map(|f| f.0), Some(9));
    }

    #[test]
    fn rfc9111_4_2_3_age_on_arrival() {
        let policy = Lifetime::default();
        let max_age = ("cache-control", "max-age=600");
        for (fields, age) in [
            (&[max_age][..], 2),                                         // on its way
            (&[max_age, ("age", "7")], 9),                               // and before that
            (&[max_age, ("date", "Sun, 06 Nov 1994 08:49:07 GMT")], 30), // by its date
            (&[max_age, ("age", "40"), ("date", "Sun, 06 Nov 1994 08:49:07 GMT")], 42),
            (&[max_age, ("date", "Sun, 06 Nov 1994 09:49:07 GMT")], 2), // from the future
            (&[max_age, ("date", "yesterday")], 2),
            (&[max_age, ("age", "5, 9"), ("age", "11")], 7),
            (&[max_age, ("age", "-5")], 2),
            (&[max_age, ("age", "1.5")], 2),
        ] {
            assert_eq!(check("200", fields, &policy).map(|f| f.1), Some(age), "{fields:?}");
        }
        // The policy's time begins here.
        let ttl = Lifetime { ttl_ms: Some(60_000), ..Lifetime::default() };
        let old = ("date", "Sun, 06 Nov 1994 08:00:00 GMT");
        assert_eq!(check("200", &[old, ("age", "7")], &ttl), Some((60, 7)));
    }

    #[test]
    fn rfc9111_4_2_2_heuristics_only_where_switched_on() {
        let on = Lifetime { heuristic: true, ..Lifetime::default() };
        let hour = [DATE, ("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT")];
        let years = [DATE, ("last-modified", "Sat, 06 Nov 1982 07:49:37 GMT")];
        assert_eq!(check("200", &hour, &Lifetime::default()), None);
        for (status, fields, lifetime) in [
            ("200", &hour[..], Some(360)),
            ("404", &hour, Some(360)),
            ("200", &years, Some(86_400)),
            ("500", &hour, None),
            ("200", &[DATE], None),
            ("200", &[DATE, ("last-modified", "Sun, 06 Nov 1994 09:49:37 GMT")], Some(0)),
        ] {
            let found = check(status, fields, &on).map(|f| f.0);
            assert_eq!(found, lifetime, "{status} {fields:?}");
        }
        let public = [hour[0], hour[1], ("cache-control", "public")];
        assert_eq!(check("500", &public, &on).map(|f| f.0), Some(360));
    }

    #[test]
    fn negative_answers_have_their_own_lifetime() {
        let policy = Lifetime {
            ttl_ms: Some(60_000),
            negative_ttl_ms: 5_000,
            negative_statuses: vec![404],
            ..Lifetime::default()
        };
        for (status, lifetime) in [("200", Some(60)), ("404", Some(5)), ("500", None)] {
            assert_eq!(check(status, &[], &policy).map(|f| f.0), lifetime, "{status}");
        }
    }
}
