//! Ids that do not exist are answered at the edge, and none that exists is ever refused.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Asked, Client, Envoy, Redis, Response, Scene, Script, eventually, reply};

/// The ids that an origin has, and how it lists them.
#[derive(Clone)]
struct Things(Arc<Mutex<Origin>>);

struct Origin {
    ids: BTreeSet<u64>,
    /// Turns a page into what is sent in its place.
    spoils: fn(Vec<u8>) -> Option<Vec<u8>>,
    /// Whether the answer to a create names the id.
    tells: bool,
}

const PAGE: usize = 10;

impl Things {
    /// An origin with these ids.
    fn start(ids: impl IntoIterator<Item = u64>) -> (Self, Script) {
        let ids = ids.into_iter().collect();
        let things = Self(Arc::new(Mutex::new(Origin { ids, spoils: Some, tells: true })));
        let of_script = things.clone();
        let script = Script::start(move |asked: &Asked| of_script.answer(asked));
        (things, script)
    }

    fn answer(&self, asked: &Asked) -> Option<Vec<u8>> {
        let mut origin = self.0.lock().unwrap();
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let last = path.rsplit('/').next().unwrap_or_default();
        match (asked.method.as_str(), path) {
            ("GET", "/things") => {
                let page: usize = query.trim_start_matches("page=").parse().unwrap();
                let ids: Vec<_> = origin.ids.iter().skip((page - 1) * PAGE).take(PAGE).collect();
                let rows: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
                let body = json!({"data": {"rows": rows, "total": origin.ids.len()}});
                let etag = format!("\"{page} of {}\"", origin.ids.len());
                if asked.field("if-none-match") == Some(&*etag) {
                    return reply(304, &[], "");
                }
                (origin.spoils)(reply(200, &[("etag", &etag)], &body.to_string())?)
            }
            ("POST", "/things") => {
                let id = origin.ids.last().map_or(1, |id| id + 1);
                origin.ids.insert(id);
                let body = if origin.tells { json!({"id": id}) } else { json!({}) };
                reply(201, &[], &body.to_string())
            }
            ("PUT", _) => {
                origin.ids.insert(last.parse().ok()?);
                reply(200, &[], "{}")
            }
            _ if last.parse().is_ok_and(|id: u64| origin.ids.contains(&id)) => {
                reply(200, &[("cache-control", "no-store")], last)
            }
            _ => reply(404, &[], "no such thing"),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Origin)) {
        change(&mut self.0.lock().unwrap());
    }
}

/// One space, `thing`, on `/things/{id}`.
fn things(config: &mut Value) {
    config["defaults"] = json!({});
    config["origin"] = json!({"cluster": "origin"});
    config["coherence"] = json!({"guard": "100ms"});
    config["spaces"] = json!({"thing": {
        "pattern": "[0-9]{1,9}",
        "refresh": "1h",
        "grace": "1h",
        "source": {"http": {
            "path": "/things", "ids": "/data/rows/*/id", "total": "/data/total",
            "page": {"parameter": "page"},
        }},
    }});
    config["routes"] = json!([
        {"path": "/things/{id}", "exists": [{"space": "thing", "id": "{id}", "absent": {
            "status": 404, "body": "{\"no\": \"{id}\", \"at\": \"{now}\"}",
        }}]},
        {"path": "/things", "bypass": true},
        {"path": "/things", "methods": ["POST"],
            "creates": [{"space": "thing", "id": "{response:/id}"}]},
        {"path": "/things/{id}", "methods": ["PUT"],
            "creates": [{"space": "thing", "id": "{id}"}]},
    ]);
}

fn alone(scene: &Scene, script: &Script, workers: u32, change: impl FnOnce(&mut Value)) -> Envoy {
    let builder = Envoy::builder("minimal.yaml").origin(script.port).config(things);
    builder.config(change).workers(workers).start(scene)
}

fn with_redis(
    scene: &Scene,
    script: &Script,
    redis: &Redis,
    change: impl FnOnce(&mut Value),
) -> Envoy {
    let builder = Envoy::builder("event2table.yaml").origin(script.port).redis(redis.port);
    builder.config(things).config(change).workers(2).start(scene)
}

fn count(envoy: &Envoy, event: &str) -> u64 {
    envoy.metric(&format!("tiercel_existence{{event=\"{event}\",space=\"thing\"}}"))
}

fn gauge(envoy: &Envoy, name: &str) -> u64 {
    envoy.metric(&format!("tiercel_existence_{name}{{space=\"thing\"}}"))
}

fn is_refused(response: &Response) -> bool {
    response.cache_status().ends_with("; detail=absent")
}

/// Waits until requests for an id that does not exist are refused, by every worker.
fn until_known(envoy: &Envoy) {
    let mut row = 0;
    eventually("absent ids to be refused", || {
        row = if is_refused(&envoy.client().get("/things/999999999")) { row + 1 } else { 0 };
        (row == 12).then_some(())
    });
}

