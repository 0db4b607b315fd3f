//! More of everything than anybody needs: it is passed on, refused by Envoy, or left out of the cache.

use serde_json::json;

use crate::harness::scene::l2_only;
use crate::harness::{Asked, Response, Scene, eventually, reply};
use crate::hostile::{send, serves};

fn fresh(asked: &Asked) -> Option<Vec<u8>> {
    reply(200, &[("cache-control", "max-age=60")], &asked.target.len().to_string())
}

#[test]
fn heads_that_are_too_long() {
    let (envoy, _script) = Scene::scripted(
        "oversized-heads",
        |config| config["key"] = json!({"fields": ["x-tenant"]}),
        fresh,
    );
    let long = "x".repeat(60 << 10);
    let mut client = envoy.client();
    for _ in 0..2 {
        for path in [format!("/{}", &long[..9_000]), format!("/?{}", &long[..40_000])] {
            let response = client.get(&path);
            assert_eq!(response.status, 200, "{response:?}");
            assert_eq!(response.cache_status(), "tiercel; fwd=bypass; detail=key_too_long");
        }
        send(
            &envoy,
            format!("GET /{long} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes(),
        );
        for field in ["x-tenant", "x-any", "cache-control", "if-none-match", "accept"] {
            let head = format!(
                "GET /{field} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{field}: {long}\r\n\r\n"
            );
            send(&envoy, head.as_bytes());
        }
        for count in [90, 1_000] {
            let fields = "x-tenant: one\r\n".repeat(count);
            let head =
                format!("GET /many HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n");
            send(&envoy, head.as_bytes());
        }
    }
    serves(&envoy, "/after");
}

#[test]
fn more_heads_than_there_is_room_for() {
    let (envoy, script) = Scene::scripted(
        "oversized-all-heads",
        |config| {
            config["waiting"] = json!({"max": 1, "max_per_key": 1});
            // Room for five times 16 KiB.
            config["protection"] = json!({"max_fetches": 4});
        },
        fresh,
    );
    script.hold(Some("GET"));
    let long = "x".repeat(50 << 10);
    let mut clients = [envoy.client(), envoy.client(), envoy.client()];
    for (number, client) in clients.iter_mut().enumerate() {
        client.send("GET", format!("/{number}").as_bytes(), &[("x-any", &long)], b"").unwrap();
        script.expect_asked("GET");
    }
    script.hold(None);
    let answers = clients.each_mut().map(|client| client.read().unwrap());
    let stored = "tiercel; fwd=uri-miss; fwd-status=200; stored";
    let passed = "tiercel; fwd=bypass; detail=memory";
    assert_eq!(answers.each_ref().map(Response::cache_status), [stored, passed, passed]);
    // What was held is given back.
    assert_eq!(
        envoy.client().request("GET", "/3", &[("x-any", &long)], b"").cache_status(),
        stored
    );
    serves(&envoy, "/after");
}

#[test]
fn writes_with_too_much_in_their_bodies() {
    let tagged = |asked: &Asked| match &*asked.method {
        "GET" => fresh(asked),
        _ => reply(200, &[], "{\"data\": {\"id\": 1}}"),
    };
    let (envoy, _script) = Scene::scripted(
        "oversized-bodies",
        |config| {
            config["routes"] = json!([
                {"path": "/things/{id}", "tags": ["thing:{id}", "thing:any"]},
                {"path": "/batch", "methods": ["POST"], "invalidates": ["thing:{request:/ids/*|any}"]},
            ]);
        },
        tagged,
    );
    let mut client = envoy.client();
    let ids: Vec<_> = (0..20_000).map(|id| id.to_string()).collect();
    let ids = format!("{{\"ids\": [{}]}}", ids.join(","));
    let huge = format!("{{\"ids\": [\"{}\"]}}", "x".repeat(10 << 20));
    let deep = format!("{{\"ids\": {}}}", "[".repeat(500_000));
    for body in [ids, huge, deep] {
        serves(&envoy, "/things/5");
        assert_eq!(client.request("POST", "/batch", &[], body.as_bytes()).status, 200);
        // What cannot be read may name any.
        assert!(!client.get("/things/5").is_hit());
    }
    serves(&envoy, "/after");
}

#[test]
fn responses_that_say_too_much() {
    let answer = |asked: &Asked| {
        let list = |count: u32| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>();
        let (name, value) = match &*asked.target {
            "/vary" => ("vary", list(200).join(", ")),
            "/tags" => ("surrogate-key", list(1_000).join(" ")),
            "/control" => ("cache-control", list(2_000).join("=\"a\", ")),
            _ => return fresh(asked),
        };
        reply(200, &[("cache-control", "max-age=60"), (name, &value)], "body")
    };
    let (envoy, _script) = Scene::scripted(
        "oversized-responses",
        |config| config["coherence"] = json!({"tag_fields": ["surrogate-key"]}),
        answer,
    );
    for path in ["/vary", "/tags", "/control"] {
        for _ in 0..3 {
            let response = envoy.client().get(path);
            assert_eq!((response.status, response.body), (200, b"body".to_vec()), "{path}");
        }
    }
    serves(&envoy, "/after");
}

#[test]
fn a_value_in_redis_that_is_too_large() {
    let (envoy, _script, redis) = Scene::scripted_l2("oversized-value", l2_only, fresh);
    let mut client = envoy.client();
    eventually("an entry in Redis", || client.get("/a").is_hit().then_some(()));
    let keys = redis.keys();
    assert_eq!(keys.len(), 1);
    let stored = redis.get(&keys[0]);
    let value = [&stored[..], &vec![b'x'; 40 << 20]].concat();
    redis.command(&[b"SET", keys[0].as_bytes(), &value]);
    for _ in 0..2 {
        assert_eq!(client.get("/a").status, 200);
    }
    redis.command(&[b"DEL", keys[0].as_bytes()]);
    eventually("it to be stored anew", || client.get("/a").is_hit().then_some(()));
}

/// Nothing that a client says becomes a command of Redis.
#[test]
fn commands_in_keys() {
    let (envoy, _script, redis) = Scene::scripted_l2(
        "oversized-commands",
        |config| {
            l2_only(config);
            config["key"] =
                json!({"fields": ["x-tenant"], "namespace": "a\r\n*1\r\n$8\r\nFLUSHALL\r\n"});
        },
        fresh,
    );
    let mut client = envoy.client();
    redis.command(&[b"SET", b"mine", b"here"]);
    let command = "*3%0d%0a$3%0d%0aSET%0d%0a$4%0d%0aevil%0d%0a$1%0d%0a1%0d%0a";
    let paths = [
        format!("/{command}"),
        format!("/a?{command}"),
        "/*3\r$3\rSET".replace('\r', "%0D"),
        "/'\"$-1*".into(),
    ];
    for path in paths {
        for tenant in ["one", "*3 $3 SET $4 evil", "$-1", "\\r\\n*1"] {
            eventually("it to be stored", || {
                let response = client.request("GET", &path, &[("x-tenant", tenant)], b"");
                assert_eq!(response.status, 200);
                response.is_hit().then_some(())
            });
        }
    }
    for line in ["GET /a\r*1 HTTP/1.1", "GET /a\n*1\n$8 HTTP/1.1", "GET /\0 HTTP/1.1"] {
        send(&envoy, format!("{line}\r\nhost: a\r\nx-tenant: a\rb\r\n\r\n").as_bytes());
    }
    assert_eq!(
        (redis.command(&[b"EXISTS", b"evil"]), redis.get("mine")),
        ("0".into(), b"here".to_vec())
    );
    serves(&envoy, "/after");
}
