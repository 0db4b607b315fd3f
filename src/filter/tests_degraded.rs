//! What a worker does about a Redis that fails, against a fake proxy.

use std::rc::Rc;

use serde_json::json;

use super::Module;
use super::shared::Shared;
use super::tests::{TABLE, configure, in_l2, request, respond_with};
use crate::collapse::Flights;
use crate::host::fake::Fake;
use crate::host::{Action, Buffer, FieldMap};
use crate::http::key::Key;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ROOT: u32 = 1;
const QUEUE: u32 = 7;

/// A VM of a process whose shared data this is, that knows the table.
fn vm(host: &Rc<Fake>, seed: u64) -> Module<Rc<Fake>> {
    let mut module = Module::new(Rc::clone(host), seed);
    module.on_create(ROOT, 0);
    let config = json!({
        "role": "cache",
        "l2": {"cluster": "l2", "timeout": "50ms"},
        "shared": {"budget": "0B"},
        "routes": [
            {"path": "/a/{id}", "ttl": "60s"},
            {"path": "/fleet/{id}", "ttl": "60s", "collapse": "fleet"},
        ],
    });
    configure(host, &mut module, &config);
    // A request tells that it is a worker's.
    module.on_create(2, ROOT);
    module
}

fn host() -> Rc<Fake> {
    let host = Rc::new(Fake::default());
    host.now_ms.set(1_000_000);
    host
}

fn pass(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>, ms: u64) {
    host.now_ms.set(host.now_ms.get() + ms);
    host.context.set(ROOT);
    module.on_tick(ROOT);
}

fn turn(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>) {
    host.context.set(ROOT);
    module.on_queue_ready(ROOT, QUEUE);
}

/// Whether the last call says what writes made stale.
fn bumps(host: &Fake) -> bool {
    host.calls.borrow().last().unwrap().windows(4).any(|word| word == b"EVAL")
}

/// As [`vm`], and Redis has answered its first probe.
fn well(host: &Rc<Fake>, seed: u64) -> Module<Rc<Fake>> {
    let mut module = vm(host, seed);
    pass(host, &mut module, 50);
    probe_is_well(host, &mut module);
    module
}

/// A write that goes well.
fn put(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>) {
    host.context.set(20);
    module.on_create(20, ROOT);
    host.set_fields(FieldMap::Request, &[(":method", "PUT"), (":path", "/a/1")]);
    assert_eq!(module.on_request_head(20, true), Action::Continue);
    respond_with(host, module, 20, &[(":status", "200")], b"");
}

/// Redis answers the last call: a probe's write, then the table.
fn probe_is_well(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>) {
    let bumped = if bumps(host) { "*1\r\n$16\r\n1732460000000000\r\n" } else { "" };
    answer(host, module, format!("{bumped}+OK\r\n{TABLE}+OK\r\n").as_bytes());
}

/// The last call is answered.
fn answer(host: &Rc<Fake>, module: &mut Module<Rc<Fake>>, body: &[u8]) {
    let token = u32::try_from(host.calls.borrow().len()).unwrap();
    host.context.set(ROOT);
    host.set_fields(FieldMap::Call, &[(":status", "200")]);
    host.set_buffer(Buffer::CallBody, body);
    module.on_call_response(ROOT, token, true, body.len());
}

#[test]
fn who_waits_is_let_go_when_another_worker_finds_redis_gone() {
    let host = host();
    let (mut one, mut two) = (well(&host, 1), vm(&host, 2));
    // One request is on its way to Redis, one is queued.
    assert_eq!(request(&host, &mut two, 10, "/a/1"), Action::Pause);
    turn(&host, &mut two);
    assert_eq!(request(&host, &mut two, 11, "/a/2"), Action::Pause);
    pass(&host, &mut one, 250);
    answer(&host, &mut one, b"-upstream failure\r\n-upstream failure\r\n");
    assert!(host.log.borrow().iter().any(|line| line.contains("L2 is degraded: refused")));
    turn(&host, &mut two);
    let mut resumed = host.resumed.borrow().clone();
    resumed.sort_unstable();
    assert_eq!(resumed, [10, 11]);
    // Nobody asks from now on.
    let calls = host.calls.borrow().len();
    assert_eq!(request(&host, &mut two, 12, "/a/3"), Action::Continue);
    turn(&host, &mut two);
    assert_eq!(host.calls.borrow().len(), calls);
}

