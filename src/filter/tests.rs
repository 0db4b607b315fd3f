//! The shell against a fake proxy: what a real one does too rarely to wait for.

use std::rc::Rc;

use serde_json::json;

use super::Module;
use crate::coherence::Stamp;
use crate::entry::{Entry, Meta, encode};
use crate::host::fake::Fake;
use crate::host::{Action, Buffer, FieldMap};
use crate::http::fields::FieldsBuf;
use crate::http::key::Key;
use crate::l2::resp::{Reply, next_array, next_reply};
use crate::secrets::Secrets;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ROOT: u32 = 1;

/// A configured VM: L1, L2, one route with a TTL of a minute.
fn module() -> (Rc<Fake>, Module<Rc<Fake>>) {
    let host = Rc::new(Fake::default());
    host.now_ms.set(1_000_000);
    let mut module = Module::new(Rc::clone(&host), 1);
    module.on_create(ROOT, 0);
    let config = json!({
        "role": "cache",
        "l2": {"cluster": "l2", "max_batch": 2, "max_in_flight": 1},
        "routes": [{"path": "/a/{id}", "ttl": "60s"}],
    });
    configure(&host, &mut module, &config);
    // It learns that the table of generations is empty.
    module.on_create(2, ROOT);
    module.on_tick(ROOT);
    reply(&host, &mut module, 1, format!("+OK\r\n{TABLE}+OK\r\n").as_bytes());
    host.calls.borrow_mut().clear();
    (host, module)
}

/// An empty table of generations, of incarnation 9.
pub(super) const TABLE: &str = "*2\r\n$2\r\ni9\r\n$3\r\ninf\r\n";

/// The commands of a call.
pub(super) fn commands(mut call: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut all = Vec::new();
    while let Ok(count) = next_array(&mut call) {
        let part = |_| match next_reply(&mut call) {
            Ok(Reply::Bulk(part)) => Some(part),
            _ => None,
        };
        all.push((0..count).filter_map(part).collect());
    }
    all
}

pub(super) fn configure(
    host: &Rc<Fake>,
    module: &mut Module<Rc<Fake>>,
    config: &serde_json::Value,
) {
    let bytes = config.to_string();
    host.set_buffer(Buffer::PluginConfiguration, bytes.as_bytes());
    host.context.set(ROOT);
    assert!(module.on_configure(ROOT, bytes.len()), "{:?}", host.log.borrow());
}

pub(super) fn request(
    host: &Rc<Fake>,
    module: &mut Module<Rc<Fake>>,
    context: u32,
    path: &str,
) -> Action {
    request_with(host, module, context, path, &[])
}

pub(super) fn request_with(
    host: &Rc<Fake>,
    module: &mut Module<Rc<Fake>>,
    context: u32,
    path: &str,
    fields: &[(&str, &str)],
) -> Action {
    host.context.set(context);
    module.on_create(context, ROOT);
    let head = [(":method", "GET"), (":path", path)];
    host.set_fields(FieldMap::Request, &[&head, fields].concat());
    module.on_request_head(context, true)
}

/// The event loop's turn: our own message comes back, what was queued goes out.
pub(super) fn turn(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>) {
    host.context.set(ROOT);
    module.on_queue_ready(ROOT, 7);
}

pub(super) fn reply(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>, token: u32, body: &[u8]) {
    host.context.set(ROOT);
    host.set_fields(FieldMap::Call, &[(":status", "200")]);
    host.set_buffer(Buffer::CallBody, body);
    module.on_call_response(ROOT, token, true, body.len());
    assert_eq!(host.context.get(), ROOT, "the root must be the context at hand again");
}

fn respond(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>, context: u32, body: &[u8]) {
    respond_with(
        host,
        module,
        context,
        &[(":status", "200"), ("content-type", "text/plain")],
        body,
    );
}

