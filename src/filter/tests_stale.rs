//! Stale responses against a fake proxy: validation, refresh, errors.

use std::rc::Rc;

use serde_json::json;

use super::Module;
use super::shared::Shared;
use super::tests::{TABLE, configure, in_l2, reply, request, request_with, respond_with, turn};
use crate::collapse::Flights;
use crate::host::fake::Fake;
use crate::host::{Action, Buffer, FieldMap};
use crate::http::key::Key;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ROOT: u32 = 1;
const OK: (&str, &str) = (":status", "200");
const ETAG: (&str, &str) = ("etag", "\"a\"");
const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");

/// L1 only, with a way to the origin.
fn module() -> (Rc<Fake>, Module<Rc<Fake>>) {
    let host = Rc::new(Fake::default());
    host.now_ms.set(1_000_000);
    let mut module = Module::new(Rc::clone(&host), 1);
    module.on_create(ROOT, 0);
    let config = json!({"role": "cache", "origin": {"cluster": "origin", "timeout": "2s"}});
    configure(&host, &mut module, &config);
    (host, module)
}

/// Stores `/a`, fresh for a second, with these directives too.
fn stored(directives: &str) -> (Rc<Fake>, Module<Rc<Fake>>) {
    let (host, mut module) = module();
    request(&host, &mut module, 10, "/a");
    let directives = format!("max-age=1, {directives}");
    respond_with(&host, &mut module, 10, &[OK, ETAG, ("cache-control", &directives)], b"body");
    host.now_ms.set(1_002_000);
    (host, module)
}

fn changes(host: &Fake, context: u32) -> Vec<(String, String)> {
    let added = host.added.borrow();
    added.iter().filter(|(of, ..)| *of == context).map(|(_, n, v)| (n.clone(), v.clone())).collect()
}

#[test]
fn what_is_stale_is_validated_and_served_from_the_store() {
    let (host, mut module) = stored("public");
    let fields = [("range", "bytes=1-2"), ("if-range", "\"a\"")];
    assert_eq!(request_with(&host, &mut module, 11, "/a", &fields), Action::Continue);
    let removed = "(removed)".to_owned();
    assert_eq!(
        changes(&host, 11),
        [
            ("if-none-match".to_owned(), "\"a\"".to_owned()),
            ("if-modified-since".to_owned(), removed.clone()),
            ("range".to_owned(), removed.clone()),
            ("if-range".to_owned(), removed),
        ]
    );
    let fresh = ("cache-control", "max-age=60");
    let action = respond_with(&host, &mut module, 11, &[(":status", "304"), ETAG, fresh], b"");
    assert_eq!(action, Action::Pause);
    assert_eq!(*host.responses.borrow(), [(11, 206, b"od".to_vec())]);
    // Fresh again.
    assert_eq!(request(&host, &mut module, 12, "/a"), Action::Pause);
    assert_eq!(host.responses.borrow()[1], (12, 200, b"body".to_vec()));
}

/// Nobody could read it anywhere else: a stored entry has 128 tags at most.
#[test]
fn what_has_too_many_tags_once_it_is_validated_is_not_stored() {
    let list = |from: u32| (from..from + 100).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    for (second, kept) in [(list(10), true), (list(500), false)] {
        let (host, mut module) = module();
        request(&host, &mut module, 10, "/a");
        let (first, fresh) = (list(0), ("cache-control", "max-age=1"));
        respond_with(
            &host,
            &mut module,
            10,
            &[OK, ETAG, fresh, ("surrogate-key", &first)],
            b"body",
        );
        host.now_ms.set(1_002_000);
        request(&host, &mut module, 11, "/a");
        let not_modified = [(":status", "304"), ETAG, fresh, ("surrogate-key", &second)];
        respond_with(&host, &mut module, 11, &not_modified, b"");
        assert_eq!(*host.responses.borrow(), [(11, 200, b"body".to_vec())]);
        let action = request(&host, &mut module, 12, "/a");
        assert_eq!(action == Action::Pause, kept);
    }
}

#[test]
fn an_error_is_hidden_where_that_is_allowed() {
    for (directives, hidden) in [("stale-if-error=9", true), ("must-revalidate", false)] {
        let (host, mut module) = stored(directives);
        request(&host, &mut module, 11, "/a");
        let action = respond_with(&host, &mut module, 11, &[(":status", "503")], b"sorry");
        assert_eq!(action == Action::Pause, hidden, "{directives}");
        assert_eq!(host.responses.borrow().len(), usize::from(hidden));
    }
}

