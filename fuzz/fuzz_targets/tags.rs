//! Templates of tags and what fills them: there are never too many tags, whatever a client sends, and a
//! template without gaps, or whose gaps have something to fall back on, makes one at least.
//!
//! Input: the template; the path; the query; the fields; the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::coherence::{Filling, TagKey, Tags, Template};
use tiercel::http::fields::Fields;
use tiercel_fuzz::{block, parts};

const ROUTE: &str = "/api/games/{gid}/*";
const MOST: usize = 256;

fuzz_target!(|input: &[u8]| {
    let [template, path, query, fields, body] = parts(input);
    let Ok(template) = std::str::from_utf8(template) else { return };
    let Ok(template) = Template::parse(template, ROUTE) else { return };
    let (block, body) = (block(fields), serde_json::from_slice(body).ok());
    for (request, response) in [(body.as_ref(), None), (None, body.as_ref()), (None, None)] {
        let mut tags = Tags::default();
        template.fill(
            &Filling { path, query, fields: Fields::new(&block), request, response },
            &TagKey::default(),
            &mut tags,
        );
        let tags = tags.as_slice();
        assert!(tags.len() <= MOST && tags.is_sorted());
        assert!(tags.iter().all(|tag| !tag.is_prefix()));
        assert!(!tags.is_empty() || !template.is_total());
    }
});