pub(super) fn respond_with(
    host: &Rc<Fake>,
    module: &mut Module<Rc<Fake>>,
    context: u32,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Action {
    host.context.set(context);
    let length = body.len().to_string();
    let mut fields = fields.to_vec();
    if !body.is_empty() && !fields.iter().any(|(name, _)| *name == "content-length") {
        fields.push(("content-length", &length));
    }
    host.set_fields(FieldMap::Response, &fields);
    host.set_buffer(Buffer::ResponseBody, body);
    let action = module.on_response_head(context, body.is_empty());
    if !body.is_empty() && action == Action::Continue {
        module.on_response_body(context, body.len(), true);
    }
    action
}

#[test]
fn a_miss_is_asked_of_l2_then_of_the_origin_then_hit() {
    let (host, mut module) = module();
    assert_eq!(request(&host, &mut module, 10, "/a/1"), Action::Pause);
    assert!(host.calls.borrow().is_empty(), "look-ups wait for the end of the turn");
    turn(&host, &mut module);
    assert_eq!(host.calls.borrow().len(), 1);
    reply(&host, &mut module, 1, format!("{TABLE}$-1\r\n+OK\r\n").as_bytes());
    assert_eq!(*host.resumed.borrow(), [10]);
    respond(&host, &mut module, 10, b"body");
    assert_eq!(request(&host, &mut module, 11, "/a/1"), Action::Pause);
    assert_eq!(*host.responses.borrow(), [(11, 200, b"body".to_vec())]);
    module.on_tick(ROOT); // the store goes out
    assert!(String::from_utf8_lossy(&host.calls.borrow()[1]).contains("SET"));
    reply(&host, &mut module, 2, b"+OK\r\n+OK\r\n");
    module.on_tick(ROOT);
    for (name, value) in [
        ("tiercel.requests.outcome.l1_hit", 1),
        ("tiercel.requests.outcome.miss", 1),
        ("tiercel.l2_stores.result.stored", 1),
        ("tiercel.l1_entries", 1),
    ] {
        assert_eq!(host.metric(name), value, "{name}");
    }
}

#[test]
fn clients_that_left_are_neither_answered_nor_resumed() {
    let (host, mut module) = module();
    request(&host, &mut module, 10, "/a/1");
    request(&host, &mut module, 11, "/a/2");
    turn(&host, &mut module);
    host.dead.borrow_mut().insert(10);
    module.on_tick(ROOT);
    host.ended.borrow_mut().insert(11); // gone in this very turn
    reply(&host, &mut module, 1, format!("{TABLE}$-1\r\n$-1\r\n+OK\r\n").as_bytes());
    assert!(host.resumed.borrow().is_empty() && host.responses.borrow().is_empty());
}

#[test]
fn a_configuration_that_comes_anew_leaves_nobody_waiting() {
    let (host, mut module) = module();
    let config = json!({"role": "cache", "l2": {"cluster": "l2"}});
    assert_eq!(request(&host, &mut module, 10, "/a/1"), Action::Pause);
    configure(&host, &mut module, &config);
    assert_eq!(*host.resumed.borrow(), [10], "what was still to be sent");
    assert_eq!(request(&host, &mut module, 11, "/a/2"), Action::Pause);
    turn(&host, &mut module);
    configure(&host, &mut module, &config);
    assert_eq!(*host.resumed.borrow(), [10, 11], "what was under way");
}

#[test]
fn a_call_that_cannot_be_made_or_never_returns_frees_its_requests() {
    let (host, mut module) = module();
    host.refuse_calls.set(true);
    request(&host, &mut module, 10, "/a/1");
    turn(&host, &mut module);
    assert_eq!(*host.resumed.borrow(), [10]);
    host.refuse_calls.set(false);
    request(&host, &mut module, 11, "/a/2");
    turn(&host, &mut module);
    host.now_ms.set(1_010_000);
    host.context.set(ROOT);
    module.on_tick(ROOT);
    assert_eq!(*host.resumed.borrow(), [10, 11]);
    assert_eq!(host.metric("tiercel.l2_errors.kind.timeout"), 1);
    // The reply comes after all: nobody waits for it.
    reply(&host, &mut module, 1, format!("{TABLE}$-1\r\n+OK\r\n").as_bytes());
    assert_eq!(host.resumed.borrow().len(), 2);
}

#[test]
fn a_reset_call_frees_its_requests() {
    let (host, mut module) = module();
    request(&host, &mut module, 10, "/a/1");
    turn(&host, &mut module);
    host.context.set(ROOT);
    module.on_call_response(ROOT, 1, false, 0);
    assert_eq!(*host.resumed.borrow(), [10]);
}

#[test]
fn beyond_the_bound_requests_go_on_without_l2() {
    let (host, mut module) = module();
    assert_eq!(request(&host, &mut module, 10, "/a/1"), Action::Pause);
    assert_eq!(request(&host, &mut module, 11, "/a/2"), Action::Pause);
    assert_eq!(request(&host, &mut module, 12, "/a/3"), Action::Continue);
    module.on_tick(ROOT);
    assert_eq!(host.metric("tiercel.l2_errors.kind.saturated"), 1);
}

/// A stored response as L2 holds it, received at `received_ms`; it may hide errors.
pub(super) fn in_l2(path: &str, body: &[u8], received_ms: u64) -> Vec<u8> {
    let key = Key::new(format!("://{path}").as_bytes());
    let meta = Meta {
        status: 200,
        stored_ms: received_ms,
        fresh_until_ms: received_ms + 60_000,
        stale_if_error_s: 3_600,
        ..Meta::default()
    };
    let fields = FieldsBuf::default().to_block();
    let stamp = Stamp { incarnation: 9, number: 1 };
    let bytes =
        encode(&Entry::new(meta, key, fields, body.into()), stamp, usize::MAX, &Secrets::default());
    let begin = format!("{TABLE}${}\r\n", bytes.len());
    [begin.as_bytes(), &bytes, b"\r\n+OK\r\n"].concat()
}

#[test]
fn a_late_answer_of_l2_takes_the_place_of_nothing_younger() {
    let (host, mut module) = module();
    request(&host, &mut module, 10, "/a/1");
    turn(&host, &mut module);
    // Meanwhile another request, about which L2 cannot be asked as well, brings a newer one.
    assert_eq!(request(&host, &mut module, 11, "/a/1"), Action::Continue);
    respond(&host, &mut module, 11, b"new");
    reply(&host, &mut module, 1, &in_l2("/a/1", b"old", 999_000));
    assert_eq!(*host.responses.borrow(), [(10, 200, b"new".to_vec())]);
    request(&host, &mut module, 12, "/a/1");
    assert_eq!(host.responses.borrow()[1], (12, 200, b"new".to_vec()));
}

#[test]
fn what_is_too_much_to_store_in_l2_leaves_nothing_older_there() {
    let (host, mut module) = module();
    let l2 = json!({"cluster": "l2", "write_budget": "1B"});
    let config = json!({"role": "cache", "l2": l2, "routes": [{"path": "/a/{id}", "ttl": "60s"}]});
    configure(&host, &mut module, &config);
    request(&host, &mut module, 10, "/a/1");
    turn(&host, &mut module);
    reply(&host, &mut module, 1, &in_l2("/a/1", b"old", 900_000));
    assert_eq!(*host.resumed.borrow(), [10]);
    respond(&host, &mut module, 10, b"new");
    turn(&host, &mut module);
    assert_eq!(host.calls.borrow().len(), 2);
    assert!(host.calls.borrow()[1].starts_with(b"*2\r\n$3\r\nDEL"));
}

#[test]
fn our_own_answer_passing_back_is_neither_counted_nor_stored() {
    let (host, mut module) = module();
    request(&host, &mut module, 10, "/a/1");
    turn(&host, &mut module);
    reply(&host, &mut module, 1, format!("{TABLE}$-1\r\n+OK\r\n").as_bytes());
    respond(&host, &mut module, 10, b"body");
    request(&host, &mut module, 11, "/a/1");
    let added = host.added.borrow().len();
    respond(&host, &mut module, 11, b"body");
    assert_eq!(host.added.borrow().len(), added);
    module.on_tick(ROOT);
    assert_eq!(host.metric("tiercel.fills"), 1);
}

#[test]
fn a_refused_configuration_leaves_the_old_one_and_unknown_contexts_are_harmless() {
    let (host, mut module) = module();
    host.set_buffer(Buffer::PluginConfiguration, b"{\"role\": \"nonsense\"}");
    module.on_create(2, 0);
    assert!(!module.on_configure(2, 100));
    assert!(host.log.borrow().iter().any(|line| line.contains("configuration refused: role:")));
    assert_eq!(request(&host, &mut module, 10, "/a/1"), Action::Pause);
    module.on_response_head(999, true);
    module.on_response_body(999, 5, true);
    module.on_call_response(999, 999, true, 5);
    assert_eq!(module.on_request_body(999, 0, true), Action::Continue);
}

#[test]
fn the_tunnel_ends_bodies_with_a_trailer_and_holds_it() {
    let (host, mut module) = module();
    for (root, role) in [(2, "tunnel_open"), (3, "tunnel_hold")] {
        module.on_create(root, 0);
        let config = json!({"role": role}).to_string();
        host.set_buffer(Buffer::PluginConfiguration, config.as_bytes());
        assert!(module.on_configure(root, config.len()));
        module.on_create(root * 10, root);
        assert_eq!(module.on_request_head(root * 10, false), Action::Continue);
    }
    module.on_request_body(20, 0, false);
    assert!(host.added.borrow().is_empty());
    module.on_request_body(20, 0, true);
    module.on_request_body(30, 0, true);
    assert_eq!(host.added.borrow().len(), 1);
    assert_eq!(module.on_request_trailers(20), Action::Continue);
    assert_eq!(module.on_request_trailers(30), Action::Pause);
}

#[test]
fn a_refused_script_is_not_asked_for_again_at_once() {
    let (host, mut module) = module();
    host.now_ms.set(1_000_250);
    module.on_tick(ROOT);
    assert_eq!(host.calls.borrow().len(), 1);
    reply(&host, &mut module, 1, b"+OK\r\n*0\r\n+OK\r\n"); // flushed, or a replica
    for token in 2..50 {
        if host.calls.borrow().len() >= token as usize {
            reply(&host, &mut module, token, b"-READONLY no\r\n*0\r\n+OK\r\n");
        }
    }
    let calls = host.calls.borrow().len();
    assert!(calls < 5);
}

#[test]
fn a_configuration_that_comes_to_nothing_leaves_l2_as_it_is() {
    let (host, mut module) = module();
    let mut canary = Module::new(Rc::clone(&host), 2);
    canary.on_create(ROOT, 0);
    let config = json!({"role": "cache", "l2": {"cluster": "l2", "key_prefix": "other:"},
        "routes": [{"path": "/a/{id}", "ttl": "60s"}]});
    configure(&host, &mut canary, &config);
    drop(canary);
    for n in 0..20_u64 {
        host.now_ms.set(1_001_000 + n * 300);
        host.context.set(ROOT);
        module.on_tick(ROOT);
        let calls = u32::try_from(host.calls.borrow().len()).unwrap();
        reply(&host, &mut module, calls, format!("+OK\r\n{TABLE}+OK\r\n").as_bytes());
    }
    request(&host, &mut module, 10, "/a/1");
    turn(&host, &mut module);
    let calls = u32::try_from(host.calls.borrow().len()).unwrap();
    reply(&host, &mut module, calls, &in_l2("/a/1", b"body", 1_000_000));
    assert_eq!(*host.responses.borrow(), [(10, 200, b"body".to_vec())]);
}

fn of_root(
    host: &Rc<Fake>,
    module: &mut Module<Rc<Fake>>,
    root: u32,
    context: u32,
    method: &str,
    path: &str,
) -> Action {
    host.context.set(context);
    module.on_create(context, root);
    host.set_fields(FieldMap::Request, &[(":method", method), (":path", path)]);
    module.on_request_head(context, true)
}

#[test]
fn an_old_filter_that_drains_stores_nothing_for_the_new_one() {
    let host = Rc::new(Fake::default());
    host.now_ms.set(1_000_000);
    let mut module = Module::new(Rc::clone(&host), 1);
    for (root, tags) in [(1, json!([])), (2, json!(["a:{id}"]))] {
        module.on_create(root, 0);
        let config = json!({"role": "cache", "routes": [
            {"path": "/a/{id}", "ttl": "60s", "tags": tags},
            {"path": "/w/{id}", "methods": ["POST"], "bypass": true, "invalidates": ["a:{id}"]}]});
        let bytes = config.to_string();
        host.set_buffer(Buffer::PluginConfiguration, bytes.as_bytes());
        host.context.set(root);
        assert!(module.on_configure(root, bytes.len()));
    }
    // A connection of the old listener that is still open.
    assert_eq!(of_root(&host, &mut module, 1, 10, "GET", "/a/1"), Action::Continue);
    respond(&host, &mut module, 10, b"old");
    assert_eq!(of_root(&host, &mut module, 2, 11, "POST", "/w/1"), Action::Continue);
    respond(&host, &mut module, 11, b"done");
    assert_eq!(of_root(&host, &mut module, 2, 12, "GET", "/a/1"), Action::Continue, "stale read");
}
