//! `Cache-Control`: how a list is cut into lines says nothing, and what is added makes it stricter.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::http::cache_control::{CacheControl, FieldNames};
use tiercel_fuzz::lines;

fuzz_target!(|input: &[u8]| {
    let parsed = CacheControl::parse(lines(input));
    if !input.contains(&b'"') {
        // RFC 9110, 5.3. An open quote would swallow what follows.
        let joined = lines(input).collect::<Vec<_>>().join(&b", "[..]);
        assert_eq!(CacheControl::parse([&joined[..]]), parsed);
    }
    let first = CacheControl::parse(lines(input).take(1));
    assert!(stricter(&parsed, &first), "{parsed:?} after {first:?}");
});

fn stricter(more: &CacheControl, less: &CacheControl) -> bool {
    let seconds = |of: &CacheControl| {
        let (ages, stale) = ([of.max_age, of.s_maxage], [of.max_stale, of.min_fresh]);
        [ages, stale, [of.stale_while_revalidate, of.stale_if_error]].concat()
    };
    let flags = |of: &CacheControl| {
        let origins = [of.no_store, of.no_transform, of.only_if_cached, of.must_revalidate];
        [origins, [of.proxy_revalidate, of.must_understand, of.public, of.immutable]].concat()
    };
    let covers = |more: &Option<FieldNames>, less: &Option<FieldNames>| match (more, less) {
        (Some(FieldNames::All), _) | (_, None) => true,
        (Some(FieldNames::Only(more)), Some(FieldNames::Only(less))) => more.starts_with(less),
        _ => false,
    };
    seconds(more).iter().zip(seconds(less)).all(|(m, l)| l.is_none() || m.is_some() && *m <= l)
        && flags(more).iter().zip(flags(less)).all(|(m, l)| *m >= l)
        && covers(&more.no_cache, &less.no_cache)
        && covers(&more.private, &less.private)
}
