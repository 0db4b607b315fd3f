//! envoy/event2table.yaml: every cacheable read of the API, on both revisions.

use serde_json::{Value, json};
use tiercel::config::Router;
use tiercel::http::percent::normalise;

use crate::harness::scene::twice;
use crate::harness::{Scene, root};

const STATIC: u32 = 3600;
const SEMI_STATIC: u32 = 1800;
const STATISTICS: u32 = 600;
const DYNAMIC: u32 = 300;
const REAL_TIME: u32 = 60;
/// What an unknown id gets, on every route.
const NEGATIVE: u32 = 60;
/// Never from the cache.
const BYPASSED: u32 = 0;

/// (path, seconds its 200 is fresh). Where a revision has no such route, or answers 500, the row shows
/// that the cache does not make it worse.
pub const READS: &[(&str, u32)] = &[
    ("/api/games", STATIC),
    ("/api/games/10000147", STATIC),
    ("/api/games/999", NEGATIVE),
    ("/api/games/by-gid/10000147", STATIC),
    ("/api/categories?game_gid=10000147", SEMI_STATIC),
    ("/api/categories?game_gid=999", NEGATIVE),
    ("/api/categories", BYPASSED),
    ("/api/categories/1", SEMI_STATIC),
    ("/api/events", DYNAMIC),
    ("/api/events?game_gid=10000147&page=2&per_page=50", DYNAMIC),
    ("/api/events?game_gid=999", DYNAMIC),
    ("/api/events?game_gid=abc", DYNAMIC),
    ("/api/events?search=login", REAL_TIME),
    ("/api/events/1?game_gid=10000147", DYNAMIC),
    ("/api/events/1", BYPASSED),
    ("/api/events/1?game_gid=abc", BYPASSED),
    ("/api/events/1?game_gid=0", BYPASSED),
    ("/api/events/1/parameters", SEMI_STATIC),
    ("/api/events/1/params", SEMI_STATIC),
    ("/api/parameters/all?game_gid=10000147", SEMI_STATIC),
    ("/api/parameters/all?game_gid=10000147&search=p", REAL_TIME),
    ("/api/parameters/all?game_gid=999", NEGATIVE),
    ("/api/parameters/all?game_gid=abc", BYPASSED),
    ("/api/parameters/stats?game_gid=10000147", STATISTICS),
    ("/api/parameters/common?game_gid=10000147", SEMI_STATIC),
    ("/api/parameters/validate?game_gid=10000147&param_name=x", REAL_TIME),
    ("/api/parameters/unknown/details?game_gid=10000147", SEMI_STATIC),
    ("/api/parameters/1", SEMI_STATIC),
    ("/api/common-params?game_gid=10000147", SEMI_STATIC),
    ("/api/event-parameters/1/config", SEMI_STATIC),
    ("/api/event-parameters/1/history", DYNAMIC),
    ("/api/param-library/check?param_name=x", REAL_TIME),
    ("/api/parameter-aliases?game_gid=10000147&param_id=1", SEMI_STATIC),
    ("/api/event-nodes?game_gid=10000147", DYNAMIC),
    ("/api/event-nodes/1", DYNAMIC),
    ("/api/flows?game_gid=10000147", SEMI_STATIC),
    ("/api/flows/1", SEMI_STATIC),
    ("/api/templates?game_gid=10000147&per_page=5", SEMI_STATIC),
    ("/api/templates?search=x", REAL_TIME),
    ("/api/templates/1", SEMI_STATIC),
    ("/api/nodes", DYNAMIC),
    ("/api/nodes/1", DYNAMIC),
    ("/api/join-configs", SEMI_STATIC),
    ("/api/join-configs/1", SEMI_STATIC),
    ("/api/field-builder/configs", SEMI_STATIC),
    ("/api/dashboard/stats", STATISTICS),
    ("/api/dashboard/summary?game_gid=10000147", STATISTICS),
    ("/api/hql?game_gid=10000147", STATIC),
    ("/api/hql/results", DYNAMIC),
    ("/api/hql/1", STATIC),
    ("/api/logs/1", REAL_TIME),
    ("/event_node_builder/api/params?event_id=1", DYNAMIC),
    ("/event_node_builder/api/list?game_gid=10000147", DYNAMIC),
    ("/event_node_builder/api/search?game_gid=10000147&keyword=x", REAL_TIME),
    ("/event_node_builder/api/stats?game_gid=10000147", STATISTICS),
    ("/event_node_builder/api/load/1", DYNAMIC),
    ("/hql-preview-v2/api/recommend-fields", REAL_TIME),
    ("/api/canvas/health", BYPASSED),
    ("/api/v1-adapter/status", BYPASSED),
    ("/api/graphql", BYPASSED),
    ("/api/cache/status", BYPASSED),
    ("/admin/cache/status", BYPASSED),
];

#[test]
fn every_cacheable_read_is_cached_for_its_class() {
    for revision in ["main", "opt"] {
        let exact = |config: &mut Value| config["defaults"]["jitter"] = json!(0);
        let (envoy, origin, _redis) = Scene::usual(&format!("table-{revision}"), exact);
        origin.configure(&json!({"revision": revision}));
        let mut client = envoy.client();
        for (path, ttl) in READS {
            let (first, second) = twice(&mut client, path);
            let ttl = match first.status {
                200 => *ttl,
                400 | 404 if *ttl > 0 => NEGATIVE,
                _ => BYPASSED,
            };
            assert_eq!(
                (first.status, second.is_hit()),
                (second.status, ttl > 0),
                "{revision} {path}: {} then {}",
                first.cache_status(),
                second.cache_status()
            );
            if second.is_hit() {
                assert_eq!(first.body, second.body, "{path}");
                let status = second.cache_status();
                let left = status.split("ttl=").nth(1).and_then(|t| t.split(';').next());
                let left: u32 = left.and_then(|t| t.parse().ok()).expect("a ttl");
                assert!(left <= ttl && left + 10 >= ttl, "{path}: {left} of {ttl}");
                assert_eq!(origin.saw(&format!("GET {path}")), 1, "{path}");
            }
        }
    }
}

#[test]
fn no_rule_goes_without_a_row() {
    let text = std::fs::read_to_string(root().join("envoy/event2table.yaml")).unwrap();
    let config: Value = serde_norway::from_str(&text).unwrap();
    let filters = &config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
    let tiercel = &filters["typed_config"]["http_filters"][0]["typed_config"]["config"];
    let routes = tiercel["configuration"]["value"]["routes"].as_array().unwrap();
    let reads = |route: &&Value| {
        route["methods"].as_array().is_none_or(|methods| methods.iter().any(|m| m == "GET"))
    };
    let routes: Vec<&Value> = routes.iter().filter(reads).collect();
    let mut router = Router::default();
    for route in &routes {
        let parameters = route["with_query"].as_array().into_iter().flatten();
        let parameters: Vec<_> = parameters.map(|p| p.as_str().unwrap().to_owned()).collect();
        router.push(&[], route["path"].as_str().unwrap(), &parameters).unwrap();
    }
    let mut fits = vec![false; routes.len()];
    for (target, _) in READS {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut normalised = Vec::new();
        normalise(&mut normalised, path.as_bytes());
        if let Some(index) = router.find(b"GET", &normalised, query.as_bytes()) {
            fits[index] = true;
        }
    }
    let untested: Vec<_> =
        routes.iter().zip(fits).filter(|(_, f)| !f).map(|(r, _)| &r["path"]).collect();
    assert!(untested.is_empty(), "{untested:?}");
}
