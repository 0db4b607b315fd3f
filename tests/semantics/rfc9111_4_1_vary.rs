//! RFC 9111, 4.1: responses that differ by fields of the request.

use serde_json::json;

use super::{get_with, text};
use crate::harness::scene::l2_only;
use crate::harness::{Asked, Scene, eventually, reply};

/// Says what it was asked for, and that it matters.
fn by_language(asked: &Asked) -> Option<Vec<u8>> {
    let language = asked.field("accept-language").unwrap_or("none").to_owned();
    let fields = [("cache-control", "max-age=60"), ("vary", "Accept-Language")];
    reply(200, &fields, &language)
}

#[test]
fn rfc9111_4_1_a_variant_for_each_value() {
    let (envoy, script) = Scene::scripted("4-1-variants", |_| {}, by_language);
    let mut client = envoy.client();
    let first = client.get("/a");
    assert_eq!(first.cache_status(), "tiercel; fwd=uri-miss; fwd-status=200; stored");
    let de = [("accept-language", "de")];
    let miss = get_with(&mut client, "/a", &de);
    assert_eq!(miss.cache_status(), "tiercel; fwd=vary-miss; fwd-status=200; stored");
    for (fields, body) in [(&[][..], "none"), (&de, "de")] {
        let hit = get_with(&mut client, "/a", fields);
        assert!(hit.is_hit(), "{fields:?}: {hit:?}");
        assert_eq!((text(&hit), hit.field("vary")), (body, Some("Accept-Language")));
    }
    // An empty field is not an absent one; spaces and case of a list mean nothing.
    assert!(!get_with(&mut client, "/a", &[("accept-language", "")]).is_hit());
    assert!(!get_with(&mut client, "/a", &[("accept-language", "fr, en;q=0.5")]).is_hit());
    assert!(get_with(&mut client, "/a", &[("accept-language", "FR ,en; q=0.5")]).is_hit());
    assert_eq!(script.asked().len(), 4);
}

#[test]
fn rfc9111_4_1_variants_go_through_l2() {
    let (envoy, script, _redis) = Scene::scripted_l2("4-1-l2", l2_only, by_language);
    let mut client = envoy.client();
    for (stored, language) in [(2, "de"), (4, "en")] {
        get_with(&mut client, "/a", &[("accept-language", language)]);
        // The record, and the variant.
        envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", stored);
    }
    for language in ["de", "en", "de"] {
        let hit = get_with(&mut client, "/a", &[("accept-language", language)]);
        assert!(hit.cache_status().ends_with("detail=l2"), "{hit:?}");
        assert_eq!(text(&hit), language);
    }
    assert_eq!(script.asked().len(), 2);
}

#[test]
fn rfc9111_4_1_the_number_of_variants_is_bounded() {
    let (envoy, script, redis) = Scene::scripted_l2(
        "4-1-bound",
        |config| config["vary"] = json!({"max_variants": 3}),
        by_language,
    );
    let mut client = envoy.client();
    let mut get = |n: u32| {
        let hit = get_with(&mut client, "/a", &[("accept-language", &format!("x{n}"))]);
        assert_eq!(text(&hit), format!("x{n}"));
        hit.is_hit()
    };
    assert!((0..40).all(|n| !get(n)));
    assert!(get(39) && get(38) && get(37) && !get(0));
    envoy.expect_metric("tiercel_l1_entries", 4);
    eventually("Redis to have three variants and their record", || {
        (redis.keys().len() == 4).then_some(())
    });
    assert_eq!(script.asked().len(), 41);
}

#[test]
fn rfc9111_4_1_the_bytes_of_variants_are_bounded() {
    let (envoy, _script, redis) = Scene::scripted_l2(
        "4-1-bytes",
        |config| config["vary"] = json!({"max_bytes": "10KiB"}),
        |asked| {
            let len = asked.field("accept-language").and_then(|text| text.parse().ok());
            let fields = [("cache-control", "max-age=60"), ("vary", "accept-language")];
            reply(200, &fields, &"x".repeat(len.unwrap_or(0)))
        },
    );
    let mut client = envoy.client();
    let mut get =
        |n: u32| get_with(&mut client, "/a", &[("accept-language", &n.to_string())]).is_hit();
    // Two of these fit, and three do not.
    for n in 4_001..4_010 {
        assert!(!get(n) && get(n));
    }
    assert!(get(4_008) && get(4_009));
    envoy.expect_metric("tiercel_l1_entries", 3);
    eventually("Redis to have two, and their record", || (redis.keys().len() == 3).then_some(()));
    // One that is longer than all of them may have together is kept alone.
    assert!(!get(12_000) && get(12_000));
    envoy.expect_metric("tiercel_l1_entries", 2);
    eventually("Redis to have one, and its record", || (redis.keys().len() == 2).then_some(()));
}

