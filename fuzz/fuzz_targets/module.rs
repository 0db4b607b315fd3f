//! The whole module, whose host calls it back in any order: nothing fails, no stream is answered twice, and none waits for
//! ever once nothing but time goes on.
//!
//! Input: lines, each a letter and what it is about; in it `|` ends a line of fields, and `~` stands for CR LF.
//! - `g` and `r`: a request, whole or with a body to come: `method target|name: value`
//! - `d` and `e`: a chunk of the newest one's body, or the last; `t` trailers in its place
//! - `a` and `A`: the head of the origin's answer to the eldest that waits for it: `:status: 200|name: value`; `A` has no body
//! - `c` and `C`: a chunk of the newest answer's body, or the last; `x` trailers in its place
//! - `k` and `K`: the eldest, or the newest, callout is answered: `status body`; without one it is reset
//! - `w`: so many ms pass, and a tick; `q`: a turn of the event loop; `l`: the eldest client leaves
//! - `f`: callouts fail, or no longer; `o`: the configuration comes anew
//! - `s`: something else lies in the shared memory, in a place: `number value`

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::filter::Module;
use tiercel::host::{Action, Buffer, FieldMap};
use tiercel_fuzz::host::{At, Handle, QUEUE, ROOT};
use tiercel_fuzz::{CONFIG, block, head, lines};

const NOW_MS: u64 = 1_783_684_800_000;
/// Longer than anything waits.
const LONGEST_MS: u64 = 40_000;
const TICK_MS: u64 = 50;

fuzz_target!(|input: &[u8]| {
    let mut scene = Scene::new();
    for line in lines(input).take(100) {
        let Some((letter, rest)) = line.split_first() else { continue };
        scene.act(*letter, &text(rest.strip_prefix(b" ").unwrap_or(rest)));
    }
    scene.end();
});

struct Scene {
    host: Handle,
    module: Module<Handle>,
    next: u32,
    /// Whose answer comes.
    answering: u32,
}

impl Scene {
    fn new() -> Self {
        let host = Handle::default();
        host.0.now_ms.set(NOW_MS);
        let module = Module::new(host.clone(), 7);
        let mut scene = Self { host, module, next: 10, answering: 0 };
        scene.module.on_create(ROOT, 0);
        scene.configure();
        scene.pass(TICK_MS);
        scene
    }

    fn configure(&mut self) {
        self.buffer(Buffer::PluginConfiguration, CONFIG.as_bytes());
        self.host.0.context.set(ROOT);
        assert!(self.module.on_configure(ROOT, CONFIG.len()));
    }

    fn act(&mut self, letter: u8, rest: &[u8]) {
        match letter {
            b'g' | b'r' => self.request(&of_head(rest), letter == b'g'),
            b'd' | b'e' | b't' => self.body(rest, letter),
            b'a' | b'A' => self.answer(&of_head(rest), letter == b'A'),
            b'c' | b'C' | b'x' => self.answer_body(rest, letter),
            b'k' | b'K' => self.called(rest, letter == b'k'),
            b'w' => {
                let ms = std::str::from_utf8(rest).ok().and_then(|text| text.trim().parse().ok());
                self.pass(ms.unwrap_or(TICK_MS).min(LONGEST_MS));
            }
            b'q' => self.turn(),
            b'l' => {
                self.host.0.streams.borrow_mut().pop_first();
            }
            b'f' => self.host.0.refuses.set(!self.host.0.refuses.get()),
            b'o' => self.configure(),
            b's' => self.spoil(rest),
            _ => {}
        }
    }

    fn buffer(&self, buffer: Buffer, bytes: &[u8]) {
        self.host.0.buffers.borrow_mut().insert(buffer, bytes.to_vec());
    }

    fn fields(&self, map: FieldMap, block: Box<[u8]>) {
        self.host.0.fields.borrow_mut().insert(map, block.into());
    }

    fn at(&self, context: u32) -> Option<At> {
        self.host.0.streams.borrow().get(&context).copied()
    }

    fn becomes(&self, context: u32, at: At) {
        self.host.0.streams.borrow_mut().insert(context, at);
    }

    fn eldest(&self, at: At) -> Option<u32> {
        let streams = self.host.0.streams.borrow();
        streams.iter().find(|(_, of)| **of == at).map(|(context, _)| *context)
    }

    fn request(&mut self, rest: &[u8], ended: bool) {
        let context = self.next;
        self.next += 1;
        self.becomes(context, At::Begun);
        self.host.0.context.set(context);
        self.module.on_create(context, ROOT);
        self.fields(FieldMap::Request, head(rest));
        let action = self.module.on_request_head(context, ended);
        match (action, self.at(context)) {
            (Action::Continue, Some(At::Begun)) => self.becomes(context, At::Gone),
            (Action::Pause, Some(At::Begun)) => self.becomes(context, At::Waits),
            (Action::Pause, Some(At::Answered)) => {}
            other => panic!("{other:?}"),
        }
        self.look();
    }

