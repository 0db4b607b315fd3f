//! The programs around Envoy: the nginx that plays the origin, and the two caches of other makers.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;

use serde_json::json;

use crate::harness::process::Process;
use crate::harness::{Client, Scene, eventually};
use crate::processor::{AROUND, TESTED, on_core};

/// A program that listens on a port.
pub struct Peer {
    pub port: u16,
    pub process: Process,
}

/// Bytes of the body every case answers with.
pub const BODY_BYTES: usize = 4096;

/// The body: rows of JSON, as compressible as those of an API are.
pub fn body() -> String {
    let mut rows = String::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for id in 0.. {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        let token = random >> 16;
        let row =
            json!({"id": id, "event_name": format!("event_{token:x}"), "game_gid": 10_000_147});
        if rows.len() + row.to_string().len() > BODY_BYTES - 100 {
            break;
        }
        let _ = write!(rows, "{row},"); // writing to a String cannot fail
    }
    let rows = rows.trim_end_matches(',');
    let start = format!("{{\"success\":true,\"data\":[{rows}],\"message\":\"");
    let padding = BODY_BYTES - start.len() - "\"}".len();
    format!("{start}{}\"}}", "x".repeat(padding))
}

impl Peer {
    /// An nginx that answers every path with the body, fresh for an hour.
    pub fn origin(scene: &Scene) -> Self {
        let body = body();
        let (first, second) = body.split_at(BODY_BYTES / 2);
        let place = format!(
            "set $first '{first}';
             set $second '{second}';
             add_header Cache-Control 'max-age=3600';
             return 200 $first$second;"
        );
        Self::nginx(scene, "origin", AROUND, "", &place)
    }

    /// An nginx whose `proxy_cache` stands in front of `origin`.
    pub fn nginx_cache(scene: &Scene, origin: u16) -> Self {
        let dir = scene.dir.join("nginx-cache");
        let http = format!(
            "proxy_cache_path {} keys_zone=all:16m max_size=256m;
             upstream origin {{ server 127.0.0.1:{origin}; keepalive 32; }}",
            dir.display()
        );
        let place = "proxy_pass http://origin;
             proxy_http_version 1.1;
             proxy_set_header Connection '';
             proxy_cache all;
             add_header X-Upstream-Cache $upstream_cache_status;";
        Self::nginx(scene, "nginx", TESTED, &http, place)
    }

    fn nginx(scene: &Scene, name: &str, core: usize, http: &str, place: &str) -> Self {
        let port = free_port();
        let (dir, path) = (scene.dir.display(), scene.dir.join(format!("{name}.conf")));
        // One process without a master: as fast as a single worker, and it ends when it is killed.
        let text = format!(
            "daemon off; master_process off; worker_processes 1;
             pid {dir}/{name}.pid; error_log {dir}/{name}.error.log;
             events {{ worker_connections 4096; }}
             http {{
               access_log off; default_type application/json; keepalive_requests 1000000000;
               sendfile on; tcp_nopush on; open_file_cache max=1000;
               client_body_temp_path {dir}/{name}-body; proxy_temp_path {dir}/{name}-proxy;
               fastcgi_temp_path {dir}/{name}-fastcgi; uwsgi_temp_path {dir}/{name}-uwsgi;
               scgi_temp_path {dir}/{name}-scgi;
               {http}
               server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ {place} }} }}
             }}"
        );
        fs::write(&path, text).expect("a configuration for nginx");
        let mut command = on_core(core, "nginx");
        command.arg("-e").arg(scene.dir.join(format!("{name}.error.log")));
        command.arg("-p").arg(&scene.dir).arg("-c").arg(&path);
        Self::listening(port, Process::start(name, &scene.dir, &mut command))
    }

    /// A Varnish with its defaults in front of `origin`, storing in memory.
    pub fn varnish(scene: &Scene, origin: u16) -> Self {
        let port = free_port();
        let mut command = on_core(TESTED, "varnishd");
        command.args(["-F", "-j", "none", "-s", "malloc,256m", "-T", "none", "-n"]);
        command.arg(scene.dir.join("varnish"));
        command.args(["-a", &format!("127.0.0.1:{port}"), "-b", &format!("127.0.0.1:{origin}")]);
        Self::listening(port, Process::start("varnish", &scene.dir, &mut command))
    }

    fn listening(port: u16, mut process: Process) -> Self {
        eventually("a peer to answer", || {
            assert!(process.runs(), "it ended: {}", process.log());
            let answer = Client::new(port).try_request("GET", b"/", &[], b"");
            answer.filter(|response| response.status == 200)
        });
        Self { port, process }
    }
}

impl Drop for Peer {
    /// Lets it end its own children before it is killed.
    fn drop(&mut self) {
        if self.process.runs() {
            self.process.signal("TERM");
            for _ in 0..100 {
                if !self.process.runs() {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
