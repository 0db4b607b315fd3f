//! Modules written by hand that each do one thing more than another: what a hit costs before the
//! first line of a cache.

use std::fmt::Write as _;

use tiercel::http::fields::FieldsBuf;

use crate::peers;

/// What a module does for a request, besides being called for its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub name: &'static str,
    /// Is told of every new stream.
    pub create: bool,
    /// Is called for the response's head and body.
    pub response: bool,
    /// Reads the request's fields, in one block.
    pub read: bool,
    /// Reads the clock.
    pub clock: bool,
    /// Adds a field to the response.
    pub add: bool,
    /// Reads the response's fields and copies its body.
    pub copy: bool,
    /// Answers, with so many fields; else Envoy's direct response does, or the origin.
    pub answer: Option<usize>,
    /// Stands before the origin, as a cache does, not before a direct response.
    pub proxied: bool,
}

const NOTHING: Step = Step {
    name: "",
    create: false,
    response: false,
    read: false,
    clock: false,
    add: false,
    copy: false,
    answer: None,
    proxied: false,
};
const PROXY: Step = Step { create: true, response: true, proxied: true, ..NOTHING };
const ANSWER: Step = Step { answer: Some(FIELDS.len()), proxied: true, ..NOTHING };

/// The modules that are measured.
pub const STEPS: &[Step] = &[
    Step { name: "noop_wasm", create: true, response: true, ..NOTHING },
    Step { name: "enter", ..NOTHING },
    Step { name: "enter_create", create: true, ..NOTHING },
    Step { name: "enter_read", read: true, ..NOTHING },
    Step { name: "enter_clock", clock: true, ..NOTHING },
    Step { name: "answer_1", answer: Some(1), ..ANSWER },
    Step { name: "answer_5", ..ANSWER },
    Step { name: "answer_response", response: true, ..ANSWER },
    Step { name: "answer_all", create: true, response: true, read: true, clock: true, ..ANSWER },
    Step { name: "proxy_noop", ..PROXY },
    Step { name: "proxy_read", read: true, ..PROXY },
    Step { name: "proxy_read_add", read: true, add: true, ..PROXY },
    Step { name: "proxy_copy", read: true, add: true, copy: true, ..PROXY },
];

/// What an answer carries; the first ones when fewer are wanted.
const FIELDS: [(&str, &str); 5] = [
    ("content-type", "application/json"),
    ("cache-status", "Tiercel; hit; ttl=3599; detail=l1"),
    ("via", "1.1 cache"),
    ("cache-control", "max-age=3600"),
    ("date", "Mon, 23 Nov 2026 05:22:57 GMT"),
];

/// Where the module's data lies in its memory.
const BODY: usize = 0x1_0000;
const BLOCK: usize = 0x1_8000;

impl Step {
    /// The module, as text.
    pub fn module(&self) -> String {
        let mut calls = String::new();
        if self.read {
            calls += "(drop (call $pairs (i32.const 0) (i32.const 16) (i32.const 20)))\n";
        }
        if self.clock {
            calls += "(drop (call $now (i32.const 8)))\n";
        }
        let mut block = Vec::new();
        if let Some(count) = self.answer {
            let fields: FieldsBuf =
                FIELDS.iter().take(count).map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            fields.write(&mut block);
            let (body, fields) = (peers::BODY_BYTES, block.len());
            let _ = write!(
                calls,
                "(drop (call $respond (i32.const 200) (i32.const 0) (i32.const 0)
                    (i32.const {BODY}) (i32.const {body}) (i32.const {BLOCK}) (i32.const {fields})
                    (i32.const -1)))
                 (return (i32.const 1))"
            );
        }
        let mut callbacks = String::new();
        if self.create {
            callbacks += "(func (export \"proxy_on_context_create\") (param i32 i32))\n";
        }
        if self.response {
            // Name and value lie at the end of the data.
            let add = if self.add {
                "(drop (call $add (i32.const 2) (i32.const 0x19000) (i32.const 12)
                    (i32.const 0x1900c) (i32.const 30)))"
            } else {
                ""
            };
            let (head, body) = if self.copy {
                (
                    "(drop (call $pairs (i32.const 2) (i32.const 16) (i32.const 20)))",
                    "(if (local.get 1) (then (drop (call $bytes (i32.const 1) (i32.const 0)
                        (local.get 1) (i32.const 16) (i32.const 20)))))",
                )
            } else {
                ("", "")
            };
            let head = head.to_owned() + add;
            for (name, calls) in [("headers", head.as_str()), ("body", body)] {
                let _ = writeln!(
                    callbacks,
                    "(func (export \"proxy_on_response_{name}\") (param i32 i32 i32) (result i32)
                        {calls} (i32.const 0))"
                );
            }
        }
        let escaped = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |text, byte| text + &format!("\\{byte:02x}"))
        };
        format!(
            "(module
              (import \"env\" \"proxy_get_header_map_pairs\"
                (func $pairs (param i32 i32 i32) (result i32)))
              (import \"env\" \"proxy_get_current_time_nanoseconds\"
                (func $now (param i32) (result i32)))
              (import \"env\" \"proxy_send_local_response\"
                (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
              (import \"env\" \"proxy_add_header_map_value\"
                (func $add (param i32 i32 i32 i32 i32) (result i32)))
              (import \"env\" \"proxy_get_buffer_bytes\"
                (func $bytes (param i32 i32 i32 i32 i32) (result i32)))
              (memory (export \"memory\") 3)
              (global $free (mut i32) (i32.const 1024))
              (func (export \"proxy_abi_version_0_2_1\"))
              ;; A ring in the first page: nothing that the host gives is kept.
              (func (export \"proxy_on_memory_allocate\") (param i32) (result i32)
                (local $start i32)
                (local.set $start (global.get $free))
                (global.set $free (i32.add (i32.const 1024) (i32.and (i32.const 0x7ff8)
                  (i32.add (i32.add (global.get $free) (local.get 0)) (i32.const 7)))))
                (local.get $start))
              (func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32)
                {calls}
                (i32.const 0))
              {callbacks}
              (data (i32.const {BODY}) \"{}\")
              (data (i32.const {BLOCK}) \"{}\")
              (data (i32.const 0x19000) \"cache-statustiercel; fwd=bypass; detail=r\"))",
            escaped(peers::body().as_bytes()),
            escaped(&block),
        )
    }
}
