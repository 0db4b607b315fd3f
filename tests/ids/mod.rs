//! Ids that do not exist are answered at the edge, and none that exists is ever refused.

mod redis;
mod things;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Envoy, Scene, eventually, reply};

use things::{Things, alone, asked, count, gauge, is_refused, things, until_known};

#[test]
fn an_id_that_does_not_exist_never_reaches_the_origin() {
    let scene = Scene::new("ids-absent");
    let (_, script) = Things::start(1..=95);
    let envoy = alone(&scene, &script, 2, |_| {});
    until_known(&envoy);
    script.asked();
    let mut client = envoy.client();
    for id in 1..=95 {
        let answer = client.get(&format!("/things/{id}"));
        assert_eq!((answer.status, answer.body), (200, id.to_string().into_bytes()));
    }
    assert_eq!(asked(&script).len(), 95);
    for id in 96..=300 {
        let answer = client.get(&format!("/things/{id}"));
        assert_eq!((answer.status, answer.field("content-type")), (404, Some("application/json")));
        assert!(
            is_refused(&answer) && answer.json()["no"].as_str() == Some(&*id.to_string()),
            "{answer:?}"
        );
        let at = answer.json()["at"].as_str().unwrap().to_owned();
        assert!(at.starts_with("20") && at.ends_with("000+00:00"), "{at}");
    }
    let head = client.request("HEAD", "/things/300", &[], b"");
    assert_eq!((head.status, head.field("content-type")), (404, Some("application/json")));
    assert_eq!(asked(&script), Vec::<String>::new());
    // What is no id of this kind is the origin's business; and other forms of an id that exists are that id.
    for id in ["abc", "-1", "1234567890", "007", "%37"] {
        let answer = client.get(&format!("/things/{id}"));
        assert!(!is_refused(&answer), "{id}: {answer:?}");
    }
    assert_eq!(asked(&script).len(), 5);
    // Each worker hands over what it counted in its own time.
    eventually("refusals to be counted, as requests too", || {
        let refused = count(&envoy, "refused");
        let requests = envoy.metric("tiercel_requests{outcome=\"absent\"}");
        (refused >= 206 && requests == refused).then_some(())
    });
    assert_eq!((gauge(&envoy, "ids"), gauge(&envoy, "open")), (95, 0));
    envoy.expect_log("space thing: a list of 95 ids was read");
}

#[test]
fn what_is_created_through_the_proxy_is_readable_at_once() {
    let scene = Scene::new("ids-created");
    let (_, script) = Things::start(1..=5);
    let envoy = alone(&scene, &script, 2, |_| {});
    until_known(&envoy);
    for round in 0..200_u64 {
        let made = envoy.client().request("POST", "/things", &[], b"{}");
        let id = made.json()["id"].as_u64().unwrap();
        let chosen = 1_000_000 - round;
        let put = envoy.client().request("PUT", &format!("/things/{chosen}"), &[], b"{}");
        assert_eq!((made.status, put.status), (201, 200));
        for id in [id, chosen] {
            for _ in 0..2 {
                let answer = envoy.client().get(&format!("/things/{id}"));
                assert_eq!(answer.status, 200, "round {round}: {answer:?}");
            }
        }
    }
    assert!(is_refused(&envoy.client().get("/things/77777")));
    assert_eq!(count(&envoy, "false_negative"), 0);
}

#[test]
fn an_id_that_nobody_names_opens_the_space_until_the_list_is_read_anew() {
    let scene = Scene::new("ids-unnamed");
    let (things, script) = Things::start(1..=5);
    things.change(|origin| origin.tells = false);
    let envoy = alone(&scene, &script, 1, |config| {
        config["spaces"]["thing"]["refresh"] = json!("2s");
        config["spaces"]["thing"]["grace"] = json!("2s");
    });
    until_known(&envoy);
    let mut client = envoy.client();
    assert_eq!(client.request("POST", "/things", &[], b"{}").status, 201);
    assert_eq!(client.get("/things/6").status, 200);
    envoy.expect_log("requests go on whatever their ids: full");
    until_known(&envoy);
    assert_eq!(client.get("/things/6").status, 200);
}