/// What the origin was asked but for lists.
fn asked(script: &Script) -> Vec<String> {
    let asked = script.asked().into_iter().filter(|asked| !asked.target.starts_with("/things?"));
    asked.map(|asked| format!("{} {}", asked.method, asked.target)).collect()
}

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
fn a_set_in_redis_is_a_list() {
    let scene = Scene::new("ids-redis-set");
    let (_, script) = Things::start(1..=9);
    let redis = Redis::start(&scene, &[]);
    for id in (1..=5).map(|id: u64| id.to_string()) {
        redis.command(&[b"SADD", b"plain", id.as_bytes()]);
        redis.command(&[b"ZADD", b"sorted", id.as_bytes(), id.as_bytes()]);
    }
    for (key, kind) in [("plain", "set"), ("sorted", "sorted_set")] {
        let envoy = with_redis(&scene, &script, &redis, |config| {
            config["spaces"]["thing"]["source"] = json!({"redis": {"key": key, "kind": kind}});
        });
        until_known(&envoy);
        let mut client = envoy.client();
        let found = (1..=9).filter(|id| client.get(&format!("/things/{id}")).status == 200);
        assert_eq!(found.count(), 5, "{kind}");
    }
    // One that is gone refuses nothing.
    let envoy = with_redis(&scene, &script, &redis, |config| {
        config["spaces"]["thing"]["source"] = json!({"redis": {"key": "none"}});
    });
    envoy.expect_log("space thing: the list of ids is not used: incomplete");
    assert_eq!(envoy.client().get("/things/9").status, 200);
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
    eventually("the origin to be asked", || {
        script.asked().iter().any(|asked| asked.method == "PUT").then_some(())
    });
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
fn a_restart_is_protected_by_what_redis_has() {
    let scene = Scene::new("ids-restart");
    let (things, script) = Things::start(1..=95);
    let redis = Redis::start(&scene, &[]);
    let envoy = with_redis(&scene, &script, &redis, |_| {});
    until_known(&envoy);
    eventually("the filter to be kept", || (count(&envoy, "kept") == 1).then_some(()));
    // Since the list was read, so in no filter.
    assert_eq!(envoy.client().request("PUT", "/things/500", &[], b"{}").status, 200);
    // What a process has not told Redis when it dies is known to nobody.
    eventually("Redis to know it", || {
        let recent = redis.keys().into_iter().find(|key| key.ends_with(":recent"))?;
        (redis.command(&[b"ZCARD", recent.as_bytes()]) == "2").then_some(())
    });
    drop(envoy);
    script.asked();
    let envoy = with_redis(&scene, &script, &redis, |_| {});
    until_known(&envoy);
    let lists = |asked: Vec<Asked>| asked.iter().any(|asked| asked.target.starts_with("/things?"));
    assert!(!lists(script.asked()), "no list was read");
    envoy.expect_log("space thing: a filter of 95 ids was loaded from Redis");
    for id in [1, 95, 500] {
        assert_eq!(envoy.client().get(&format!("/things/{id}")).status, 200, "{id}");
    }
    drop(envoy);
    // What Redis has is no good: the list is read.
    let keys = redis.keys();
    let filter = keys.iter().find(|key| key.contains("}:filter:")).unwrap();
    let spoil = b"local piece = redis.call('HGET', KEYS[1], 1)
        return redis.call('HSET', KEYS[1], 1, string.sub(piece, 1, 30) .. 'spoilt' .. string.sub(piece, 37))";
    assert_eq!(redis.command(&[b"EVAL", spoil, b"1", filter.as_bytes()]), "0");
    things.change(|origin| _ = origin.ids.insert(600));
    let envoy = with_redis(&scene, &script, &redis, |_| {});
    envoy.expect_log("space thing: the filter in Redis is not used: checksum");
    until_known(&envoy);
    assert!(lists(script.asked()));
    assert_eq!(envoy.client().get("/things/600").status, 200);
}

#[test]
fn without_redis_the_source_is_asked() {
    let scene = Scene::new("ids-no-redis");
    let (things, script) = Things::start(1..=5);
    let mut redis = Redis::start(&scene, &[]);
    redis.process.kill();
    things.change(|origin| origin.spoils = |_| None);
    let envoy = with_redis(&scene, &script, &redis, |_| {});
    assert!(!is_refused(&envoy.client().get("/things/6")));
    things.change(|origin| origin.spoils = Some);
    until_known(&envoy);
    assert_eq!(envoy.client().get("/things/5").status, 200);
    // Once it is there it has the filter, too.
    redis.restart();
    eventually("the filter to be kept", || (count(&envoy, "kept") >= 1).then_some(()));
}

#[test]
fn instances_tell_each_other_what_came_into_being() {
    let scene = Scene::new("ids-instances");
    let (_, script) = Things::start(1..=5);
    let redis = Redis::start(&scene, &[]);
    let first = with_redis(&scene, &script, &redis, |_| {});
    eventually("the filter to be kept", || (count(&first, "kept") >= 1).then_some(()));
    let envoys = [first, with_redis(&scene, &script, &redis, |_| {})];
    envoys.iter().for_each(until_known);
    // One of them has read the list; the other one took the filter.
    let read: u64 = envoys.iter().map(|envoy| count(envoy, "built")).sum();
    let loaded: u64 = envoys.iter().map(|envoy| count(envoy, "loaded")).sum();
    assert_eq!((read, loaded), (1, 1));
    let found = |client: &mut Client, id: u64| client.get(&format!("/things/{id}")).status == 200;
    for round in 0..20 {
        let (here, there) = (&envoys[round % 2], &envoys[1 - round % 2]);
        let made = here.client().request("POST", "/things", &[], b"{}");
        let id = made.json()["id"].as_u64().unwrap();
        let chosen = 1_000 + round as u64;
        here.client().request("PUT", &format!("/things/{chosen}"), &[], b"{}");
        for id in [id, chosen] {
            assert!(found(&mut here.client(), id));
            eventually("the other instance to know it", || {
                found(&mut there.client(), id).then_some(())
            });
        }
    }
    sleep(Duration::from_millis(300));
    for envoy in &envoys {
        assert!(is_refused(&envoy.client().get("/things/77777")));
    }
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
