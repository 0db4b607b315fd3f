//! Claims, fetches behind clients' backs and the protection of origins against a fake proxy: what a real one
//! does too rarely to wait for.

use std::rc::Rc;

use serde_json::{Value, json};

use super::Module;
use super::shared::Shared;
use super::tests::{configure, request, request_with, respond_with};
use crate::collapse::Flights;
use crate::host::fake::Fake;
use crate::host::{Action, Buffer, FieldMap};
use crate::http::key::Key;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ROOT: u32 = 1;
const OK: (&str, &str) = (":status", "200");
const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");
/// An empty table of generations, of incarnation 9.
const TABLE: &str = "*2\r\n$2\r\ni9\r\n$3\r\ninf\r\n";

fn with(config: &Value) -> (Rc<Fake>, Module<Rc<Fake>>) {
    let host = Rc::new(Fake::default());
    host.now_ms.set(1_000_000);
    let mut module = Module::new(Rc::clone(&host), 1);
    module.on_create(ROOT, 0);
    configure(&host, &mut module, config);
    (host, module)
}

/// The table of generations is known to be empty.
fn fleet(l2: &Value) -> (Rc<Fake>, Module<Rc<Fake>>) {
    let config = json!({"role": "cache", "l2": l2, "defaults": {"collapse": "fleet"}});
    let (host, mut module) = with(&config);
    module.on_create(2, ROOT);
    module.on_tick(ROOT);
    answer(&host, &mut module, &format!("{TABLE}+OK\r\n"));
    (host, module)
}

/// Redis answers the last call.
fn answer(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>, body: &str) {
    let token = u32::try_from(host.calls.borrow().len()).unwrap();
    host.context.set(ROOT);
    host.set_fields(FieldMap::Call, &[OK]);
    host.set_buffer(Buffer::CallBody, body.as_bytes());
    module.on_call_response(ROOT, token, true, body.len());
}

/// The origin answers the last call.
fn fetched(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>, fields: &[(&str, &str)], body: &[u8]) {
    let token = u32::try_from(host.calls.borrow().len()).unwrap();
    host.context.set(ROOT);
    host.set_fields(FieldMap::Call, fields);
    host.set_buffer(Buffer::CallBody, body);
    module.on_call_response(ROOT, token, true, body.len());
}

fn turn(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>) {
    host.context.set(ROOT);
    module.on_queue_ready(ROOT, 7);
}

fn tick(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>, later_ms: u64) {
    host.now_ms.set(host.now_ms.get() + later_ms);
    host.context.set(ROOT);
    module.on_tick(ROOT);
}

/// A request for `/a` that misses everywhere and claims its fetch.
fn claims(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>, context: u32) {
    assert_eq!(request(host, module, context, "/a"), Action::Pause);
    turn(host, module);
    answer(host, module, &format!("{TABLE}$-1\r\n+OK\r\n"));
    assert!(host.resumed.borrow().is_empty());
    let calls = host.calls.borrow();
    assert!(String::from_utf8_lossy(calls.last().unwrap()).contains(":lease"), "no claim");
}

const THEIRS: &str = "$-1\r\n$1\r\na\r\n$-1\r\n+OK\r\n";

#[test]
fn a_clock_that_leaps_leaves_no_claimant_behind() {
    let (host, mut module) = fleet(&json!({"cluster": "l2"}));
    claims(&host, &mut module, 10);
    answer(&host, &mut module, &format!("{TABLE}{THEIRS}"));
    assert!(host.resumed.borrow().is_empty());
    // The machine slept, or its clock was set.
    tick(&host, &mut module, 60_000);
    (0..100).for_each(|_| tick(&host, &mut module, 1_000));
    assert_eq!(*host.resumed.borrow(), [10]);
}

#[test]
fn a_redis_that_answers_late_leaves_no_claimant_behind() {
    let (host, mut module) = fleet(&json!({"cluster": "l2", "timeout": "30s"}));
    claims(&host, &mut module, 10);
    let token = u32::try_from(host.calls.borrow().len()).unwrap();
    for _ in 0..30 {
        tick(&host, &mut module, 1_000);
    }
    // Envoy's timeout.
    host.context.set(ROOT);
    module.on_call_response(ROOT, token, false, 0);
    (0..100).for_each(|_| tick(&host, &mut module, 1_000));
    assert_eq!(*host.resumed.borrow(), [10]);
}

