//! What Tiercel's engine does with a case, and what the crate `http-cache-semantics` says of it.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, request, response};
use http_cache_semantics::{AfterResponse, BeforeRequest, CacheOptions, CachePolicy};
use tiercel::coherence::SharedData;
use tiercel::config::{Policy, load};
use tiercel::engine::{Begin, Exchange, Respond, Worker, Write};
use tiercel::entry::Entry;
use tiercel::http::fields::{Fields, FieldsBuf};

use crate::case::{Case, Field, RECEIVED_S, Request};

/// The values of `If-None-Match` and `If-Modified-Since` that the origin gets.
type Asked = (Option<String>, Option<String>);

/// What becomes of a case. None where there is nothing to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Whether the response is stored and of any use: fresh, or with a validator.
    pub(crate) stored: bool,
    /// Seconds of freshness left when the second request comes.
    pub(crate) ttl_s: Option<u64>,
    /// Whether the second request is answered without asking the origin.
    pub(crate) served: Option<bool>,
    /// The `Age` it is answered with.
    pub(crate) age_s: Option<u64>,
    /// What a second GET that is not answered asks of the origin.
    pub(crate) asked: Option<Asked>,
    /// Whether the 304 that then comes updates what is stored.
    pub(crate) updates: Option<bool>,
    /// Seconds of freshness the updated response has.
    pub(crate) renewed_s: Option<u64>,
}

/// Heuristic freshness is on: the crate knows nothing else.
pub(crate) fn policy() -> Rc<Policy> {
    let config = r#"{"role": "cache", "routes": [{"path": "/x", "heuristic": "on", "jitter": 0}]}"#;
    Rc::new(load(config.as_bytes()).unwrap())
}

pub(crate) fn tiercel(case: &Case, policy: &Rc<Policy>) -> Judgement {
    let mut worker = Worker::new(1);
    worker.l1.set_budgets(1 << 14, 1 << 14);
    let received_ms = RECEIVED_S * 1000;
    let mut judgement = Judgement::default();
    let Begin::Miss(mut exchange) = begin(&case.first, received_ms, policy, &mut worker) else {
        return judgement;
    };
    exchange.forward(received_ms, &worker, |_, _| {});
    respond(&mut exchange, case.response.status, &case.response.fields, received_ms, &mut worker);
    if exchange.wants_body() {
        exchange.finish(&mut worker);
    }
    let Some(stored) = stored(&mut worker) else { return judgement };
    judgement.stored = true;
    let now_ms = received_ms + case.later_s * 1000;
    judgement.ttl_s = Some(ttl_s(&stored, now_ms));
    let begun = begin(&case.second, now_ms, policy, &mut worker);
    judgement.served = Some(!matches!(begun, Begin::Miss(_)));
    let mut exchange = match begun {
        Begin::Hit(entry, _, now_ms) => {
            judgement.age_s = Some(entry.age_s(now_ms));
            return judgement;
        }
        Begin::Serve(_, found) => {
            judgement.age_s = Some(found.entry.age_s(found.now_ms));
            return judgement;
        }
        Begin::Miss(exchange) => exchange,
        other => panic!("no request of a case is bypassed: {other:?}"),
    };
    if case.second.method == "HEAD" {
        return judgement;
    }
    let of_client = |name| case.second.line(name).map(str::to_owned);
    let (mut tag, mut since) = (of_client("if-none-match"), of_client("if-modified-since"));
    exchange.forward(now_ms, &worker, |name, value| {
        let value = value.map(|value| String::from_utf8(value.to_vec()).unwrap());
        match name {
            b"if-none-match" => tag = value,
            b"if-modified-since" => since = value,
            _ => {}
        }
    });
    judgement.asked = Some((tag, since));
    if judgement.asked == Some((None, None)) {
        return judgement;
    }
    if let Respond::Serve(..) = respond(&mut exchange, 304, &case.update, now_ms, &mut worker) {
        let updated = self::stored(&mut worker);
        judgement.updates = Some(updated.is_some());
        judgement.renewed_s = updated.map(|entry| ttl_s(&entry, now_ms));
    }
    judgement
}

/// No other workers.
struct Nothing;

