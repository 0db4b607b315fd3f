//! RFC 9110, 14: parts of a complete stored response.

use super::{get_with, text};
use crate::harness::{Scene, reply};

const BODY: &str = "0123456789";
const FIELDS: [(&str, &str); 3] =
    [("cache-control", "max-age=60"), ("etag", "\"a\""), ("content-type", "text/plain")];

#[test]
fn rfc9110_14_2_ranges_are_answered_from_the_cache() {
    let (envoy, script) = Scene::scripted("14-2", |_| {}, |_| reply(200, &FIELDS, BODY));
    let mut client = envoy.client();
    client.get("/a");
    for (fields, status, body, content_range) in [
        (&[("range", "bytes=0-3")][..], 206, "0123", Some("bytes 0-3/10")),
        (&[("range", "bytes=-2")], 206, "89", Some("bytes 8-9/10")),
        (&[("range", "bytes=8-")], 206, "89", Some("bytes 8-9/10")),
        (&[("range", "bytes=5-100")], 206, "56789", Some("bytes 5-9/10")),
        (&[("range", "bytes=10-")], 416, "", Some("bytes */10")),
        (&[("range", "lines=1-2")], 200, BODY, None),
        (&[("range", "bytes=3-1")], 200, BODY, None),
        (&[("range", "bytes=0-1"), ("if-range", "\"a\"")], 206, "01", Some("bytes 0-1/10")),
        (&[("range", "bytes=0-1"), ("if-range", "\"b\"")], 200, BODY, None),
        (&[("range", "bytes=0-1"), ("if-range", "W/\"a\"")], 200, BODY, None),
        (&[("range", "bytes=0-1"), ("if-none-match", "\"a\"")], 304, "", None),
    ] {
        let response = get_with(&mut client, "/a", fields);
        assert!(response.is_hit(), "{fields:?}");
        assert_eq!((response.status, text(&response)), (status, body), "{fields:?}");
        assert_eq!(response.field("content-range"), content_range, "{fields:?}");
    }
    let parts = get_with(&mut client, "/a", &[("range", "bytes=0-1, 5-6")]);
    let kind = parts.field("content-type").unwrap().to_owned();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("parts");
    assert_eq!((parts.status, parts.field("content-range")), (206, None));
    let expected = format!(
        "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n\
         --{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-6/10\r\n\r\n56\r\n\
         --{boundary}--\r\n"
    );
    assert_eq!(text(&parts), expected);
    // HEAD knows no ranges.
    let head = client.request("HEAD", "/a", &[("range", "bytes=0-1")], b"");
    assert_eq!((head.status, head.field("content-length")), (200, Some("10")));
    assert_eq!(script.asked().len(), 1);
}

#[test]
fn rfc9110_14_2_parts_of_dated_and_digested_responses() {
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const STORED: [(&str, &str); 7] = [
        ("content-range", "bytes 5-8/100"), // means nothing on a 200
        ("cache-control", "max-age=2000000000"),
        ("last-modified", MODIFIED),
        ("date", "Mon, 07 Nov 1994 08:49:37 GMT"),
        ("content-digest", "sha-256=:AA==:"),
        ("repr-digest", "sha-256=:AA==:"),
        ("content-md5", "AA=="),
    ];
    let (envoy, _script) = Scene::scripted("14-2-dated", |_| {}, |_| reply(200, &STORED, BODY));
    let mut client = envoy.client();
    client.get("/a");
    for (range, if_range, status) in [
        ("bytes=0-1", MODIFIED, 206),
        ("bytes=0-1", "Sunday, 06-Nov-94 08:49:37 GMT", 206),
        ("bytes=0-1, 5-6", MODIFIED, 206),
        ("bytes=0-1", "Mon, 07 Nov 1994 08:49:37 GMT", 200), // exact, not "not later than"
        ("bytes=0-1", "\"a\"", 200),
    ] {
        let response = get_with(&mut client, "/a", &[("range", range), ("if-range", if_range)]);
        assert!(response.is_hit() && response.status == status, "{if_range}: {response:?}");
        let ranges: Vec<_> = response.fields.iter().filter(|(n, _)| n == "content-range").collect();
        let own = ranges.iter().all(|(_, range)| range == "bytes 0-1/10") || status == 200;
        assert!(own && ranges.len() <= 1, "{response:?}");
        // RFC 9530: of the content at hand, and of the representation.
        for (name, kept) in
            [("content-digest", false), ("content-md5", false), ("repr-digest", true)]
        {
            assert_eq!(
                response.field(name).is_some(),
                kept || status == 200,
                "{name} {response:?}"
            );
        }
    }
}

#[test]
fn rfc9110_14_2_a_partial_answer_never_becomes_the_whole() {
    let (envoy, script) = Scene::scripted(
        "14-2-partial",
        |_| {},
        |asked| match asked.field("range") {
            Some("bytes=0-3") => {
                let fields = [FIELDS[0], FIELDS[1], ("content-range", "bytes 0-3/10")];
                reply(206, &fields, "0123")
            }
            _ => reply(200, &FIELDS, BODY),
        },
    );
    let mut client = envoy.client();
    let part = get_with(&mut client, "/a", &[("range", "bytes=0-3")]);
    assert_eq!((part.status, text(&part)), (206, "0123"));
    assert_eq!(part.cache_status(), "tiercel; fwd=uri-miss; fwd-status=206; detail=status");
    let whole = client.get("/a");
    assert!(!whole.is_hit() && text(&whole) == BODY);
    // An origin that ignores the range fills the cache.
    assert_eq!(get_with(&mut client, "/b", &[("range", "bytes=5-6")]).status, 200);
    assert!(client.get("/b").is_hit());
    assert_eq!(script.asked().len(), 3);
}

#[test]
fn rfc9110_14_2_a_stale_response_is_validated_as_a_whole() {
    let (envoy, script) = Scene::scripted(
        "14-2-stale",
        |_| {},
        |asked| {
            assert_eq!(asked.field("range"), None);
            let fields = [("cache-control", "no-cache"), FIELDS[1]];
            reply(if asked.field("if-none-match").is_some() { 304 } else { 200 }, &fields, BODY)
        },
    );
    let mut client = envoy.client();
    client.get("/a");
    let part = get_with(&mut client, "/a", &[("range", "bytes=2-3"), ("if-range", "\"a\"")]);
    assert_eq!((part.status, text(&part)), (206, "23"), "{part:?}");
    assert!(part.cache_status().contains("fwd=stale; fwd-status=304"));
    assert_eq!(script.asked().len(), 2);
}