#[test]
fn rfc9111_4_1_vary_changes_over_time() {
    let (envoy, script) = Scene::scripted("4-1-changes", |_| {}, |_| None);
    let mut client = envoy.client();
    let answers = |vary: &'static str| {
        move |asked: &Asked| {
            let body = format!("{:?}", (vary, asked.field("x-a"), asked.field("x-b")));
            let fields = [("cache-control", "max-age=60"), ("vary", vary)];
            reply(200, &fields[..if vary.is_empty() { 1 } else { 2 }], &body)
        }
    };
    script.becomes(answers("X-A"));
    assert!(!get_with(&mut client, "/a", &[("x-a", "1")]).is_hit());
    // Now it varies by more: what was stored is not found any more, and not mistaken.
    script.becomes(answers("X-A, X-B"));
    assert!(!get_with(&mut client, "/a", &[("x-a", "2"), ("x-b", "1")]).is_hit());
    let other = get_with(&mut client, "/a", &[("x-a", "2"), ("x-b", "2")]);
    assert!(!other.is_hit() && text(&other).contains("Some(\"2\"), Some(\"2\")"), "{other:?}");
    assert!(get_with(&mut client, "/a", &[("x-a", "2"), ("x-b", "1")]).is_hit());
    // By less: the variants known stay apart.
    script.becomes(answers(""));
    assert!(!get_with(&mut client, "/a", &[("x-a", "3")]).is_hit());
    assert!(get_with(&mut client, "/a", &[("x-a", "3")]).is_hit());
    let kept = get_with(&mut client, "/a", &[("x-a", "2"), ("x-b", "2")]);
    assert!(kept.is_hit() && text(&kept).contains("X-A, X-B"), "{kept:?}");
}

#[test]
fn rfc9110_12_5_3_accept_encoding_does_not_split_the_cache() {
    let (envoy, script) = Scene::scripted(
        "12-5-3-encoding",
        |_| {},
        |asked| {
            let encoding = if asked.field("accept-encoding").is_some_and(|a| a.contains("br")) {
                "br"
            } else {
                "identity"
            };
            let fields = [
                ("cache-control", "max-age=60"),
                ("vary", "accept-encoding"),
                ("content-encoding", encoding),
            ];
            reply(200, &fields, encoding)
        },
    );
    let mut client = envoy.client();
    assert!(!get_with(&mut client, "/a", &[("accept-encoding", "gzip, deflate, br")]).is_hit());
    for same in
        ["br, gzip, deflate", "GZIP;q=0.8,deflate,br;q=1.0", "x-gzip, br,deflate , identity"]
    {
        assert!(get_with(&mut client, "/a", &[("accept-encoding", same)]).is_hit(), "{same}");
    }
    for other in ["gzip, deflate", "gzip, deflate, br;q=0", ""] {
        let response = get_with(&mut client, "/a", &[("accept-encoding", other)]);
        assert!(!response.is_hit(), "{other}");
    }
    assert_eq!(script.asked().len(), 4);
}

#[test]
fn configured_fields_count_as_they_are_told() {
    let (envoy, script) = Scene::scripted(
        "4-1-normalisers",
        |config| {
            config["vary"] = json!({"fields": {
                "Accept-Language": {"one_of": ["en", "zh"], "otherwise": "en"},
                "User-Agent": {"ignore": true},
            }});
            config["key"] = json!({"fields": ["X-Tenant"]});
        },
        |asked| {
            let language = asked.field("accept-language").unwrap_or("none").to_owned();
            let fields = [("cache-control", "max-age=60"), ("vary", "Accept-Language, User-Agent")];
            reply(200, &fields, &language)
        },
    );
    let mut client = envoy.client();
    for (n, (fields, hit, body)) in [
        (&[("accept-language", "en-GB, de"), ("user-agent", "1")][..], false, "en"),
        (&[("accept-language", "fr"), ("user-agent", "2")], true, "en"),
        (&[("accept-language", "zh-CN;q=0.3, en;q=0.2")], false, "zh"),
        (&[], true, "en"),
        (&[("x-tenant", "a")], false, "en"),
        (&[("x-tenant", "b")], false, "en"),
        (&[("x-tenant", "a"), ("accept-language", "en")], true, "en"),
    ]
    .into_iter()
    .enumerate()
    {
        let response = get_with(&mut client, "/a", fields);
        assert_eq!((response.is_hit(), text(&response)), (hit, body), "{n}: {fields:?}");
    }
    // The origin saw what the keys say.
    let seen: Vec<_> = script.asked();
    assert!(
        seen.iter().all(|a| matches!(a.field("accept-language"), Some("en" | "zh"))),
        "{seen:?}"
    );
}

#[test]
fn rfc9111_4_1_credentials_are_never_part_of_a_key() {
    let (envoy, _script) = Scene::scripted(
        "4-1-credentials",
        |config| config["defaults"] = json!({"cookies": "ignore"}),
        super::always(&[("cache-control", "public, max-age=60"), ("vary", "Authorization")]),
    );
    let mut client = envoy.client();
    let response = get_with(&mut client, "/a", &[("authorization", "Bearer me")]);
    assert_eq!(response.cache_status(), "tiercel; fwd=uri-miss; fwd-status=200; detail=vary_value");
    assert!(!client.get("/a").is_hit() && client.get("/a").is_hit());
    assert!(!get_with(&mut client, "/a", &[("authorization", "Bearer me")]).is_hit());
}