#[test]
fn a_newer_response_that_is_too_large_leaves_no_older_one() {
    let (host, mut module) = stored("stale-if-error=60");
    request(&host, &mut module, 11, "/a");
    let fields = [OK, ("cache-control", "max-age=60"), ("content-length", "2000000000")];
    assert_eq!(respond_with(&host, &mut module, 11, &fields, b"piece"), Action::Continue);
    request(&host, &mut module, 12, "/a");
    assert_eq!(changes(&host, 12), []);
    let action = respond_with(&host, &mut module, 12, &[(":status", "503")], b"sorry");
    assert_eq!(action, Action::Continue);
}

#[test]
fn what_l2_has_that_is_stale_is_kept_if_there_is_room() {
    // Room for three times 16 KiB.
    let config = json!({
        "role": "cache",
        "l2": {"cluster": "l2", "max_batch": 1, "max_in_flight": 1},
        "waiting": {"max": 1, "max_per_key": 1},
        "protection": {"max_fetches": 1},
        "routes": [{"path": "/a", "ttl": "60s"}],
    });
    for (bytes, kept) in [(30_000, true), (60_000, false)] {
        let (host, mut module) = module();
        configure(&host, &mut module, &config);
        host.context.set(ROOT);
        module.on_tick(ROOT);
        reply(&host, &mut module, 1, format!("+OK\r\n{TABLE}+OK\r\n").as_bytes());
        assert_eq!(request(&host, &mut module, 11, "/a"), Action::Pause);
        turn(&host, &mut module);
        reply(&host, &mut module, 2, &in_l2("/a", &vec![b'x'; bytes], 900_000));
        let action = respond_with(&host, &mut module, 11, &[(":status", "503")], b"sorry");
        assert_eq!(action == Action::Pause, kept, "{bytes}");
        assert_eq!(host.responses.borrow().len(), usize::from(kept));
    }
}

/// L1 may have let it go since: with a slow origin a thousand requests would hold as many MiB besides.
#[test]
fn what_l1_has_that_is_stale_is_kept_if_there_is_room() {
    let (host, mut module) = module();
    let config = json!({
        "role": "cache",
        "waiting": {"max": 1, "max_per_key": 1},
        "protection": {"max_fetches": 4},
        "defaults": {"collapse": "none"},
    });
    configure(&host, &mut module, &config);
    let fields = [OK, ETAG, ("cache-control", "max-age=1, stale-if-error=60")];
    for (context, path) in [(10, "/a"), (11, "/b"), (12, "/c")] {
        request(&host, &mut module, context, path);
        respond_with(&host, &mut module, context, &fields, &vec![b'x'; 30_000]);
    }
    host.now_ms.set(1_002_000);
    let all = [(20, "/a", true), (21, "/a", true), (22, "/b", true), (23, "/c", false)];
    for (context, path, _) in all {
        assert_eq!(request(&host, &mut module, context, path), Action::Continue);
    }
    module.worker.l1.clear();
    let held = module.worker.held.bytes();
    assert!((60_000..5 << 14).contains(&held), "{held}");
    for (context, path, kept) in all {
        let action = respond_with(&host, &mut module, context, &[(":status", "503")], b"sorry");
        assert_eq!(action == Action::Pause, kept, "{path}");
    }
    assert_eq!(module.worker.held.bytes(), 0);
}

#[test]
fn a_request_that_there_is_no_room_for_twice_is_not_detached() {
    // Room for twice 16 KiB.
    let config = json!({
        "role": "cache",
        "origin": {"cluster": "origin"},
        "waiting": {"max": 1, "max_per_key": 1},
        "protection": {"max_fetches": 1},
        "defaults": {"fetch": "detached"},
    });
    for (bytes, detached) in [(10_000, true), (20_000, false)] {
        let (host, mut module) = module();
        configure(&host, &mut module, &config);
        let large = "x".repeat(bytes);
        let action = request_with(&host, &mut module, 10, "/a", &[("x-large", &large)]);
        assert_eq!((action == Action::Pause, host.calls.borrow().len() == 1), (detached, detached));
        assert!(module.worker.held.bytes() < 2 << 14);
    }
}

