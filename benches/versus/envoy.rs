//! One Envoy with a listener for every case, on the example configuration's own parts.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Client, Envoy, Scene};
use crate::lists::Lists;
use crate::peers;
use crate::steps::{STEPS, Step};

const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const CACHE: &str = "type.googleapis.com/envoy.extensions.filters.http.cache.v3.CacheConfig";
const STORAGE: &str =
    "type.googleapis.com/envoy.extensions.http.cache.simple_http_cache.v3.SimpleHttpCacheConfig";

/// Ids that exist, in the space of what is refused.
pub const IDS: u64 = 1_000_000;

/// Starts it; the L1 case is the example's public listener.
pub fn start(scene: &Scene, origin: u16, redis: u16, lists: u16) -> Envoy {
    for step in STEPS {
        let module = wat::parse_str(step.module()).expect("a valid module");
        std::fs::write(scene.dir.join(format!("{}.wasm", step.name)), module).expect("a file");
    }
    let builder = Envoy::shipped("event2table.yaml").origin(origin).redis(redis);
    builder.envoy(|config| *config = listeners(config, &scene.dir, lists)).start(scene)
}

/// The port of a listener.
pub fn port(envoy: &Envoy, listener: &str) -> u16 {
    let all = Client::new(envoy.admin).get("/listeners?format=json").json();
    let all = all["listener_statuses"].as_array().expect("listeners");
    let found = all.iter().find(|l| l["name"] == listener).expect("a listener of this name");
    let port = found["local_address"]["socket_address"]["port_value"].as_u64();
    u16::try_from(port.expect("a port")).expect("a port")
}

/// Replaces the example's public listener by those of the cases.
fn listeners(example: &Value, modules: &Path, lists: u16) -> Value {
    let mut config = example.clone();
    let resources = &mut config["static_resources"];
    let public = named(&resources["listeners"], "public");
    let tunnel = named(&resources["listeners"], "l2_tunnel");
    let redis = named(&resources["listeners"], "l2_redis");
    let cluster = named(&resources["clusters"], "l2");

    let answer = || json!([answered()]);
    let hour = json!([{"path": "/{*rest}", "ttl": "3600s"}]);
    let l1 = json!({"budget": "64MiB", "max_entry": "1MiB"});
    let off = json!({"budget": "0B"});
    let spaces = Lists::space("lists", IDS, 16);
    let mut all = vec![
        redis,
        listener(&public, "direct_response", Some(answer()), &json!([])),
        listener(&public, "plain_proxy", None, &json!([])),
        listener(
            &public,
            "envoy_cache",
            None,
            &json!([{
                "name": "envoy.filters.http.cache",
                "typed_config": {"@type": CACHE, "typed_config": {"@type": STORAGE}},
            }]),
        ),
        cached(&public, "public", json!({"l1": l1, "routes": hour})),
        cached(
            &public,
            "bypass",
            json!({"l1": l1, "routes": [{"path": "/{*rest}", "bypass": true}]}),
        ),
        cached(&public, "miss_fill", json!({"l1": l1, "routes": hour})),
        cached(
            &public,
            "reject",
            json!({
                "l1": l1,
                "spaces": spaces,
                "routes": [{"path": "/k/{id}", "exists": [{
                    "space": "many",
                    "id": "{id}",
                    "absent": {"status": 200, "body": peers::body()},
                }]}],
            }),
        ),
        cached(&public, "shared_hit", json!({"l1": off, "routes": hour})),
    ];
    let mut source = named(&resources["clusters"], "origin");
    source["name"] = "lists".into();
    source["load_assignment"]["cluster_name"] = "lists".into();
    source["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        ["port_value"] = lists.into();
    resources["clusters"].as_array_mut().expect("clusters").push(source);
    for Step { name, proxied, .. } in STEPS {
        let filter = step_filter(&public, name, &modules.join(format!("{name}.wasm")));
        all.push(listener(&public, name, (!proxied).then(answer), &json!([filter])));
    }
    let tier = json!({"budget": "64MiB"});
    for (name, store, shared, ttl) in
        [("l2_hit", &off, &off, "3600s"), ("miss_fill_l2", &l1, &tier, "600s")]
    {
        let own = format!("l2_{name}");
        all.push(cached(
            &public,
            name,
            json!({
                "l1": store,
                "shared": shared,
                "l2": {"cluster": own, "timeout": "50ms", "key_prefix": format!("{name}:")},
                "routes": [{"path": "/{*rest}", "ttl": ttl}],
            }),
        ));
        // A way to Redis of its own, because the tunnel's filters live in the cache's VM.
        let mut tunnel = tunnel.clone();
        tunnel["name"] = own.clone().into();
        filters(&mut tunnel).iter_mut().for_each(|filter| set_vm(filter, name));
        all.push(tunnel);
        let mut cluster = cluster.clone();
        cluster["name"] = own.clone().into();
        let endpoint =
            &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        endpoint["address"]["envoy_internal_address"]["server_listener_name"] = own.into();
        resources["clusters"].as_array_mut().expect("clusters").push(cluster);
    }
    resources["listeners"] = all.into();
    config
}

/// Envoy's own answer: the body at once.
fn answered() -> Value {
    json!({
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": peers::body()}},
        "response_headers_to_add": [{
            "header": {"key": "content-type", "value": "application/json"},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }],
    })
}

/// The public listener under another name, with other routes and other filters before the router.
fn listener(public: &Value, name: &str, routes: Option<Value>, before: &Value) -> Value {
    let mut listener = public.clone();
    listener["name"] = name.into();
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["stat_prefix"] = name.into();
    if let Some(routes) = routes {
        manager["route_config"]["virtual_hosts"][0]["routes"] = routes;
    }
    let all = manager["http_filters"].as_array_mut().expect("filters");
    all.retain(|filter| filter["name"] == "envoy.filters.http.router");
    all.splice(0..0, before.as_array().expect("filters").clone());
    listener
}

/// The public listener with a cache of its own.
fn cached(public: &Value, name: &str, mut config: Value) -> Value {
    config["role"] = "cache".into();
    // As in the example: Envoy writes its own.
    config["headers"] = json!({"not_stored": ["server"]});
    let mut filter = named(&Value::Array(filters(&mut public.clone()).clone()), "tiercel");
    filter["typed_config"]["config"]["configuration"]["value"] = config;
    set_vm(&mut filter, name);
    listener(public, name, None, &json!([filter]))
}

fn step_filter(public: &Value, name: &str, module: &Path) -> Value {
    let mut filter = named(&Value::Array(filters(&mut public.clone()).clone()), "tiercel");
    filter["name"] = name.into();
    let config = &mut filter["typed_config"]["config"];
    config["name"] = name.into();
    config["configuration"]["value"] = json!({});
    config["vm_config"]["code"]["local"]["filename"] = module.to_string_lossy().into();
    set_vm(&mut filter, name);
    filter
}

/// A VM of its own for the filter, if it is one of WebAssembly.
fn set_vm(filter: &mut Value, name: &str) {
    if filter["typed_config"]["@type"] == WASM {
        filter["typed_config"]["config"]["vm_config"]["vm_id"] = format!("bench-{name}").into();
    }
}

fn filters(listener: &mut Value) -> &mut Vec<Value> {
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["http_filters"].as_array_mut().expect("filters")
}

fn named(all: &Value, name: &str) -> Value {
    let mut all = all.as_array().expect("a list").iter();
    all.find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
}
