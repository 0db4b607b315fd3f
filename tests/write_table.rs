//! envoy/event2table.yaml: every write of the API, and the reads it makes stale. What is right the origin
//! itself says: after a write every cached read must be what the origin answers now.

use serde_json::{Value, json};

use crate::harness::{Client, Scene};
use crate::policy_table::READS;

/// Further reads: of rows that writes make, change or delete.
const MORE: &[&str] = &[
    "/api/games/10000148",
    "/api/games/10000200",
    "/api/events?game_gid=10000148",
    "/api/events?search=renamed",
    "/api/events/2?game_gid=10000147",
    "/api/events/3/params",
    "/api/events/1001?game_gid=10000147",
    "/api/categories/2",
    "/api/categories/9",
    "/api/categories?game_gid=10000148",
    "/api/parameters/all?game_gid=10000148",
    "/api/parameters/role_id/details?game_gid=10000147",
    "/api/parameters/2",
    "/api/flows",
    "/api/nodes?game_gid=10000147",
    "/api/hql/2",
];

type Write = (&'static str, &'static str, fn() -> Value);

/// Writes in an order in which each finds what it changes.
const WRITES: &[Write] = &[
    ("POST", "/api/games", || json!({"gid": 10_000_200, "name": "New", "ods_db": "ieu_ods"})),
    ("PUT", "/api/games/10000147", || json!({"name": "Renamed"})),
    ("PATCH", "/api/games/010000147", || json!({"name": "Renamed again"})),
    (
        "PUT",
        "/api/games/batch-update",
        || json!({"gids": [10_000_148], "ids": [10_000_148], "updates": {"name": "Batch"}}),
    ),
    (
        "POST",
        "/api/events",
        || json!({"game_gid": 10_000_147, "event_name": "made", "event_name_cn": "x", "category_id": 1}),
    ),
    ("PUT", "/api/events/1", || json!({"event_name_cn": "renamed"})),
    ("PATCH", "/api/events/2", || json!({"event_name_cn": "renamed", "category_id": 2})),
    (
        "PUT",
        "/api/events/batch-update",
        || json!({"ids": [2, "3"], "updates": {"event_name_cn": "b"}}),
    ),
    ("POST", "/bulk-update-category", || json!({"event_ids": [1, 2], "category_id": 3})),
    (
        "POST",
        "/bulk-toggle-common-params",
        || json!({"event_ids": [1], "include_in_common_params": true, "value": true}),
    ),
    ("PUT", "/api/parameters/1", || json!({"param_name": "role", "param_name_cn": "renamed"})),
    ("PUT", "/api/event-parameters/2", || json!({"param_name_cn": "renamed", "param_type": "int"})),
    ("PUT", "/api/event-parameters/3/display-name", || json!({"display_name": "shown"})),
    ("POST", "/api/event-parameters/2/rollback", || json!({"version": 1})),
    ("POST", "/api/event-params/4/link-library", || json!({"library_id": 1})),
    ("DELETE", "/api/event-parameters/5", || json!({})),
    ("POST", "/api/categories", || json!({"name": "made"})),
    ("PUT", "/api/categories/1", || json!({"name": "renamed"})),
    ("PATCH", "/api/categories/2", || json!({"name": "renamed too"})),
    ("PUT", "/api/categories/batch-update", || json!({"ids": [3], "updates": {"name": "b"}})),
    (
        "POST",
        "/api/event-nodes",
        || json!({"game_gid": 10_000_147, "event_id": 1, "name": "made", "name_en": "m"}),
    ),
    ("PUT", "/api/event-nodes/1", || json!({"name": "renamed", "name_cn": "renamed"})),
    (
        "POST",
        "/event_node_builder/api/save",
        || json!({"game_gid": 10_000_147, "event_id": 1, "name_en": "saved", "name_cn": "saved"}),
    ),
    (
        "PUT",
        "/event_node_builder/api/update",
        || json!({"id": 1, "node_id": 1, "name_cn": "again"}),
    ),
    ("POST", "/event_node_builder/api/copy/1", || json!({})),
    ("DELETE", "/event_node_builder/api/delete/2", || json!({})),
    ("DELETE", "/api/event-nodes/1", || json!({})),
    ("POST", "/api/nodes", || json!({"game_gid": 10_000_147, "name": "made"})),
    ("PUT", "/api/nodes/1", || json!({"name": "renamed"})),
    ("DELETE", "/api/nodes/1", || json!({})),
    ("POST", "/api/flows", || json!({"game_gid": 10_000_147, "flow_name": "made", "name": "made"})),
    ("PUT", "/api/flows/1", || json!({"flow_name": "renamed", "name": "renamed"})),
    ("POST", "/api/templates", || json!({"game_gid": 10_000_147, "name": "made"})),
    ("PUT", "/api/templates/2", || json!({"name": "renamed"})),
    (
        "POST",
        "/canvas/api/flows/save",
        || json!({"game_gid": 10_000_147, "flow_name": "saved", "name": "s"}),
    ),
    ("DELETE", "/api/templates/2", || json!({})),
    ("DELETE", "/api/flows/1", || json!({})),
    ("POST", "/api/common-params/sync", || json!({"game_gid": 10_000_147})),
    ("DELETE", "/api/common-params/1", || json!({})),
    ("DELETE", "/api/common-params/batch", || json!({"ids": [2]})),
    ("POST", "/api/common-params/bulk-delete", || json!({"ids": [3]})),
    ("POST", "/api/join-configs", || json!({"name": "made", "game_gid": 10_000_147})),
    ("PUT", "/api/join-configs/1", || json!({"name": "renamed"})),
    ("POST", "/api/field-builder/config", || json!({"name": "made", "game_gid": 10_000_147})),
    ("PUT", "/api/field-builder/config/1", || json!({"name": "renamed again"})),
    ("DELETE", "/api/join-configs/1", || json!({})),
    ("DELETE", "/api/field-builder/config/2", || json!({})),
    ("POST", "/api/generate", || json!({"game_gid": 10_000_147, "event_ids": [1], "hql": "x"})),
    ("POST", "/api/hql/1/deactivate", || json!({})),
    ("POST", "/api/hql/1/activate", || json!({})),
    ("DELETE", "/api/events/batch", || json!({"ids": [1, 2]})),
    ("POST", "/bulk-delete-events", || json!({"event_ids": [3]})),
    ("DELETE", "/api/categories/batch", || json!({"ids": [2]})),
    ("DELETE", "/api/categories/1", || json!({})),
    ("DELETE", "/api/games/batch", || json!({"gids": [10_000_148], "ids": [10_000_148]})),
    ("DELETE", "/api/games/10000147", || json!({})),
];

