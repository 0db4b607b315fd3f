//! The fields of a hit are those of the response it was made from.

use serde_json::json;

use crate::harness::scene::{echo_routes, twice};
use crate::harness::{Envoy, Origin, Response, Scene};

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

/// As docs/configuration.md advises for fields that Envoy is to add.
#[test]
fn fields_added_in_front_of_the_cache_appear_once() {
    let scene = Scene::new("fields-added");
    let origin = Origin::start(&scene, &[]);
    let envoy = Envoy::builder("minimal.yaml")
        .origin(origin.port)
        .config(echo_routes)
        .envoy(|config| {
            let manager = &mut config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
            let filters = &mut manager["typed_config"]["http_filters"];
            let add = json!({
                "name": "add",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
                    "mutations": {"response_mutations": [{"append": {
                        "header": {"key": "access-control-allow-origin", "value": "*"},
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    }}]},
                },
            });
            filters.as_array_mut().expect("filters").insert(0, add);
        })
        .start(&scene);
    let (miss, hit) = twice(&mut envoy.client(), "/echo/a");
    assert!(hit.is_hit());
    for response in [miss, hit] {
        let added =
            response.fields.iter().filter(|(name, _)| name == "access-control-allow-origin");
        assert_eq!(added.count(), 1, "{response:?}");
    }
}
