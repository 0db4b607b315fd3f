//! An origin that says exactly what a test wants, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use super::eventually;

/// What arrived at the origin.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
}

/// Bytes for the wire; none closes the connection without a word.
type Answer = Box<dyn FnMut(&Asked) -> Option<Vec<u8>> + Send>;

/// Listens until the test's process ends.
pub struct Script {
    pub port: u16,
    shared: Arc<(Mutex<Shared>, Condvar)>,
}

struct Shared {
    answer: Answer,
    asked: Vec<Asked>,
    /// Answers to this method are made, and not sent yet.
    held: Option<&'static str>,
    /// What gets no answer at all.
    hangs: fn(&Asked) -> bool,
}

impl Asked {
    /// The first value of a field; `name` in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Script {
    /// Answers every request by `answer`.
    pub fn start(answer: impl FnMut(&Asked) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a port").port();
        let (answer, asked) = (Box::new(answer), Vec::new());
        let shared = Shared { answer, asked, held: None, hangs: |_| false };
        let shared = Arc::new((Mutex::new(shared), Condvar::new()));
        let of_threads = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&of_threads);
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { port, shared }
    }

    /// Whose every resource has one version, raised by what is no GET; fresh for ten minutes.
    pub fn versions(mut version: u64) -> Self {
        Self::start(move |asked: &Asked| {
            version += u64::from(asked.method != "GET");
            reply(200, &[("cache-control", "max-age=600")], &version.to_string())
        })
    }

    /// Counts how often it was asked, says so, and takes its time.
    pub fn slow(ms: u64, fields: &'static [(&'static str, &'static str)]) -> Self {
        let mut count = 0;
        Self::start(move |asked: &Asked| {
            count += 1;
            sleep(Duration::from_millis(ms));
            reply(200, fields, &format!("{} {count}", asked.target))
        })
    }

    /// From now on answers by `answer`.
    pub fn becomes(&self, answer: impl FnMut(&Asked) -> Option<Vec<u8>> + Send + 'static) {
        lock(&self.shared.0).answer = Box::new(answer);
    }

    /// Holds answers to `method` back from now on, or lets them go.
    pub fn hold(&self, method: Option<&'static str>) {
        lock(&self.shared.0).held = method;
        self.shared.1.notify_all();
    }

    /// Waits until it is asked by this method; what it was asked until then is forgotten.
    pub fn expect_asked(&self, method: &str) {
        eventually("the origin to be asked", || {
            self.asked().iter().any(|asked| asked.method == method).then_some(())
        });
    }

    /// Holds answers to GET back until those who ask have come so far.
    pub fn hold_until<T: Send>(
        &self,
        what: &str,
        mut so_far: impl FnMut() -> bool,
        asks: impl FnOnce() -> T + Send,
    ) -> T {
        self.hold(Some("GET"));
        std::thread::scope(|scope| {
            let asks = scope.spawn(asks);
            eventually(what, || so_far().then_some(()));
            self.hold(None);
            asks.join().unwrap()
        })
    }

    /// From now on gives no answer at all, or does again; what was asked meanwhile never gets one.
    pub fn hang(&self, hangs: bool) {
        self.hang_for(if hangs { |_| true } else { |_| false });
    }

    /// As [`Self::hang`], for some of what it is asked.
    pub fn hang_for(&self, hangs: fn(&Asked) -> bool) {
        lock(&self.shared.0).hangs = hangs;
    }

    /// What was asked since the last time, in order.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut lock(&self.shared.0).asked)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A response with a body and its `Content-Length`.
#[allow(clippy::unnecessary_wraps)] // as answers are
pub fn reply(status: u16, fields: &[(&str, &str)], body: &str) -> Option<Vec<u8>> {
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = match status {
        204 | 304 => String::new(),
        _ => format!("content-length: {}\r\n", body.len()),
    };
    let fields = fields.concat();
    Some(format!("HTTP/1.1 {status} X\r\n{fields}{length}\r\n{body}").into_bytes())
}

fn serve(stream: &TcpStream, (shared, released): &(Mutex<Shared>, Condvar)) -> Option<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let asked = read_request(&mut reader)?;
        let mut shared = lock(shared);
        shared.asked.push(asked.clone());
        if (shared.hangs)(&asked) {
            drop(shared);
            // Until the other side has enough of it.
            let _ = reader.read(&mut [0]);
            return None;
        }
        let answer = (shared.answer)(&asked)?;
        let held = |shared: &mut Shared| shared.held == Some(asked.method.as_str());
        drop(released.wait_while(shared, held).unwrap_or_else(PoisonError::into_inner));
        // HEAD gets the head alone.
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
        let sent = if asked.method == "HEAD" { &answer[..head] } else { &answer[..] };
        writer.write_all(sent).ok()?;
        // Of what has no other end the connection's is the end.
        let head = String::from_utf8_lossy(&answer[..head]);
        let ends = ["content-length", "transfer-encoding", " 204 ", " 304 "];
        if !ends.iter().any(|end| head.contains(end)) {
            return None;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut asked = Asked { method, target, fields: Vec::new() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        asked.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = asked.field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut Vec::new()).ok()?;
    Some(asked)
}