/// POSTs that change nothing.
const SAFE: &[Write] = &[
    ("POST", "/api/parameters/search", || json!({"keyword": "role", "game_gid": 10_000_147})),
    ("POST", "/api/param-library/batch-check", || json!({"names": ["role_id"]})),
    ("POST", "/api/validate-hql", || json!({"hql": "select 1"})),
    ("POST", "/api/canvas/validate", || json!({})),
    ("POST", "/hql-preview-v2/api/validate", || json!({"hql": "select 1"})),
    ("POST", "/event_node_builder/api/preview-hql", || json!({"event_id": 1})),
    ("POST", "/bulk-export-events", || json!({"ids": [1]})),
    ("POST", "/bulk-validate-parameters", || json!({"ids": [1]})),
    ("POST", "/api/graphql", || json!({"query": "{games{gid}}"})),
    // Refused: nothing was written.
    ("POST", "/api/games", || json!({})),
];

fn reads() -> impl Iterator<Item = &'static str> {
    READS.iter().filter(|(_, ttl)| *ttl > 0).map(|(path, _)| *path).chain(MORE.iter().copied())
}

/// A body without what differs between any two answers.
fn told(client: &mut Client, path: &str) -> (u16, Value) {
    let answer = client.get(path);
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if let Some(members) = body.as_object_mut() {
        members.remove("timestamp");
        members.remove("message");
    }
    (answer.status, body)
}

fn send(client: &mut Client, (method, path, body): &Write) -> u16 {
    let body = body().to_string();
    client.request(method, path, &[("content-type", "application/json")], body.as_bytes()).status
}

#[test]
fn after_every_write_every_read_is_what_the_origin_says() {
    for revision in ["main", "opt"] {
        let (envoy, origin, _redis) = Scene::usual(&format!("writes-{revision}"), |_| {});
        origin.configure(&json!({"revision": revision}));
        let (mut client, mut direct) = (envoy.client(), origin.client());
        let mut unchanged = Vec::new();
        for write in WRITES {
            let before: Vec<_> = reads().map(|path| told(&mut client, path)).collect();
            let status = send(&mut client, write);
            assert!(
                status < 400 || status == 500 || status == 404,
                "{revision} {write:?}: {status}"
            );
            let mut changes = 0;
            for (path, before) in reads().zip(before) {
                let truth = told(&mut direct, path);
                assert_eq!(told(&mut client, path), truth, "{revision} {write:?} {status}: {path}");
                changes += u32::from(before != truth);
            }
            if changes == 0 {
                unchanged.push(write.1);
            }
        }
        assert_eq!(unchanged, UNSEEN, "{revision}: what changes nothing tests nothing");
    }
}

/// Writes that no read of the demo origin shows.
const UNSEEN: [&str; 3] =
    ["/api/event-params/4/link-library", "/event_node_builder/api/delete/2", "/api/hql/1/activate"];

#[test]
fn posts_that_are_reads_and_writes_that_were_refused_make_nothing_stale() {
    let (envoy, origin, _redis) = Scene::usual("safe-posts", |_| {});
    origin.configure(&json!({"revision": "opt"}));
    let mut client = envoy.client();
    let is_hit = |client: &mut Client, path: &&str| client.get(path).is_hit();
    reads().for_each(|path| drop(client.get(path)));
    let hits: Vec<_> = reads().filter(|path| is_hit(&mut client, path)).collect();
    assert!(hits.len() > 50, "{}", hits.len());
    for write in SAFE {
        send(&mut client, write);
        for path in &hits {
            assert!(is_hit(&mut client, path), "{write:?}: {path}");
        }
    }
    send(&mut client, &("POST", "/api/graphql", || json!({"query": "mutation{createGame{ok}}"})));
    assert!(!is_hit(&mut client, &"/api/games"));
}
