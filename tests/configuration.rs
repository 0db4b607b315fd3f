//! Loading, refusing and reloading the plugin configuration.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::harness::scene::{echo_routes, l2_only};
use crate::harness::{Envoy, Origin, Redis, Scene, eventually};

#[test]
fn a_wrong_configuration_is_refused_with_every_error() {
    let scene = Scene::new("refused");
    let log = Envoy::builder("minimal.yaml")
        .config(|config| {
            *config = json!({
                "role": "cache",
                "l1": {"budget": "64"},
                "routes": [{"path": "/a", "ttl": "5 minuts"}, {"path": "b"}, {"path": "/c", "tll": 1}],
            });
        })
        .refused(&scene);
    for error in [
        "l1.budget: \"64\" is not a size such as 64MiB",
        "routes[0].ttl: \"5 minuts\" is not a duration such as 60s",
        "routes[1].path: \"b\" is not a path template: it must start with /",
        "routes[2].tll: unknown field `tll`",
    ] {
        assert!(log.contains(error), "{error} not in\n{log}");
    }
}

#[test]
fn json_text_is_accepted_too() {
    let scene = Scene::new("json-text");
    let origin = Origin::start(&scene, &[]);
    let text =
        json!({"role": "cache", "routes": [{"path": "/echo/{id}", "ttl": "60s"}]}).to_string();
    let envoy = Envoy::builder("minimal.yaml")
        .origin(origin.port)
        .envoy(|config| {
            let filters = &mut config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
                ["typed_config"]["http_filters"];
            filters[0]["typed_config"]["config"]["configuration"] = json!({
                "@type": "type.googleapis.com/google.protobuf.StringValue", "value": text,
            });
        })
        .start(&scene);
    let mut client = envoy.client();
    client.get("/echo/1");
    assert!(client.get("/echo/1").is_hit());
}

#[test]
fn a_reload_under_load_loses_no_request_and_no_l2() {
    let scene = Scene::new("reload-l2");
    let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
    let envoy = Envoy::builder("event2table.yaml")
        .origin(origin.port)
        .redis(redis.port)
        .config(|config| {
            echo_routes(config);
            l2_only(config);
        })
        .reloadable()
        .start(&scene);
    envoy.client().get("/echo/kept");
    envoy.expect_metric("tiercel_l2_stores{result=\"stored\"}", 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (envoy, done) = (&envoy, &done);
            scope.spawn(move || {
                let mut client = envoy.client();
                for n in 0.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let response = client.get(&format!("/echo/{worker}-{}", n % 50));
                    assert_eq!(response.status, 200);
                }
            });
        }
        for name in ["one", "two", "three"] {
            envoy.reload(|config| config["headers"] = json!({"cache_name": name}));
            eventually("the new configuration", || {
                let response = envoy.client().get("/echo/kept");
                response.cache_status().starts_with(&format!("{name}; hit")).then_some(())
            });
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(origin.saw("GET /echo/kept"), 1);
}

#[test]
fn a_reload_keeps_l1_and_a_wrong_one_changes_nothing() {
    let scene = Scene::new("reload");
    let origin = Origin::start(&scene, &[]);
    let envoy = Envoy::builder("minimal.yaml")
        .origin(origin.port)
        .config(echo_routes)
        .reloadable()
        .start(&scene);
    let first = envoy.client().get("/echo/a");

    envoy.reload(|config| config["headers"] = json!({"cache_name": "second"}));
    let second = eventually("the new configuration", || {
        let response = envoy.client().get("/echo/a");
        response.cache_status().starts_with("second;").then_some(response)
    });
    assert!(second.is_hit(), "L1 was lost: {}", second.cache_status());
    assert_eq!(second.body, first.body);

    envoy.reload(|config| {
        config["headers"] = json!({"cache_name": "third"});
        config["routes"][0]["ttl"] = json!("soon");
    });
    envoy.expect_log("configuration refused: routes[0].ttl: \"soon\" is not a duration");
    let still = envoy.client().get("/echo/a");
    assert_eq!(still.body, first.body);
    assert!(
        still.is_hit() && still.cache_status().starts_with("second;"),
        "{}",
        still.cache_status()
    );

    envoy.reload(|config| {
        config["headers"] = json!({"cache_name": "fourth"});
        config["routes"][0]["ttl"] = json!("60s");
    });
    eventually("the configuration after that", || {
        envoy.client().get("/echo/a").cache_status().starts_with("fourth; hit").then_some(())
    });
    assert_eq!(origin.total(), 1);
}

/// What it could hold is more than its VM can have: that shows at once, not when it is full.
#[test]
fn a_configuration_that_does_not_fit_into_a_vm_changes_nothing() {
    let scene = Scene::new("oversized");
    let origin = Origin::start(&scene, &[]);
    let builder = Envoy::builder("minimal.yaml").origin(origin.port).config(echo_routes);
    let envoy = builder.reloadable().start(&scene);
    envoy.client().get("/echo/a");
    envoy.reload(|config| {
        config["headers"] = json!({"cache_name": "second"});
        config["l1"] = json!({"budget": "900MiB"});
    });
    envoy.expect_log(
        "configuration refused: l1.budget: l1.budget 900MiB + l1.negative_budget 4MiB + ",
    );
    envoy.expect_log("MiB: a VM can have 1024MiB");
    let still = envoy.client().get("/echo/a");
    assert!(still.cache_status().starts_with("tiercel; hit"), "{}", still.cache_status());
    assert_eq!(origin.total(), 1);
}

#[test]
fn the_start_is_logged_with_version_and_commit() {
    let (envoy, _origin) = Scene::l1_only("started", |_| {});
    let version = env!("CARGO_PKG_VERSION");
    envoy.expect_log(&format!("tiercel {version} (git "));
    envoy.expect_log("features: ");
}
