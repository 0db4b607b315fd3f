//! Redis and Redis Cluster.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tiercel::l2::resp::{self, Reply};

use super::process::Process;
use super::{Scene, eventually};

pub struct Redis {
    pub port: u16,
    pub process: Process,
    password: Option<String>,
    dir: std::path::PathBuf,
    args: Vec<String>,
}

impl Redis {
    /// Starts a Redis without persistence; `args` are added to its command line.
    pub fn start(scene: &Scene, args: &[&str]) -> Self {
        let port = free_port();
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let password =
            args.iter().position(|a| a == "--requirepass").map(|at| args[at + 1].clone());
        let dir = scene.dir.clone();
        let process = spawn(port, &dir, &args);
        let redis = Self { port, process, password, dir, args };
        redis.wait();
        redis
    }

    /// Starts it again, empty, on the same port.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(self.port, &self.dir, &self.args);
        self.wait();
    }

    fn wait(&self) {
        eventually("Redis to answer", || {
            self.try_command(&[b"PING"]).filter(|reply| reply.contains("PONG"))
        });
    }

    /// Runs a command; the reply as text.
    pub fn command(&self, parts: &[&[u8]]) -> String {
        self.try_command(parts).expect("a reply of Redis")
    }

    /// Changes the password by which its commands are run, and that of the next start.
    pub fn set_password(&mut self, password: Option<&str>) {
        self.password = password.map(ToOwned::to_owned);
        if let Some(at) = self.args.iter().position(|arg| arg == "--requirepass") {
            self.args.drain(at..at + 2);
        }
        self.args.extend(password.into_iter().flat_map(|p| ["--requirepass".into(), p.into()]));
    }

    fn try_command(&self, parts: &[&[u8]]) -> Option<String> {
        let reply = self.raw(parts)?;
        Some(match resp::next_reply(&mut &reply[..]).ok()? {
            Reply::Bulk(text) | Reply::Simple(text) => String::from_utf8_lossy(text).into_owned(),
            Reply::Error(text) => format!("ERROR {}", String::from_utf8_lossy(text)),
            Reply::Integer(number) => number.to_string(),
            Reply::Nil => "nil".into(),
        })
    }

    /// The bytes under a key.
    pub fn get(&self, key: &str) -> Vec<u8> {
        let reply = self.raw(&[b"GET", key.as_bytes()]).expect("a reply of Redis");
        match resp::next_reply(&mut &reply[..]) {
            Ok(Reply::Bulk(bytes)) => bytes.to_vec(),
            other => panic!("GET {key}: {other:?}"),
        }
    }

    /// The key of every entry it holds: the table of generations is none.
    pub fn keys(&self) -> Vec<String> {
        let text = String::from_utf8(self.raw(&[b"KEYS", b"*"]).unwrap()).unwrap();
        let lines = text.split("\r\n").skip(1).filter(|line| !line.starts_with('$'));
        let entries = lines.filter(|line| !line.is_empty() && !line.contains("generations:"));
        entries.map(ToOwned::to_owned).collect()
    }

    /// A figure of `INFO`.
    pub fn info(&self, name: &str) -> u64 {
        let info = self.command(&[b"INFO"]);
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    }

    fn raw(&self, parts: &[&[u8]]) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let mut request = Vec::new();
        if let Some(password) = &self.password {
            resp::command(&mut request, &[b"AUTH", password.as_bytes()]);
        }
        resp::command(&mut request, parts);
        resp::command(&mut request, &[b"QUIT"]);
        stream.write_all(&request).ok()?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).ok()?;
        if self.password.is_some() {
            reply.drain(..b"+OK\r\n".len());
        }
        reply.truncate(reply.len().checked_sub(b"+OK\r\n".len())?);
        Some(reply)
    }
}

/// Three masters and no replicas.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts three nodes and deals the slots out.
    pub fn start(scene: &Scene, args: &[&str]) -> Self {
        let nodes: Vec<Redis> = (0..3)
            .map(|_| {
                let file = format!("{}.conf", scene.unique("nodes"));
                let mut all = vec!["--cluster-enabled", "yes", "--cluster-config-file", &file];
                all.extend_from_slice(args);
                Redis::start(scene, &all)
            })
            .collect();
        let bounds = [(0, 5460), (5461, 10922), (10923, 16383)];
        for (node, (first, last)) in nodes.iter().zip(bounds) {
            let (first, last) = (first.to_string(), last.to_string());
            node.command(&[b"CLUSTER", b"ADDSLOTSRANGE", first.as_bytes(), last.as_bytes()]);
            let port = node.port.to_string();
            for other in &nodes {
                other.command(&[b"CLUSTER", b"MEET", b"127.0.0.1", port.as_bytes()]);
            }
        }
        for node in &nodes {
            eventually("the cluster to form", || {
                let info = node.command(&[b"CLUSTER", b"INFO"]);
                let whole = info.contains("cluster_state:ok") && info.contains("known_nodes:3");
                whole.then_some(())
            });
        }
        Self { nodes }
    }
}

fn spawn(port: u16, dir: &Path, args: &[String]) -> Process {
    let port = port.to_string();
    let mut command = Command::new("redis-server");
    command.current_dir(dir).args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "no", "--cluster-node-timeout", "2000"]);
    Process::start(&format!("redis-{port}"), dir, command.args(args))
}

/// A port nobody listens on, and none that the system gives out by itself: it is free while this
/// Redis is down, too. A cluster node also takes this port plus 10,000.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let next = std::process::id().wrapping_mul(97) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_240 + next % 10_000).expect("a port");
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
}
