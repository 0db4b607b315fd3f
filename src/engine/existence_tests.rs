//! Which requests are refused, and what writes say of ids.

use std::rc::Rc;

use serde_json::json;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::existence::created;
use super::{Begin, Exchange, News, Worker};
use crate::coherence::{Filling, Memory};
use crate::config::{Policy, load};
use crate::existence::{Space, hash};
use crate::http::fields::{Fields, block};

const START_MS: u64 = 1_700_000_000_000;

/// Two ids exist, 1 and 2.
fn policy() -> Rc<Policy> {
    let exists = |id: &str| json!([{"space": "thing", "id": id}]);
    let config = json!({
        "role": "cache",
        "spaces": {
            "thing": {"pattern": "[0-9]+", "source": {"ids": [1, 2]}},
            "near": {"pattern": "[0-9]+", "monotonic": true, "ahead": 9, "source": {"ids": [1]}},
            "above": {"pattern": "[0-9]+", "monotonic": true, "source": {"ids": [1]}},
        },
        "routes": [
            {"path": "/things/{id}", "exists": exists("{id}")},
            {"path": "/bypassed/{id}", "bypass": true, "exists": exists("{id}")},
            {"path": "/one", "query": {"include": ["id"]}, "exists": exists("{query:id}")},
            {"path": "/all", "exists": exists("{query:id}")},
            {"path": "/both", "query": {"include": ["id"]}, "exists": exists("{header:x-id}")},
            {"path": "/field", "bypass": true, "exists": exists("{header:x-id}")},
            {"path": "/made", "methods": ["POST"], "creates": [
                {"space": "thing", "id": "{request:/id}"},
                {"space": "near", "id": "{response:/near}"},
                {"space": "above", "id": "{response:/above}"},
            ]},
        ],
    });
    Rc::new(load(config.to_string().as_bytes()).unwrap())
}

/// What becomes of a GET for this target, with these fields besides.
fn begin(target: &str, more: &[(&str, &str)], ended: bool) -> &'static str {
    let (policy, shared, mut worker) = (policy(), Memory::default(), Worker::new(1));
    for of in &policy.spaces {
        let mut space = Space::new(Rc::clone(of), None, 0, 3);
        space.open(&shared);
        (0..20).for_each(|n| {
            space.tick(&shared, Some(true), START_MS + 50 * n);
        });
        worker.spaces.insert(of.scope, space);
    }
    let mut fields = vec![(":method", "GET"), (":authority", "a"), (":scheme", "http")];
    fields.push((":path", target));
    fields.extend(more);
    let (block, now_ms) = (block(&fields).into(), || START_MS + 1_000);
    match Exchange::begin(&policy, block, ended, now_ms, (&shared, |_| None), &mut worker) {
        Begin::Absent(..) => "absent",
        Begin::Bypass(..) => "bypass",
        Begin::Miss(_) => "miss",
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_what_it_seems_goes_on() {
    let put = ("x-http-method-override", "PUT");
    for (path, more, expected) in [
        ("/things/2", vec![], "miss"),
        ("/things/9", vec![], "absent"),
        ("/bypassed/2", vec![], "bypass"),
        ("/bypassed/9", vec![], "absent"),
        ("/things/9", vec![("cookie", "a=b")], "absent"),
        ("/things/9", vec![("if-match", "*")], "absent"),
        ("/things/9", vec![put], "bypass"),
        ("/bypassed/9", vec![put], "bypass"),
        ("/things/9", vec![put, ("cookie", "a=b")], "bypass"),
        ("/things/9", vec![put, ("if-match", "*")], "bypass"),
    ] {
        assert_eq!(begin(path, &more, true), expected, "{path} {more:?}");
        assert_eq!(begin(path, &more, false), "bypass", "{path} {more:?}, and a body");
    }
}

#[test]
fn of_several_ids_the_origin_may_take_any() {
    for (target, expected) in [
        ("/one?id=9", "absent"),
        // The origin gets the first alone.
        ("/one?id=9&id=1", "absent"),
        ("/one?id=1&id=9", "miss"),
        ("/all?id=9", "absent"),
        ("/all?id=9&id=1", "miss"),
        ("/all?id=9&id=8", "absent"),
        ("/all?id=9&id=x", "miss"),
        ("/all?id=9&%69d=1", "miss"),
    ] {
        assert_eq!(begin(target, &[], true), expected, "{target}");
    }
    let many = |n| format!("/all?{}", "id=9&".repeat(n));
    assert_eq!((begin(&many(16), &[], true), begin(&many(17), &[], true)), ("absent", "miss"));
    let (absent, present) = (("x-id", "9"), ("x-id", "1"));
    assert_eq!(begin("/field", &[absent], true), "absent");
    assert_eq!(begin("/field", &[absent, present], true), "bypass");
    assert_eq!(begin("/both", &[absent, present], true), "miss");
}

#[test]
fn ids_that_nobody_knows_are_lost() {
    let policy = policy();
    let rule = policy.rule(b"POST", b"/made", b"");
    let scope = |name| policy.spaces.iter().find(|space| &*space.name == name).unwrap().scope;
    let made = |request: serde_json::Value| {
        let head = Filling::of_head(b"/made", None, Fields::new(&[]));
        created(
            &policy,
            &rule.writes.creates,
            false,
            &Filling { request: Some(&request), ..head },
            false,
        )
    };
    let known = News::Created(vec![hash(b"1000")]);
    assert_eq!(made(json!({"id": 1000})), [(scope("thing"), known)]);
    // What an origin may take for one that is well-formed.
    for id in [json!("1_000"), json!("\u{661}"), json!("x"), json!(1e300), json!(null)] {
        assert_eq!(made(json!({"id": id})), [(scope("thing"), News::Lost)], "{id}");
    }
    let uncertain = created(
        &policy,
        &rule.writes.creates,
        false,
        &Filling {
            request: Some(&json!({"id": 7})),
            ..Filling::of_head(b"/made", None, Fields::new(&[]))
        },
        true,
    );
    assert_eq!(uncertain, [(scope("thing"), News::Uncertain(vec![hash(b"7")]))]);
    // One that is above all others passes, unless only those that are near do.
    let head = Filling::of_head(b"/made", None, Fields::new(&[]));
    let of_response = |is_unknown| created(&policy, &rule.writes.creates, true, &head, is_unknown);
    let near = (scope("near"), News::Lost);
    assert_eq!(of_response(false), [near]);
    // Nor one that may come late.
    assert_eq!(of_response(true), [(scope("near"), News::Lost), (scope("above"), News::Lost)]);
}
