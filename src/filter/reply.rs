//! What a client is told: the hit itself, and what is added to the origin's answers.

use std::borrow::Cow;

use super::stream::Stream;
use crate::config::{Policy, Rule};
use crate::engine::{Bypass, Exchange, Found, Level, Outcome, Purged};
use crate::entry::Entry;
use crate::host::{FieldMap, Host, HostResult};
use crate::http::cache_status::{self, Forward, Forwarded};
use crate::http::conditional::not_modified_fields;
use crate::http::fields::{Fields, FieldsBuf};
use crate::http::form::{Form, Stored, form};
use crate::http::key::Key;
use crate::http::range;
use crate::http::response::status;
use crate::http::stored_fields::is_of_the_way;

/// The answer at hand. Its memory is kept, so that a hit allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Reply {
    block: Vec<u8>,
    status: Vec<u8>,
}

impl Reply {
    /// Answers the stream at hand with an entry as it is. Returns what the stream is then, if its answer
    /// must be corrected.
    pub(super) fn plain_hit(
        &mut self,
        host: &impl Host,
        policy: &Policy,
        entry: &Entry,
        level: Level,
        now_ms: u64,
    ) -> HostResult<Option<Stream>> {
        let (ttl_s, text) = (entry.ttl_s(now_ms), level.as_str());
        cache_status::write_hit(self.begin_status(), &policy.cache_name, ttl_s, text);
        self.whole(host, policy, entry, Outcome::L1Hit, now_ms)
    }

    /// Writes the `Cache-Status` of a hit, or of what another request has fetched.
    pub(super) fn begin_hit(&mut self, exchange: &Exchange, found: &Found) {
        let (ttl_s, name) = (found.entry.ttl_s(found.now_ms), &exchange.policy().cache_name);
        let Some(why) = exchange.waited() else {
            let level = found.level.as_str();
            return cache_status::write_hit(self.begin_status(), name, ttl_s, level);
        };
        let detail = (found.outcome == Outcome::StaleIfError).then(|| found.outcome.as_str());
        // What was fetched for this request alone, or for another.
        let own = found.outcome == Outcome::Miss;
        let told = Forwarded::new(why, if own { found.entry.meta().status } else { 0 });
        Forwarded { ttl_s: Some(ttl_s), stored: own, collapsed: !own, detail, ..told }
            .write(self.begin_status(), name);
    }

    /// Answers the stream at hand with an entry, in the form that its request asks for, and with the
    /// `Cache-Status` just written.
    pub(super) fn answer(
        &mut self,
        host: &impl Host,
        exchange: &Exchange,
        entry: &Entry,
        outcome: Outcome,
        now_ms: u64,
    ) -> HostResult<Option<Stream>> {
        let policy = exchange.policy();
        let stored = Stored {
            status: entry.meta().status,
            fields: entry.fields(),
            body: entry.body(),
            received_ms: entry.meta().stored_ms,
            hash: entry.key().hash(),
        };
        let mut fields = FieldsBuf::default();
        let mut text = Vec::new();
        let (status, body) = match form(exchange.request(), stored, now_ms) {
            Form::Whole => return self.whole(host, policy, entry, outcome, now_ms),
            Form::NotModified => {
                not_modified_fields(&mut fields, stored.fields);
                (304, Cow::Borrowed(&b""[..]))
            }
            Form::Unsatisfiable => {
                range::unsatisfied_range(&mut text, stored.body.len());
                (416, Cow::Borrowed(&b""[..]))
            }
            Form::Part(first, last) => {
                fields.extend(range::part_fields(stored.fields));
                range::content_range(&mut text, first, last, stored.body.len());
                (206, stored.body.get(first..=last).unwrap_or_default().into())
            }
            Form::Parts(parts) => {
                let others = range::part_fields(stored.fields);
                fields.extend(others.filter(|(name, _)| *name != b"content-type"));
                fields.push(b"content-type", &parts.content_type);
                (206, parts.payload.into())
            }
        };
        if !text.is_empty() {
            fields.push(b"content-range", &text);
        }
        let block = fields.to_block();
        let answer = (status, Fields::new(&block), &*body);
        self.send(host, policy, entry, outcome, now_ms, answer)
    }

    fn whole(
        &mut self,
        host: &impl Host,
        policy: &Policy,
        entry: &Entry,
        outcome: Outcome,
        now_ms: u64,
    ) -> HostResult<Option<Stream>> {
        let answer = (entry.meta().status, entry.fields(), entry.body());
        self.send(host, policy, entry, outcome, now_ms, answer)
    }

