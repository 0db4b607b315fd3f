//! Nothing unkeyed may shape what others get.

use serde_json::json;

use crate::harness::{Scene, reply};

#[test]
fn fields_that_may_shape_an_answer_unseen_keep_a_request_from_the_cache() {
    let (envoy, script) = Scene::scripted(
        "poison-fields",
        |_| {},
        |asked| {
            let host = asked.field("x-forwarded-host").or(asked.field("x-original-url"));
            let body = format!("see {}", host.unwrap_or("home"));
            reply(200, &[("cache-control", "max-age=60")], &body)
        },
    );
    let mut client = envoy.client();
    for name in [
        "X-Forwarded-Host",
        "x-original-url",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "x-forwarded-scheme",
        "Forwarded",
        "X_Forwarded_Host",
    ] {
        let response = client.request("GET", "/a", &[(name, "evil.test")], b"");
        assert_eq!(
            response.cache_status(),
            "tiercel; fwd=bypass; detail=distrusted_field",
            "{name}"
        );
    }
    let clean = client.get("/a");
    assert!(!clean.is_hit() && clean.body == b"see home");
    assert_eq!(client.get("/a").body, b"see home");
    // What is stored does not answer them either.
    assert_eq!(client.request("GET", "/a", &[("x-forwarded-host", "x")], b"").body, b"see x");
    assert_eq!(script.asked().len(), 9);
}

/// Envoy takes the scheme from `X-Forwarded-Proto` where it says `http` or `https`, and passes on whatever it says.
#[test]
fn what_the_origin_is_told_of_the_scheme_is_what_the_key_says() {
    for keyed in [false, true] {
        let (envoy, _script) = Scene::scripted(
            &format!("poison-scheme-{keyed}"),
            |config| {
                if keyed {
                    config["key"] = json!({"fields": ["X-Forwarded-Proto"]});
                }
            },
            |asked| {
                let said = asked.field("x-forwarded-proto").unwrap_or("none");
                reply(200, &[("cache-control", "max-age=60")], said)
            },
        );
        let mut client = envoy.client();
        for said in ["foo", "http, https", "HTTPS"] {
            let response = client.request("GET", "/a", &[("x-forwarded-proto", said)], b"");
            assert_eq!(
                response.cache_status().ends_with("detail=distrusted_field"),
                !keyed,
                "{said}"
            );
        }
        assert_eq!(client.get("/a").body, b"http");
        let hit = client.request("GET", "/a", &[("x-forwarded-proto", "http")], b"");
        assert!(hit.is_hit() && hit.body == b"http", "{hit:?}");
        let https = [("x-forwarded-proto", "https")];
        let first = client.request("GET", "/a", &https, b"");
        assert!(!first.is_hit() && first.body == b"https", "another scheme is another resource");
        assert!(client.request("GET", "/a", &https, b"").is_hit());
    }
}

#[test]
fn a_distrusted_field_may_be_part_of_the_identity_instead() {
    let (envoy, _script) = Scene::scripted(
        "poison-keyed",
        |config| {
            config["key"] = json!({"fields": ["X-Forwarded-Host"], "distrusted": ["X-Forwarded-Host", "X-Tenant"]});
        },
        |asked| {
            let body = asked.field("x-forwarded-host").unwrap_or("home").to_owned();
            reply(200, &[("cache-control", "max-age=60")], &body)
        },
    );
    let mut client = envoy.client();
    for host in ["a", "b"] {
        for hit in [false, true] {
            let response = client.request("GET", "/a", &[("x-forwarded-host", host)], b"");
            assert_eq!((response.is_hit(), response.body), (hit, host.as_bytes().to_vec()));
        }
    }
    assert!(!client.get("/a").is_hit());
    let tenant = client.request("GET", "/a", &[("x-tenant", "a")], b"");
    assert!(tenant.cache_status().ends_with("detail=distrusted_field"));
    // The default list is replaced by a configured one.
    assert!(client.request("GET", "/a", &[("x-original-url", "/b")], b"").is_hit());
}

#[test]
fn the_origin_sees_the_url_that_the_key_says() {
    let (envoy, script) = Scene::scripted(
        "poison-encoding",
        |_| {},
        |asked| {
            // A sloppy origin: it compares paths byte by byte.
            let status = if asked.target.starts_with("/games/1") { 200 } else { 404 };
            reply(status, &[("cache-control", "max-age=60")], &asked.target)
        },
    );
    let mut client = envoy.client();
    assert_eq!(client.get("/%67ames/%31?%61=%7e").status, 200);
    assert_eq!(client.get("/games/1?a=~").body, b"/games/1?a=~");
    assert!(client.get("/games/1?a=~").is_hit());
    // What cannot be normalised goes as it is, under its own key.
    client.get("/games/%zz");
    assert_eq!(client.get("/games/1%2fx").body, b"/games/1%2Fx");
    let targets: Vec<_> = script.asked().into_iter().map(|asked| asked.target).collect();
    assert_eq!(targets, ["/games/1?a=~", "/games/%zz", "/games/1%2Fx"]);
}

