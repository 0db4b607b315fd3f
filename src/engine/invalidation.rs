//! What a successful unsafe request makes stale (RFC 9111, 4.4): its own target, and what `Location`
//! and `Content-Location` name of the same origin.

use std::rc::Rc;

use super::Worker;
use crate::config::Policy;
use crate::http::fields::Fields;
use crate::http::key::{Key, write_key};
use crate::http::percent::normalise;
use crate::http::request::RequestHead;
use crate::http::uri;
use crate::observe::Counter;

/// Methods that change nothing (RFC 9110, 9.2.1, and the registry of methods).
const SAFE: [&[u8]; 8] =
    [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND", b"REPORT", b"SEARCH", b"QUERY"];

/// An unsafe request on its way.
#[derive(Debug)]
pub struct Invalidation {
    policy: Rc<Policy>,
    scheme: Box<[u8]>,
    authority: Box<[u8]>,
    target: Box<[u8]>,
}

impl Invalidation {
    /// What a request may make stale; none if its method is safe. Unknown methods are not.
    pub(super) fn of(policy: &Rc<Policy>, head: &RequestHead<'_>) -> Option<Box<Self>> {
        (!SAFE.contains(&head.method) && head.target.starts_with(b"/")).then(|| {
            Box::new(Self {
                policy: Rc::clone(policy),
                scheme: head.scheme.into(),
                authority: head.authority.into(),
                target: head.target.into(),
            })
        })
    }

    /// The response's head arrived: unless it tells of an error, what it makes stale is forgotten.
    pub fn respond(&self, status: u16, fields: Fields<'_>, worker: &mut Worker) {
        if !(200..400).contains(&status) {
            return;
        }
        self.forget(&self.target, worker);
        for name in [&b"location"[..], b"content-location"] {
            let (scheme, authority) = (&self.scheme, &self.authority);
            let named = fields.get(name);
            let named = named.and_then(|r| uri::same_origin(scheme, authority, &self.target, r));
            if let Some(target) = named.filter(|target| **target != *self.target) {
                self.forget(&target, worker);
            }
        }
    }

    fn forget(&self, target: &[u8], worker: &mut Worker) {
        let (scheme, authority) = (&self.scheme, &self.authority);
        let head = RequestHead { scheme, authority, target, ..RequestHead::default() };
        let (path, query) = head.path_and_query();
        worker.path.clear();
        normalise(&mut worker.path, path);
        let rule = self.policy.rule(b"GET", &worker.path, query.unwrap_or_default());
        // What has no key is not stored.
        if write_key(&mut worker.key, &head, &worker.path, &self.policy.key, &rule.query).is_ok() {
            let key = Key::new(&worker.key);
            worker.counters.count(Counter::Invalidation);
            worker.invalidate(&key);
        }
    }
}
