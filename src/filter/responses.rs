//! A response comes in: it is told what the cache knows, copied, or replaced by what is stored.

use super::Module;
use super::reply::Reply;
use super::stream::Stream;
use crate::engine::Respond;
use crate::host::{Action, Buffer, FieldMap, Host};
use crate::http::fields::Fields;
use crate::http::response::status;
use crate::observe::Histogram;

impl<H: Host> Module<H> {
    /// The head of the origin's response arrives, or of our own.
    pub fn on_response_head(&mut self, context: u32, ended: bool) -> Action {
        let Some((root_id, stream)) = self.streams.remove(&context) else {
            return Action::Continue;
        };
        match stream {
            // A local reply of somebody else's.
            Stream::Tunnelled
            | Stream::AwaitingL2(_)
            | Stream::Following(_)
            | Stream::Claiming(_)
            | Stream::Emptied => {
                self.streams.insert(context, (root_id, stream));
            }
            Stream::Retyped(content_type) => Reply::retype(&self.host, content_type.as_deref()),
            Stream::Bypassed(reason, write) => {
                if let Some(mut write) = write {
                    self.refresh_generations();
                    let block = self.host.fields(FieldMap::Response).unwrap_or_default();
                    let (fields, now_ms) = (Fields::new(&block), self.host.now_ms());
                    write.respond(status(fields), fields, now_ms, &mut self.worker);
                    self.post(root_id);
                    let next = Stream::Bypassed(reason, Some(write));
                    self.streams.insert(context, (root_id, next));
                    self.wrote(context, 0, ended);
                }
                let policy = self.roots.get(&root_id).and_then(|root| root.policy.as_ref());
                if let Some(policy) = policy {
                    self.reply.bypass(&self.host, policy, reason);
                }
            }
            Stream::Forwarded(mut exchange, _) => {
                let Ok(block) = self.host.fields(FieldMap::Response) else {
                    exchange.abandon(&mut self.worker);
                    return Action::Continue;
                };
                let now_ms = self.host.now_ms();
                self.refresh_generations();
                let status = self.reply.begin_status();
                let fields = Fields::new(&block);
                let respond = exchange.respond(fields, ended, now_ms, &mut self.worker, status);
                self.post(root_id);
                let mut empty = false;
                match respond {
                    Respond::Serve(entry, outcome) => {
                        match self.reply.answer(&self.host, &exchange, &entry, outcome, now_ms) {
                            Ok(_) => return Action::Pause,
                            Err(error) => self.log_error(&format!("no answer is sent: {error}")),
                        }
                    }
                    Respond::NotModified if ended || exchange.wants_body() => {
                        empty = Reply::not_modified(&self.host).is_ok();
                    }
                    Respond::NotModified => {
                        match self.reply.not_modified_instead(&self.host, &exchange, fields) {
                            Ok(()) => return Action::Pause,
                            Err(error) => self.log_error(&format!("no 304 is sent: {error}")),
                        }
                    }
                    Respond::Pass => {}
                }
                self.reply.miss(&self.host, &exchange, fields);
                let wanted = exchange.wants_body();
                let next = Stream::Forwarded(exchange, empty);
                self.streams.insert(context, (root_id, next));
                if ended || !wanted {
                    self.finish(context, ended);
                }
            }
        }
        Action::Continue
    }

    /// So much of the body of a write's response streams by. What it names is stale before the client has
    /// all of it.
    fn wrote(&mut self, context: u32, len: usize, ended: bool) {
        let Some((root_id, Stream::Bypassed(_, Some(write)))) = self.streams.get_mut(&context)
        else {
            return;
        };
        let root_id = *root_id;
        if len > 0 && write.wants_response() {
            let data = self.host.buffer(Buffer::ResponseBody, len).ok();
            let data = data.filter(|data| data.len() == len);
            write.response_chunk(data, &mut self.worker);
        }
        if ended && let Some((_, Stream::Bypassed(_, Some(write)))) = self.streams.remove(&context)
        {
            self.written(root_id, *write);
        }
    }

    /// A chunk of a response's body streams by.
    pub fn on_response_body(&mut self, context: u32, len: usize, end_of_stream: bool) {
        let Some((_, stream)) = self.streams.get_mut(&context) else { return };
        if matches!(stream, Stream::Bypassed(..)) {
            return self.wrote(context, len, end_of_stream);
        }
        let mut wanted = false;
        let mut empty = matches!(stream, Stream::Emptied);
        if let Stream::Forwarded(exchange, emptied) = stream {
            empty = *emptied;
            if len > 0 && exchange.wants_chunk(len, &mut self.worker) {
                let data = self.host.buffer(Buffer::ResponseBody, len).ok();
                exchange.chunk(data.filter(|data| data.len() == len), &mut self.worker);
            }
            wanted = exchange.wants_body();
        }
        if empty && len > 0 {
            // What cannot be emptied breaks the connection, for a 304 has no body: nothing worse.
            let _ = self.host.clear_buffer(Buffer::ResponseBody, len);
        }
        if end_of_stream || !wanted {
            self.finish(context, end_of_stream);
        }
    }

    /// A response ends with trailers, which are not stored.
    pub fn on_response_trailers(&mut self, context: u32) {
        self.wrote(context, 0, true);
        self.finish(context, true);
    }

    /// The copy of a stream's response ends, and if `ended` the response too; what was stored goes on to
    /// L2.
    fn finish(&mut self, context: u32, ended: bool) {
        match self.streams.remove(&context) {
            Some((root_id, Stream::Forwarded(exchange, empty))) => {
                if empty && !ended {
                    self.streams.insert(context, (root_id, Stream::Emptied));
                }
                self.refresh_generations();
                if let Some(len) = exchange.finish(&mut self.worker) {
                    self.record(Histogram::EntryBytes, len);
                }
                self.post(root_id);
            }
            Some((root_id, stream)) if !ended => {
                self.streams.insert(context, (root_id, stream));
            }
            // Somebody else's local reply was the end of what waited.
            Some((root_id, stream)) => self.forget(context, root_id, stream),
            None => {}
        }
    }
}
