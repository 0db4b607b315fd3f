//! What writes make stale: tags of routes, of bodies, of responses.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::scene::{l2_only, no_routes};
use crate::harness::{Asked, Client, Envoy, Redis, Scene, Script, eventually, reply};

/// A games API of sorts: every answer can be stored.
fn origin(asked: &Asked) -> Option<Vec<u8>> {
    let tags: &[(&str, &str)] = match asked.target.as_str() {
        "/tagged" | "/admin" => &[("surrogate-key", "red  blue"), ("cache-tag", "green,blue")],
        _ => &[],
    };
    reply(200, &[tags, &[("x-origin", "here")]].concat(), "{\"data\": {\"id\": 9}}")
}

fn routes(config: &mut Value) {
    config["defaults"] = json!({});
    config["coherence"] = json!({"max_body": "1KiB"});
    config["routes"] = json!([
        {"path": "/games", "ttl": "60s", "tags": ["games"]},
        {"path": "/games/{gid}", "ttl": "60s", "tags": ["game:{gid}"]},
        {"path": "/events", "ttl": "60s", "tags": ["events:{query:gid|all}"]},
        {"path": "/events/{id}", "ttl": "60s", "tags": ["event:{id}", "for:{header:x-for|all}"]},
        {"path": "/tagged", "ttl": "60s"},
        {"path": "/admin", "bypass": true},
        {"path": "/games/{gid}", "methods": ["PUT", "DELETE"], "invalidates": ["games", "game:{gid}"]},
        {"path": "/games/batch", "methods": ["POST"], "invalidates":
            ["games", "game:{request:/gids/*|any}", "events:all"]},
        {"path": "/events", "methods": ["POST"], "invalidates":
            ["events:{request:/gid|any}", "event:{response:/data/id|any}"]},
        {"path": "/paint/{colour}", "methods": ["POST"], "invalidates": ["{colour}"]},
        {"path": "/graphql", "methods": ["POST"], "invalidates": ["games"],
            "when": {"request": "/query", "contains": "mutation"}},
        {"path": "/games/search", "methods": ["POST"], "safe": true},
    ]);
}

const READS: [&str; 7] =
    ["/games", "/games/7", "/games/8", "/events?gid=7", "/events", "/events/9", "/tagged"];

/// Which of the reads are no hits any more, after all of them were.
fn stale(client: &mut Client, act: impl FnOnce(&mut Client)) -> Vec<&'static str> {
    for path in READS {
        client.get(path);
        assert!(client.get(path).is_hit(), "{path}");
    }
    act(client);
    READS.into_iter().filter(|path| !client.get(path).is_hit()).collect()
}

#[test]
fn writes_make_stale_what_their_route_says() {
    let (envoy, _script, _redis) = Scene::scripted_l2("tags", routes, origin);
    let mut client = envoy.client();
    let many = format!("{{\"gids\": [7], \"x\": \"{}\"}}", "x".repeat(2_000));
    for (method, path, body, expected) in [
        ("PUT", "/games/7", "", &["/games", "/games/7"][..]),
        ("DELETE", "/games/007", "", &["/games", "/games/7"]),
        (
            "POST",
            "/games/batch",
            "{\"gids\": [7, \"8\"]}",
            &["/games", "/games/7", "/games/8", "/events"],
        ),
        ("POST", "/games/batch", "{\"gids\": []}", &["/games", "/events"]),
        ("POST", "/games/batch", &many, &["/games", "/events"]),
        ("POST", "/events", "{\"gid\": 7}", &["/events?gid=7", "/events", "/events/9"]),
        ("POST", "/paint/blue", "", &["/tagged"]),
        ("POST", "/paint/green", "", &["/tagged"]),
        ("POST", "/paint/black", "", &[]),
        ("POST", "/graphql", "{\"query\": \"{games{gid}}\"}", &[]),
        ("POST", "/graphql", "{\"query\": \"mutation{a}\"}", &["/games"]),
        ("POST", "/games/search", "", &[]),
    ] {
        let found = stale(&mut client, |client| {
            let answer = client.request(method, path, &[], body.as_bytes());
            assert_eq!((answer.status, answer.field("x-origin")), (200, Some("here")));
        });
        assert_eq!(found, expected, "{method} {path} {body:.40}");
    }
}

