//! Configurations as a whole: what is refused, and what a policy comes to.

use super::load;
use serde_json::json;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn errors(config: &serde_json::Value) -> Vec<String> {
    load(config.to_string().as_bytes())
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Each of the expected errors is there, and so many in all.
fn all_are_told(found: &[String], expected: &[&str], count: usize) {
    for expected in expected {
        assert!(found.iter().any(|e| e == expected), "{expected} not in {found:#?}");
    }
    assert_eq!(found.len(), count, "{found:#?}");
}

#[test]
fn what_must_be_there_and_fit() {
    let found = errors(&json!({
        "headers": {"cache_name": "my cache", "not_stored": ["x a"]},
        "l1": {"budget": "2GiB"},
        "key": {"fields": ["Cookie"]},
        "targets": ["X-Cache"],
        "vary": {"max_variants": 0, "max_bytes": "3GiB", "fields": {"accept": {}, "a b": {"ignore": true},
            "cookie": {"one_of": ["a,b"]}}},
        "origin": {"timeout": "0s"},
        "l2": {"auth": {}, "ttl_factor": 0.5, "timeout": "2m", "max_batch": 0},
        "routes": [
            {"path": "games"},
            {"methods": ["post"], "path": "/x"},
            7,
            {"path": "/y", "negative": {"statuses": ["x", 200, 429]}, "query": {"include": [""]}},
            {"path": "/z", "with_query": ["", "mode"], "query": {"ids": ["gid"], "require": ["id"]}},
            {},
        ],
    }));
    let expected = [
        "role: is required: one of cache, tunnel_open, tunnel_hold",
        "headers.cache_name: must be a token (RFC 9110, 5.6.2)",
        "headers.not_stored[0]: \"x a\" is not the name of a field",
        "l1.budget: 2GiB is more than a VM can have (1GiB)",
        "key.fields[0]: is a credential, and no key may hold one",
        "targets[0]: \"X-Cache\" does not end in -Cache-Control",
        "vary.max_variants: must be between 1 and 64",
        "vary.max_bytes: 3GiB is more than a VM can have (1GiB)",
        "vary.fields.accept: must have either ignore: true or one_of",
        "vary.fields.a b: \"a b\" is not the name of a field",
        "vary.fields.cookie: cannot be one_of: it would be set on requests to the origin",
        "vary.fields.cookie.one_of[0]: \"a,b\" is not a value without parameters",
        "origin.cluster: is required: the Envoy cluster of the origin",
        "origin.timeout: must be more than 0 and at most 10m",
        "l2.cluster: is required: the Envoy cluster of the L2 tunnel",
        "l2.auth: is for transport: direct; redis_proxy authenticates by itself",
        "l2.auth.password: is required: a password",
        "l2.ttl_factor: must be between 1 and 1000",
        "l2.timeout: must be at most 60s: a request waits that long",
        "l2.max_batch: must be more than 0",
        "routes[0].path: \"games\" is not a path template: it must start with /",
        "routes[1].methods[0]: \"post\" is not a method (they are case-sensitive: GET)",
        "routes[1].methods: only GET and HEAD can be cached: set invalidates, creates, safe or bypass for other methods",
        "routes[2]: invalid type: integer `7`, expected struct Route",
        "routes[3].negative.statuses[0]: invalid type: string \"x\", expected u16",
        "routes[3].negative.statuses[1]: 200 is not a negative status (400 to 499)",
        "routes[3].negative.statuses[2]: 429 must not be stored by a shared cache",
        "routes[3].query.include[0]: is empty",
        "routes[4].query.ids[0]: \"gid\" is neither in query.include nor in query.require",
        "routes[4].with_query[1]: \"mode\" is neither in query.include nor in query.require",
        "routes[4].with_query[0]: is empty",
        "routes[5].path: is required: a path",
    ];
    all_are_told(&found, &expected, 32);
}

#[test]
fn what_writes_make_stale_must_be_sure() {
    let found = errors(&json!({
        "role": "cache",
        "coherence": {
            "tag_key": "fifteen letters", "slots": 1000, "feed_interval": "10ms", "guard": "1h", "tag_fields": ["a b"], "max_body": "2GiB",
        },
        "routes": [
            {"path": "/a/{id}", "tags": ["a:{id}", "b:{query:x}", "{nothing}", "c:{request:/x|y}"]},
            {"path": "/a/{id}", "methods": ["PUT"], "invalidates":
                ["a:{id}", "b:{query:x|any}", "b:{query:x}", "c:{request:/x}", "{request:x|y}"]},
            {"path": "/b", "methods": ["POST"], "safe": true, "invalidates": ["a"],
                "when": {"request": "query"}},
            {"path": "/c", "invalidates": ["a"]},
        ],
    }));
    let expected = [
        "coherence.slots: must be a power of two between 256 and 16384",
        "coherence.feed_interval: must be between 50ms and 60s",
        "coherence.guard: must be at most 10m",
        "coherence.tag_fields[0]: \"a b\" is not the name of a field",
        "coherence.tag_key: must have at least 16 characters",
        "coherence.max_body: 2GiB is more than a VM can have (1GiB)",
        "routes[0].tags[2]: the path has no {nothing}",
        "routes[0].tags[3]: bodies name tags in invalidates only",
        "routes[1].invalidates[2]: \"b:{query:x}\" must say what stands in: {request:/id|any}",
        "routes[1].invalidates[3]: \"c:{request:/x}\" must say what stands in: {request:/id|any}",
        "routes[1].invalidates[4]: \"x\" is not a JSON pointer: /ids/*",
        "routes[2].safe: what is safe invalidates nothing",
        "routes[2].when.request: \"query\" is not a JSON pointer: /query",
        "routes[2].when.contains: is required: a text",
        "routes[3].invalidates: is for routes that are not cached: set bypass, or other methods",
    ];
    all_are_told(&found, &expected, 15);
}

#[test]
fn a_key_of_tags_is_a_fleet_of_its_own() {
    let loaded = |key: Option<&str>| {
        let config = json!({
            "role": "cache", "l2": {"cluster": "l2"}, "coherence": {"tag_key": key},
        });
        let policy = load(config.to_string().as_bytes()).unwrap();
        let l2 = policy.l2.as_ref().unwrap();
        (policy.tagging, l2.scope(256), l2.tag_mark.clone(), policy.tag_key.named(b"a"))
    };
    let all = [None, Some("a key of sixteen"), Some("another, as long")].map(loaded);
    for (one, other) in [(&all[0], &all[1]), (&all[0], &all[2]), (&all[1], &all[2])] {
        assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2 && one.3 != other.3);
    }
    assert_eq!(loaded(Some("a key of sixteen")), all[1]);
    assert_eq!(all[0].2, "", "names in Redis are what they were");
}

