//! RFC 9213: targeted fields in place of `Cache-Control` and `Expires`.

use serde_json::json;

use super::{by_query, target};
use crate::harness::Scene;

#[test]
fn rfc9213_2_2_the_first_valid_target_decides() {
    let (envoy, _script) = Scene::scripted(
        "9213",
        |config| config["targets"] = json!(["Tiercel-Cache-Control", "CDN-Cache-Control"]),
        by_query(),
    );
    let mut client = envoy.client();
    let (none, long) = ("cache-control: no-store", "cache-control: max-age=999");
    for (n, (fields, ttl)) in [
        (&["cdn-cache-control: max-age=99", none][..], Some("9")),
        (&["cdn-cache-control: max-age=99", long, "expires: 0"], Some("9")),
        (&["cdn-cache-control: max-age=99", "tiercel-cache-control: max-age=19"], Some("1")),
        (&["cdn-cache-control: max-age=99", "tiercel-cache-control: no-store"], None),
        (&["cdn-cache-control: no-store", long], None),
        // Malformed or empty: as if it were not there.
        (&["cdn-cache-control: max-age=\"100\"", none], None),
        (&["cdn-cache-control: max-age=99;;", none], None),
        (&["cdn-cache-control: Max-Age=100", none], None),
        (&["cdn-cache-control: ", long], Some("99")),
        (&["cdn-cache-control: max-age=99", "tiercel-cache-control: !", none], Some("9")),
        // Other people's targets mean nothing here.
        (&["other-cache-control: max-age=99", none], None),
    ]
    .into_iter()
    .enumerate()
    {
        let path = target(&format!("/{n}"), 200, fields);
        client.get(&path);
        let second = client.get(&path);
        assert_eq!(second.is_hit(), ttl.is_some(), "{fields:?}: {second:?}");
        if let Some(ttl) = ttl {
            assert!(
                second.cache_status().contains(&format!("ttl={ttl}")),
                "{fields:?}: {second:?}"
            );
            // They go on: there may be other caches of the same kind.
            let name = fields[0].split(':').next().unwrap();
            assert!(second.field(name).is_some(), "{fields:?}");
        }
    }
}
