//! Blocks of fields: a sound one is what its fields make, and the fields of another can be read.
//!
//! Input: a block, and, read as lines of fields, what another is made of.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tiercel::http::fields::{Fields, FieldsBuf};
use tiercel_fuzz::{all, block};

fuzz_target!(|input: &[u8]| {
    let made = block(input);
    for block in [input, &made] {
        let fields = Fields::new(block);
        let list = all(block);
        for (name, _) in list.iter().take(8) {
            assert_eq!(fields.get(name), fields.all(name).next());
        }
        let again = list.iter().copied().collect::<FieldsBuf>();
        let again = again.to_block();
        assert_eq!(fields.is_sound(), *again == *block);
        if fields.is_sound() {
            assert_eq!(fields.count(), list.len());
            let mut both = b"before".to_vec();
            fields.write_with(Fields::new(&made).iter(), &mut both);
            let both = both.strip_prefix(b"before").expect("what was there");
            assert!(Fields::new(both).is_sound());
            assert_eq!(all(both), [list, all(&made)].concat());
        }
    }
    assert!(Fields::new(&made).is_sound());
    // A damaged block is another, or noticed.
    let (cut, flipped) = (made.len() * 2 / 3, made.len() / 3);
    assert!(!Fields::new(&made[..cut]).is_sound());
    let mut damaged = made;
    damaged[flipped] ^= 1;
    let again = all(&damaged).into_iter().collect::<FieldsBuf>().to_block();
    assert_eq!(Fields::new(&damaged).is_sound(), again == damaged);
});
