//! The fields of a hit are those of the response it was made from.

use serde_json::json;

use crate::harness::scene::{echo_routes, twice};
use crate::harness::{Envoy, Origin, Redis, Response, Scene, eventually};

/// All fields but those that tell of the way an answer took, sorted.
fn of_the_response(response: &Response) -> Vec<&(String, String)> {
    let way = ["age", "cache-status", "transfer-encoding", "content-length"];
    let own = |name: &str| !way.contains(&name) && !name.starts_with("x-envoy-");
    let mut fields: Vec<_> = response.fields.iter().filter(|(name, _)| own(name)).collect();
    fields.sort();
    fields
}

#[test]
fn a_hit_has_the_fields_of_the_miss() {
    let (envoy, _origin, _redis) = Scene::usual("fields", |config| {
        echo_routes(config);
        config["headers"] = json!({});
    });
    let mut client = envoy.client();
    for query in [
        "size=100",
        "size=100&untyped=1",
        "empty=1",
        "empty=1&untyped=1",
        "size=100&chunked=1&header=x-a:1&header=x-a:2&header=server:it",
    ] {
        let (miss, hit) = twice(&mut client, &format!("/echo/a?{query}"));
        assert!(hit.is_hit(), "{query}: {}", hit.cache_status());
        assert_eq!(of_the_response(&hit), of_the_response(&miss), "{query}");
        assert_eq!(hit.body, miss.body);
        let length = hit.body.len().to_string();
        assert_eq!(hit.field("content-length"), Some(length.as_str()), "{query}");
    }
}

/// The router adds them before the response is stored, and Envoy adds them to the hit again.
#[test]
fn fields_that_a_route_adds_appear_once() {
    for (budget, level) in [("1MiB", "detail=l1"), ("0B", "detail=l2")] {
        let scene = Scene::new(&format!("fields-added-{budget}"));
        let (origin, redis) = (Origin::start(&scene, &[]), Redis::start(&scene, &[]));
        let added = |name: &str| json!([{"header": {"key": name, "value": "x"}}]);
        let envoy = Envoy::builder("event2table.yaml")
            .origin(origin.port)
            .redis(redis.port)
            .config(|config| {
                echo_routes(config);
                config["l1"] = json!({"budget": budget, "max_entry": budget});
                config["shared"] = json!({"budget": "0B"});
                config["headers"] = json!({"not_stored": ["x-all", "X-Host", "x-route"]});
            })
            .envoy(|config| {
                let listener = &mut config["static_resources"]["listeners"][0];
                let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
                let routes = &mut manager["route_config"];
                routes["response_headers_to_add"] = added("x-all");
                routes["virtual_hosts"][0]["response_headers_to_add"] = added("x-host");
                routes["virtual_hosts"][0]["routes"][0]["response_headers_to_add"] =
                    added("x-route");
            })
            .start(&scene);
        let mut client = envoy.client();
        let path = "/echo/a?revalidate=1&header=ETag:%22a%22";
        let mut responses = vec![client.get(path)];
        responses.push(eventually("a hit", || {
            Some(client.get(path)).filter(|hit| hit.cache_status().ends_with(level))
        }));
        let validated = client.request("GET", path, &[("cache-control", "no-cache")], b"");
        assert!(validated.cache_status().contains("fwd-status=304"), "{validated:?}");
        responses.push(validated);
        for response in responses {
            for name in ["x-all", "x-host", "x-route"] {
                let count = response.fields.iter().filter(|(field, _)| field == name).count();
                assert_eq!(count, 1, "{name}: {response:?}");
            }
        }
    }
}
