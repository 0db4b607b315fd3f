//! Lists of an API, and what is asked for them.

use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::super::{Paging, SourcePolicy, hash};
use super::fake_api::*;
use super::tests::{end, space};
use super::*;
use crate::http::fields::block;

#[test]
fn all_pages_are_read_twice() {
    for (rows, asked) in [(23, 10), (20, 8), (5, 1), (1, 1), (0, 1), (6, 4)] {
        let mut api = api(100..100 + rows, 5);
        let expected = if rows == 0 { 0 } else { u64::from(99 + rows) };
        assert_eq!(api.read(&numbers()), Ok((hashes(100..100 + rows), expected, 0)), "{rows}");
        assert_eq!(api.asked.len(), asked, "{rows}");
        // With a condition where there is an ETag.
        api.etags = true;
        assert!(api.read(&numbers()).is_ok());
        let (first, again) = api.asked.split_at(asked.div_ceil(2));
        assert!(first.iter().all(|path| again.is_empty() || again.contains(&format!("{path}*"))));
    }
    let mut api = api(0..100, 5);
    api.read(&numbers()).unwrap();
    assert_eq!(api.most_in_flight, 3);
}

/// Seventy times its length.
#[test]
fn a_page_that_takes_too_much_once_it_is_read_is_none() {
    let body = |count| format!("{{\"rows\":[{{\"id\":1}}{}]}}", r#",{"":0}"#.repeat(count));
    let found = |count| read_body(&of(Paging::One, false), &body(count)).err();
    // A row without an id.
    assert_eq!(found(10), Some(Failure::Malformed));
    assert_eq!(found(200_000), Some(Failure::TooMany));
}

#[test]
fn a_cursor_is_followed_to_its_end() {
    for total in [true, false] {
        let mut api = api(0..23, 5);
        assert_eq!(api.read(&cursor(total)), Ok((hashes(0..23), 22, 0)));
        assert_eq!((api.asked.len(), &api.asked[..5]), (10, &api.asked[5..]));
        assert_eq!(api.asked[1], "/list?size=5&after=5");
        assert_eq!(api.most_in_flight, 1);
    }
    // One that comes again is endless, and so is one that never ends.
    let mut api = api(0..23, 5);
    api.spoil = |n, answer| {
        if n > 0 {
            *answer = (200, vec![], json!({"rows": [{"id": 1}], "next": 5}).to_string());
        }
    };
    assert_eq!((api.fails(&cursor(false)), api.asked.len()), (Failure::Malformed, 2));
    api.spoil = |n, answer| {
        *answer = (200, vec![], format!("{{\"rows\":[],\"next\":\"{n}\"}}"));
    };
    assert_eq!(api.fails(&cursor(false)), Failure::TooMany);
    for next in [json!(true), json!([1]), json!({}), json!("x".repeat(5_000))] {
        let body = json!({"rows": [{"id": 1}], "next": next}).to_string();
        assert_eq!(read_body(&cursor(false), &body).err(), Some(Failure::Malformed));
    }
    let body = json!({"rows": [{"id": 1}], "next": ""}).to_string();
    assert!(read_body(&cursor(false), &body).is_ok());
}

#[test]
fn a_request_asks_for_json() {
    let mut source = source(Paging::One, false);
    source.fields.push((b"accept"[..].into(), b"text/json"[..].into()));
    source.path = "/list".into();
    source.paging = Paging::Cursor { parameter: "after".into(), next: pointer("/next") };
    let space = space(SourcePolicy::Http(source), 10);
    let mut reading = Reading::new(&space, &Etags(vec![b"\"e\"".to_vec()]));
    let mut path = "/list";
    for etag in [Some("\"e\""), None] {
        let Some(Ask { ticket, what: Asking::Http(request) }) = reading.ask(&space) else {
            panic!("nothing is asked")
        };
        let mut expected = vec![
            (":method", "GET"),
            (":path", path),
            (":scheme", "http"),
            (":authority", "api.test"),
            ("accept", "text/json"),
            ("cache-control", "no-cache"),
        ];
        expected.extend(etag.map(|etag| ("if-none-match", etag)));
        assert_eq!(request, block(&expected));
        assert_eq!(reading.ask(&space), None);
        let fields = block(&[(":status", "200")]);
        let body = json!({"rows": [{"id": 1}], "next": "a b&\u{e9}~"}).to_string();
        reading.answer(&space, ticket, Came::Http(Fields::new(&fields), body.as_bytes()));
        path = "/list?after=a%20b%26%C3%A9~";
    }
    assert!(matches!(end(&mut reading), Some(Err(Failure::Malformed))), "the same cursor again");
    let Some(Ask { what: Asking::Http(request), .. }) =
        Reading::new(&numbers(), &Etags::default()).ask(&numbers())
    else {
        panic!("nothing is asked")
    };
    assert_eq!(Fields::new(&request).get(b"accept"), Some(&b"application/json"[..]));
}

#[test]
fn numbers_and_strings_are_ids_alike() {
    let one = of(Paging::One, false);
    let mut api = api([], 50);
    api.rows = vec![json!(7), json!("8"), json!(" 009"), json!(10.0), json!("a-b"), json!("-99")];
    let (ids, highest, _) = api.read(&one).unwrap();
    assert_eq!((ids.len(), highest), (6, 10));
    for id in ["7", "8", "9", "10", "a-b"] {
        assert!(ids.contains(&hash(id.as_bytes())), "{id}");
    }
    for id in [json!(null), json!(true), json!([1]), json!({"id": 1}), json!(""), json!(" ")] {
        api.rows.push(id);
        assert_eq!(api.fails(&one), Failure::Malformed);
        api.rows.pop();
    }
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    for (space, rows, known) in [
        (of(Paging::One, true), 5, 1),
        (of(Paging::One, false), 5, 1),
        (cursor(false), 5, 1),
        (cursor(false), 15, 0),
        (numbers(), 5, 1),
        (numbers(), 23, 5),
    ] {
        let mut api = api(0..rows, 5);
        api.etags = true;
        let etags = etags(&mut api, &space);
        assert_eq!(etags.0.len(), known);
        let list = api.read_after(&space, &etags);
        assert_eq!(matches!(list, Ok(List::Unchanged)), known > 0);
        assert!(known == 0 || api.asked.len() == known);
        assert!(api.asked.iter().all(|path| path.ends_with('*') == (known > 0)));
        assert!(api.most_in_flight <= 3);
    }
    // One page without makes all useless.
    let mut some = api(0..23, 5);
    some.etags = true;
    some.spoil = |n, answer| {
        if n == 2 {
            answer.1.clear();
        }
    };
    assert_eq!(etags(&mut some, &numbers()), Etags::default());
}

#[test]
fn what_has_changed_is_read_anew() {
    let change: [fn(&mut Vec<Value>); 4] = [
        |rows| rows[22] = json!(77),
        |rows| rows.push(json!(77)),
        |rows| rows.truncate(3),
        |rows| rows.clear(),
    ];
    for change in change {
        let mut api = api(0..23, 5);
        api.etags = true;
        let etags = etags(&mut api, &numbers());
        change(&mut api.rows);
        let expected =
            hashes(api.rows.iter().map(|row| u32::try_from(row.as_u64().unwrap()).unwrap()));
        let list = api.read_after(&numbers(), &etags);
        let Ok(List::Ids(mut ids, ..)) = list else { panic!("{list:?}") };
        ids.settle(0);
        assert_eq!(ids.buckets[0], expected);
        assert!(api.most_in_flight <= 3);
    }
    // The only page that has changed need not be asked for again.
    let mut api = api(0..5, 5);
    api.etags = true;
    let etags = etags(&mut api, &numbers());
    api.rows.pop();
    assert!(matches!(api.read_after(&numbers(), &etags), Ok(List::Ids(..))));
    assert_eq!(api.asked.len(), 1);
}

#[test]
fn failures_are_failures_though_pages_are_known() {
    for (status, failure) in [(500, Failure::Status), (0, Failure::Unreachable)] {
        let mut api = api(0..23, 5);
        api.etags = true;
        let etags = etags(&mut api, &numbers());
        api.spoil = if status == 0 {
            |n, answer| {
                if n == 3 {
                    answer.0 = 0;
                }
            }
        } else {
            |n, answer| {
                if n == 3 {
                    answer.0 = 500;
                }
            }
        };
        assert_eq!(api.read_after(&numbers(), &etags).err(), Some(failure));
        // A page that is gone is a list that has changed.
        api.spoil = |n, answer| {
            if n == 0 {
                answer.0 = 404;
            }
        };
        assert!(matches!(api.read_after(&numbers(), &etags), Ok(List::Ids(..))));
    }
}
