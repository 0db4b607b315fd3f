//! The fuzz targets' corpora through real Envoy: whatever comes from clients, origins, Redis and configurations, requests
//! are served, and no VM crashes (which fails every test, see `Envoy`).

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::scene::echo_routes;
use crate::harness::{Asked, Client, Envoy, Origin, Scene, eventually, reply, root};

/// Where what a seed says goes in a request or a response.
const FIELDS: [(&str, &[&str]); 9] = [
    ("heads", &["x-any"]),
    ("uri", &["referer", "location", "content-location"]),
    ("fields", &["x-any", "surrogate-key"]),
    ("vary", &["accept-language", "vary"]),
    ("range", &["range", "content-range", "if-range"]),
    ("etag", &["if-none-match", "etag"]),
    ("cache_control", &["cache-control", "pragma"]),
    ("dates", &["if-modified-since", "last-modified", "date", "expires"]),
    ("targeted", &["cdn-cache-control"]),
];

/// The seeds of a fuzz target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = root().join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).expect("seeds").flatten().collect();
    files.sort_by_key(fs::DirEntry::path);
    files.iter().map(|file| fs::read(file.path()).expect("a seed")).collect()
}

/// The parts of a seed, apart by empty lines.
pub fn parts<const N: usize>(seed: &[u8]) -> [Vec<u8>; N] {
    let mut rest = seed.strip_suffix(b"\n").unwrap_or(seed);
    std::array::from_fn(|place| {
        let end = rest.windows(2).position(|two| two == b"\n\n").filter(|_| place + 1 < N);
        let (part, behind) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 2..]));
        rest = behind;
        part.to_vec()
    })
}

pub fn lines(part: &[u8]) -> impl Iterator<Item = &[u8]> {
    part.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// What a seed's lines are as fields: those that are fields, and each line as the value of each name.
fn fields(seed: &[u8], names: &[&str]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = names
        .iter()
        .map(|name| {
            lines(seed).flat_map(|line| [name.as_bytes(), b": ", line, b"\r\n"].concat()).collect()
        })
        .collect();
    let are = lines(seed).filter(|line| !line.starts_with(b":") && line.contains(&b':'));
    all.push(are.flat_map(|line| [line, b"\r\n"].concat()).collect());
    all
}

/// Sends bytes, and waits for the first that come back; it may be that none do.
pub fn send(envoy: &Envoy, bytes: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", envoy.port)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a time-out");
    // Envoy may have enough before the end.
    let _ = stream.write_all(bytes);
    // Envoy keeps what it has answered itself open for a second: the first bytes will do.
    let _ = stream.read(&mut [0; 4_096]);
}

/// The cache works still: what was stored is there, and new things are stored.
pub fn serves(envoy: &Envoy, path: &str) {
    let mut client = envoy.client();
    eventually("a hit", || {
        let response = client.get(path);
        (response.status == 200 && response.is_hit()).then_some(())
    });
}

fn fresh(asked: &Asked) -> Option<Vec<u8>> {
    reply(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], &asked.target)
}

#[test]
fn heads_of_requests() {
    let keyed = |config: &mut Value| {
        config["key"] = json!({"fields": ["x-any", "accept-language"]});
        config["purge"] = json!({"networks": ["127.0.0.1/32"]});
    };
    let (envoy, _script) = Scene::scripted("hostile-requests", keyed, fresh);
    for (target, names) in FIELDS {
        for seed in seeds(target) {
            let end = b"host: api.test\r\nconnection: close\r\n\r\n";
            for fields in fields(&seed, names) {
                for line in [
                    &b"GET /a HTTP/1.1\r\n"[..],
                    b"HEAD /b HTTP/1.1\r\n",
                    b"PURGE /a* HTTP/1.1\r\n",
                ] {
                    send(&envoy, &[line, &fields, end].concat());
                }
            }
            for line in lines(&seed) {
                send(&envoy, &[line, b" HTTP/1.1\r\n", end].concat());
                send(&envoy, &[b"GET ", line, b" HTTP/1.1\r\n", end].concat());
                send(&envoy, &[b"GET /", line, b" HTTP/1.1\r\n", end].concat());
            }
        }
        serves(&envoy, &format!("/after/{target}"));
    }
}

