//! Spaces of ids: what is taken, and every way to be refused.

use serde_json::{Value, json};

use super::load;
use crate::existence::{Paging, SourcePolicy};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn good() -> Value {
    json!({
        "role": "cache",
        "origin": {"cluster": "api"},
        "l2": {"cluster": "l2"},
        "spaces": {
            "category": {"pattern": "[a-z]+", "source": {"redis": {"key": "ids", "kind": "sorted_set"}}},
            "event": {
                "pattern": "[0-9]+", "monotonic": true, "ahead": 100, "width": 8, "refresh": "4s",
                "source": {"http": {
                    "path": "/events?per_page=100", "ids": "/data/*/id", "total": "/total",
                    "page": {"parameter": "page"}, "headers": {"X-Key": "k"},
                }},
            },
            "game": {"pattern": "[0-9]+", "source": {"ids": ["007", 8]}},
        },
        "routes": [
            {"path": "/events/{id}", "bypass": true, "exists": [
                {"space": "event", "id": "{id}", "absent": {"body": "{\"no\":\"{id}\"}"}},
                {"space": "game", "id": "{query:gid}", "absent": {"status": 200}},
            ]},
            {"path": "/games/{gid}", "methods": ["PUT"], "creates": [
                {"space": "game", "id": "{gid}"},
                {"space": "game", "id": "{request:/ids/*}"},
                {"space": "event", "id": "{response:/id}"},
            ]},
        ],
    })
}