impl SharedData for Nothing {
    fn get(&self, _: &[u8]) -> Option<(Vec<u8>, u32)> {
        None
    }

    fn set(&self, _: &[u8], _: &[u8], _: u32) -> bool {
        false
    }

    fn bell(&self) -> Option<u64> {
        None
    }

    fn ring(&self) {}
}

fn begin(request: &Request, now_ms: u64, policy: &Rc<Policy>, worker: &mut Worker) -> Begin {
    let head =
        [(":method", request.method), (":scheme", "http"), (":authority", "a"), (":path", "/x")];
    let block = block(head.iter().chain(&request.fields));
    Exchange::begin(policy, block, true, || now_ms, (&Nothing, |_| None), worker)
}

fn respond(
    exchange: &mut Exchange,
    status: u16,
    fields: &[Field],
    now_ms: u64,
    worker: &mut Worker,
) -> Respond {
    let status = status.to_string();
    let block = block([(":status", status.as_str())].iter().chain(fields));
    exchange.respond(Fields::new(&block), true, now_ms, worker, &mut Vec::new())
}

fn block<'a>(fields: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    let fields = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    fields.collect::<FieldsBuf>().to_block().into()
}

/// The response that was just stored.
fn stored(worker: &mut Worker) -> Option<Rc<Entry>> {
    worker.outbox.drain(..).find_map(|write| match write {
        Write::Store(entry, _) if !entry.meta().variants => Some(entry),
        _ => None,
    })
}

fn ttl_s(entry: &Entry, now_ms: u64) -> u64 {
    u64::try_from(entry.ttl_s(now_ms)).unwrap_or(0)
}

pub(crate) fn oracle(case: &Case) -> Judgement {
    let received = UNIX_EPOCH + Duration::from_secs(RECEIVED_S);
    let now = received + Duration::from_secs(case.later_s);
    let mut judgement = Judgement::default();
    let answer = response_parts(case.response.status, &case.response.fields);
    let first = request_parts(&case.first);
    let policy = CachePolicy::new_options(&first, &answer, received, CacheOptions::default());
    let validated =
        answer.headers.contains_key("etag") || answer.headers.contains_key("last-modified");
    judgement.stored = policy.is_storable() && (!policy.is_stale(received) || validated);
    if !judgement.stored {
        return judgement;
    }
    judgement.ttl_s = Some(policy.time_to_live(now).as_secs());
    let second = request_parts(&case.second);
    let asked = match policy.before_request(&second, now) {
        BeforeRequest::Fresh(head) => {
            judgement.served = Some(true);
            judgement.age_s = value(&head.headers, "age").and_then(|age| age.parse().ok());
            return judgement;
        }
        BeforeRequest::Stale { request, .. } => request,
    };
    judgement.served = Some(false);
    if case.second.method == "HEAD" {
        return judgement;
    }
    let headers = &asked.headers;
    judgement.asked = Some((value(headers, "if-none-match"), value(headers, "if-modified-since")));
    if judgement.asked == Some((None, None)) {
        return judgement;
    }
    let update = response_parts(304, &case.update);
    judgement.updates = Some(false);
    if let AfterResponse::NotModified(policy, _) = policy.after_response(&second, &update, now) {
        judgement.updates = Some(true);
        judgement.renewed_s = Some(seconds_left(&policy, now));
    }
    judgement
}

fn seconds_left(policy: &CachePolicy, now: SystemTime) -> u64 {
    policy.time_to_live(now).as_secs()
}

fn headers(fields: &[Field]) -> HeaderMap {
    let header =
        |(name, value): &Field| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let mut headers = HeaderMap::new();
    fields.iter().map(header).for_each(|(name, value)| {
        headers.append(name, value);
    });
    headers
}

fn value(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}

fn request_parts(request: &Request) -> request::Parts {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = Method::from_bytes(request.method.as_bytes()).unwrap();
    parts.uri = "http://a/x".parse().unwrap();
    parts.headers = headers(&request.fields);
    parts
}

fn response_parts(status: u16, fields: &[Field]) -> response::Parts {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(status).unwrap();
    parts.headers = headers(fields);
    parts
}
