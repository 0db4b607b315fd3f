//! What does not exist is remembered, and takes nothing away from what does.

use serde_json::{Value, json};

use crate::harness::scene::no_routes;
use crate::harness::{Asked, Envoy, Scene, Script, eventually, reply};

/// `/{status}/...` is answered with that status.
fn statuses() -> Script {
    Script::start(|asked: &Asked| {
        let status = asked.target.split('/').nth(1).and_then(|text| text.parse().ok());
        reply(status.unwrap_or(200), &[], &"x".repeat(1_000))
    })
}

fn start(scene: &Scene, script: &Script, change: impl FnOnce(&mut Value)) -> Envoy {
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(no_routes);
    builder.config(change).start(scene)
}

#[test]
fn each_has_its_own_lifetime() {
    let (scene, script) = (Scene::new("negative-ttl"), statuses());
    let envoy = start(&scene, &script, |config| {
        config["defaults"] = json!({"ttl": "1h", "jitter": 0});
        config["routes"] = json!([
            {"path": "/{status}/own", "negative": {"ttl": "9s", "statuses": [403, 451]}},
            {"path": "/{status}/usual", "negative": {"ttl": "30s"}},
            {"path": "/{status}/none"},
        ]);
    });
    for (path, ttl) in [
        ("/404/usual", Some(30)),
        ("/410/usual", Some(30)),
        ("/403/usual", None),
        ("/403/own", Some(9)),
        ("/451/own", Some(9)),
        ("/404/own", None),
        ("/404/none", None),
        ("/200/none", Some(3_600)),
    ] {
        let mut client = envoy.client();
        client.get(path);
        let second = client.get(path);
        assert_eq!(second.is_hit(), ttl.is_some(), "{path}: {second:?}");
        if let Some(ttl) = ttl {
            let told = second.cache_status().split("; ").find_map(|part| part.strip_prefix("ttl="));
            let told: u64 = told.unwrap().parse().unwrap();
            assert!((ttl - 5..=ttl).contains(&told), "{path}: {told}");
        }
    }
}

#[test]
fn a_flood_of_what_does_not_exist_pushes_out_nothing_that_does() {
    let (scene, script) = (Scene::new("negative-flood"), statuses());
    let envoy = start(&scene, &script, |config| {
        config["l1"] = json!({"budget": "1MiB", "negative_budget": "64KiB", "max_entry": "64KiB"});
        config["shared"] = json!({"budget": "1MiB", "max_entry": "4KiB"});
        config["defaults"] = json!({"ttl": "1h", "negative": {"ttl": "1h"}});
        config["routes"] = json!([{"path": "/{*rest}"}]);
    });
    let mut client = envoy.client();
    for n in 0..100 {
        client.get(&format!("/200/{n}"));
    }
    for n in 0..2_000 {
        assert_eq!(client.get(&format!("/404/{n}")).status, 404);
    }
    // Whoever is new may be refused at first.
    eventually("a hit", || client.get("/404/1999").is_hit().then_some(()));
    script.asked();
    for n in 0..100 {
        assert!(client.get(&format!("/200/{n}")).is_hit(), "{n}");
    }
    assert!(script.asked().is_empty());
    let (used, all) = (envoy.metric("tiercel_l1_negative_bytes"), envoy.metric("tiercel_l1_bytes"));
    assert!(used > 32 << 10 && used <= 64 << 10 && all < 1 << 20, "{used} {all}");
    // What is made where there was nothing is found in its place.
    script.becomes(|_| reply(200, &[], "made"));
    assert_eq!(client.request("PUT", "/404/1999", &[], b"").status, 200);
    assert_eq!(client.get("/404/1999").body, b"made");
    assert!(client.get("/404/1999").is_hit());
}