fn errors(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut config = good();
    change(&mut config);
    let errors = load(config.to_string().as_bytes()).err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn spaces_are_taken_as_they_are_written() {
    let policy = load(good().to_string().as_bytes()).unwrap();
    let names: Vec<_> = policy.spaces.iter().map(|space| &*space.name).collect();
    assert_eq!(names, ["category", "event", "game"]);
    let event = &policy.spaces[1];
    assert_eq!((event.grace_ms, event.ahead, event.max_ids), (4_000, 100, 1_000_000));
    let SourcePolicy::Http(http) = &event.source else { panic!("{event:?}") };
    assert!(
        matches!(&http.paging, Paging::Numbers { parameter, first: 1 } if **parameter == *"page")
    );
    let fields = [(&b":authority"[..], &b"api"[..]), (b"x-key", b"k")];
    assert!(http.fields.iter().map(|(name, value)| (&**name, &**value)).eq(fields));
    assert!(
        matches!(&policy.spaces[2].source, SourcePolicy::Static(ids) if ids.len() == 2 && *ids[0] == *"7")
    );
    let rule = policy.rule(b"GET", b"/events/7", b"");
    let absent: Vec<_> = rule.exists.iter().map(|carried| &carried.absent).collect();
    assert_eq!((absent[0].status, absent[0].fields.len(), absent[1].status), (404, 1, 200));
    assert!(absent[0].is_proof() && !absent[1].is_proof());
    let writes = &policy.rule(b"PUT", b"/games/7", b"").writes;
    assert!(writes.needs_request() && writes.needs_response() && writes.creates.len() == 3);
}

#[test]
fn another_list_is_another_space_and_another_pattern_is_not() {
    let scope = |change: &dyn Fn(&mut Value)| {
        let mut config = good();
        change(&mut config);
        load(config.to_string().as_bytes()).unwrap().spaces[1].scope
    };
    let before = scope(&|_| {});
    for same in ["pattern", "refresh", "shadow"] {
        let value = if same == "shadow" { json!(true) } else { json!("5s") };
        assert_eq!(
            scope(&|config| config["spaces"]["event"][same] = value.clone()),
            before,
            "{same}"
        );
    }
    assert_ne!(scope(&|config| config["spaces"]["event"]["width"] = json!(16)), before);
    assert_ne!(scope(&|config| config["l2"]["key_prefix"] = json!("x:")), before);
    let path =
        |config: &mut Value| config["spaces"]["event"]["source"]["http"]["path"] = json!("/e");
    assert_ne!(scope(&path), before);
}

#[test]
fn every_error_is_told_with_its_path() {
    let found = errors(|config| {
        config["l2"] = Value::Null;
        config["spaces"]["Bad name"] = json!({"pattern": "x", "source": {"ids": []}});
        config["spaces"]["empty"] = json!({});
        config["spaces"]["long"] = json!({"pattern": "x", "max_ids": 1, "source": {"ids": [1, 2]}});
        let twice = json!({"path": "/g?page=1", "ids": "/a/b", "page": {"parameter": "page"}, "total": "/n"});
        config["spaces"]["twice"] = json!({"pattern": "x", "source": {"http": twice}});
        config["spaces"]["event"]["width"] = json!(12);
        config["spaces"]["event"]["pattern"] = json!("[0-9");
        config["spaces"]["event"]["max_ids"] = json!(0);
        config["spaces"]["event"]["grace"] = json!("5s");
        config["spaces"]["event"]["monotonic"] = json!(false);
        let http = &mut config["spaces"]["event"]["source"]["http"];
        http["path"] = json!("events");
        http["ids"] = json!("data");
        http["total"] = Value::Null;
        http["page"] = json!({"parameter": "a b"});
        http["headers"] = json!({"Host": "x", "X": "a\nb"});
        http["concurrency"] = json!(0);
        config["spaces"]["game"]["source"]["http"] =
            json!({"path": "/g", "ids": "/*", "page": {}, "cursor": {}, "total": "/n"});
        config["routes"][0]["methods"] = json!(["POST"]);
        config["routes"][0]["exists"] = json!([
            {"space": "none", "id": "{id}"},
            {"space": "game", "id": "id"},
            {"space": "game", "id": "{request:/id}"},
            {"space": "game", "id": "{id}", "absent": {"status": 304, "body": "{query:p|1|x}"}},
        ]);
        config["routes"][1]["creates"] = json!([{"id": "{query:gid}"}]);
        config["routes"][1]["safe"] = json!(true);
    });
    for (path, part) in [
        ("spaces.Bad name", "is no name"),
        ("spaces.category.source.redis", "needs l2"),
        ("spaces.empty.pattern", "is required"),
        ("spaces.empty.source", "must be one of http, redis, ids"),
        ("spaces.event.width", "8 or 16"),
        ("spaces.event.pattern", "is no pattern: it has a class without its end"),
        ("spaces.event.max_ids", "between 1 and 20000000"),
        ("spaces.event.grace", "between 100 and 4000 (ms)"),
        ("spaces.event.ahead", "is for spaces that are monotonic"),
        ("spaces.event.source.http.path", "must be a path"),
        ("spaces.event.source.http.ids", "is not a JSON pointer"),
        ("spaces.event.source.http.total", "is required"),
        ("spaces.event.source.http.page.parameter", "is not made of"),
        ("spaces.event.source.http.headers.Host", "is not a field that can be set"),
        ("spaces.event.source.http.headers.X", "has control characters"),
        ("spaces.event.source.http.concurrency", "between 1 and 16"),
        ("spaces.game.source", "must be one of http, redis, ids"),
        ("spaces.long.source.ids", "has 2 ids, more than max_ids"),
        ("spaces.twice.source.http.ids", "has no `*`"),
        ("spaces.twice.source.http.page.parameter", "is in the path already"),
        ("routes[0].exists", "is for routes of GET and HEAD alone"),
        ("routes[0].exists[0].space", "there is no space \"none\""),
        ("routes[0].exists[1].id", "is not one gap"),
        ("routes[0].exists[2].id", "is not known here"),
        ("routes[0].exists[3].absent.status", "must be a whole answer"),
        ("routes[0].exists[3].absent.body", "is no range"),
        ("routes[1].creates[0].space", "is required"),
        ("routes[1].creates[0].id", "is not known here"),
        ("routes[1].safe", "creates nothing"),
    ] {
        let has = |error: &&String| error.starts_with(&format!("{path}: ")) && error.contains(part);
        assert!(found.iter().any(|error| has(&error)), "{path}: {part} in {found:#?}");
    }
    assert_eq!(found.len(), 29, "{found:#?}");
    let reads = errors(|config| config["routes"][1]["methods"] = json!(["GET"]));
    assert_eq!(reads.len(), 1, "{reads:?}");
    let unseen = errors(|config| {
        config["routes"][0]["bypass"] = json!(false);
        config["routes"][0]["query"] = json!({"include": ["page"]});
    });
    assert_eq!(unseen.len(), 1, "{unseen:?}");
    assert!(unseen[0].starts_with("routes[0].exists[1].id: \"{query:gid}\" is neither"));
    let cursor = errors(|config| {
        config["origin"] = Value::Null;
        let http = &mut config["spaces"]["event"]["source"]["http"];
        http["cursor"] = json!({"parameter": "c", "next": "/n"});
    });
    assert_eq!(cursor.len(), 2, "{cursor:?}");
}
