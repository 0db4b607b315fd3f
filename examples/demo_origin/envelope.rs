//! Answers and the envelopes around their data.

use bytes::Bytes;
use hyper::header::{ALLOW, HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode, header};
use serde::Serialize;

use crate::{clock, json};

/// What a handler gives: a success or an early error, both are sent the same way.
pub(crate) type Answer = Result<Reply, Reply>;

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    content_type: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
}

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// Keys in alphabetical order, as everywhere in this API.
#[derive(Serialize)]
struct Envelope<'a, T: Serialize> {
    data: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    success: bool,
    timestamp: String,
}

#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
    success: bool,
    timestamp: String,
}

/// The shape of the framework-level handlers.
#[derive(Serialize)]
struct Handled<'a> {
    error: &'a str,
    message: &'a str,
    success: bool,
    timestamp: Option<String>,
}

impl Reply {
    fn of(status: StatusCode, content_type: &'static str, body: Bytes) -> Self {
        Self { status, body, content_type, headers: Vec::new() }
    }

    /// A JSON body without envelope.
    pub(crate) fn bare(status: StatusCode, value: &impl Serialize) -> Self {
        Self::of(status, JSON, json::to_bytes(value))
    }

    pub(crate) fn data(data: impl Serialize) -> Self {
        Self::success(data, None)
    }

    pub(crate) fn message(message: &str) -> Self {
        Self::success((), Some(message))
    }

    pub(crate) fn success(data: impl Serialize, message: Option<&str>) -> Self {
        let body = Envelope { data, message, success: true, timestamp: clock::utc_iso() };
        Self::bare(StatusCode::OK, &body)
    }

    pub(crate) fn error(status: StatusCode, error: &str) -> Self {
        Self::bare(status, &Failure { error, success: false, timestamp: clock::utc_iso() })
    }

    pub(crate) fn bad_request(error: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, error)
    }

    pub(crate) fn not_found(error: &str) -> Self {
        Self::error(StatusCode::NOT_FOUND, error)
    }

    pub(crate) fn failed(error: &str) -> Self {
        Self::error(StatusCode::INTERNAL_SERVER_ERROR, error)
    }

    /// No route matches; the only place with a local timestamp.
    pub(crate) fn no_route() -> Self {
        let body = Handled {
            error: "Not Found",
            message: "The requested URL was not found on the server.",
            success: false,
            timestamp: Some(clock::local_iso()),
        };
        Self::bare(StatusCode::NOT_FOUND, &body)
    }

    /// The handlers for 400, 405, 500 and 503 outside the routes.
    pub(crate) fn handled(status: StatusCode, message: &str) -> Self {
        let error = status.canonical_reason().unwrap_or("Error");
        Self::bare(status, &Handled { error, message, success: false, timestamp: None })
    }

    pub(crate) fn html(status: StatusCode, text: String) -> Self {
        let mut reply = Self::of(status, HTML, Bytes::from(text));
        reply.never_stored();
        reply
    }

    pub(crate) fn html_error(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or("Error");
        let code = status.as_u16();
        Self::html(
            status,
            format!(
                "<!doctype html>\n<html lang=en>\n<title>{code} {reason}</title>\n\
                 <h1>{reason}</h1>\n<p>The server could not answer this request.</p>\n"
            ),
        )
    }

    pub(crate) fn options(allow: &str) -> Self {
        let mut reply = Self::of(StatusCode::OK, HTML, Bytes::new());
        reply.never_stored();
        reply.with(ALLOW, allow)
    }

    pub(crate) fn redirect(location: &str) -> Self {
        Self::html_error(StatusCode::PERMANENT_REDIRECT).with(LOCATION, location)
    }

    /// Adds a header; a value that no header can hold is left out.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    pub(crate) fn push_static(&mut self, name: &'static str, value: &'static str) {
        self.headers.push((HeaderName::from_static(name), HeaderValue::from_static(value)));
    }

    fn never_stored(&mut self) {
        self.push_static("cache-control", "no-cache, no-store, must-revalidate");
        self.push_static("pragma", "no-cache");
        self.push_static("expires", "0");
    }

    /// The response head; the caller attaches the body in the form it needs.
    pub(crate) fn into_parts(self) -> (Response<()>, Bytes) {
        let mut head = Response::new(());
        *head.status_mut() = self.status;
        let headers = head.headers_mut();
        headers.insert(header::SERVER, HeaderValue::from_static("gunicorn"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        (head, self.body)
    }
}
