//! Targeted fields: what counts is a dictionary that means what `Cache-Control` means.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sfv::{Dictionary, FieldType, ListEntry, Parser, Version};
use tiercel::http::cache_control::CacheControl;
use tiercel::http::fields::{Fields, FieldsBuf};
use tiercel::http::targeted;
use tiercel_fuzz::{lines, parts};

fuzz_target!(|input: &[u8]| {
    let [first, second] = parts(input);
    let fields = lines(first).map(|line| (&b"first"[..], line));
    let fields = fields.chain(lines(second).map(|line| (&b"second"[..], line)));
    let block = fields.collect::<FieldsBuf>().to_block();
    let read = |targets: &[&[u8]]| {
        let targets: Vec<_> = targets.iter().map(|name| Box::from(*name)).collect();
        targeted::read(Fields::new(&block), &targets)
    };
    let found = read(&[b"first"]);
    assert_eq!(read(&[b"first", b"second"]), found.clone().or_else(|| read(&[b"second"])));
    if let Some(found) = found {
        assert_eq!(found, plain(&lines(first).collect::<Vec<_>>().join(&b", "[..])));
    }
});

/// The same dictionary read by `sfv` alone, written without duplicates, parameters and what is not
/// for responses, and read as a `Cache-Control`.
fn plain(text: &[u8]) -> CacheControl {
    let parser = Parser::new(text).with_version(Version::Rfc8941);
    let mut dictionary: Dictionary = parser.parse().expect("a dictionary");
    dictionary.retain(|key, entry| match entry {
        ListEntry::Item(item) => {
            item.params.clear();
            !["only-if-cached", "max-stale", "min-fresh"].contains(&key.as_str())
        }
        ListEntry::InnerList(_) => false,
    });
    let text = dictionary.serialize().unwrap_or_default();
    CacheControl::parse([text.as_bytes()])
}