    fn body(&mut self, rest: &[u8], letter: u8) {
        let context = self.next - 1;
        if self.at(context) != Some(At::Gone) {
            return;
        }
        self.host.0.context.set(context);
        self.buffer(Buffer::RequestBody, rest);
        let action = match letter {
            b't' => self.module.on_request_trailers(context),
            _ => self.module.on_request_body(context, rest.len(), letter == b'e'),
        };
        assert_eq!(action, Action::Continue);
        self.look();
    }

    fn answer(&mut self, rest: &[u8], ended: bool) {
        let Some(context) = self.eldest(At::Gone) else { return };
        self.becomes(context, At::Answering);
        self.host.0.context.set(context);
        self.fields(FieldMap::Response, block(rest));
        match (self.module.on_response_head(context, ended), self.at(context)) {
            (Action::Continue, Some(At::Answering)) if !ended => self.answering = context,
            (Action::Continue, Some(At::Answering)) => {
                self.host.0.streams.borrow_mut().remove(&context);
            }
            (Action::Pause, Some(At::Answered)) => {}
            other => panic!("{other:?}"),
        }
        self.look();
    }

    fn answer_body(&mut self, rest: &[u8], letter: u8) {
        let context = self.answering;
        if self.at(context) != Some(At::Answering) {
            return;
        }
        self.host.0.context.set(context);
        self.buffer(Buffer::ResponseBody, rest);
        match letter {
            b'x' => self.module.on_response_trailers(context),
            _ => self.module.on_response_body(context, rest.len(), letter == b'C'),
        }
        if letter != b'c' {
            self.host.0.streams.borrow_mut().remove(&context);
        }
        self.look();
    }

    fn called(&mut self, rest: &[u8], eldest: bool) {
        let mut calls = self.host.0.calls.borrow_mut();
        if calls.is_empty() {
            return;
        }
        let token = if eldest { calls.remove(0) } else { calls.pop().unwrap_or_default() };
        drop(calls);
        let (status, body) = rest.split_at(rest.len().min(3));
        let body = body.strip_prefix(b" ").unwrap_or(body);
        // Envoy sees to it that it is one.
        let is_one =
            status.len() == 3 && status.iter().all(u8::is_ascii_digit) && status >= &b"200"[..];
        let status = if is_one || status.is_empty() { status } else { b"503" };
        self.fields(
            FieldMap::Call,
            block(&[b":status: ", status, b"\ncache-control: max-age=5"].concat()),
        );
        self.buffer(Buffer::CallBody, body);
        self.host.0.context.set(ROOT);
        let body_len = if status.is_empty() { 0 } else { body.len() };
        self.module.on_call_response(ROOT, token, !status.is_empty(), body_len);
        assert_eq!(self.host.0.context.get(), ROOT, "the root is at hand again");
        self.look();
    }

    fn pass(&mut self, ms: u64) {
        self.host.0.now_ms.set(self.host.0.now_ms.get() + ms);
        self.host.0.context.set(ROOT);
        self.module.on_tick(ROOT);
        self.look();
    }

    fn turn(&mut self) {
        self.host.0.context.set(ROOT);
        self.module.on_queue_ready(ROOT, QUEUE);
        self.look();
    }

    fn spoil(&mut self, rest: &[u8]) {
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let number: Option<usize> =
            std::str::from_utf8(&rest[..end]).ok().and_then(|text| text.parse().ok());
        let mut shared = self.host.0.shared.borrow_mut();
        let place = number.unwrap_or(0) % shared.len().max(1);
        if let Some((value, token)) = shared.values_mut().nth(place) {
            *value = rest.get(end + 1..).unwrap_or_default().to_vec();
            *token += 1;
        }
    }

    /// What the module said itself goes through it.
    fn look(&mut self) {
        let replies = std::mem::take(&mut *self.host.0.replies.borrow_mut());
        for (context, _, fields, body) in replies {
            self.host.0.context.set(context);
            self.fields(FieldMap::Response, fields.into());
            assert_eq!(self.module.on_response_head(context, body.is_empty()), Action::Continue);
            if !body.is_empty() {
                self.buffer(Buffer::ResponseBody, &body);
                self.module.on_response_body(context, body.len(), true);
            }
            assert_eq!(self.at(context), Some(At::Answered));
            self.host.0.streams.borrow_mut().remove(&context);
        }
    }

    /// Nothing answers any more.
    fn end(&mut self) {
        self.host.0.refuses.set(true);
        let until_ms = self.host.0.now_ms.get() + LONGEST_MS;
        while self.eldest(At::Waits).is_some() {
            let now_ms = self.host.0.now_ms.get();
            assert!(now_ms < until_ms, "{:?} wait for ever", self.host.0.streams.borrow());
            while !self.host.0.calls.borrow().is_empty() {
                self.called(b"", true);
            }
            self.turn();
            while self.eldest(At::Gone).is_some() {
                self.answer(b":status: 503", true);
            }
            self.pass(TICK_MS);
        }
    }
}

/// What Envoy lets through.
fn of_head(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| !matches!(byte, b'\0' | b'\r')).collect()
}

/// A line as what it stands for.
fn text(line: &[u8]) -> Vec<u8> {
    let each = |byte: &u8| match byte {
        b'~' => b"\r\n".to_vec(),
        b'|' => b"\n".to_vec(),
        other => vec![*other],
    };
    line.iter().flat_map(each).collect()
}