#[test]
fn a_claimant_that_gets_a_local_reply_is_followed_by_the_next() {
    let (host, mut module) = fleet(&json!({"cluster": "l2"}));
    claims(&host, &mut module, 10);
    answer(&host, &mut module, &format!("{TABLE}{THEIRS}"));
    assert_eq!(request(&host, &mut module, 11, "/a"), Action::Pause);
    turn(&host, &mut module);
    answer(&host, &mut module, &format!("{TABLE}$-1\r\n+OK\r\n"));
    // Envoy has had enough of the first: `stream_idle_timeout`, `max_stream_duration`.
    respond_with(&host, &mut module, 10, &[(":status", "504")], b"stream timeout");
    host.dead.borrow_mut().insert(10);
    let calls = host.calls.borrow().len();
    for _ in 0..4 {
        tick(&host, &mut module, 50);
        turn(&host, &mut module);
    }
    let claimed = host.calls.borrow()[calls..]
        .iter()
        .any(|call| String::from_utf8_lossy(call).contains(":lease"));
    assert!(claimed, "the second waits for one that is gone");
}

#[test]
fn after_a_failed_look_up_redis_is_not_waited_for_again() {
    let (host, mut module) = fleet(&json!({"cluster": "l2"}));
    assert_eq!(request(&host, &mut module, 10, "/a"), Action::Pause);
    turn(&host, &mut module);
    let token = u32::try_from(host.calls.borrow().len()).unwrap();
    host.context.set(ROOT);
    host.now_ms.set(host.now_ms.get() + 50);
    module.on_call_response(ROOT, token, false, 0);
    assert_eq!(*host.resumed.borrow(), [10]);
}

#[test]
fn a_lease_is_given_back_though_the_table_is_unknown() {
    let config =
        json!({"role": "cache", "l2": {"cluster": "l2"}, "defaults": {"collapse": "fleet"}});
    let (host, mut module) = with(&config);
    module.on_create(2, ROOT);
    // Redis refuses the table's commands, and takes the others.
    let refused = "-NOPERM no\r\n";
    assert_eq!(request(&host, &mut module, 10, "/a"), Action::Pause);
    turn(&host, &mut module);
    answer(&host, &mut module, &format!("{refused}$-1\r\n+OK\r\n"));
    let claimed =
        |host: &Fake| String::from_utf8_lossy(host.calls.borrow().last().unwrap()).contains("NX");
    if claimed(&host) {
        answer(&host, &mut module, &format!("{refused}+OK\r\n$1\r\na\r\n$-1\r\n+OK\r\n"));
    }
    assert_eq!(*host.resumed.borrow(), [10]);
    respond_with(&host, &mut module, 10, &[OK, ("cache-control", "max-age=0")], b"body");
    turn(&host, &mut module);
    tick(&host, &mut module, 50);
    let given_back =
        host.calls.borrow().iter().any(|call| String::from_utf8_lossy(call).contains("EVAL"));
    let taken = host.calls.borrow().iter().any(|call| String::from_utf8_lossy(call).contains("NX"));
    assert!(!taken || given_back, "others wait two seconds for nothing");
}

/// Nobody of the process fetches `/a` by the leases in shared data: another worker may.
fn another_may_refresh(host: &Rc<Fake>) -> bool {
    let hash = Key::new(b":///a").hash();
    Flights::may_refresh((&Shared::new(host, None), Some(8)), hash, host.now_ms.get())
}

#[test]
fn a_refresh_that_is_not_made_keeps_no_lease() {
    let (host, mut module) = with(&json!({
        "role": "cache",
        "origin": {"cluster": "origin"},
        "protection": {"max_fetches": 1},
    }));
    request(&host, &mut module, 10, "/a");
    let fields = [OK, ("cache-control", "max-age=1, stale-while-revalidate=60")];
    respond_with(&host, &mut module, 10, &fields, b"body");
    host.now_ms.set(1_003_000);
    // All that may be fetched is.
    assert_eq!(request(&host, &mut module, 11, "/b"), Action::Continue);
    assert_eq!(request(&host, &mut module, 12, "/a"), Action::Pause, "stale");
    assert!(host.calls.borrow().is_empty());
    assert!(another_may_refresh(&host), "workers wait for a fetch that nobody makes");
}

