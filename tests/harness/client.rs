//! A blocking HTTP/1.1 client that sends exactly what it is told to, and can leave half-way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::PATIENCE;

/// One keep-alive connection, made anew when it is gone.
pub struct Client {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(port: u16) -> Self {
        Self { port, stream: None }
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    /// Sends a request and reads its response; a connection that was closed meanwhile is replaced.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        for _ in 0..2 {
            if let Some(response) = self.try_request(method, path.as_bytes(), fields, body) {
                return response;
            }
            self.stream = None;
        }
        panic!("{method} {path}: no response");
    }

    /// As [`Self::request`], but none if the connection breaks.
    pub fn try_request(
        &mut self,
        method: &str,
        path: &[u8],
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Response> {
        self.send(method, path, fields, body)?;
        self.read_for(method)
    }

    /// Reads the response to a GET that was sent; none if the connection breaks, or nothing comes.
    pub fn read(&mut self) -> Option<Response> {
        self.read_for("GET")
    }

    fn read_for(&mut self, method: &str) -> Option<Response> {
        let response = read_response(self.stream.as_mut()?, method == "HEAD");
        let last = response.as_ref().is_none_or(|r| r.field("connection") == Some("close"));
        if last {
            self.stream = None;
        }
        response
    }

    /// Sends a request and leaves the response unread.
    pub fn send(
        &mut self,
        method: &str,
        path: &[u8],
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Option<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            stream.set_nodelay(true).ok()?;
            self.stream = Some(BufReader::new(stream));
        }
        let mut head = format!("{method} ").into_bytes();
        head.extend_from_slice(path);
        head.extend_from_slice(b" HTTP/1.1\r\n");
        if !fields.iter().any(|(name, _)| *name == "host") {
            head.extend_from_slice(b"host: api.test\r\n");
        }
        for (name, value) in fields {
            head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let is_framed = fields.iter().any(|(name, _)| *name == "transfer-encoding");
        if !body.is_empty() && !is_framed {
            head.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(body);
        self.stream.as_mut()?.get_mut().write_all(&head).ok()
    }

    /// Reads `len` bytes of whatever comes, then closes the connection.
    pub fn read_and_leave(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        if let Some(mut stream) = self.stream.take() {
            stream.read_exact(&mut bytes).expect("the first bytes of a response");
        }
        bytes
    }
}

impl Response {
    /// The first value of a field; `name` in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The `Cache-Status` this cache wrote.
    pub fn cache_status(&self) -> &str {
        self.field("cache-status").unwrap_or("none")
    }

    pub fn is_hit(&self) -> bool {
        self.cache_status().contains("; hit")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("not JSON ({error}): {:?}", String::from_utf8_lossy(&self.body))
        })
    }

    /// The body without what changes at every answer of the origin.
    pub fn data(&self) -> Value {
        let mut body = self.json();
        for changing in ["timestamp", "message"] {
            body.as_object_mut().map(|members| members.remove(changing));
        }
        body
    }
}

fn read_response(stream: &mut impl BufRead, head_only: bool) -> Option<Response> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut fields = Vec::new();
    loop {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).ok()?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let Some((name, value)) = line.split_once(':') else { break };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut response = Response { status, fields, body: Vec::new() };
    if head_only || status == 204 || status == 304 {
        return Some(response);
    }
    if let Some(length) = response.field("content-length") {
        response.body.resize(length.parse().ok()?, 0);
        stream.read_exact(&mut response.body).ok()?;
    } else if response.field("transfer-encoding") == Some("chunked") {
        loop {
            let chunk = read_chunk(stream)?;
            if chunk.is_empty() {
                break;
            }
            response.body.extend_from_slice(&chunk);
        }
    } else {
        stream.read_to_end(&mut response.body).ok()?;
    }
    Some(response)
}

/// The next chunk; the last is empty.
fn read_chunk(stream: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let length = usize::from_str_radix(line.trim(), 16).ok()?;
    let mut chunk = vec![0; length + 2];
    stream.read_exact(&mut chunk).ok()?;
    chunk.truncate(length);
    Some(chunk)
}