#[test]
fn what_was_written_meanwhile_is_told_before_anything_is_read() {
    let host = host();
    let mut module = well(&host, 1);
    pass(&host, &mut module, 250);
    answer(&host, &mut module, b"-LOADING wait\r\n-LOADING wait\r\n");
    let calls = host.calls.borrow().len();
    put(&host, &mut module);
    turn(&host, &mut module);
    assert_eq!(host.calls.borrow().len(), calls, "Redis is left alone");
    pass(&host, &mut module, 300);
    probe_is_well(&host, &mut module);
    let states = || {
        let log = host.log.borrow();
        log.iter().filter(|line| line.contains("tiercel: L2 is")).count()
    };
    assert_eq!(states(), 2, "recovering");
    assert!(bumps(&host), "what the write made stale");
    assert_eq!(request(&host, &mut module, 30, "/a/9"), Action::Continue);
    probe_is_well(&host, &mut module);
    assert_eq!(states(), 3, "read again");
    assert_eq!(request(&host, &mut module, 31, "/a/8"), Action::Pause);
    probe_is_well(&host, &mut module);
    assert_eq!(states(), 4, "normal");
}

#[test]
fn a_probe_that_is_lost_with_its_filter_is_not_waited_for() {
    let host = host();
    let mut module = vm(&host, 1);
    pass(&host, &mut module, 50);
    let calls = host.calls.borrow().len();
    pass(&host, &mut module, 300);
    assert_eq!(host.calls.borrow().len(), calls, "one at a time");
    // Envoy never answers it.
    for _ in 0..40 {
        pass(&host, &mut module, 50);
    }
    assert!(host.calls.borrow().len() > calls);
}

/// who waits for what another instance fetches went on to wait, for as long as `waiting.longest`, though it could not
/// hear of it any more.
#[test]
fn who_waits_for_another_instance_is_let_go_when_redis_is_not_asked_any_more() {
    let host = host();
    let (mut one, mut two) = (well(&host, 1), vm(&host, 2));
    assert_eq!(request(&host, &mut one, 10, "/fleet/1"), Action::Pause);
    turn(&host, &mut one);
    answer(&host, &mut one, format!("{TABLE}$-1\r\n+OK\r\n").as_bytes());
    answer(&host, &mut one, format!("{TABLE}$-1\r\n$1\r\na\r\n$-1\r\n+OK\r\n").as_bytes());
    assert_eq!(request(&host, &mut two, 11, "/a/1"), Action::Pause);
    turn(&host, &mut two);
    assert!(host.resumed.borrow().is_empty());
    answer(&host, &mut two, b"-upstream failure\r\n-upstream failure\r\n");
    assert_eq!(*host.resumed.borrow(), [11]);
    pass(&host, &mut one, 50);
    assert_eq!(*host.resumed.borrow(), [11, 10]);
}

/// the request that was just being answered was not among those that are paused any more, and hung until
/// `request_timeout`.
#[cfg(not(target_arch = "wasm32"))] // where a panic cannot be survived
#[test]
fn who_is_being_answered_when_the_vm_ends_is_closed_as_well() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let host = host();
    let mut module = well(&host, 1);
    for context in [10, 11, 12] {
        assert_eq!(request(&host, &mut module, context, "/a/1"), Action::Pause);
    }
    turn(&host, &mut module);
    let found = in_l2("/a/1", b"body", 1_000_000);
    let entry = found.strip_prefix(TABLE.as_bytes()).and_then(|s| s.strip_suffix(b"+OK\r\n"));
    let nil = &b"$-1\r\n"[..];
    let body = [TABLE.as_bytes(), nil, entry.unwrap(), nil, b"+OK\r\n"].concat();
    // The first goes on to the origin, the second is too much.
    host.crashes.set(true);
    let end = catch_unwind(AssertUnwindSafe(|| answer(&host, &mut module, &body)));
    assert!(end.is_err());
    assert_eq!(*host.resumed.borrow(), [10]);
    module.give_up();
    let mut closed: Vec<_> = host.dead.borrow().iter().copied().collect();
    closed.sort_unstable();
    assert_eq!(closed, [11, 12]);
}

