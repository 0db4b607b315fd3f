//! Pieces of filters, as Redis has them: whatever is taken for one can be asked.
//!
//! Input: the head's content; the pieces', one to a part.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::existence::{Assembly, hash};
use tiercel_fuzz::parts;
use xxhash_rust::xxh3::xxh3_64;

const SERIAL: u64 = 77;

fuzz_target!(|input: &[u8]| {
    let contents: [&[u8]; 4] = parts(input);
    let Ok(mut assembly) = Assembly::new(SERIAL, &piece(0, contents[0])) else { return };
    for index in 1..assembly.pieces() {
        let content = contents[1 + (index - 1) % 3];
        if assembly.add(index, &piece(index, content)).is_err() {
            return;
        }
    }
    if let Some(filter) = assembly.finish() {
        (0..64_u64).for_each(|n| _ = filter.contains(hash(&n.to_le_bytes())));
        assert!(filter.pieces() > 1 || !filter.contains(1));
    }
});

/// With the checksum that it should have.
fn piece(index: usize, content: &[u8]) -> Vec<u8> {
    let mut piece = vec![1];
    piece.extend_from_slice(&SERIAL.to_le_bytes());
    piece.extend_from_slice(&u32::try_from(index).expect("few pieces").to_le_bytes());
    piece.extend_from_slice(content);
    let checksum = xxh3_64(&piece);
    piece.extend_from_slice(&checksum.to_le_bytes());
    piece
}