#[test]
fn secrets_are_long_and_few() {
    let found =
        |secrets| errors(&json!({"role": "cache", "l2": {"cluster": "l2", "secrets": secrets}}));
    let good = "0123456789abcdef0123456789abcdef";
    assert!(found(json!([good, good, good, good])).is_empty());
    let expected = [
        "l2.secrets: must be at most 4",
        "l2.secrets[1]: must have at least 32 characters",
        "l2.secrets[3]: invalid type: integer `7`, expected a string",
    ];
    all_are_told(&found(json!([good, &good[1..], good, 7, good, good])), &expected, 3);
}

#[test]
fn how_the_origin_is_asked_must_make_sense() {
    let found = errors(&json!({
        "role": "cache",
        "origin": {"timeout": "0s"},
        "waiting": {"longest": "1ms", "max": 100_000, "max_per_key": 200_000},
        "protection": {"max_fetches": 0, "retry_after": "1ms", "probe_interval": "1ms"},
    }));
    let expected = [
        "origin.cluster: is required: the Envoy cluster of the origin",
        "origin.timeout: must be more than 0 and at most 10m",
        "waiting.longest: must be between 100ms and 10m",
        "waiting.max: must be at most 65536",
        "waiting.max_per_key: must not be more than waiting.max",
        "protection.max_fetches: must be more than 0",
        "protection.retry_after: must be between 1s and 1h",
        "protection.probe_interval: must be between 50ms and 60s",
    ];
    all_are_told(&found, &expected, 8);
    let found = errors(&json!({
        "role": "cache",
        "defaults": {"fetch": "detached"},
        "routes": [{"path": "/a", "collapse": "fleet"}, {"path": "/b", "fetch": "detached"}],
    }));
    let expected = [
        "defaults.fetch: needs origin: the cache asks it itself",
        "routes[0].collapse: needs l2: it knows who fetches",
        "routes[1].fetch: needs origin: the cache asks it itself",
    ];
    all_are_told(&found, &expected, 3);
}

#[test]
fn who_may_purge_must_be_clear() {
    let found = |purge| errors(&json!({"role": "cache", "purge": purge}));
    assert_eq!(found(json!({})), ["purge: allows nobody: name networks or a secret"]);
    let wrong = json!({"networks": ["10.0.0.0/8", "10.0.0.0/99"], "secret": {"field": "a b"}});
    assert_eq!(
        found(wrong),
        [
            "purge.networks[1]: \"10.0.0.0/99\" is not a network: 10.0.0.0/8",
            "purge.secret.field: is not the name of a field",
            "purge.secret.value: must have at least 16 characters",
        ]
    );
    assert!(found(json!({"networks": ["::1/128", "127.0.0.1/32"]})).is_empty());
    let shared = json!({"role": "cache", "shared": {"budget": "1MiB", "max_entry": "1MiB"}});
    assert_eq!(errors(&shared), ["shared.budget: has no room for 8 entries of shared.max_entry"]);
}