#[test]
fn what_is_created_elsewhere_is_known_in_time() {
    let scene = Scene::new("ids-elsewhere");
    let (things, script) = Things::start(1..=5);
    let envoy = alone(&scene, &script, 1, |config| {
        config["spaces"]["thing"]["grace"] = json!("1s");
    });
    until_known(&envoy);
    things.change(|origin| _ = origin.ids.insert(7));
    // Who asks for it makes the list be read again once that is so old.
    let start = Instant::now();
    eventually("the new id to be found", || {
        (envoy.client().get("/things/7").status == 200).then_some(())
    });
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let growing = alone(&scene, &script, 1, |config| {
        config["spaces"]["thing"]["monotonic"] = json!(true);
    });
    eventually("the list to be read", || {
        is_refused(&growing.client().get("/things/6")).then_some(())
    });
    things.change(|origin| _ = origin.ids.insert(8));
    assert_eq!(growing.client().get("/things/8").status, 200);
    assert!(is_refused(&growing.client().get("/things/6")));
}

#[test]
fn lists_that_are_no_good_are_not_used() {
    type Spoil = fn(Vec<u8>) -> Option<Vec<u8>>;
    let cases: [(&str, &str, Spoil); 5] = [
        ("error", "status", |_| reply(500, &[], "{}")),
        ("half", "incomplete", |page| {
            let text = String::from_utf8(page).unwrap();
            reply(200, &[], &text.rsplit("\r\n").next()?.replace("{\"id\":3},", ""))
        }),
        ("text", "malformed", |_| reply(200, &[], "{\"data\": {\"rows\": [")),
        ("gone", "status", |_| None),
        ("other", "malformed", |_| {
            reply(200, &[], "{\"data\": {\"rows\": \"x\", \"total\": \"y\"}}")
        }),
    ];
    let scene = Scene::new("ids-bad-lists");
    for (name, failure, spoils) in cases {
        let (things, script) = Things::start(1..=5);
        things.change(|origin| origin.spoils = spoils);
        let envoy = alone(&scene, &script, 1, |_| {});
        envoy.expect_log(&format!("space thing: the list of ids is not used: {failure}"));
        let mut client = envoy.client();
        for id in [1, 3, 6] {
            let answer = client.get(&format!("/things/{id}"));
            assert_eq!(answer.status, if id > 5 { 404 } else { 200 }, "{name}");
            assert!(!is_refused(&answer), "{name}");
        }
        eventually("the state to be told", || (gauge(&envoy, "open") == 1).then_some(()));
        assert!(count(&envoy, "read_failed") > 0 && count(&envoy, "refused") == 0, "{name}");
        // Once it is well again so is the space.
        things.change(|origin| origin.spoils = Some);
        until_known(&envoy);
        assert_eq!(client.get("/things/3").status, 200, "{name}");
    }
    let (_, script) = Things::start(1..=200);
    let envoy = alone(&scene, &script, 1, |config| {
        config["spaces"]["thing"]["max_ids"] = json!(20);
    });
    envoy.expect_log("space thing: the list of ids is not used: too_many");
    assert!(!is_refused(&envoy.client().get("/things/201")));
}

#[test]
fn a_list_that_has_not_changed_is_not_sent_again() {
    let scene = Scene::new("ids-etag");
    let (things, script) = Things::start(1..=25);
    let envoy = alone(&scene, &script, 1, |config| {
        config["spaces"]["thing"]["refresh"] = json!("1s");
        config["spaces"]["thing"]["grace"] = json!("1s");
    });
    until_known(&envoy);
    // A machine that stalls may hand the reading to another VM, which starts anew; not for ever.
    eventually("the list to be unchanged twice", || {
        let (unchanged, built) = (count(&envoy, "unchanged"), count(&envoy, "built"));
        eventually("it to be asked for", || {
            (count(&envoy, "unchanged") > unchanged + 1).then_some(())
        });
        (count(&envoy, "built") == built).then_some(())
    });
    things.change(|origin| _ = origin.ids.insert(30));
    eventually("the new list", || (gauge(&envoy, "ids") == 26).then_some(()));
    assert_eq!(envoy.client().get("/things/30").status, 200);
    assert!(is_refused(&envoy.client().get("/things/29")));
}

