//! The fuzz targets' corpora as what lies in Redis, or is said in its place.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::json;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::harness::scene::{echo_routes, l2_only};
use crate::harness::{Asked, Envoy, Origin, Redis, Scene, Script, eventually, reply};
use crate::hostile::{lines, parts, seeds};

/// A server that answers every command with what `says` holds.
fn garbage(says: &Arc<Mutex<Vec<u8>>>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("a port").port();
    let says = Arc::clone(says);
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let says = Arc::clone(&says);
            std::thread::spawn(move || {
                let mut bytes = [0; 4_096];
                while stream.read(&mut bytes).is_ok_and(|n| n > 0) {
                    let reply = says.lock().unwrap().clone();
                    if stream.write_all(&reply).is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn replies_of_redis() {
    for example in ["direct.yaml", "event2table.yaml"] {
        let scene = Scene::new(&format!("hostile-replies-{example}"));
        let origin = Origin::start(&scene, &[]);
        let says = Arc::new(Mutex::new(Vec::new()));
        let builder = Envoy::shipped(example).origin(origin.port).redis(garbage(&says));
        let envoy = builder
            .config(|config| {
                echo_routes(config);
                l2_only(config);
                config.as_object_mut().map(|config| config.remove("spaces"));
            })
            .start(&scene);
        for (number, seed) in [seeds("resp"), seeds("replies")].concat().into_iter().enumerate() {
            let seed = seed.strip_suffix(b"\n\n").unwrap_or(&seed).to_vec();
            *says.lock().unwrap() = seed;
            for method in ["GET", "GET", "PUT", "GET"] {
                let path = format!("/echo/{number}");
                let response = envoy.client().request(method, &path, &[], b"");
                assert_eq!(response.status, 200, "{example}, {number}");
            }
        }
    }
}

/// Writes over some bytes, and makes the checksum right again.
fn patched(stored: &[u8], patches: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = stored.to_vec();
    patches.iter().filter(|(at, _)| *at < stored.len()).for_each(|(at, byte)| bytes[*at] = *byte);
    let seed = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    let sum = xxh3_64_with_seed(&bytes[16..], seed);
    bytes[8..16].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn entries_in_redis() {
    let (envoy, _script, redis) =
        Scene::scripted_l2("hostile-entries", l2_only, |asked: &Asked| {
            let vary = if asked.target.starts_with("/vary") { "accept-language" } else { "x-none" };
            reply(
                200,
                &[("cache-control", "max-age=60"), ("vary", vary), ("x-a", "one:two")],
                "body",
            )
        });
    let mut client = envoy.client();
    let mut patches: Vec<Vec<(usize, u8)>> = Vec::new();
    for seed in seeds("entry") {
        let [first] = parts(&seed);
        patches.push(
            lines(&first)
                .filter_map(|line| {
                    let (at, byte) = std::str::from_utf8(line).ok()?.split_once(' ')?;
                    Some((at.parse().ok()?, byte.parse().ok()?))
                })
                .collect(),
        );
    }
    for path in ["/plain", "/vary"] {
        eventually("an entry in Redis", || client.get(path).is_hit().then_some(()));
        let all: Vec<_> = redis.keys().into_iter().map(|key| (redis.get(&key), key)).collect();
        for (stored, key) in &all {
            let value = stored.windows(7).position(|seven| seven == b"one:two");
            let split = value.map(|at| (at..).zip(*b"\r\nsp: 1").collect());
            let ends = (0..stored.len()).map(|at| vec![(at, b'\n')]);
            let large = (0..80).map(|at| vec![(at, 255)]);
            for patch in patches.iter().cloned().chain(split).chain(ends).chain(large) {
                redis.command(&[b"SET", key.as_bytes(), &patched(stored, &patch)]);
                let response = client.get(path);
                assert!(matches!(response.status, 200..=599), "{patch:?}: {response:?}");
                assert_eq!(response.field("sp"), None);
            }
        }
        for (stored, key) in &all {
            redis.command(&[b"SET", key.as_bytes(), stored]);
        }
        eventually("it to be used again", || client.get(path).is_hit().then_some(()));
    }
}

/// A piece of a filter, as Redis has it.
fn piece(serial: u64, index: u32, content: &[u8]) -> Vec<u8> {
    let head = [&[1][..], &serial.to_le_bytes(), &index.to_le_bytes()].concat();
    let piece = [&head, content].concat();
    let sum = xxh3_64(&piece).to_le_bytes();
    [&piece[..], &sum].concat()
}

#[test]
fn filters_in_redis() {
    let scene = Scene::new("hostile-filters");
    let redis = Redis::start(&scene, &[]);
    let script = Script::start(|asked: &Asked| match &*asked.target {
        "/things" => reply(200, &[], "{\"ids\": [1, 2, 3]}"),
        _ => reply(200, &[("cache-control", "max-age=60")], &asked.target),
    });
    let start = || {
        let builder = Envoy::builder("event2table.yaml").origin(script.port).redis(redis.port);
        let builder = builder.config(|config| {
            config["defaults"] = json!({});
            config["spaces"] = json!({"thing": {"pattern": "[0-9]+",
                "source": {"http": {"path": "/things", "ids": "/ids/*"}}}});
            config["routes"] = json!([{"path": "/things/{id}",
                "exists": [{"space": "thing", "id": "{id}", "absent": {"status": 404}}]}]);
        });
        builder.start(&scene)
    };
    let first = start();
    let key = |part: &str| redis.keys().into_iter().find(|key| key.contains(part));
    let head_key = eventually("a filter in Redis", || key("}:filter:").and_then(|_| key("}:head")));
    drop(first);
    let head = String::from_utf8(redis.get(&head_key)).expect("text");
    let words: Vec<u64> = head.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [_, serial, complete, base, set] = words[..] else { panic!("{head}") };
    let (last, filter) = (u64::MAX, head_key.replace(":head", ":filter:"));
    for [serial, complete, base, set] in [
        [serial + 5_000, complete, base, set],
        [last, complete, base, set],
        [last / 2, last, base, set],
        [serial, complete, last, set],
        [serial, complete, base, last],
    ] {
        let filters = seeds("filters");
        for seed in if set == last || complete == last { &filters[..1] } else { &filters } {
            let (filter, contents) = (format!("{filter}{serial}"), parts::<4>(seed));
            for (index, content) in (0_u32..8).zip(contents.iter().cycle()) {
                let piece = piece(serial, index, content);
                let place = index.to_string();
                redis.command(&[b"HSET", filter.as_bytes(), place.as_bytes(), &piece]);
            }
            let head = format!("1 {serial} {complete} {base} {set}");
            redis.command(&[b"SET", head_key.as_bytes(), head.as_bytes()]);
            let envoy = start();
            // Whatever it takes from there, it goes on, and reads the list if that is no good.
            eventually("the space to be known", || {
                envoy.process.log().contains("space thing: ").then_some(())
            });
            let mut client = envoy.client();
            for id in ["x", "1", "999"] {
                let status = client.get(&format!("/things/{id}")).status;
                assert!(matches!(status, 200 | 404), "{status}");
            }
            assert_eq!(client.get("/other").status, 200);
            assert!(client.get("/other").is_hit());
        }
    }
}