#[test]
fn one_mistake_is_told_once() {
    assert_eq!(errors(&json!({"role": "chache"})).len(), 1);
}

#[test]
fn routes_inherit_the_defaults() {
    let config = json!({
        "role": "cache",
        "defaults": {
            "ttl": "5m", "cookies": "ignore", "negative": {"ttl": "9s"},
            "stale_if_error": "2m", "stale_while_revalidate": "3s",
            "request_directives": "ignore",
        },
        "routes": [
            {"path": "/a"},
            {"path": "/b", "ttl": "1s", "cookies": "respect", "stale_while_revalidate": "0s"},
        ],
    });
    let policy = load(config.to_string().as_bytes()).unwrap();
    let a = &policy.rule(b"GET", b"/a", b"").store;
    assert_eq!(a.lifetime.ttl_ms, Some(300_000));
    assert_eq!(
        (a.lifetime.negative_ttl_ms, &a.lifetime.negative_statuses[..]),
        (9_000, &[404, 410][..])
    );
    assert_eq!((a.stale_if_error_s, a.stale_while_revalidate_s), (120, 3));
    let b = &policy.rule(b"HEAD", b"/b", b"").store;
    assert_eq!((b.lifetime.ttl_ms, b.cookies_ignored), (Some(1_000), false));
    assert_eq!(b.stale_while_revalidate_s, 0);
    // No rule: the response must say, whatever the defaults of routes are.
    let c = policy.rule(b"GET", b"/c", b"");
    assert_eq!((c.store.lifetime.ttl_ms, c.store.stale_if_error_s), (None, 0));
    assert!(c.store.cookies_ignored && c.directives_ignored);
}

#[test]
fn what_a_vm_may_hold_fits_into_it() {
    let too_much =
        errors(&json!({"role": "cache", "l1": {"budget": "900MiB"}, "l2": {"cluster": "l2"}}));
    let told = "l1.budget: l1.budget 900MiB + l1.negative_budget 4MiB + l1.fill_budget 16MiB + l1.max_entry 1MiB + \
                shared.budget 1MiB + coherence.slots 1MiB + waiting.max 64MiB + protection.max_fetches 16MiB + \
                l2.max_in_flight 32MiB + l2.write_budget 8MiB + degraded.write_back 8MiB + l2.max_entry 1MiB + 36MiB for the rest = 1088MiB, \
                and 136MiB lost between them = 1224MiB: a VM can have 1024MiB";
    assert_eq!(too_much, [told]);
    // Bodies are read as well where there is nothing else to read.
    let rest = |route: serde_json::Value| {
        let told = errors(&json!({"role": "cache", "l1": {"budget": "900MiB"}, "routes": [route]}));
        told[0].split(" + ").last().unwrap().split(" for").next().unwrap().to_owned()
    };
    let write = json!({"path": "/a", "methods": ["PUT"], "bypass": true, "invalidates": ["a"]});
    assert_eq!((&*rest(json!({"path": "/a"})), &*rest(write)), ("4MiB", "36MiB"));
    // The tunnel's filters hold nothing, and what is too large by itself is told once.
    assert!(errors(&json!({"role": "tunnel_open", "l1": {"budget": "900MiB"}})).is_empty());
    assert_eq!(errors(&json!({"role": "cache", "l1": {"budget": "2GiB"}})).len(), 1);
    let largest = |more: serde_json::Value| {
        let mut config = json!({"role": "cache", "l2": {"cluster": "l2"}});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        errors(&config).iter().map(|e| e.split(": ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let ids =
        json!({"pattern": "[0-9]+", "max_ids": 20_000_000, "source": {"redis": {"key": "ids"}}});
    for (more, paths) in [
        (json!({}), &[][..]),
        (json!({"l1": {"budget": "700MiB"}}), &[]),
        (
            json!({"l1": {"budget": "512MiB"}, "l2": {"cluster": "l2", "max_in_flight": 400}}),
            &["l1.budget"],
        ),
        (json!({"protection": {"max_fetches": u32::MAX}}), &["protection.max_fetches"]),
        (json!({"l2": {"cluster": "l2", "max_in_flight": u32::MAX}}), &["l2.max_in_flight"]),
        (json!({"spaces": {"a": ids, "b": ids, "c": ids}}), &["spaces.c"]),
    ] {
        assert_eq!(largest(more.clone()), paths, "{more}");
    }
}