#[test]
fn heads_of_responses() {
    let all: Vec<Vec<u8>> = FIELDS
        .iter()
        .flat_map(|(target, names)| seeds(target).into_iter().flat_map(|s| fields(&s, names)))
        .collect();
    let count = all.len();
    let (envoy, _script) = Scene::scripted(
        "hostile-responses",
        |_| {},
        move |asked| {
            let Some(number) = asked.target.strip_prefix("/seed/") else { return fresh(asked) };
            let (number, status) = number.split_once('/')?;
            let fields = &all[number.parse::<usize>().ok()?];
            let line = format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n");
            Some([line.as_bytes(), b"cache-control: max-age=60\r\n", fields, b"\r\nbody"].concat())
        },
    );
    for number in 0..count {
        for status in [200, 404, 206] {
            for fields in ["", "range: bytes=1-2\r\nif-none-match: \"a\"\r\n"] {
                let head = format!("GET /seed/{number}/{status} HTTP/1.1\r\nhost: a\r\n{fields}");
                send(&envoy, format!("{head}connection: close\r\n\r\n").as_bytes());
            }
        }
    }
    serves(&envoy, "/after");
}

#[test]
fn bodies_of_writes_and_of_their_answers() {
    let config = fs::read_to_string(root().join("fuzz/policy.json")).expect("a configuration");
    let config: Value = serde_json::from_str(&config).expect("JSON");
    let answer = Arc::new(Mutex::new(Vec::new()));
    let of_script = Arc::clone(&answer);
    let (envoy, _script) = Scene::scripted(
        "hostile-bodies",
        |all| {
            *all = config;
            all.as_object_mut().map(|all| all.remove("l2"));
            let routes = all["routes"].as_array_mut().expect("routes");
            routes.retain(|route| route["collapse"] != "fleet");
        },
        move |asked: &Asked| match &*asked.method {
            "GET" if asked.target.starts_with("/after") => fresh(asked),
            _ => Some(of_script.lock().unwrap().clone()),
        },
    );
    for (number, seed) in seeds("bodies").into_iter().enumerate() {
        let [head, sizes, body, fields, answered] = parts(&seed);
        let mut head = lines(&head);
        let line = head.next().unwrap_or_default();
        let mut request = [line, b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"].concat();
        let plain = head.filter(|field| !field.starts_with(b":"));
        request.extend(plain.flat_map(|field| [field, b"\r\n"].concat()));
        request.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        let size = String::from_utf8_lossy(&sizes);
        let size = size.split(' ').next().and_then(|size| size.parse().ok()).unwrap_or(16);
        for chunk in body.chunks(size) {
            request.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            request.extend([chunk, b"\r\n"].concat());
        }
        request.extend_from_slice(b"0\r\n\r\n");
        let status = lines(&fields).find_map(|line| line.strip_prefix(b":status: "));
        let mut response = [b"HTTP/1.1 ", status.unwrap_or(b"200"), b" X\r\n"].concat();
        let plain = lines(&fields).filter(|field| !field.starts_with(b":"));
        response.extend(plain.flat_map(|field| [field, b"\r\n"].concat()));
        // The script takes chunks for more requests.
        let end = format!("connection: close\r\ncontent-length: {}\r\n\r\n", answered.len());
        response.extend(end.into_bytes());
        response.extend_from_slice(&answered);
        *answer.lock().unwrap() = response;
        send(&envoy, &request);
        serves(&envoy, &format!("/after/{number}"));
    }
}

#[test]
fn configurations() {
    let scene = Scene::new("hostile-configurations");
    let origin = Origin::start(&scene, &[]);
    let good = |name: &str| {
        let mut config = json!({"role": "cache", "headers": {"cache_name": name}});
        echo_routes(&mut config);
        Value::from(config.to_string())
    };
    let envoy = Envoy::builder("minimal.yaml")
        .origin(origin.port)
        .envoy(|config| {
            let listener = &mut config["static_resources"]["listeners"][0];
            let filter = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
            filter["http_filters"][0]["typed_config"]["config"]["configuration"] = json!({
                "@type": "type.googleapis.com/google.protobuf.StringValue", "value": good("first"),
            });
        })
        .reloadable()
        .start(&scene);
    let taken = || {
        let stats = Client::new(envoy.admin).get("/stats?filter=lds.update_(success|rejected)");
        let stats = String::from_utf8(stats.body).expect("text");
        let values = stats.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum::<u64>()
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            let mut client = envoy.client();
            while !done.load(Ordering::Relaxed) {
                assert_eq!(client.get("/echo/meanwhile").status, 200);
            }
        });
        for (number, seed) in seeds("config").into_iter().enumerate() {
            let before = taken();
            envoy.reload(|config| *config = String::from_utf8_lossy(&seed).into());
            eventually("it to be taken or refused", || (taken() > before).then_some(()));
            let name = format!("good{number}");
            envoy.reload(|config| *config = good(&name));
            eventually("a good one to be taken", || {
                let response = envoy.client().get("/echo/good");
                assert_eq!(response.status, 200);
                response.cache_status().starts_with(&name).then_some(())
            });
        }
        done.store(true, Ordering::Relaxed);
        served.join().expect("every request to be served");
    });
}
