//! Lists of an API that are not to be trusted.

use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::super::{Paging, SourcePolicy};
use super::Failure;
use super::fake_api::*;

#[test]
fn what_makes_no_sense_is_no_list() {
    let (one, counted) = (of(Paging::One, false), of(Paging::One, true));
    for (body, plain, with_total) in [
        ("", Err(Failure::Malformed), Err(Failure::Malformed)),
        ("{\"total\":1,\"rows\":[{\"id\":1}", Err(Failure::Malformed), Err(Failure::Malformed)),
        ("{\"total\":1,\"rows\":[{\"id\":1}]}", Ok(1), Ok(1)),
        ("{\"total\":\"1\",\"rows\":[{\"id\":1}]}", Ok(1), Ok(1)),
        ("{\"rows\":[{\"id\":1}]}", Ok(1), Err(Failure::Malformed)),
        ("{\"total\":-1,\"rows\":[{\"id\":1}]}", Ok(1), Err(Failure::Malformed)),
        ("{\"total\":1.5,\"rows\":[{\"id\":1}]}", Ok(1), Err(Failure::Malformed)),
        ("{\"total\":null,\"rows\":[{\"id\":1}]}", Ok(1), Err(Failure::Malformed)),
        (
            "{\"total\":2,\"rows\":[{\"id\":1},{}]}",
            Err(Failure::Malformed),
            Err(Failure::Malformed),
        ),
        ("{\"total\":2,\"rows\":[{\"id\":1},{\"id\":1}]}", Ok(2), Err(Failure::Incomplete)),
        ("{\"total\":0,\"rows\":[]}", Err(Failure::Malformed), Ok(0)),
        ("{\"total\":0,\"rows\":null}", Err(Failure::Malformed), Ok(0)),
        ("{\"total\":3,\"error\":\"x\"}", Err(Failure::Malformed), Err(Failure::Incomplete)),
        ("{\"total\":3,\"rows\":{\"id\":1}}", Err(Failure::Malformed), Err(Failure::Incomplete)),
        ("{\"total\":1001,\"rows\":[{\"id\":1}]}", Ok(1), Err(Failure::TooMany)),
        (
            "{\"total\":18446744073709551615,\"rows\":[]}",
            Err(Failure::Malformed),
            Err(Failure::TooMany),
        ),
        ("[]", Err(Failure::Malformed), Err(Failure::Malformed)),
        ("null", Err(Failure::Malformed), Err(Failure::Malformed)),
    ] {
        assert_eq!(read_body(&one, body), plain, "{body}");
        assert_eq!(read_body(&counted, body), with_total, "{body}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(read_body(&one, &deep), Err(Failure::Malformed));
}

#[test]
fn absurd_totals_do_not_make_endless_pages() {
    for (body, failure) in [
        ("{\"total\":999,\"rows\":[]}", Failure::Incomplete),
        ("{\"total\":1001,\"rows\":[{\"id\":1}]}", Failure::TooMany),
        ("{\"total\":0,\"rows\":[{\"id\":1}]}", Failure::Malformed),
        ("{\"total\":1,\"rows\":[{\"id\":1},{\"id\":2}]}", Failure::Malformed),
    ] {
        assert_eq!(read_body(&numbers(), body), Err(failure), "{body}");
    }
    let mut many = numbers();
    many.max_ids = 10_000_000;
    let body = "{\"total\":9999999,\"rows\":[{\"id\":1}]}";
    assert_eq!(read_body(&many, body), Err(Failure::TooMany));
}

#[test]
fn what_changes_meanwhile_is_no_list() {
    let changes: [fn(usize, &mut Vec<Value>); 7] = [
        // One row goes, or comes, or comes at the very end.
        |n, rows| {
            if n == 2 {
                drop(rows.remove(0));
            }
        },
        |n, rows| {
            if n == 2 {
                rows.push(json!(999));
            }
        },
        |n, rows| {
            if n == 9 {
                rows.push(json!(999));
            }
        },
        // One goes and one comes: behind, before, and on the first page alone.
        |n, rows| {
            if n == 2 {
                rows.remove(0);
                rows.push(json!(999));
            }
        },
        |n, rows| {
            if n == 3 {
                rows.pop();
                rows.insert(0, json!(999));
            }
        },
        |n, rows| {
            if n == 5 {
                rows[0] = json!(999);
            }
        },
        // Row 20 moves from page 5, which is still to come, to page 4, which has been read; page 1 stays as it is.
        |n, rows| {
            if n == 2 {
                rows.remove(15);
                rows.push(json!(999));
            }
        },
    ];
    for (before, etags) in changes.into_iter().flat_map(|change| [(change, false), (change, true)])
    {
        let mut api = Api { etags, before, ..api(0..23, 5) };
        assert_eq!(api.fails(&numbers()), Failure::Changed);
    }
    let mut api = api(0..23, 5);
    api.before = |n, rows| {
        if n == 2 {
            drop(rows.remove(0));
        }
    };
    assert_eq!(api.fails(&cursor(true)), Failure::Changed);
    // The last row moves to the front, as where the last change counts; or it goes while others come.
    let moves: [fn(usize, &mut Vec<Value>); 3] = [
        |n, rows| {
            if n == 2 {
                rows.rotate_right(1);
            }
        },
        |n, rows| {
            if n == 2 {
                rows.remove(0);
                rows.push(json!(999));
            }
        },
        |n, rows| {
            if n == 7 {
                rows.push(json!(999));
            }
        },
    ];
    for (before, total) in moves.into_iter().flat_map(|change| [(change, false), (change, true)]) {
        let mut api = Api { before, ..super::fake_api::api(0..25, 5) };
        assert_eq!(api.fails(&cursor(total)), Failure::Changed);
    }
    // The last row comes twice, another one not at all, and the first page is as it was.
    let mut moved = super::fake_api::api(0..15, 5);
    moved.before = |n, rows| {
        if n == 2 {
            rows[6] = json!(14);
        }
    };
    assert_eq!(moved.fails(&numbers()), Failure::Incomplete);
}

#[test]
fn pages_that_fail_fail_the_list() {
    for (spoil, failure) in [
        (
            (|n, answer| {
                if n == 2 {
                    answer.0 = 500;
                }
            }) as fn(usize, &mut Answer),
            Failure::Status,
        ),
        (
            |n, answer| {
                if n == 2 {
                    answer.0 = 304;
                }
            },
            Failure::Status,
        ),
        (
            |n, answer| {
                if n == 2 {
                    answer.0 = 206;
                }
            },
            Failure::Status,
        ),
        (
            |n, answer| {
                if n == 2 {
                    answer.0 = 0;
                }
            },
            Failure::Unreachable,
        ),
        (
            |n, answer| {
                if n == 2 {
                    answer.0 = 1;
                }
            },
            Failure::Unreachable,
        ),
        (
            |n, answer| {
                if n == 2 {
                    answer.2.truncate(9);
                }
            },
            Failure::Incomplete,
        ),
        (
            |n, answer| {
                if n == 2 {
                    answer.1.push(("content-encoding", "br".into()));
                    answer.2.truncate(9);
                }
            },
            Failure::Malformed,
        ),
        (
            |n, answer| {
                if n == 2 {
                    answer.1.clear();
                    answer.2.truncate(9);
                }
            },
            Failure::Malformed,
        ),
        // A short page, as an API gives that has a limit of its own.
        (
            |n, answer| {
                if n == 3 {
                    *answer = (200, vec![], "{\"total\":23,\"rows\":[{\"id\":5}]}".into());
                }
            },
            Failure::Incomplete,
        ),
        (
            |n, answer| {
                if n == 1 {
                    *answer = (200, vec![], "{\"total\":23}".into());
                }
            },
            Failure::Incomplete,
        ),
    ] {
        let mut api = api(0..23, 5);
        api.spoil = spoil;
        assert_eq!(api.fails(&numbers()), failure);
        // What is in flight is waited for, but nothing else is asked.
        assert!(api.asked.len() <= 6);
    }
    // Behind a cursor an error that looks like an end is none.
    let mut api = api(0..23, 5);
    api.spoil = |n, answer| {
        if n == 2 {
            *answer = (200, vec![], "{\"error\":1}".into());
        }
    };
    assert_eq!(api.fails(&cursor(false)), Failure::Malformed);
    assert_eq!(api.fails(&cursor(true)), Failure::Malformed);
}

#[test]
fn pages_that_are_all_the_same_are_no_list() {
    let mut api = api(0..23, 5);
    api.spoil = |_, answer| {
        let rows: Vec<_> = (0..5).map(|id| json!({ "id": id })).collect();
        *answer = (200, vec![], json!({"total": 20, "rows": rows}).to_string());
    };
    assert_eq!(api.fails(&numbers()), Failure::Incomplete);
}

#[test]
fn too_many_are_no_list() {
    for space in [numbers(), cursor(true), cursor(false), of(Paging::One, false)] {
        let is_one = matches!(&space.source, SourcePolicy::Http(source) if source.total.is_none());
        let mut api = api(0..10_000, if is_one { 10_000 } else { 50 });
        assert_eq!(api.fails(&space), Failure::TooMany);
        assert!(api.asked.len() <= 1);
    }
    let mut endless = api(0..10_000, 50);
    assert_eq!(endless.fails(&cursor(false)), Failure::TooMany);
    assert!(endless.asked.len() <= 24, "{}", endless.asked.len());
    // As many as there may be, some of them twice.
    let mut most = api((0..1_000).chain(10..40), 50);
    let (ids, ..) = most.read(&cursor(false)).unwrap();
    assert_eq!(ids.len(), 1_000);
    let mut one_more = api(0..1_001, 50);
    assert_eq!(one_more.fails(&cursor(false)), Failure::TooMany);
}

#[test]
fn a_304_that_nobody_asked_for_is_no_page() {
    for space in [numbers(), cursor(true)] {
        for at in [1, 6] {
            let mut api = Api { etags: at == 6, ..api(0..23, 5) };
            api.spoil = |n, answer| {
                if n == 1 || n == 6 {
                    *answer = (304, vec![], String::new());
                }
            };
            assert_eq!(api.fails(&space), Failure::Status);
        }
    }
}
