//! Fetching again what is served stale meanwhile (RFC 5861, 3): the same exchange, asked by nobody.

use std::rc::Rc;

use super::Worker;
use super::exchange::Exchange;
use crate::entry::Entry;
use crate::http::cache_status::Forward;
use crate::http::fields::FieldsBuf;
use crate::http::stored_fields::is_of_the_way;

/// Fetches at the same time, per worker.
const MOST: usize = 64;
/// How long after its own time-out Envoy may tell of it.
const GRACE_MS: u64 = 5_000;

impl Exchange {
    /// Makes the exchange fetch `entry` again. Returns the fields of the request to send, or none if that
    /// is under way already or too much else is.
    pub fn refresh(
        &mut self,
        entry: &Rc<Entry>,
        now_ms: u64,
        worker: &mut Worker,
    ) -> Option<Vec<u8>> {
        let hash = entry.key().hash();
        // One that is to show whether the origin still fails does not wait for one that gets no answer.
        let known = worker.refreshing.contains(&hash) && !self.probes;
        if known || worker.refreshing.len() >= MOST || !self.admit_refresh(now_ms, worker) {
            return None;
        }
        worker.refreshing.insert(hash);
        self.stored = Some(Rc::clone(entry));
        self.refreshes = Some(hash);
        self.why = Forward::Stale;
        // From here on it is the cache that asks, for the whole, and wants nothing special.
        self.is_head = false;
        (self.has.condition, self.has.range, self.has.directives) = (false, false, false);
        self.has.cookie &= !self.rule.store.cookies_ignored;
        let mut changes = Vec::new();
        self.forward(now_ms, worker, |name, value| {
            changes.push((name.to_vec(), value.map(<[u8]>::to_vec)));
        });
        let mut out = FieldsBuf::default();
        let cookies_ignored = self.rule.store.cookies_ignored;
        for (name, value) in self.request().iter() {
            let left_out = name == b":method"
                || name == b"cookie" && cookies_ignored
                || matches!(name, b"range" | b"if-range" | b"if-none-match" | b"if-modified-since")
                || matches!(name, b"cache-control" | b"pragma")
                || is_of_the_way(self.request(), name)
                || changes.iter().any(|(changed, _)| changed == name);
            if !left_out {
                out.push(name, value);
            }
        }
        out.push(b":method", b"GET");
        for (name, value) in &changes {
            if let Some(value) = value {
                out.push(name, value);
            }
        }
        Some(out.to_block().into())
    }

    /// The origin did not answer.
    pub fn unanswered(mut self, now_ms: u64, worker: &mut Worker) {
        self.refreshed(worker);
        self.heard(false, now_ms, worker);
        self.abandon(worker);
    }

    /// The fetch has ended, one way or another.
    pub fn refreshed(&self, worker: &mut Worker) {
        if let Some(hash) = &self.refreshes {
            worker.refreshing.remove(hash);
            worker.flights.refreshed(*hash);
        }
    }

    /// Whether the fetch should have ended long ago.
    #[must_use]
    pub fn is_overdue(&self, now_ms: u64) -> bool {
        let timeout_ms = self.policy.origin.as_ref().map_or(0, |origin| origin.timeout_ms);
        now_ms > self.asked_ms + u64::from(timeout_ms) + GRACE_MS
    }
}