#[test]
fn no_store_is_kept_though_its_request_takes_over() {
    let (host, mut module) = with(&json!({
        "role": "cache",
        "origin": {"cluster": "origin"},
        "defaults": {"fetch": "detached"},
    }));
    host.refuse_calls.set(true);
    assert_eq!(request(&host, &mut module, 10, "/a"), Action::Continue);
    host.refuse_calls.set(false);
    let no_store = [("cache-control", "no-store")];
    assert_eq!(request_with(&host, &mut module, 11, "/a", &no_store), Action::Pause);
    // The first client leaves; the second's request leads.
    host.dead.borrow_mut().insert(10);
    tick(&host, &mut module, 50);
    turn(&host, &mut module);
    if host.calls.borrow().is_empty() {
        assert_eq!(*host.resumed.borrow(), [11]);
        respond_with(&host, &mut module, 11, &[OK, FRESH], b"body");
    } else {
        fetched(&host, &mut module, &[OK, FRESH, CHUNKED], b"body");
        turn(&host, &mut module);
    }
    let hits = host.responses.borrow().len();
    request(&host, &mut module, 12, "/a");
    assert_eq!(host.responses.borrow().len(), hits, "stored in spite of no-store");
}

/// `/a` is stale and good enough in place of an error; the origin has failed once, and counts as failing.
fn failing(cluster: &str) -> (Rc<Fake>, Module<Rc<Fake>>) {
    let (host, mut module) = with(&json!({
        "role": "cache",
        "origin": {"cluster": cluster},
        "protection": {"failures": 1, "probe_interval": "500ms"},
    }));
    request(&host, &mut module, 10, "/a");
    respond_with(
        &host,
        &mut module,
        10,
        &[OK, ("cache-control", "max-age=1, stale-if-error=600")],
        b"old",
    );
    host.now_ms.set(1_002_000);
    assert_eq!(request(&host, &mut module, 11, "/a"), Action::Continue);
    assert_eq!(respond_with(&host, &mut module, 11, &[(":status", "503")], b"no"), Action::Pause);
    (host, module)
}

#[test]
fn no_store_is_kept_though_its_request_probes() {
    let (host, mut module) = failing("origin");
    host.now_ms.set(1_003_000);
    let no_store = [("cache-control", "no-store")];
    request_with(&host, &mut module, 12, "/a", &no_store);
    assert_eq!(host.responses.borrow().last().unwrap().2, b"old");
    if host.calls.borrow().is_empty() {
        return;
    }
    fetched(&host, &mut module, &[OK, FRESH, CHUNKED], b"new");
    request(&host, &mut module, 13, "/a");
    assert_ne!(host.responses.borrow().last().unwrap().2, b"new");
}

#[test]
fn a_good_answer_to_a_probe_ends_the_outage_whatever_the_cluster_is_called() {
    for cluster in ["origin", "origin-without-routes"] {
        let (host, mut module) = failing(cluster);
        host.now_ms.set(1_003_000);
        assert_eq!(request(&host, &mut module, 12, "/a"), Action::Pause);
        assert_eq!(host.calls.borrow().len(), 1, "a probe");
        fetched(&host, &mut module, &[OK, FRESH, CHUNKED], b"new");
        tick(&host, &mut module, 50);
        assert_eq!(host.metric("tiercel.protection.event.closed"), 1, "{cluster}");
    }
}

#[test]
fn what_l1_has_no_room_for_is_asked_for_once() {
    let (host, mut module) = with(&json!({
        "role": "cache",
        "origin": {"cluster": "origin"},
        "l1": {"budget": "3KiB", "max_entry": "2KiB"},
        "shared": {"budget": "0B"},
        "defaults": {"fetch": "detached"},
    }));
    let mut context = 10;
    let mut get = |module: &mut Module<Rc<Fake>>, path: &str| {
        context += 1;
        let calls = host.calls.borrow().len();
        assert_eq!(request(&host, module, context, path), Action::Pause);
        if host.calls.borrow().len() > calls {
            fetched(&host, module, &[OK, FRESH, CHUNKED], &[b'x'; 900]);
            turn(&host, module);
        }
    };
    // Asked for often, and fetched anew after each write.
    for round in 0..4 {
        for path in ["/1", "/2"] {
            get(&mut module, path);
            get(&mut module, path);
            if round < 3 {
                host.context.set(900 + round);
                module.on_create(900 + round, ROOT);
                host.set_fields(FieldMap::Request, &[(":method", "PUT"), (":path", path)]);
                assert_eq!(module.on_request_head(900 + round, true), Action::Continue);
                respond_with(&host, &mut module, 900 + round, &[OK], b"");
            }
        }
    }
    assert!(host.resumed.borrow().is_empty());
    get(&mut module, "/new");
    assert!(host.resumed.borrow().is_empty(), "asked for a second time");
}

