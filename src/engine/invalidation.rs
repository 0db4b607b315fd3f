//! What a request that is no read makes stale: what its route says, and (RFC 9111, 4.4) its own target
//! and what `Location` and `Content-Location` name of the same origin.

use std::rc::Rc;

use serde_json::Value;

use super::Worker;
use super::body::Body;
use super::existence::{News, created};
use super::held::{Held, Hold};
use crate::coherence::{Bump, Filling, Intent, Tag, Tags, Template};
use crate::config::{Policy, Rule};
use crate::http::field_set::is_same;
use crate::http::fields::Fields;
use crate::http::key::write_key;
use crate::http::percent::normalise;
use crate::http::request::RequestHead;
use crate::http::uri;
use crate::observe::Counter;

/// Methods that change nothing (RFC 9110, 9.2.1, and the registry of methods).
const SAFE: [&[u8]; 8] =
    [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND", b"REPORT", b"SEARCH", b"QUERY"];

/// Fields by which some origins take another method than the request's.
const OVERRIDES: [&[u8]; 3] = [b"x-http-method-override", b"x-http-method", b"x-method-override"];
/// How long the end of an answer may come after its head and still mean the same moment.
const LATE_MS: u64 = 20;

/// A write on its way.
#[derive(Debug)]
pub struct Invalidation {
    policy: Rc<Policy>,
    rule: Rc<Rule>,
    /// Its head's fields.
    head: Vec<u8>,
    request: Body,
    response: Body,
    /// Whether it changes its target.
    changes: bool,
    /// When the origin has answered, and what was stale by that.
    answered_ms: Option<u64>,
    /// Whether it may still be carried out after that.
    is_unknown: bool,
    tags: Tags,
    /// Bytes of bodies that are charged to the worker.
    charged: usize,
    /// Under which number it is noted, should this worker not see its end.
    noted: Option<u32>,
    /// What its head takes of the worker's memory.
    _hold: Hold,
}

impl Invalidation {
    /// What a request may make stale; none if it changes nothing. Unknown methods do. `head` are its
    /// fields.
    pub(super) fn of(
        policy: &Rc<Policy>,
        rule: &Rc<Rule>,
        head: Vec<u8>,
        held: &Held,
    ) -> Option<Box<Self>> {
        let read = RequestHead::read(Fields::new(&head));
        let writes = &rule.writes;
        let is_unsafe = |method: &[u8]| !SAFE.contains(&method);
        let overrides = |name: &[u8]| OVERRIDES.iter().any(|known| is_same(known, name));
        let mut overridden = read.fields.iter().filter(|(name, _)| overrides(name));
        let overridden = overridden.any(|(_, method)| is_unsafe(&method.to_ascii_uppercase()));
        let changes = is_unsafe(read.method) || overridden;
        ((changes || !writes.invalidates.is_empty() || !writes.creates.is_empty())
            && !writes.safe
            && read.target.starts_with(b"/"))
        .then(|| {
            Box::new(Self {
                policy: Rc::clone(policy),
                rule: Rc::clone(rule),
                request: Body::new(writes.needs_request()),
                response: Body::new(writes.needs_response()),
                changes,
                answered_ms: None,
                is_unknown: false,
                tags: Tags::default(),
                charged: 0,
                noted: None,
                _hold: held.charge(size_of::<Self>() + head.len()),
                head,
            })
        })
    }

    /// What it may change at most, whatever its bodies say.
    pub fn intent(&self, worker: &mut Worker) -> Intent {
        let mut tags = Tags::default();
        self.targets(0, Fields::new(&[]), worker, &mut tags);
        self.named(|_| true, None, None, &mut tags);
        let spaces = self.rule.writes.creates.iter();
        let spaces =
            spaces.filter_map(|created| Some(self.policy.spaces.get(created.space)?.scope));
        Intent { tags, spaces: spaces.collect() }
    }

    /// It is noted under this number.
    pub const fn is_noted(&mut self, noted: Option<u32>) {
        self.noted = noted;
    }

    /// Under which number it is noted.
    #[must_use]
    pub const fn noted(&self) -> Option<u32> {
        self.noted
    }

    /// Whether chunks of the request's body are wanted.
    #[must_use]
    pub const fn wants_request(&self) -> bool {
        self.request.is_wanted()
    }

    /// A chunk of the request's body; none if it could not be copied.
    pub fn request_chunk(&mut self, data: Option<Vec<u8>>, worker: &mut Worker) {
        let most = self.most(data.as_ref(), worker);
        let taken = self.request.chunk(data, most);
        self.charge(taken, worker);
    }

    /// The largest body that may be copied: none beyond the budget of the worker.
    fn most(&self, data: Option<&Vec<u8>>, worker: &Worker) -> usize {
        let room = self.policy.fill_budget.saturating_sub(worker.filling);
        let fits = data.is_none_or(|data| data.len() <= room);
        if fits { self.policy.coherence.max_body } else { 0 }
    }

    fn charge(&mut self, bytes: usize, worker: &mut Worker) {
        worker.filling += bytes;
        self.charged += bytes;
    }

    /// Whether chunks of the response's body are wanted.
    #[must_use]
    pub const fn wants_response(&self) -> bool {
        self.answered_ms.is_some() && self.response.is_wanted()
    }

    /// A chunk of the response's body; none if it could not be copied.
    pub fn response_chunk(&mut self, data: Option<Vec<u8>>, worker: &mut Worker) {
        let most = self.most(data.as_ref(), worker);
        let taken = self.response.chunk(data, most);
        self.charge(taken, worker);
    }

    /// The request has come to its end, and is about to go on: ids that it brings into being are known from now on.
    pub fn request_ended(&mut self, worker: &mut Worker) {
        if self.rule.writes.creates.is_empty() {
            return;
        }
        let request = self.request.json();
        if !self.is_read(request.as_ref()) {
            // Should it not say which, its answer will say whether that matters.
            let news = self.created(false, (request.as_ref(), None));
            worker.news.extend(news.into_iter().filter(|(_, news)| *news != News::Lost));
        }
    }

    /// What it brings into being.
    fn created(
        &self,
        of_response: bool,
        (request, response): (Option<&Value>, Option<&Value>),
    ) -> Vec<(u64, News)> {
        let creates = &self.rule.writes.creates;
        if creates.is_empty() {
            return Vec::new();
        }
        self.filled(request, response, |with| {
            created(&self.policy, creates, of_response, with, self.is_unknown)
        })
    }

    /// Calls `give` with the request as far as it fills gaps.
    fn filled<T>(
        &self,
        request: Option<&Value>,
        response: Option<&Value>,
        give: impl FnOnce(&Filling<'_>) -> T,
    ) -> T {
        let head = RequestHead::read(Fields::new(&self.head));
        let (target, query) = head.path_and_query();
        let mut path = Vec::new();
        normalise(&mut path, target);
        give(&Filling { request, response, ..Filling::of_head(&path, query, head.fields) })
    }

    /// The response's head arrived: what is known to be stale by it is so from now on.
    pub fn respond(&mut self, status: u16, fields: Fields<'_>, now_ms: u64, worker: &mut Worker) {
        self.answered_ms = Some(now_ms);
        let request = self.request.json();
        if matches!(status, 400..=407 | 409..=499) || self.is_read(request.as_ref()) {
            self.response = Body::Unwanted;
            return;
        }
        // An error may have come after the change; and one of a gateway before it.
        let is_unknown = matches!(status, 408 | 502..=504);
        self.is_unknown = is_unknown;
        let mut tags = Tags::default();
        self.targets(status, fields, worker, &mut tags);
        self.named(|template| !template.needs_response(), request.as_ref(), None, &mut tags);
        self.tags = tags.clone();
        self.bump(tags, is_unknown, now_ms, worker);
        // Once more: a list that was begun meanwhile may lack them.
        worker.news.extend(self.created(false, (request.as_ref(), None)));
    }

    /// The response has ended, or its stream has gone, perhaps before an answer came: the origin may
    /// then carry the request out still.
    pub fn end(mut self, now_ms: u64, worker: &mut Worker) {
        worker.filling = worker.filling.saturating_sub(std::mem::take(&mut self.charged));
        let is_unknown = self.answered_ms.is_none();
        if is_unknown {
            self.respond(504, Fields::new(&[]), now_ms, worker);
        }
        if self.answered_ms.is_some_and(|ms| now_ms.saturating_sub(ms) >= LATE_MS) {
            // It may have been carried out while it was answered.
            let tags = std::mem::take(&mut self.tags);
            self.bump(tags, false, now_ms, worker);
        }
        if matches!(self.response, Body::Unwanted) {
            return;
        }
        let (request, response) = (self.request.json(), self.response.json());
        let mut tags = Tags::default();
        self.named(Template::needs_response, request.as_ref(), response.as_ref(), &mut tags);
        self.bump(tags, is_unknown, now_ms, worker);
        worker.news.extend(self.created(true, (request.as_ref(), response.as_ref())));
    }

    /// Whether the body says that the request changes nothing.
    fn is_read(&self, request: Option<&Value>) -> bool {
        let Some((pointer, text)) = &self.rule.writes.when else { return false };
        let Some(document) = request else { return false };
        let mut is_read = false;
        let are_all = pointer.visit(document, &mut |value| {
            is_read = value.as_str().is_some_and(|found| !found.contains(&**text));
            is_read
        });
        // An element that does not say so may be another one's.
        are_all && is_read
    }

    /// The tags that the route's templates make, of those that are `wanted`.
    fn named(
        &self,
        wanted: impl Fn(&Template) -> bool,
        request: Option<&Value>,
        response: Option<&Value>,
        tags: &mut Tags,
    ) {
        let templates = self.rule.writes.invalidates.iter().filter(|template| wanted(template));
        self.filled(request, response, |with| {
            templates.for_each(|t| t.fill(with, &self.policy.tag_key, tags));
        });
    }

    /// The resources that the request and its response name.
    fn targets(&self, status: u16, fields: Fields<'_>, worker: &mut Worker, tags: &mut Tags) {
        let head = RequestHead::read(Fields::new(&self.head));
        if !self.changes {
            return;
        }
        tags.extend(tag_of(&self.policy, &head, worker));
        if !(200..400).contains(&status) {
            return;
        }
        for name in [&b"location"[..], b"content-location"] {
            let named = fields.get(name);
            let named =
                named.and_then(|to| uri::same_origin(head.scheme, head.authority, head.target, to));
            tags.extend(named.and_then(|target| {
                let head = RequestHead { target: &target, ..head };
                tag_of(&self.policy, &head, worker)
            }));
        }
    }

    fn bump(&self, tags: Tags, is_unknown: bool, now_ms: u64, worker: &mut Worker) {
        worker.counters.add(Counter::Invalidation, tags.as_slice().len() as u64);
        let guard_ms = self.policy.coherence.guard_ms;
        let uncertain_until_ms = if is_unknown { now_ms.saturating_add(guard_ms) } else { 0 };
        worker.generations.bump(Bump { tags, soft: false, uncertain_until_ms });
    }
}

/// The tag of the resource that a request's target names; none if it has no key, for then nothing of it
/// is stored.
pub(super) fn tag_of(policy: &Policy, head: &RequestHead<'_>, worker: &mut Worker) -> Option<Tag> {
    let (path, query) = head.path_and_query();
    worker.path.clear();
    normalise(&mut worker.path, path);
    let rule = policy.rule(b"GET", &worker.path, query.unwrap_or_default());
    write_key(&mut worker.key, head, &worker.path, &policy.key, &rule.query).ok()?;
    Some(policy.tag_key.named(&worker.key))
}
