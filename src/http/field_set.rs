//! A set of field names, to be looked for in every request. `_` counts as `-`: CGI and its heirs
//! cannot tell one from the other.

use super::fields::Fields;

/// Names in lower case.
#[derive(Clone, Debug, Default)]
pub struct FieldSet {
    names: Vec<Box<[u8]>>,
    /// A bit for each length that a name has: most fields are told apart by theirs.
    lengths: u64,
}

impl FieldSet {
    /// A set of `names`, in lower case.
    #[must_use]
    pub fn new(names: Vec<Box<[u8]>>) -> Self {
        let lengths = names.iter().fold(0, |all, name| all | bit(name));
        Self { names, lengths }
    }

    /// Whether `name`, in lower case, is one of them.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        self.lengths & bit(name) != 0 && self.names.iter().any(|n| is_same(n, name))
    }

    /// Whether one of `fields` is in the set.
    #[must_use]
    pub fn any_of(&self, fields: Fields<'_>) -> bool {
        self.lengths != 0 && fields.iter().any(|(name, _)| self.contains(name))
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.names.iter().map(|name| &**name)
    }
}

/// Whether two names, in lower case, are the same.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let dashed = |byte: u8| if byte == b'_' { b'-' } else { byte };
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| dashed(*a) == dashed(*b))
}

fn bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

#[cfg(test)]
mod tests {
    use super::super::fields::block;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn only_its_own_names() {
        let long = [b'x'; 70];
        let set = FieldSet::new(vec![(*b"x-forwarded-host").into(), long.into()]);
        for (name, within) in [
            ("x-forwarded-host", true),
            ("x_forwarded_host", true),
            ("x-forwarded-hosT", false),
            ("accept", false),
        ] {
            let bytes = block(&[("a", "1"), (name, "v")]);
            assert_eq!(set.any_of(Fields::new(&bytes)), within, "{name}");
        }
        assert!(set.contains(&long) && !set.contains(&[b'y'; 70]) && !set.contains(b""));
        assert!(!FieldSet::default().contains(b""));
    }
}
