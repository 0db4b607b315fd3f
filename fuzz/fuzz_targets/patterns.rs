//! Patterns of ids: what is read means the same as to another engine, and takes no time.
//!
//! Input: the pattern, on a line; ids.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::existence::Pattern;
use tiercel_fuzz::lines;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (pattern, ids) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(one) = Pattern::parse(pattern) else { return };
    // It knows more than ASCII, and counts characters.
    let Ok(other) = regex_lite::Regex::new(&format!("^(?:{pattern})$")) else { return };
    for id in lines(ids.as_bytes()).filter(|id| id.is_ascii()) {
        let text = std::str::from_utf8(id).expect("ASCII");
        assert_eq!(one.is_match(id), other.is_match(text), "{pattern:?} {text:?}");
    }
});