#[test]
fn one_refresh_at_a_time_whatever_becomes_of_it() {
    let (host, mut module) = stored("stale-while-revalidate=60");
    let ask = |module: &mut _, context| {
        assert_eq!(request(&host, module, context, "/a"), Action::Pause);
        host.calls.borrow().len()
    };
    assert_eq!(ask(&mut module, 11), 1);
    assert_eq!(ask(&mut module, 12), 1, "one is under way");
    // Reset: the next request tries again.
    module.on_call_response(ROOT, 1, false, 0);
    assert_eq!(ask(&mut module, 13), 2);
    // Never answered, for the filter that asked is gone.
    host.now_ms.set(1_010_000);
    host.context.set(ROOT);
    module.on_tick(ROOT);
    assert_eq!(ask(&mut module, 14), 3);
    // Cannot be made at all.
    module.on_call_response(ROOT, 3, false, 0);
    host.refuse_calls.set(true);
    assert_eq!(ask(&mut module, 15), 3);
    host.refuse_calls.set(false);
    assert_eq!(ask(&mut module, 16), 4);
    host.set_fields(FieldMap::Call, &[OK, ("cache-control", "max-age=60"), CHUNKED]);
    host.set_buffer(Buffer::CallBody, b"newer");
    module.on_call_response(ROOT, 4, true, 5);
    ask(&mut module, 17);
    assert_eq!(host.responses.borrow().last(), Some(&(17, 200, b"newer".to_vec())));
    module.on_tick(ROOT);
    assert_eq!(host.metric("tiercel.refreshes"), 1);
}

#[test]
fn who_waits_gets_what_l1_does_not_take() {
    for vary in ["", "accept-language"] {
        let (host, mut module) = module();
        let off = json!({"budget": "0B"});
        // L2 alone takes it, and is not asked.
        let l2 = json!({"cluster": "l2", "health": {"force": "degraded"}});
        let config = json!({"role": "cache", "l1": off, "shared": off, "l2": l2});
        configure(&host, &mut module, &config);
        let german = [("accept-language", "de")];
        assert_eq!(request_with(&host, &mut module, 10, "/a", &german), Action::Continue);
        assert_eq!(request_with(&host, &mut module, 11, "/a", &german), Action::Pause);
        let fields = [OK, ("vary", vary), ("cache-control", "max-age=60"), ("content-length", "4")];
        respond_with(&host, &mut module, 10, &fields, b"body");
        turn(&host, &mut module);
        assert_eq!(*host.responses.borrow(), [(11, 200, b"body".to_vec())], "vary {vary:?}");
    }
}

#[test]
fn a_condition_on_a_miss_makes_a_304_of_a_200() {
    let (host, mut module) = module();
    request_with(&host, &mut module, 10, "/a", &[("if-none-match", "\"a\"")]);
    let fields = [OK, ETAG, ("cache-control", "max-age=60"), ("content-length", "4")];
    assert_eq!(respond_with(&host, &mut module, 10, &fields, b"body"), Action::Continue);
    assert!(changes(&host, 10).contains(&(":status".into(), "304".into())));
    assert_eq!(host.buffers.borrow()[&Buffer::ResponseBody], b"");
    request(&host, &mut module, 11, "/a");
    assert_eq!(*host.responses.borrow(), [(11, 200, b"body".to_vec())]);
}

#[test]
fn an_emptied_body_stays_empty_though_it_is_not_stored() {
    let (host, mut module) = module();
    configure(&host, &mut module, &json!({"role": "cache", "l1": {"max_entry": "300B"}}));
    request_with(&host, &mut module, 10, "/a", &[("if-none-match", "\"a\"")]);
    host.context.set(10);
    host.set_fields(FieldMap::Response, &[OK, ETAG, ("cache-control", "max-age=60"), CHUNKED]);
    module.on_response_head(10, false);
    for ended in [false, false, true] {
        host.set_buffer(Buffer::ResponseBody, &[b'x'; 200]);
        module.on_response_body(10, 200, ended);
        assert_eq!(host.buffers.borrow()[&Buffer::ResponseBody], b"");
    }
    assert!(host.responses.borrow().is_empty());
    // The stream is forgotten: what comes then is somebody else's.
    host.set_buffer(Buffer::ResponseBody, b"piece");
    module.on_response_body(10, 5, true);
    assert_eq!(host.buffers.borrow()[&Buffer::ResponseBody], b"piece");
}

