//! A slow origin of versions: a PUT raises its key's, a GET tells it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

use crate::load::Random;

/// The longest it takes for an answer.
const LATENCY_US: u64 = 50_000;

/// Listens until the drill's process ends.
pub struct Versions {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    versions: Vec<AtomicUsize>,
    reads: AtomicU64,
}

impl Versions {
    /// Every key begins with version 0.
    pub fn start(keys: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a port").port();
        let versions = (0..keys).map(|_| AtomicUsize::new(0)).collect();
        let shared = Arc::new(Shared { versions, reads: AtomicU64::new(0) });
        let of_threads = Arc::clone(&shared);
        spawn(move || {
            for (seed, stream) in (1..).zip(listener.incoming().flatten()) {
                let shared = Arc::clone(&of_threads);
                spawn(move || serve(&stream, &shared, Random::new(seed)));
            }
        });
        Self { port, shared }
    }

    /// How many reads arrived.
    pub fn reads(&self) -> u64 {
        self.shared.reads.load(Ordering::Relaxed)
    }
}

/// Answers what comes on one connection, until it closes.
fn serve(stream: &TcpStream, shared: &Shared, mut random: Random) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let (method, key) = read_request(&mut reader)?;
        let version = shared.versions.get(key)?;
        let wait = Duration::from_micros(random.below(LATENCY_US + 1));
        // What waits afterwards carries an old version home, or leaves a new one unacknowledged.
        let first = random.below(2) == 0;
        if first {
            sleep(wait);
        }
        let version = if method == "PUT" {
            version.fetch_add(1, Ordering::SeqCst) + 1
        } else {
            shared.reads.fetch_add(1, Ordering::Relaxed);
            version.load(Ordering::SeqCst)
        };
        if !first {
            sleep(wait);
        }
        let (body, caching) = (version.to_string(), "cache-control: max-age=60");
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\n{caching}\r\ncontent-length: {length}\r\n\r\n");
        writer.write_all((answer + &body).as_bytes()).ok()?;
    }
}

/// The method and the key of `/v/{key}`.
fn read_request(reader: &mut impl BufRead) -> Option<(String, usize)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (method, rest) = line.split_once(' ')?;
    let (method, target) = (method.to_owned(), rest.split(' ').next()?.to_owned());
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    reader.take(length).read_to_end(&mut Vec::new()).ok()?;
    Some((method, target.strip_prefix("/v/")?.parse().ok()?))
}
