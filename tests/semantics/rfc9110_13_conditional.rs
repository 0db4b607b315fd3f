//! RFC 9110, 13 and RFC 9111, 4.3.2: the client's own conditions, answered from the cache.

use super::{get_with, text};
use crate::harness::{Client, Scene, reply};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
const EARLIER: &str = "Sat, 05 Nov 1994 08:49:37 GMT";
const FIELDS: [(&str, &str); 5] = [
    ("cache-control", "max-age=60"),
    ("etag", "\"a\""),
    ("last-modified", MODIFIED),
    ("x-app", "1"),
    ("content-language", "en"),
];

#[test]
fn rfc9110_13_1_conditions_are_answered_from_the_cache() {
    let (envoy, script) = Scene::scripted("13-1", |_| {}, |_| reply(200, &FIELDS, "body"));
    let mut client = envoy.client();
    client.get("/a");
    for (fields, status) in [
        (&[("if-none-match", "\"a\"")][..], 304),
        (&[("if-none-match", "W/\"a\"")], 304),
        (&[("if-none-match", "\"x,y\", ,\"a\"")], 304),
        (&[("if-none-match", "\"x\""), ("if-none-match", "\"a\"")], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"b\"")], 200),
        (&[("if-none-match", "a")], 200),
        (&[("if-modified-since", MODIFIED)], 304),
        (&[("if-modified-since", LATER)], 304),
        (&[("if-modified-since", EARLIER)], 200),
        (&[("if-modified-since", "yesterday")], 200),
        // 13.1.3: not looked at beside If-None-Match.
        (&[("if-none-match", "\"b\""), ("if-modified-since", LATER)], 200),
        (&[("if-none-match", "\"a\""), ("if-modified-since", EARLIER)], 304),
    ] {
        for method in ["GET", "HEAD"] {
            let response = client.request(method, "/a", fields, b"");
            assert!(
                response.is_hit() && response.status == status,
                "{method} {fields:?}: {response:?}"
            );
            let body = if status == 200 && method == "GET" { "body" } else { "" };
            assert_eq!(text(&response), body, "{method} {fields:?}");
            assert_eq!(response.field("etag"), Some("\"a\""));
            assert_eq!(response.field("x-app"), Some("1"));
            if status == 304 {
                // 15.4.5: what the client has already is not sent again.
                for name in ["content-type", "content-language", "last-modified", "content-length"]
                {
                    assert_eq!(response.field(name), None, "{name}");
                }
                assert!(response.field("age").is_some() && response.field("date").is_some());
            }
        }
    }
    assert_eq!(script.asked().len(), 1);
    // 13.2.1: only a success has conditions.
    script.becomes(|_| reply(404, &FIELDS, "none"));
    client.get("/404");
    assert_eq!(get_with(&mut client, "/404", &[("if-none-match", "\"a\"")]).status, 404);
}

#[test]
fn rfc9110_13_1_on_a_miss_the_cache_is_filled_all_the_same() {
    let (envoy, script) = Scene::scripted(
        "13-1-miss",
        |_| {},
        |asked| {
            assert!(asked.field("if-none-match").is_none() || asked.target == "/range");
            if asked.target == "/chunked" {
                let head = "HTTP/1.1 200 X\r\ncache-control: max-age=60\r\netag: \"a\"\r\ntransfer-encoding: chunked\r\n\r\n";
                return Some(format!("{head}4\r\nbody\r\n0\r\n\r\n").into_bytes());
            }
            reply(200, &FIELDS, "body")
        },
    );
    let mut client: Client = envoy.client();
    let same = [("if-none-match", "\"a\"")];
    for path in ["/a", "/chunked"] {
        let first = get_with(&mut client, path, &same);
        assert_eq!((first.status, text(&first)), (304, ""), "{first:?}");
        assert_eq!(first.field("content-length"), None);
        assert!(
            first.cache_status().ends_with("fwd=uri-miss; fwd-status=200; stored"),
            "{first:?}"
        );
        // The same connection goes on.
        let hit = client.get(path);
        assert!(hit.is_hit() && text(&hit) == "body", "{hit:?}");
    }
    let other = get_with(&mut client, "/b", &[("if-none-match", "\"b\"")]);
    assert_eq!((other.status, text(&other)), (200, "body"));
    assert_eq!(script.asked().len(), 3);
}

#[test]
fn rfc9110_13_1_where_nothing_is_stored_the_origin_tells() {
    let (envoy, script) = Scene::scripted(
        "13-1-unstored",
        |_| {},
        |asked| {
            let fields = [
                ("cache-control", "private"),
                ("etag", "\"a\""),
                ("x-app", "1"),
                ("age", "7"),
                ("set-cookie", "a=b"),
            ];
            let same = asked.field("if-none-match") == Some("\"a\"");
            reply(if same { 304 } else { 200 }, &fields, &"x".repeat(100_000))
        },
    );
    let mut client: Client = envoy.client();
    let same = [("if-none-match", "\"a\"")];
    for (n, seen) in [None, Some("\"a\""), Some("\"a\"")].into_iter().enumerate() {
        let response = get_with(&mut client, "/a", &same);
        assert_eq!((response.status, text(&response)), (304, ""), "{n}: {response:?}");
        for (name, value) in
            [("x-app", "1"), ("etag", "\"a\""), ("age", "7"), ("set-cookie", "a=b")]
        {
            assert_eq!(response.field(name), Some(value), "{n}: {response:?}");
        }
        let statuses = response.fields.iter().filter(|(name, _)| name == "cache-status").count();
        assert!(statuses == 1 && response.cache_status().starts_with("tiercel; fwd=uri-miss"));
        assert_eq!(script.asked().last().unwrap().field("if-none-match"), seen, "{n}");
    }
    assert_eq!(get_with(&mut client, "/a", &[("if-none-match", "\"b\"")]).status, 200);
}

#[test]
fn rfc9110_13_1_3_a_response_that_just_came_has_no_date_but_its_last_modified() {
    let (envoy, _script) = Scene::scripted(
        "13-1-3-date",
        |_| {},
        |asked| {
            let store = if asked.target == "/no" { "no-store" } else { "max-age=60" };
            reply(200, &[("date", MODIFIED), ("cache-control", store), ("age", "0")], "new")
        },
    );
    let mut client = envoy.client();
    for path in ["/no", "/yes"] {
        let response = get_with(&mut client, path, &[("if-modified-since", LATER)]);
        assert_eq!((response.status, text(&response)), (200, "new"), "{path}: {response:?}");
    }
}

#[test]
fn rfc9110_13_1_1_what_only_origins_can_tell_is_left_to_them() {
    let (envoy, script) = Scene::scripted("13-1-1", |_| {}, |_| reply(200, &FIELDS, "body"));
    let mut client = envoy.client();
    client.get("/a");
    for field in [("if-match", "\"a\""), ("if-unmodified-since", MODIFIED)] {
        let response = get_with(&mut client, "/a", &[field]);
        assert_eq!(response.cache_status(), "tiercel; fwd=bypass; detail=precondition");
        assert_eq!(
            script.asked().last().and_then(|a| a.field(field.0).map(ToOwned::to_owned)),
            Some(field.1.into())
        );
    }
}