    /// Answers the stream at hand with status, fields and body, and with what is told of `entry`.
    fn send(
        &mut self,
        host: &impl Host,
        policy: &Policy,
        entry: &Entry,
        outcome: Outcome,
        now_ms: u64,
        (status, fields, body): (u16, Fields<'_>, &[u8]),
    ) -> HostResult<Option<Stream>> {
        if policy.cache_status_key {
            cache_status::write_key(&mut self.status, entry.key().resource());
        }
        let mut digits = itoa::Buffer::new();
        let age = digits.format(entry.age_s(now_ms)).as_bytes();
        let hash = policy.x_cache_key.then(|| short_hash(entry.key().resource()));
        let own: [Option<(&[u8], &[u8])>; 4] = [
            Some((b"cache-status", &self.status)),
            Some((b"age", age)),
            policy.x_cache_status.then_some((b"x-cache-status", outcome.word().as_bytes())),
            hash.as_ref().map(|hash| (&b"x-cache-key"[..], &hash[..])),
        ];
        self.block.clear();
        fields.write_with(own.iter().flatten().copied(), &mut self.block);
        host.respond(status, &self.block, body)?;
        Ok(retyped(fields.get(b"content-type"), body))
    }

    /// Tells the client that nothing is stored for it, which is all it wanted.
    pub(super) fn only_if_cached(&mut self, host: &impl Host, policy: &Policy) -> HostResult<()> {
        self.begin_own(policy, Outcome::OnlyIfCached);
        self.block.clear();
        let own = [(&b"cache-status"[..], &self.status[..])];
        Fields::default().write_with(own.into_iter(), &mut self.block);
        host.respond(504, &self.block, b"")
    }

    /// Writes the `Cache-Status` of what the cache says itself.
    fn begin_own(&mut self, policy: &Policy, outcome: Outcome) {
        let told = Forwarded { why: None, ..Forwarded::new(Forward::UriMiss, 0) };
        let detail = Some(outcome.as_str());
        Forwarded { detail, ..told }.write(self.begin_status(), &policy.cache_name);
    }

    /// Answers the stream at hand with what its rule says of the id in this place, which does not exist.
    pub(super) fn absent(
        &mut self,
        host: &impl Host,
        policy: &Policy,
        rule: &Rule,
        index: usize,
        body: &[u8],
    ) -> HostResult<Option<Stream>> {
        self.begin_own(policy, Outcome::Absent);
        let Some(absent) = rule.exists.get(index).map(|carried| &carried.absent) else {
            return Ok(None);
        };
        let fields = absent.fields.iter().map(|(name, value)| (&**name, &**value));
        let own = [(&b"cache-status"[..], &self.status[..])].into_iter();
        let word = policy.x_cache_status.then_some(Outcome::Absent.word().as_bytes());
        let own = own.chain(word.map(|word| (&b"x-cache-status"[..], word)));
        self.block.clear();
        Fields::default().write_with(fields.chain(own), &mut self.block);
        host.respond(absent.status, &self.block, body)?;
        let content_type = absent.fields.iter().find(|(name, _)| **name == *b"content-type");
        Ok(retyped(content_type.map(|(_, value)| &**value), body))
    }

    /// Tells the client to come again later: too much is being fetched already.
    pub(super) fn limited(&mut self, host: &impl Host, policy: &Policy) -> HostResult<()> {
        self.begin_own(policy, Outcome::Limited);
        self.block.clear();
        let mut digits = itoa::Buffer::new();
        let later = digits.format(policy.protection.retry_after_s).as_bytes();
        let own = [(&b"cache-status"[..], &self.status[..]), (b"retry-after", later)];
        Fields::default().write_with(own.into_iter(), &mut self.block);
        host.respond(503, &self.block, b"")
    }

    /// Makes a 304 of the origin's response at hand, whose body is then taken out.
    pub(super) fn not_modified(host: &impl Host) -> HostResult<()> {
        host.set_field(FieldMap::Response, b":status", b"304")?;
        // A 304 without these says nothing wrong; with them it might.
        let _ = host.remove_field(FieldMap::Response, b"content-length");
        let _ = host.remove_field(FieldMap::Response, b"content-type");
        Ok(())
    }

    /// Answers with a 304, and the `Cache-Status` just written, in the place of the origin's response at
    /// hand, whose body nobody wants.
    pub(super) fn not_modified_instead(
        &mut self,
        host: &impl Host,
        exchange: &Exchange,
        response: Fields<'_>,
    ) -> HostResult<()> {
        let mut fields = FieldsBuf::default();
        not_modified_fields(&mut fields, response);
        let block = fields.to_block();
        let block = self.passed_on(exchange, response, Fields::new(&block));
        host.respond(304, &block, b"")
    }

    /// Answers the stream at hand with a response of the origin's that was fetched on its behalf, and with the
    /// `Cache-Status` just written.
    pub(super) fn pass(
        &mut self,
        host: &impl Host,
        exchange: &Exchange,
        response: Fields<'_>,
        body: &[u8],
    ) -> HostResult<Option<Stream>> {
        let block = self.passed_on(exchange, response, response);
        // What has no status of a final response is none (RFC 9110, 15).
        let status = Some(status(response)).filter(|status| (200..=999).contains(status));
        host.respond(status.unwrap_or(502), &block, body)?;
        Ok(retyped(response.get(b"content-type"), body))
    }

    /// Those `fields` of the origin's response that go on to a client, and what the cache adds.
    fn passed_on(
        &mut self,
        exchange: &Exchange,
        response: Fields<'_>,
        fields: Fields<'_>,
    ) -> Box<[u8]> {
        let (policy, resource) = (exchange.policy(), exchange.key().resource());
        if policy.cache_status_key {
            cache_status::write_key(&mut self.status, resource);
        }
        let goes_on = |name: &[u8]| {
            // The origin's own age, and what caches before it say.
            let told = matches!(name, b"age" | b"cache-status");
            let tags = policy.tag_fields.iter().any(|tag| **tag == *name);
            told || !tags && !is_of_the_way(response, name)
        };
        let mut fields: FieldsBuf = fields.iter().filter(|(name, _)| goes_on(name)).collect();
        fields.push(b"cache-status", &self.status);
        if policy.x_cache_status {
            fields.push(b"x-cache-status", Outcome::Miss.word().as_bytes());
        }
        if policy.x_cache_key {
            fields.push(b"x-cache-key", &short_hash(resource));
        }
        fields.to_block()
    }

    /// Corrects our own answer at hand: Envoy calls a local reply without a type `text/plain`, and takes
    /// the type away from one without a body.
    pub(super) fn retype(host: &impl Host, content_type: Option<&[u8]>) {
        // An answer that cannot be corrected goes out as it is.
        let _ = match content_type {
            Some(text) => host.set_field(FieldMap::Response, b"content-type", text),
            None => host.remove_field(FieldMap::Response, b"content-type"),
        };
    }

    /// Answers the stream at hand, which asked for something to be purged.
    pub(super) fn purged(host: &impl Host, purged: Purged, soft: bool) -> HostResult<()> {
        let status = match purged {
            Purged::Url | Purged::Prefix | Purged::Tags => 200,
            Purged::Refused => 403,
            Purged::Malformed => 400,
        };
        let told = if status == 200 { "purged" } else { "error" };
        let body = format!("{{\"{told}\":\"{purged}\",\"soft\":{soft}}}\n");
        let mut fields = FieldsBuf::default();
        fields.push(b"content-type", b"application/json");
        fields.push(b"cache-control", b"no-store");
        host.respond(status, fields.to_block().as_ref(), body.as_bytes())
    }

    /// Where the `Cache-Status` of the next answer is written.
    pub(super) fn begin_status(&mut self) -> &mut Vec<u8> {
        self.status.clear();
        &mut self.status
    }

    /// Adds to the origin's response at hand that, and why, the cache was not asked.
    pub(super) fn bypass(&mut self, host: &impl Host, policy: &Policy, reason: Bypass) {
        let why = match reason {
            Bypass::Method => Forward::Method,
            _ => Forward::Bypass,
        };
        for name in &policy.tag_fields {
            // What is not there cannot be taken away.
            let _ = host.remove_field(FieldMap::Response, name);
        }
        let told = Forwarded { detail: Some(reason.as_str()), ..Forwarded::new(why, 0) };
        told.write(self.begin_status(), &policy.cache_name);
        self.add_status(host, policy, Outcome::Bypass);
    }

    /// Adds the `Cache-Status` just written to the origin's response at hand.
    pub(super) fn miss(&mut self, host: &impl Host, exchange: &Exchange, fields: Fields<'_>) {
        let policy = exchange.policy();
        for name in policy.tag_fields.iter().filter(|name| fields.get(name).is_some()) {
            // What cannot be taken away tells clients of tags, no more.
            let _ = host.remove_field(FieldMap::Response, name);
        }
        if policy.cache_status_key {
            cache_status::write_key(&mut self.status, exchange.key().resource());
        }
        self.add_status(host, policy, Outcome::Miss);
        if policy.x_cache_key {
            let hash = short_hash(exchange.key().resource());
            let _ = host.set_field(FieldMap::Response, b"x-cache-key", &hash);
        }
    }

    fn add_status(&self, host: &impl Host, policy: &Policy, outcome: Outcome) {
        // A response that cannot take a field goes out without it.
        let _ = host.add_field(FieldMap::Response, b"cache-status", &self.status);
        if policy.x_cache_status {
            let _ =
                host.set_field(FieldMap::Response, b"x-cache-status", outcome.word().as_bytes());
        }
    }
}

/// What a stream is then that was answered so, if that must be corrected.
fn retyped(content_type: Option<&[u8]>, body: &[u8]) -> Option<Stream> {
    let wrong = content_type.is_some() == body.is_empty();
    wrong.then(|| Stream::Retyped(content_type.map(<[u8]>::to_vec)))
}

/// The first eight hex digits of the hash of a resource's key.
fn short_hash(resource: &[u8]) -> [u8; 8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let hash = Key::new(resource).hash();
    let digit = |n: usize| DIGITS.get((hash >> (124 - 4 * n) & 15) as usize);
    std::array::from_fn(|n| digit(n).copied().unwrap_or_default())
}
