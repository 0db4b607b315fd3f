//! envoy/event2table.yaml: every cacheable read of the API, on both revisions.

use serde_json::json;

use crate::harness::Scene;
use crate::harness::scene::twice;

/// (path, whether it is cached, seconds of freshness at most).
const READS: [(&str, bool, u32); 34] = [
    ("/api/games", true, 3600),
    ("/api/games/10000147", true, 3600),
    ("/api/games/999", true, 60),
    ("/api/events", true, 300),
    ("/api/events?game_gid=10000147&page=2&per_page=50", true, 300),
    ("/api/events?game_gid=999", true, 300),
    ("/api/events?game_gid=abc", true, 300),
    ("/api/events/1?game_gid=10000147", true, 300),
    ("/api/events/1", false, 0),
    ("/api/events/1/parameters", true, 1800),
    ("/api/events/1/params", true, 1800),
    ("/api/categories?game_gid=10000147", true, 1800),
    ("/api/categories?game_gid=999", true, 60),
    ("/api/categories", false, 0),
    ("/api/categories/1", true, 1800),
    ("/api/parameters/all?game_gid=10000147", true, 1800),
    ("/api/parameters/all?game_gid=999", true, 60),
    ("/api/parameters/stats?game_gid=10000147", true, 600),
    ("/api/parameters/common?game_gid=10000147", true, 1800),
    ("/api/parameters/1", true, 1800),
    ("/api/common-params?game_gid=10000147", true, 1800),
    ("/api/event-nodes?game_gid=10000147", true, 300),
    ("/api/event-nodes/1", true, 300),
    ("/api/flows", true, 1800),
    ("/api/flows/1", true, 1800),
    ("/api/templates", true, 1800),
    ("/api/templates/1", true, 1800),
    ("/api/nodes", true, 300),
    ("/api/nodes/1", true, 300),
    ("/api/join-configs/1", true, 1800),
    ("/api/event-parameters/1/config", true, 1800),
    ("/api/param-library/check?param_name=x", true, 60),
    ("/api/canvas/health", false, 0),
    ("/admin/cache/status", false, 0),
];

#[test]
fn every_cacheable_read_is_cached_for_its_class() {
    for revision in ["main", "opt"] {
        let (envoy, origin, _redis) = Scene::usual(&format!("table-{revision}"), |_| {});
        origin.configure(&json!({"revision": revision}));
        let mut client = envoy.client();
        for (path, cached, ttl) in READS {
            let (first, second) = twice(&mut client, path);
            assert!(first.status < 500, "{revision} {path}: {first:?}");
            assert_eq!(
                (first.status, second.is_hit()),
                (second.status, cached),
                "{revision} {path}: {} then {}",
                first.cache_status(),
                second.cache_status()
            );
            if cached {
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
