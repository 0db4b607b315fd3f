//! Run-time state: settings, fault injection, request counts, and the routes that reach them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::api::Api;
use crate::args::{Args, Revision};
use crate::envelope::Reply;
use crate::seed;

pub(crate) const PREFIX: &str = "/__origin/";
const MOST_REQUESTS: usize = 10_000;

/// What goes wrong with every request to the API and the echo, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Fault {
    #[serde(rename = "500")]
    Error,
    #[serde(rename = "503")]
    Unavailable,
    /// The connection closes before any answer.
    #[serde(rename = "reset")]
    Reset,
    /// No answer ever.
    #[serde(rename = "hang")]
    Hang,
    /// The head announces the whole body, the connection closes after half of it.
    #[serde(rename = "truncate")]
    Truncate,
}

impl Fault {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "500",
            Self::Unavailable => "503",
            Self::Reset => "reset",
            Self::Hang => "hang",
            Self::Truncate => "truncate",
        }
    }
}

/// Requests counted by method and target, with a bound on distinct ones.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    total: u64,
    by_request: BTreeMap<String, u64>,
    other: u64,
}

impl Stats {
    pub(crate) fn count(&mut self, method: &Method, target: &str) {
        self.total += 1;
        let key = format!("{method} {target}");
        if let Some(count) = self.by_request.get_mut(&key) {
            *count += 1;
        } else if self.by_request.len() < MOST_REQUESTS {
            self.by_request.insert(key, 1);
        } else {
            self.other += 1;
        }
    }

    fn to_json(&self) -> Value {
        let mut by_request = json!(self.by_request);
        if let (Value::Object(map), true) = (&mut by_request, self.other > 0) {
            map.insert("other".to_owned(), self.other.into());
        }
        json!({"total": self.total, "by_request": by_request})
    }
}

pub(crate) struct State {
    pub(crate) latency: Cell<Duration>,
    pub(crate) revision: Cell<Revision>,
    pub(crate) fault: Cell<Option<Fault>>,
    pub(crate) stats: RefCell<Stats>,
    pub(crate) api: RefCell<Api>,
    /// Counts the answers of the echo.
    pub(crate) echoes: Cell<u64>,
}

/// The `fail` of a change: absent leaves the fault as it is, null ends it.
#[derive(Default)]
enum FaultChange {
    #[default]
    Keep,
    Set(Option<Fault>),
}

impl<'de> Deserialize<'de> for FaultChange {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from).map(Self::Set)
    }
}

/// What a client wants otherwise; every key may be absent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    latency_ms: Option<u64>,
    revision: Option<String>,
    #[serde(default)]
    fail: FaultChange,
}

impl State {
    pub(crate) fn new(args: &Args) -> Self {
        Self {
            latency: Cell::new(Duration::from_millis(args.latency_ms)),
            revision: Cell::new(args.revision),
            fault: Cell::new(None),
            stats: RefCell::default(),
            api: RefCell::new(Api::new(seed::build(args))),
            echoes: Cell::new(0),
        }
    }

    /// Answers the control routes.
    pub(crate) fn control(&self, method: &Method, path: &str, body: &Bytes) -> Reply {
        match (method.as_str(), path.strip_prefix(PREFIX).unwrap_or_default()) {
            ("GET", "stats") => Reply::bare(StatusCode::OK, &self.stats.borrow().to_json()),
            ("POST", "reset") => {
                *self.stats.borrow_mut() = Stats::default();
                Reply::bare(StatusCode::OK, &json!({"ok": true}))
            }
            ("GET", "config") => self.settings(),
            ("POST", "config") => match self.change(body) {
                Ok(()) => self.settings(),
                Err(problem) => Reply::bare(StatusCode::BAD_REQUEST, &json!({"error": problem})),
            },
            _ => Reply::bare(StatusCode::NOT_FOUND, &json!({"error": "no such control route"})),
        }
    }

    fn change(&self, body: &Bytes) -> Result<(), String> {
        let change: Change = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if let Some(revision) = change.revision {
            self.revision.set(revision.parse()?);
        }
        if let Some(latency) = change.latency_ms {
            self.latency.set(Duration::from_millis(latency));
        }
        if let FaultChange::Set(fault) = change.fail {
            self.fault.set(fault);
        }
        Ok(())
    }

    fn settings(&self) -> Reply {
        let latency = u64::try_from(self.latency.get().as_millis()).unwrap_or(u64::MAX);
        let settings = json!({
            "latency_ms": latency,
            "revision": self.revision.get().as_str(),
            "fail": self.fault.get().map(Fault::as_str),
        });
        Reply::bare(StatusCode::OK, &settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_requests_are_bounded() {
        let mut stats = Stats::default();
        for number in 0..MOST_REQUESTS + 5 {
            stats.count(&Method::GET, &format!("/{number}"));
        }
        stats.count(&Method::GET, "/0");
        let json = stats.to_json();
        assert_eq!(json.get("total"), Some(&json!(MOST_REQUESTS + 6)));
        assert_eq!(json.pointer("/by_request/other"), Some(&json!(5)));
        assert_eq!(json.pointer("/by_request/GET ~10"), Some(&json!(2)));
    }

    #[test]
    fn settings_change_one_by_one() {
        let state = State::new(&Args { games: 1, events_per_game: 1, ..Args::default() });
        let set = |text: &'static str| state.change(&Bytes::from_static(text.as_bytes()));
        assert_eq!(set(r#"{"fail":"truncate","latency_ms":0}"#), Ok(()));
        assert_eq!(state.fault.get(), Some(Fault::Truncate));
        assert_eq!(set(r#"{"revision":"opt"}"#), Ok(()));
        assert_eq!(state.fault.get(), Some(Fault::Truncate));
        assert_eq!(set(r#"{"fail":null}"#), Ok(()));
        assert_eq!(state.fault.get(), None);
        assert_eq!(state.revision.get(), Revision::Opt);
        assert!(set(r#"{"fail":"other"}"#).is_err());
        assert!(set(r#"{"unknown":1}"#).is_err());
    }
}