/// a lease that was taken for what then was found was kept until the next tick, and other workers waited for it.
#[test]
fn a_lease_is_given_back_at_once_if_nothing_is_fetched_with_it() {
    let host = host();
    let mut module = vm(&host, 1);
    assert_eq!(request(&host, &mut module, 10, "/a/1"), Action::Pause);
    turn(&host, &mut module);
    // Meanwhile somebody's request, whose look-up failed, brings it.
    assert_eq!(request(&host, &mut module, 11, "/a/1"), Action::Pause);
    turn(&host, &mut module);
    answer(&host, &mut module, b"-ERR no\r\n-ERR no\r\n");
    assert_eq!(*host.resumed.borrow(), [11]);
    respond_with(&host, &mut module, 11, &[(":status", "200")], b"body");
    host.context.set(ROOT);
    host.set_buffer(Buffer::CallBody, format!("{TABLE}$-1\r\n+OK\r\n").as_bytes());
    module.on_call_response(ROOT, 1, true, 100);
    assert_eq!(*host.responses.borrow(), [(10, 200, b"body".to_vec())]);
    let place = (&Shared::new(&host, None), Some(8));
    assert!(Flights::may_refresh(place, Key::new(b":///a/1").hash(), host.now_ms.get()));
}

/// a Redis that takes all but the script (an ACL without `EVAL`, say) was degraded, taken for well by the next probe,
/// and degraded again, five times a second.
#[test]
fn a_probe_whose_bumps_are_refused_did_not_go_well() {
    let host = host();
    let mut module = well(&host, 1);
    put(&host, &mut module);
    let mut seen = host.calls.borrow().len();
    for _ in 0..400 {
        pass(&host, &mut module, 25);
        turn(&host, &mut module);
        while host.calls.borrow().len() > seen {
            seen = host.calls.borrow().len();
            let refused = if bumps(&host) { "-NOPERM no\r\n" } else { "" };
            answer(&host, &mut module, format!("{refused}+OK\r\n{TABLE}+OK\r\n").as_bytes());
        }
    }
    let log = host.log.borrow();
    let said = log.iter().filter(|line| line.contains("tiercel: L2 is")).count();
    assert!(said <= 3, "{said} changes in ten seconds: {:?}", log.last());
}

/// what Redis never got was not counted if it expired before Redis was well again, or its filter went before that.
#[test]
fn what_is_never_written_back_is_counted() {
    for how in 0..3 {
        let host = host();
        let mut module = vm(&host, 1);
        pass(&host, &mut module, 50);
        answer(&host, &mut module, b"-upstream failure\r\n-upstream failure\r\n");
        assert_eq!(request(&host, &mut module, 10, "/a/1"), Action::Continue);
        respond_with(&host, &mut module, 10, &[(":status", "200")], b"body");
        let config = json!({"role": "cache", "l2": {"cluster": "l2", "timeout": "50ms"}});
        match how {
            0 => {
                pass(&host, &mut module, 61_000);
                (0..3).for_each(|_| probe_is_well(&host, &mut module));
                pass(&host, &mut module, 50);
            }
            1 => configure(&host, &mut module, &config),
            _ => {
                host.dead.borrow_mut().insert(ROOT);
                module.on_create(2, 0);
                module.on_tick(2);
            }
        }
        pass(&host, &mut module, 50);
        assert_eq!(host.metric("tiercel.l2_stores.result.skipped"), 1, "{how}");
    }
}