#[test]
fn a_body_that_nobody_wants_is_not_waited_for_and_the_origin_tells_next_time() {
    let (host, mut module) = module();
    let condition = [("if-none-match", "\"a\"")];
    request_with(&host, &mut module, 10, "/a", &condition);
    assert!(changes(&host, 10).contains(&("if-none-match".into(), "(removed)".into())));
    let fields = [OK, ETAG, ("cache-control", "no-store"), ("content-length", "2000000000")];
    assert_eq!(respond_with(&host, &mut module, 10, &fields, b"piece"), Action::Pause);
    assert_eq!(*host.responses.borrow(), [(10, 304, b"".to_vec())]);
    request_with(&host, &mut module, 11, "/a", &condition);
    assert_eq!(changes(&host, 11), []);
    // Nor is a condition kept back where the request forbids to store.
    request_with(&host, &mut module, 12, "/b", &[condition[0], ("cache-control", "no-store")]);
    request_with(&host, &mut module, 13, "/b", &[condition[0], ("authorization", "Basic eA==")]);
    assert_eq!((changes(&host, 12), changes(&host, 13)), (vec![], vec![]));
}

#[test]
fn a_soft_purge_leaves_what_varies_for_errors_too() {
    for vary in ["", "accept-encoding"] {
        let (host, mut module) = module();
        configure(
            &host,
            &mut module,
            &json!({"role": "cache", "purge": {"networks": ["127.0.0.0/8"]}}),
        );
        let gzip = [("accept-encoding", "gzip")];
        request_with(&host, &mut module, 10, "/a", &gzip);
        let fields =
            [OK, ETAG, ("vary", vary), ("cache-control", "max-age=60, stale-if-error=600")];
        respond_with(&host, &mut module, 10, &fields, b"body");
        request_with(&host, &mut module, 11, "/a", &gzip);
        assert_eq!(host.responses.borrow().len(), 1, "hit");
        host.context.set(12);
        module.on_create(12, ROOT);
        host.set_fields(
            FieldMap::Request,
            &[(":method", "PURGE"), (":path", "/a"), ("x-soft-purge", "1")],
        );
        module.on_request_head(12, true);
        host.now_ms.set(1_001_000);
        request_with(&host, &mut module, 13, "/a", &gzip);
        let action = respond_with(&host, &mut module, 13, &[(":status", "503")], b"sorry");
        assert_eq!(action, Action::Pause, "vary {vary:?}");
    }
}

/// the lease of a refresh was not renewed: where the origin took longer than a second each worker of the process
/// fetched the same again.
#[test]
fn what_takes_long_is_fetched_again_by_one_worker_all_the_same() {
    let (host, mut module) = stored("stale-while-revalidate=60");
    assert_eq!(request(&host, &mut module, 11, "/a"), Action::Pause);
    let may_refresh = |host: &Rc<Fake>| {
        let hash = Key::new(b":///a").hash();
        Flights::may_refresh((&Shared::new(host, None), Some(8)), hash, host.now_ms.get())
    };
    // Then it would know that it is alone.
    for _ in 0..20 {
        host.now_ms.set(host.now_ms.get() + 50);
        host.context.set(ROOT);
        module.on_tick(ROOT);
        assert!(!may_refresh(&host), "{}", host.now_ms.get());
    }
    reply(&host, &mut module, 1, b"new");
    assert!(may_refresh(&host));
}

/// the host gives up the callouts of a filter that is gone. Who waited for one waited for as long as an answer may take.
#[test]
fn what_a_filter_fetched_that_is_gone_is_not_waited_for() {
    let host = Rc::new(Fake::default());
    host.now_ms.set(1_000_000);
    let mut module = Module::new(Rc::clone(&host), 1);
    let config = json!({"role": "cache", "origin": {"cluster": "origin"},
        "defaults": {"fetch": "detached"}});
    let get = |module: &mut Module<Rc<Fake>>, root: u32, context: u32, path: &str| {
        host.context.set(context);
        module.on_create(context, root);
        host.set_fields(FieldMap::Request, &[(":method", "GET"), (":path", path)]);
        module.on_request_head(context, true)
    };
    for root in [1, 2] {
        module.on_create(root, 0);
        let bytes = config.to_string();
        host.set_buffer(Buffer::PluginConfiguration, bytes.as_bytes());
        host.context.set(root);
        assert!(module.on_configure(root, bytes.len()));
    }
    assert_eq!(get(&mut module, 1, 10, "/a"), Action::Pause);
    assert_eq!(get(&mut module, 2, 11, "/a"), Action::Pause);
    assert_eq!(host.calls.borrow().len(), 1);
    host.dead.borrow_mut().extend([1, 10]);
    host.now_ms.set(1_000_050);
    host.context.set(2);
    module.on_tick(2);
    assert_eq!(host.calls.borrow().len(), 2, "the second fetches it");
    assert_eq!(host.metric("tiercel.collapse.event.took_over"), 1);
}
