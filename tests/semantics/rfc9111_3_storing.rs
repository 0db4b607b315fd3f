//! RFC 9111, 3: what is stored, and which of its fields.

use serde_json::json;

use super::{always, by_query, get_with, target};
use crate::harness::Scene;

#[test]
fn rfc9111_3_what_may_be_stored_and_what_not() {
    let (envoy, _script) = Scene::scripted("3-storing", |_| {}, by_query());
    let mut client = envoy.client();
    let fresh = "cache-control: max-age=60";
    for (n, (status, fields, detail)) in [
        (200, &[fresh][..], None),
        (203, &[fresh], None),
        (204, &[fresh], None),
        (301, &[fresh, "location: /x"], None),
        (302, &[fresh, "location: /x"], None),
        (404, &[fresh], None),
        (410, &[fresh], None),
        (500, &[fresh], None),
        (503, &[fresh], None),
        (299, &[fresh], None), // unknown, but final and with explicit freshness
        (206, &[fresh, "content-range: bytes 0-5/6"], Some("status")),
        (407, &[fresh, "proxy-authenticate: Basic"], Some("status")),
        (412, &[fresh], Some("status")),
        (416, &[fresh, "content-range: bytes */6"], Some("status")),
        (417, &[fresh], Some("status")),
        // RFC 6585: they tell one client what it did.
        (428, &[fresh], Some("status")),
        (429, &[fresh], Some("status")),
        (431, &[fresh], Some("status")),
        (511, &[fresh], Some("status")),
        (200, &[], Some("no_freshness")),
        (404, &[], Some("no_freshness")),
        (200, &["cache-control: public"], Some("no_freshness")), // no heuristics by itself
        (200, &["last-modified: Sun, 06 Nov 1994 08:49:37 GMT"], Some("no_freshness")),
        (200, &["cache-control: no-store, max-age=60"], Some("no_store")),
        (200, &["cache-control: max-age=60", "cache-control: NO-STORE"], Some("no_store")),
        (200, &["cache-control: max-age=60, x=\"never closed, no-store"], Some("no_store")),
        (200, &["cache-control: max-age=60, x=\"a, no-store, b\""], None),
        (200, &["cache-control: max-age=60; private"], Some("private")),
        (200, &["cache-control: no-store; no-cache"], Some("no_store")),
        (200, &["cache-control: private, max-age=60"], Some("private")),
        (200, &["cache-control: no-cache, max-age=60"], Some("no_cache")),
        (200, &["cache-control: max-age=0"], Some("stale")),
        (200, &[fresh, "age: 60"], Some("stale")),
        (200, &[fresh, "set-cookie: a=b"], Some("set_cookie")),
        (200, &[fresh, "vary: *"], Some("vary")),
        // 5.2.2.3: who understands the status ignores no-store; who does not stores nothing.
        (200, &["cache-control: must-understand, no-store, max-age=60"], None),
        (299, &["cache-control: must-understand, max-age=60"], Some("status")),
        // 5.2.2.6 and 5.2.2.4: limited to fields, the rest is stored.
        (200, &["cache-control: private=\"x-user\", max-age=60", "x-user: me", "x-all: us"], None),
        (200, &["cache-control: no-cache=\"set-cookie\", max-age=60", "set-cookie: a=b"], None),
    ]
    .into_iter()
    .enumerate()
    {
        let path = target(&format!("/{n}"), status, fields);
        let (first, second) = (client.get(&path), client.get(&path));
        let told = detail.map_or("; stored".to_owned(), |detail| format!("; detail={detail}"));
        let expected = format!("tiercel; fwd=uri-miss; fwd-status={status}{told}");
        assert_eq!(first.cache_status(), expected, "{status} {fields:?}");
        assert_eq!(second.is_hit(), detail.is_none(), "{status} {fields:?}");
        if second.is_hit() {
            assert_eq!((second.status, &second.body), (status, &first.body), "{fields:?}");
            assert_eq!(second.field("x-all"), first.field("x-all"));
            for name in ["x-user", "set-cookie"] {
                assert_eq!(second.field(name), None, "{fields:?}");
            }
        }
    }
}

#[test]
fn rfc9111_3_3_what_only_a_closed_connection_ends_may_be_cut_short() {
    for stored in [false, true] {
        let (envoy, _script) = Scene::scripted(
            &format!("3-3-unframed-{stored}"),
            |config| config["defaults"] = json!({"store_unframed": stored}),
            |asked| match asked.target.as_str() {
                "/empty" => crate::harness::reply(204, &[("cache-control", "max-age=60")], ""),
                _ => Some(
                    b"HTTP/1.1 200 X\r\ncache-control: max-age=60\r\n\r\n{\"a\": [1, 2".to_vec(),
                ),
            },
        );
        for path in ["/a", "/empty"] {
            let stored = stored || path == "/empty";
            let first = envoy.client().get(path);
            assert_eq!(first.cache_status().ends_with("detail=unframed"), !stored, "{first:?}");
            assert_eq!(envoy.client().get(path).is_hit(), stored, "{path}");
        }
    }
}

