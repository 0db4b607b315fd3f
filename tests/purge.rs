//! Purging: by URL, by prefix, by tag, hard and soft, and by nobody who may not.

use serde_json::{Value, json};

use crate::harness::scene::no_routes;
use crate::harness::{Asked, Client, Envoy, Redis, Response, Scene, Script, eventually, reply};

fn origin(asked: &Asked) -> Option<Vec<u8>> {
    let tag = if asked.target == "/x/1" { "red" } else { "blue" };
    let fields = [
        ("cache-control", "max-age=600, stale-if-error=600"),
        ("surrogate-key", tag),
        ("etag", "\"a\""),
    ];
    reply(200, &fields, "body")
}

fn purge(client: &mut Client, path: &str, fields: &[(&str, &str)]) -> Response {
    client.request("PURGE", path, fields, b"")
}

fn networks(config: &mut Value) {
    config["purge"] = json!({"networks": ["127.0.0.0/8"]});
}

const ALL: [&str; 3] = ["/x/1", "/x/y/2", "/other"];

#[test]
fn a_purge_reaches_all_levels_and_instances() {
    let scene = Scene::new("purge-all");
    let (script, redis) = (Script::start(origin), Redis::start(&scene, &[]));
    let start = || {
        let builder = Envoy::builder("event2table.yaml").origin(script.port).redis(redis.port);
        builder.config(no_routes).config(networks).workers(2).start(&scene)
    };
    let (one, two) = (start(), start());
    let mut clients: Vec<Client> = (0..4).map(|_| one.client()).collect();
    let mut there = two.client();
    for (path, fields, told, gone) in [
        ("/x/1", &[][..], "url", &["/x/1"][..]),
        ("/x/*", &[], "prefix", &["/x/1", "/x/y/2"]),
        ("/", &[("surrogate-key", "blue")], "tags", &["/x/y/2", "/other"]),
    ] {
        for client in clients.iter_mut().chain([&mut there]) {
            for path in ALL {
                eventually("a hit", || client.get(path).is_hit().then_some(()));
            }
        }
        script.asked();
        let answer = purge(&mut clients[0], path, fields);
        assert_eq!((answer.status, answer.json()), (200, json!({"purged": told, "soft": false})));
        for client in &mut clients {
            ALL.iter().for_each(|path| drop(client.get(path)));
        }
        let mut asked: Vec<_> = script.asked().into_iter().map(|asked| asked.target).collect();
        asked.sort();
        asked.dedup();
        let mut expected = gone.to_vec();
        expected.sort_unstable();
        assert_eq!(asked, expected, "{path}");
        // The other instance has the new ones from Redis, or fetches them.
        let mut is_kept = |path: &str| {
            let answer = there.get(path);
            ["detail=l1", "detail=shared"]
                .iter()
                .any(|level| answer.cache_status().ends_with(level))
        };
        for path in gone {
            eventually("the other instance to hear of it", || (!is_kept(path)).then_some(()));
        }
        for path in ALL.iter().filter(|path| !gone.contains(path)) {
            assert!(is_kept(path), "{path}");
        }
    }
    one.expect_metric("tiercel_purges{result=\"prefix\"}", 1);
    assert!(script.asked().iter().all(|asked| asked.method == "GET"), "the origin sees no purge");
}

#[test]
fn a_soft_purge_leaves_something_for_bad_times() {
    let (envoy, script, _redis) = Scene::scripted_l2("purge-soft", networks, origin);
    let mut client = envoy.client();
    client.get("/x/1");
    assert!(client.get("/x/1").is_hit());
    let answer = purge(&mut client, "/x/1", &[("fastly-soft-purge", "1")]);
    assert_eq!(answer.json(), json!({"purged": "url", "soft": true}));
    script.becomes(|_| reply(503, &[], "down"));
    let stale = client.get("/x/1");
    assert_eq!((stale.status, stale.body.as_slice()), (200, &b"body"[..]), "{stale:?}");
    assert!(stale.cache_status().contains("detail=stale_if_error"), "{stale:?}");
    script.becomes(|asked| {
        assert_eq!(asked.field("if-none-match"), Some("\"a\""));
        reply(304, &[("cache-control", "max-age=600"), ("etag", "\"a\"")], "")
    });
    assert!(client.get("/x/1").cache_status().contains("detail=revalidated"));
    assert!(client.get("/x/1").is_hit());
    assert_eq!(purge(&mut client, "/x/1", &[]).status, 200);
    script.becomes(|_| reply(503, &[], "down"));
    assert_eq!(client.get("/x/1").status, 503, "a hard purge leaves nothing");
}

#[test]
fn nobody_purges_who_may_not() {
    let secret = |config: &mut Value| {
        config["purge"] = json!({
            "networks": ["192.0.2.0/24"],
            "secret": {"field": "X-Purge-Secret", "value": "0123456789abcdef"},
        });
    };
    let (envoy, script) = Scene::scripted("purge-secret", secret, origin);
    let mut client = envoy.client();
    client.get("/x/1");
    for (value, status) in [("", 403), ("0123456789abcdeX", 403), ("0123456789abcdef", 200)] {
        assert!(client.get("/x/1").is_hit());
        assert_eq!(purge(&mut client, "/x/1", &[("x-purge-secret", value)]).status, status);
    }
    assert!(!client.get("/x/1").is_hit());
    assert_eq!(purge(&mut client, "/x*", &[("x-purge-secret", "0123456789abcdef")]).status, 400);
    envoy.expect_metric("tiercel_purges{result=\"refused\"}", 2);
    assert_eq!(script.asked().len(), 2);
    // Off: such a request is the origin's business.
    let (envoy, script) = Scene::scripted("purge-off", |_| {}, origin);
    assert_eq!(purge(&mut envoy.client(), "/x/1", &[]).body, b"body");
    assert_eq!(script.asked()[0].method, "PURGE");
}
