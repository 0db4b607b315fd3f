//! Answers for ids that do not exist: a template that is taken makes JSON of every request, as long as it is JSON.
//!
//! Input: the template; the path; the query; the fields.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use tiercel::coherence::Filling;
use tiercel::existence::Absent;
use tiercel::http::fields::Fields;
use tiercel_fuzz::{block, parts};

fuzz_target!(|input: &[u8]| {
    let [template, path, query, fields] = parts(input);
    let Ok(template) = std::str::from_utf8(template) else { return };
    let kind = (b"content-type"[..].into(), b"application/json"[..].into());
    let absent = Absent::parse(404, vec![kind], template, "/api/games/{gid}/*");
    let (Ok(absent), false) = (absent, template.is_empty()) else { return };
    let block = block(fields);
    let with = Filling::of_head(path, Some(query), Fields::new(&block));
    let body = absent.body(&with, 1_771_574_400_123);
    serde_json::from_slice::<IgnoredAny>(&body).expect("JSON");
});
