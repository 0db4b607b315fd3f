//! What writes make stale, by their heads, bodies and answers.

use std::rc::Rc;

use serde_json::json;

use super::held::Held;
use super::{Invalidation, Worker};
use crate::coherence::{TagKey, Validity};
use crate::config::{Policy, load};
use crate::http::fields::{Fields, block};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn policy() -> Rc<Policy> {
    let config = json!({
        "role": "cache",
        "coherence": {"max_body": "100B"},
        "routes": [
            {"path": "/g/{gid}", "methods": ["PUT"], "invalidates": ["games", "game:{gid}"]},
            {"path": "/e", "methods": ["POST"], "invalidates":
                ["game:{request:/gid|any}", "event:{response:/id|any}"]},
            {"path": "/graphql", "methods": ["POST"], "invalidates": ["games"],
                "when": {"request": "/query", "contains": "mutation"}},
            {"path": "/batch", "methods": ["POST"], "invalidates": ["games"],
                "when": {"request": "/*/query", "contains": "mutation"}},
            {"path": "/search", "methods": ["POST"], "safe": true},
        ],
    });
    Rc::new(load(config.to_string().as_bytes()).unwrap())
}

fn write(method: &str, path: &str) -> Option<Box<Invalidation>> {
    let policy = policy();
    let rule = policy.rule(method.as_bytes(), path.as_bytes(), b"");
    let fields = block(&[(":method", method), (":path", path), (":authority", "a")]);
    Invalidation::of(&policy, rule, fields.into(), &Held::default())
}

/// Which of these names are stale after `act`.
fn stale(names: &[&'static str], act: impl FnOnce(&mut Worker)) -> Vec<&'static str> {
    let mut worker = Worker::new(1);
    let epoch = worker.generations.epoch();
    act(&mut worker);
    let is_stale = |name: &&&'static str| {
        let tag = [TagKey::default().named(name.as_bytes())];
        worker.generations.validity(&tag, epoch) == Validity::Invalid
    };
    names.iter().filter(is_stale).copied().collect()
}

/// Whether a `POST` with this body makes games stale.
fn makes_stale(path: &str, body: &str) -> bool {
    let found = stale(&["games"], |worker| {
        let mut write = write("POST", path).unwrap();
        write.request_chunk(Some(body.as_bytes().to_vec()), worker);
        write.respond(200, NONE, 1_000, worker);
    });
    !found.is_empty()
}

const NONE: Fields<'static> = Fields::new(&[]);

#[test]
fn a_route_names_what_its_writes_make_stale() {
    let names = ["games", "game:7", "game:8", "://a/g/7"];
    for (status, expected) in [
        (200, &["games", "game:7", "://a/g/7"][..]),
        (500, &["games", "game:7", "://a/g/7"]),
        (408, &["games", "game:7", "://a/g/7"]),
        (404, &[]),
        (422, &[]),
    ] {
        let found = stale(&names, |worker| {
            let mut write = write("PUT", "/g/007").unwrap();
            write.respond(status, NONE, 1_000, worker);
            assert!(!write.wants_response());
        });
        let own = |name: &&&str| **name != "://a/g/7";
        let expected: Vec<_> = expected.iter().filter(own).copied().collect();
        assert_eq!(found, expected, "{status}");
    }
}

#[test]
fn bodies_name_tags_and_what_cannot_be_read_has_a_stand_in() {
    let names = ["game:7", "game:any", "event:9", "event:any"];
    let long = format!("{{\"gid\": 7, \"x\": \"{}\"}}", "x".repeat(100));
    for (request, response, expected) in [
        ("{\"gid\": 7}", Some("{\"id\": 9}"), ["game:7", "event:9"]),
        ("{\"gid\": ", Some("{}"), ["game:any", "event:any"]),
        (&long, Some("[]"), ["game:any", "event:any"]),
        ("{\"gid\": \"7\"}", None, ["game:7", "event:any"]),
    ] {
        let found = stale(&names, |worker| {
            let mut write = write("POST", "/e").unwrap();
            assert!(write.wants_request() && !write.wants_response());
            write.request_chunk(Some(request.as_bytes()[..5].to_vec()), worker);
            write.request_chunk(Some(request.as_bytes()[5..].to_vec()), worker);
            write.respond(500, NONE, 1_000, worker);
            assert!(write.wants_response());
            write.response_chunk(response.map(|text| text.as_bytes().to_vec()), worker);
            write.end(1_000, worker);
        });
        assert_eq!(found, expected, "{request}");
    }
    let found = stale(&names, |worker| {
        let mut write = write("POST", "/e").unwrap();
        write.request_chunk(Some(b"{\"gid\": 7}".to_vec()), worker);
        write.respond(400, NONE, 1_000, worker);
        assert!(!write.wants_response());
        write.end(1_000, worker);
    });
    assert!(found.is_empty());
}

#[test]
fn a_write_of_unknown_outcome_may_come_true_for_a_while() {
    for (status, uncertain) in [(None, true), (Some(504), true), (Some(500), false)] {
        let found = stale(&["games", "game:7"], |worker| {
            let mut write = write("PUT", "/g/7").unwrap();
            if let Some(status) = status {
                write.respond(status, NONE, 1_000, worker);
            }
            write.end(1_000, worker);
            let tag = [TagKey::default().named(b"game:7")];
            assert_eq!(worker.generations.is_uncertain(&tag, 5_999), uncertain, "{status:?}");
            assert!(!worker.generations.is_uncertain(&tag, 6_000));
        });
        assert_eq!(found, ["games", "game:7"]);
    }
}

/// CGI and its heirs cannot tell `_` from `-`, and some take the last of several lines.
#[test]
fn whatever_an_origin_may_take_for_the_method_counts() {
    let policy = policy();
    let changes = |fields: &[(&str, &str)]| {
        let rule = policy.rule(b"GET", b"/g/7", b"");
        let head = [(":method", "GET"), (":path", "/g/7"), (":authority", "a")];
        let head = block(&[&head, fields].concat());
        Invalidation::of(&policy, rule, head.into(), &Held::default()).is_some()
    };
    let (dashed, other) = ("x-http-method-override", "x_http_method_override");
    assert!(changes(&[(dashed, "put")]) && !changes(&[(dashed, "get")]));
    assert!(changes(&[(other, "PUT")]) && changes(&[(dashed, "GET"), (dashed, "PUT")]));
}

#[test]
fn reads_by_other_methods_change_nothing() {
    assert!(write("POST", "/search").is_none() && write("GET", "/g/7").is_none());
    for (body, changes) in [
        ("{\"query\": \"{games{gid}}\"}", false),
        ("{\"query\": \"mutation{x}\"}", true),
        ("{\"query\": 7}", true),
        ("{}", true),
        ("query{games}", true),
    ] {
        assert_eq!(makes_stale("/graphql", body), changes, "{body}");
    }
}

/// What it does not say in full may be a mutation: a persisted one, say.
#[test]
fn a_batch_changes_nothing_only_if_each_of_it_says_so() {
    for (body, changes) in [
        (r#"[{"query": "{a}"}, {"query": "{b}"}]"#, false),
        (r#"[{"query": "{a}"}, {"query": "mutation {b}"}]"#, true),
        (r#"[{"query": "{a}"}, {"extensions": {}}]"#, true),
        (r#"[{"extensions": {}}, {"query": "{a}"}]"#, true),
        ("[]", true),
    ] {
        assert_eq!(makes_stale("/batch", body), changes, "{body}");
    }
}