#[test]
fn tags_of_responses_are_for_caches_alone() {
    let (envoy, _script, _redis) = Scene::scripted_l2("tags-fields", routes, origin);
    let mut client = envoy.client();
    for path in ["/tagged", "/tagged", "/admin"] {
        let answer = client.get(path);
        for name in ["surrogate-key", "cache-tag"] {
            assert_eq!(answer.field(name), None, "{path} {name}");
        }
        assert_eq!(answer.field("x-origin"), Some("here"));
    }
    assert!(client.get("/tagged").is_hit());
}

#[test]
fn the_status_tells_what_was_written() {
    let (envoy, script, _redis) = Scene::scripted_l2("tags-status", routes, origin);
    let mut client = envoy.client();
    for (status, expected) in [
        (204, &["/games", "/games/7"][..]),
        (302, &["/games", "/games/7"]),
        (400, &[]),
        (404, &[]),
        (500, &["/games", "/games/7"]),
        (501, &["/games", "/games/7"]),
    ] {
        script.becomes(move |asked| match asked.method.as_str() {
            "PUT" => reply(status, &[], ""),
            _ => origin(asked),
        });
        let found = stale(&mut client, |client| {
            assert_eq!(client.request("PUT", "/games/7", &[], b"").status, status);
        });
        assert_eq!(found, expected, "{status}");
    }
}

#[test]
fn what_an_uncertain_write_names_is_not_stored_for_a_while() {
    let guard = |config: &mut Value| {
        routes(config);
        config["coherence"]["guard"] = json!("4s");
    };
    let (envoy, script, _redis) = Scene::scripted_l2("tags-uncertain", guard, origin);
    let mut client = envoy.client();
    for way in ["reset", "client gone"] {
        eventually("a hit", || client.get("/games/7").is_hit().then_some(()));
        if way == "reset" {
            script.becomes(|asked| if asked.method == "PUT" { None } else { origin(asked) });
            assert_eq!(client.request("PUT", "/games/7", &[], b"").status, 503);
        } else {
            script.becomes(origin);
            script.asked();
            script.hold(Some("PUT"));
            let mut gone = TcpStream::connect(("127.0.0.1", envoy.port)).unwrap();
            let head = "PUT /games/7 HTTP/1.1\r\nhost: api.test\r\ncontent-length: 0\r\n\r\n";
            gone.write_all(head.as_bytes()).unwrap();
            script.expect_asked("PUT");
            drop(gone);
            eventually("the write to be missed", || {
                (!client.get("/games/7").is_hit()).then_some(())
            });
        }
        let first = client.get("/games/7");
        assert!(first.cache_status().ends_with("detail=uncertain"), "{way}: {first:?}");
        assert!(!client.get("/games/7").is_hit(), "{way}");
        script.hold(None);
        let other = client.get("/games/8");
        assert!(other.is_hit() || !other.cache_status().contains("uncertain"));
    }
    eventually("a hit", || client.get("/games/7").is_hit().then_some(()));
    assert!(envoy.metric("tiercel_not_stored{reason=\"uncertain\"}") >= 4);
}

/// Whoever has another key knows another table, and nothing of what was stored under this one.
#[test]
fn instances_with_different_keys_of_tags_do_not_trust_each_other() {
    let scene = Scene::new("tags-keys");
    let script = Script::start(|_| reply(200, &[("cache-control", "max-age=600")], "x"));
    let redis = Redis::start(&scene, &[]);
    let start = |key: &str| {
        let builder = Envoy::builder("event2table.yaml").origin(script.port).redis(redis.port);
        let builder = builder.config(no_routes).config(l2_only);
        builder.config(|config| config["coherence"] = json!({"tag_key": key})).start(&scene)
    };
    let (one, same, other) =
        (start("a key of sixteen"), start("a key of sixteen"), start("another, as long"));
    one.client().get("/a");
    one.expect_metric("tiercel_l2_stores{result=\"stored\"}", 1);
    eventually("a hit with the same key", || same.client().get("/a").is_hit().then_some(()));
    // It knows a table, for it trusts what it has stored itself.
    eventually("a hit with another key", || {
        other.client().get("/b");
        other.client().get("/b").is_hit().then_some(())
    });
    assert!(!other.client().get("/a").is_hit());
    other.expect_metric("tiercel_l2_lookups{result=\"invalid\"}", 1);
    // Probes have keys beside the tables'.
    let count =
        b"return #redis.call('KEYS', '*generations:*') - #redis.call('KEYS', '*generations:*:probe')";
    let tables = redis.command(&[b"EVAL", count, b"0"]);
    assert_eq!(tables, "2");
}