/// Origins differ in which of two equal parameters they take, some take `;` for `&`, and what does not
/// count here may count there.
#[test]
fn the_origin_sees_the_parameters_that_the_key_says() {
    let (envoy, script) = Scene::scripted(
        "poison-parameters",
        |config| {
            let query = json!({"require": ["id"], "ids": ["id"]});
            config["routes"] = json!([{"path": "/games", "ttl": "60s", "query": query}]);
        },
        |asked| {
            // A sloppy origin.
            let query = asked.target.split_once('?').map_or("", |(_, query)| query);
            let last =
                query.split(['&', ';']).filter_map(|pair| pair.strip_prefix("id=")).next_back();
            reply(200, &[], last.unwrap_or("none"))
        },
    );
    let mut client = envoy.client();
    for (id, query) in [
        ("1", "id=1&id=2"),
        ("3", "x=1;id=2&id=3"),
        ("4", "id=4&x=1;id=5&i%64=6"),
        ("7", "callback=evil&id=7&id[]=8&ID=9"),
    ] {
        let first = client.get(&format!("/games?{query}"));
        assert_eq!((first.status, first.body), (200, id.as_bytes().to_vec()), "{query}");
        let hit = client.get(&format!("/games?id={id}"));
        assert!(hit.is_hit() && hit.body == id.as_bytes(), "{query}");
    }
    // What is not for the cache goes as it is.
    let empty = client.get("/games?id=&id=1");
    assert_eq!(empty.cache_status(), "tiercel; fwd=bypass; detail=parameter_missing");
    let targets: Vec<_> = script.asked().into_iter().map(|asked| asked.target).collect();
    let seen = ["/games?id=1", "/games?id=3", "/games?id=4", "/games?id=7", "/games?id=&id=1"];
    assert_eq!(targets, seen);
}

/// An origin may tell hosts apart that the key does not, and answer one of them with a redirect.
#[test]
fn the_origin_sees_the_host_that_the_key_says() {
    for (named, keyed) in [(true, "api.test"), (false, "API.test:80")] {
        let (envoy, script) = Scene::scripted(
            &format!("poison-authority-{named}"),
            |config| config["key"] = json!({"authority": named}),
            |asked| {
                let host = asked.field("host").unwrap_or("none");
                reply(200, &[("cache-control", "max-age=60")], host)
            },
        );
        let mut client = envoy.client();
        let first = client.request("GET", "/a", &[("host", "API.test:80")], b"");
        assert_eq!(first.body, keyed.as_bytes());
        let hit = client.request("GET", "/a", &[("host", "api.test")], b"");
        assert!(hit.is_hit() && hit.body == first.body, "{hit:?}");
        // Another port is another origin.
        let other = client.request("GET", "/a", &[("host", "Api.test:81")], b"");
        assert_eq!(other.is_hit(), !named);
        assert_eq!(script.asked()[0].field("host"), Some(keyed));
    }
}

/// Web cache deception: a suffix that looks static makes nothing cacheable.
#[test]
fn a_suffix_makes_nothing_cacheable() {
    let (envoy, script) = Scene::scripted(
        "poison-suffix",
        |config| config["routes"] = json!([{"path": "/static/{*rest}", "ttl": "60s"}]),
        |_| reply(200, &[("content-type", "text/html")], "my account"),
    );
    let mut client = envoy.client();
    for path in [
        "/account/x.css",
        "/account.js",
        "/account;x.png",
        "/account%2Fx.css",
        "/static/../account",
        "/static%2F..%2Faccount",
    ] {
        client.get(path);
        assert!(!client.get(path).is_hit(), "{path}");
    }
    assert!(script.asked().iter().all(|asked| asked.target != "/static/../account"));
}

#[test]
fn a_body_or_a_strange_host_gets_nothing_of_others() {
    let (envoy, _script) = Scene::scripted(
        "poison-host",
        |_| {},
        |asked| {
            let body = format!("{} {}", asked.field("host").unwrap_or("none"), asked.target);
            reply(200, &[("cache-control", "max-age=60")], &body)
        },
    );
    let mut client = envoy.client();
    client.get("/a");
    let with_body = client.request("GET", "/a", &[], b"x=1");
    assert_eq!(with_body.cache_status(), "tiercel; fwd=bypass; detail=body");
    // Absolute form: its authority counts, not the Host field (RFC 9112, 3.2.2).
    let absolute = client.request("GET", "http://other.test/a", &[("host", "api.test")], b"");
    assert_eq!(absolute.body, b"other.test /a");
    assert!(!absolute.is_hit());
    let same = client.request("GET", "http://API.test/a", &[("host", "other.test")], b"");
    assert!(same.is_hit() && same.body == b"api.test /a", "{same:?}");
    // Two Host fields are refused by Envoy, or make one authority that is nobody's.
    let two = client.try_request("GET", b"/a", &[("host", "api.test"), ("host", "evil.test")], b"");
    assert!(two.is_none_or(|two| two.status == 400 || !two.is_hit()));
    assert_eq!(client.get("/a").body, b"api.test /a");
}
