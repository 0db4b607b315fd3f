//! Dates: what is read is written again as the same time, whenever now is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::http::date::{format, parse};

/// A year and a few days, in ms.
const YEAR_MS: u64 = 370 * 86_400_000;
/// The last second that can be written, 31 December 9999, in ms.
const LAST_MS: u64 = 253_402_300_799_000;

fuzz_target!(|input: &[u8]| {
    for now in [0, 1_783_684_800_000, u64::MAX] {
        let Some(time) = parse(input, now) else { continue };
        assert!(time.is_multiple_of(1000));
        assert_eq!(parse(format(time).as_bytes(), now), Some(time.min(LAST_MS)));
        // Only years of two digits depend on now: they are near it.
        if parse(input, 1_000 * YEAR_MS) != Some(time) {
            assert!(
                time <= now.saturating_add(50 * YEAR_MS)
                    && time.saturating_add(51 * YEAR_MS) >= now
            );
        }
    }
    if let Some(time) = input.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) {
        assert_eq!(parse(format(time).as_bytes(), 0), Some((time - time % 1000).min(LAST_MS)));
    }
});