#[test]
fn an_error_may_be_about_a_range() {
    let (envoy, _script) = Scene::scripted(
        "3-range-error",
        |_| {},
        |asked| {
            let odd = ["range", "if-range"].iter().any(|name| asked.field(name).is_some());
            crate::harness::reply(
                if odd { 400 } else { 200 },
                &[("cache-control", "max-age=60")],
                "body",
            )
        },
    );
    let mut client = envoy.client();
    for field in [("range", "bites=1"), ("if-range", "x")] {
        let error = get_with(&mut client, "/a", &[field]);
        assert!(
            error.status == 400 && error.cache_status().ends_with("detail=status"),
            "{error:?}"
        );
    }
    assert_eq!(client.get("/a").status, 200);
}

#[test]
fn rfc9111_3_1_fields_that_are_not_stored() {
    let (envoy, _script) = Scene::scripted(
        "3-1-fields",
        |_| {},
        always(&[
            ("cache-control", "max-age=60"),
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "x"),
            ("x-b", "2"),
            ("x-a", "1"),
            ("x-b", "3"),
        ]),
    );
    let mut client = envoy.client();
    let (_, hit) = (client.get("/a"), client.get("/a"));
    assert!(hit.is_hit());
    for name in ["x-hop", "keep-alive", "proxy-authenticate", "proxy-authentication-info"] {
        assert_eq!(hit.field(name), None, "{name}");
    }
    // Order is kept.
    let kept: Vec<_> = hit.fields.iter().filter(|(name, _)| name.starts_with("x-")).collect();
    let values: Vec<_> = kept.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(values, ["x-b=2", "x-a=1", "x-b=3"]);
}

#[test]
fn rfc9111_3_5_authorization() {
    let (envoy, script) = Scene::scripted(
        "3-5-authorization",
        |config| {
            config["routes"] =
                json!([{"path": "/open/{*rest}", "authorization": "ignore", "ttl": "60s"}]);
        },
        by_query(),
    );
    let mut client = envoy.client();
    let mine = [("authorization", "Bearer me")];
    for (n, (directives, shared)) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
        ("max-age=60, proxy-revalidate", false),
    ]
    .into_iter()
    .enumerate()
    {
        let path = target(&format!("/{n}"), 200, &[&format!("cache-control: {directives}")]);
        let first = get_with(&mut client, &path, &mine);
        assert_eq!(first.cache_status().contains("stored"), shared, "{directives}");
        assert_eq!(get_with(&mut client, &path, &mine).is_hit(), shared, "{directives}");
        assert_eq!(client.get(&path).is_hit(), shared, "{directives}");
        // What a request without it stored is not for one with it unless it is shared.
        assert!(client.get(&path).is_hit(), "{directives}");
        let again = get_with(&mut client, &path, &mine);
        assert_eq!(again.is_hit(), shared, "{directives}");
        if !shared {
            let expected = "tiercel; fwd=request; fwd-status=200; detail=authorization";
            assert_eq!(again.cache_status(), expected);
        }
    }
    script.asked();
    assert!(!get_with(&mut client, "/open/a?200", &mine).is_hit());
    assert!(client.get("/open/a?200").is_hit());
    assert_eq!(script.asked().len(), 1);
}

#[test]
fn rfc9111_4_2_2_heuristics_and_overrides_only_where_a_route_says_so() {
    let (envoy, _script) = Scene::scripted(
        "4-2-2-heuristic",
        |config| {
            config["routes"] = json!([
                {"path": "/guess/{*rest}", "heuristic": "on", "jitter": 0},
                {"path": "/force/{*rest}", "ttl": "49s", "override_freshness": true},
                {"path": "/ttl/{*rest}", "ttl": "49s"},
            ]);
        },
        by_query(),
    );
    let mut client = envoy.client();
    let old = "last-modified: Sun, 06 Nov 1994 08:49:37 GMT";
    // RFC 9110, 15.1: which statuses may be guessed about.
    for (status, guessed) in [
        (203, true),
        (204, true),
        (300, true),
        (301, true),
        (308, true),
        (404, true),
        (405, true),
        (410, true),
        (414, true),
        (501, true),
        (201, false),
        (302, false),
        (307, false),
        (400, false),
        (403, false),
        (500, false),
    ] {
        let path = target(&format!("/guess/{status}"), status, &[old]);
        client.get(&path);
        assert_eq!(client.get(&path).is_hit(), guessed, "{status}");
    }
    for (path, fields, ttl) in [
        ("/guess/a", &[old][..], Some("ttl=86")),
        ("/guess/b", &[], None),
        ("/force/a", &["cache-control: max-age=5"], Some("ttl=4")),
        ("/force/b", &["cache-control: max-age=5, no-store"], None),
        ("/ttl/a", &["cache-control: max-age=499"], Some("ttl=4")),
        ("/ttl/b", &[], Some("ttl=")),
    ] {
        let path = target(path, 200, fields);
        client.get(&path);
        let second = client.get(&path);
        assert_eq!(second.is_hit(), ttl.is_some(), "{path}");
        assert!(ttl.is_none_or(|ttl| second.cache_status().contains(ttl)), "{second:?}");
    }
}