fn detached(change: &Value) -> (Rc<Fake>, Module<Rc<Fake>>) {
    let mut config = json!({
        "role": "cache",
        "origin": {"cluster": "origin"},
        "defaults": {"fetch": "detached"},
    });
    for (name, value) in change.as_object().unwrap() {
        config[name] = value.clone();
    }
    with(&config)
}

#[test]
fn what_was_fetched_before_a_write_reaches_nobody_after_it() {
    let (host, mut module) = detached(&json!({}));
    assert_eq!(request(&host, &mut module, 10, "/a"), Action::Pause);
    host.context.set(11);
    module.on_create(11, ROOT);
    host.set_fields(FieldMap::Request, &[(":method", "PUT"), (":path", "/a")]);
    assert_eq!(module.on_request_head(11, true), Action::Continue);
    respond_with(&host, &mut module, 11, &[OK], b"");
    // Whoever comes now must not get what was asked for before.
    assert_eq!(request(&host, &mut module, 12, "/a"), Action::Pause);
    fetched(&host, &mut module, &[OK, FRESH, CHUNKED], b"old");
    turn(&host, &mut module);
    assert_eq!(*host.responses.borrow(), [(10, 200, b"old".to_vec())]);
    fetched(&host, &mut module, &[OK, FRESH, CHUNKED], b"new");
    turn(&host, &mut module);
    assert_eq!(host.responses.borrow()[1..], [(12, 200, b"new".to_vec())]);
}

#[test]
fn an_answer_that_is_none_is_not_passed_on_as_one() {
    let (host, mut module) = detached(&json!({}));
    assert_eq!(request(&host, &mut module, 10, "/a"), Action::Pause);
    fetched(&host, &mut module, &[(":status", "5")], b"");
    assert_eq!(*host.responses.borrow(), [(10, 502, Vec::new())]);
}

#[test]
fn a_fetch_on_behalf_of_one_that_left_keeps_its_place_and_no_longer() {
    for how in 0..3 {
        let (host, mut module) = detached(&json!({"protection": {"max_fetches": 1}}));
        assert_eq!(request(&host, &mut module, 10, "/a"), Action::Pause);
        host.dead.borrow_mut().insert(10);
        tick(&host, &mut module, 50);
        request(&host, &mut module, 11, "/b");
        assert_eq!(host.responses.borrow().last().map(|(.., status, _)| *status), Some(503));
        match how {
            0 => fetched(&host, &mut module, &[OK, FRESH, CHUNKED], b"body"),
            1 => module.on_call_response(ROOT, 1, false, 0),
            _ => tick(&host, &mut module, 21_000),
        }
        assert_eq!(request(&host, &mut module, 12, "/b"), Action::Pause, "{how}");
        assert_eq!(host.calls.borrow().len(), 2, "{how}");
    }
}

#[test]
fn an_error_of_the_origin_is_asked_for_once() {
    let (host, mut module) = detached(&json!({}));
    assert_eq!(request(&host, &mut module, 10, "/a"), Action::Pause);
    fetched(&host, &mut module, &[(":status", "503"), CHUNKED], b"down");
    (0..3).for_each(|_| tick(&host, &mut module, 50));
    assert!(host.resumed.borrow().is_empty(), "an origin that fails is asked twice as often");
}

#[test]
fn refreshes_that_hang_do_not_keep_the_origin_from_being_asked() {
    let (host, mut module) = with(&json!({
        "role": "cache",
        "origin": {"cluster": "origin"},
        "protection": {"failures": 1, "probe_interval": "500ms"},
    }));
    let fields = [OK, ("cache-control", "max-age=1, stale-while-revalidate=60")];
    for n in 0..64 {
        request(&host, &mut module, 100 + n, &format!("/{n}"));
        respond_with(&host, &mut module, 100 + n, &fields, b"body");
    }
    request(&host, &mut module, 10, "/a");
    let fields = [OK, ("cache-control", "max-age=1, stale-if-error=600")];
    respond_with(&host, &mut module, 10, &fields, b"old");
    // The origin begins to hang, and all refreshes with it.
    host.now_ms.set(1_002_000);
    for n in 0..64 {
        assert_eq!(request(&host, &mut module, 200 + n, &format!("/{n}")), Action::Pause);
    }
    assert_eq!(host.calls.borrow().len(), 64);
    request(&host, &mut module, 11, "/a");
    respond_with(&host, &mut module, 11, &[(":status", "504")], b"no");
    // It is well again.
    host.now_ms.set(1_003_000);
    assert_eq!(request(&host, &mut module, 12, "/a"), Action::Pause);
    assert_eq!(host.calls.borrow().len(), 65, "a probe");
}
