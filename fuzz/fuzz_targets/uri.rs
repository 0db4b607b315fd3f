//! References: what is of the same origin is so when written out, and of no other.
//!
//! Input: a line each of scheme, authority, path and reference.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::http::uri::same_origin;
use tiercel_fuzz::lines;

fuzz_target!(|input: &[u8]| {
    let mut lines = lines(input);
    let [scheme, authority, path, reference] = [(); 4].map(|()| lines.next().unwrap_or_default());
    let Some(found) = same_origin(scheme, authority, path, reference) else { return };
    // As Envoy gives them.
    let has = |text: &[u8], any: &[u8]| text.iter().any(|byte| any.contains(byte));
    let sound = !has(scheme, b":/?#") && !has(authority, b"/?#") && scheme.trim_ascii() == scheme;
    if !sound || !path.starts_with(b"/") || has(path, b"#") || has_dots(path) {
        return;
    }
    assert!(found.starts_with(b"/") && !has(&found, b"#") && !has_dots(&found), "{found:?}");
    if found.trim_ascii_end() == found {
        let written = [scheme, b"://", authority, &found].concat();
        assert_eq!(same_origin(scheme, authority, b"/", &written), Some(found));
        assert_eq!(same_origin(scheme, &[authority, b"x"].concat(), path, &written), None);
        assert_eq!(same_origin(&[scheme, b"x"].concat(), authority, path, &written), None);
    }
});

fn has_dots(target: &[u8]) -> bool {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    path.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b".."))
}