#[test]
fn a_chunked_body_names_what_is_created_before_the_origin_has_it() {
    let scene = Scene::new("ids-body");
    let (_, script) = Things::start(1..=5);
    let envoy = alone(&scene, &script, 2, |config| {
        config["routes"][3]["creates"] = json!([{"space": "thing", "id": "{request:/ids/*}"}]);
    });
    until_known(&envoy);
    // Nobody answers: what was sent may be carried out all the same.
    script.hold(Some("PUT"));
    let mut writer = envoy.client();
    let fields = [("transfer-encoding", "chunked")];
    let body = b"7\r\n{\"ids\":\r\n13\r\n[4711, \"0815\", 77]}\r\n0\r\n\r\n";
    writer.send("PUT", b"/things/4711", &fields, body).unwrap();
    script.expect_asked("PUT");
    script.hold(None);
    for id in ["4711", "815", "77"] {
        for _ in 0..4 {
            assert!(!is_refused(&envoy.client().get(&format!("/things/{id}"))), "{id}");
        }
    }
    assert!(is_refused(&envoy.client().get("/things/78")));
}

#[test]
fn a_shadow_only_counts() {
    let scene = Scene::new("ids-shadow");
    let (things, script) = Things::start(1..=5);
    let envoy = alone(&scene, &script, 1, |config| {
        config["spaces"]["thing"]["shadow"] = json!(true);
    });
    eventually("the list to be read", || (gauge(&envoy, "ids") == 5).then_some(()));
    let mut client = envoy.client();
    // The gauge is the process's: this worker may not have the filter yet.
    let mut asked = 0;
    eventually("it to be counted", || {
        asked += 1;
        assert_eq!(client.get("/things/6").status, 404);
        (count(&envoy, "shadowed") > 0).then_some(())
    });
    eventually("each to be counted once", || {
        (count(&envoy, "shadowed") + count(&envoy, "no_list") == asked).then_some(())
    });
    assert_eq!(client.get("/things/5").status, 200);
    assert_eq!((count(&envoy, "refused"), count(&envoy, "false_negative")), (0, 0));
    things.change(|origin| _ = origin.ids.insert(6));
    assert_eq!(client.get("/things/6").status, 200);
    eventually("the error to be counted", || (count(&envoy, "false_negative") == 1).then_some(()));
    // An id that went away looks like one that only seems to be there.
    things.change(|origin| _ = origin.ids.remove(&5));
    assert_eq!(client.get("/things/5").status, 404);
    eventually("it to be counted", || (count(&envoy, "false_positive") == 1).then_some(()));
}

#[test]
fn an_id_space_survives_a_reload_and_a_crash() {
    let scene = Scene::new("ids-reload");
    let (_, script) = Things::start(1..=95);
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(things);
    let envoy = builder.workers(2).reloadable().with_trap(1).start(&scene);
    until_known(&envoy);
    script.asked();
    envoy.reload(|config| config["headers"] = json!({"x_cache_status": true}));
    eventually("the new configuration", || {
        let answer = envoy.client().get("/things/96");
        (answer.field("x-cache-status") == Some("ABSENT")).then_some(())
    });
    let _ = envoy.client().try_request("GET", b"/things/1", &[("x-test-trap", "1")], b"");
    until_known(&envoy);
    let lists = script.asked().iter().filter(|a| a.target.starts_with("/things?")).count();
    assert_eq!(lists, 0, "what the process knows is not read again");
    assert_eq!(envoy.client().get("/things/95").status, 200);
}
