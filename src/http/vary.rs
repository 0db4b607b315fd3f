//! `Vary`: by which fields of the request the responses for a resource are told apart (RFC 9111, 4.1;
//! RFC 9110, 12.5.5).

use super::fields::Fields;
use super::normalise::{Normal, Normalisers};

/// Names that count at most; a response that varies by more is not stored.
pub const MAX_NAMES: usize = 8;
/// The longest of them, in bytes.
const MAX_NAME: usize = 64;
/// Bytes of the values together, at most: a record keeps them for every variant.
const MAX_VALUES: usize = 512;
/// Fields that prove who somebody is: what they hold must not be part of a key.
const CREDENTIALS: [&[u8]; 3] = [b"authorization", b"cookie", b"proxy-authorization"];

/// Names of request fields in lower case, sorted, each once; at most [`MAX_NAMES`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    sorted: Vec<Box<[u8]>>,
}

/// What a response varies by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Varies {
    /// Nothing.
    No,
    /// What no cache can know: `*`, or more than is kept apart.
    Any,
    /// These fields.
    On(Names),
}

/// Why a request's values cannot be part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaryRefusal {
    /// One of them is a credential.
    Credential,
    /// They are too long.
    TooLong,
}

impl Names {
    /// Takes names in lower case; none if they are too many or too long.
    #[must_use]
    pub fn new(mut names: Vec<Box<[u8]>>) -> Option<Self> {
        names.sort();
        names.dedup();
        let bounded = names.len() <= MAX_NAMES && names.iter().all(|name| name.len() <= MAX_NAME);
        bounded.then_some(Self { sorted: names })
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The names of both; none if they are too many.
    #[must_use]
    pub fn union(&self, other: &Self) -> Option<Self> {
        Self::new(self.sorted.iter().chain(&other.sorted).cloned().collect())
    }

    /// Whether `other` has all of them.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.sorted.iter().all(|name| other.sorted.binary_search(name).is_ok())
    }

    /// The names as one text.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.sorted.join(&b","[..])
    }

    /// Reads what [`Self::to_bytes`] wrote; none if it did not write this.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_NAMES * (MAX_NAME + 1) {
            return None;
        }
        let names = bytes.split(|b| *b == b',').filter(|name| !name.is_empty()).map(Into::into);
        Self::new(names.collect()).filter(|names| names.to_bytes() == bytes)
    }
}

/// Whether a field, its name in lower case, proves who somebody is.
#[must_use]
pub fn is_credential(name: &[u8]) -> bool {
    CREDENTIALS.contains(&name)
}

/// What a response varies by; `ignored` says which fields, named in lower case, do not count.
#[must_use]
pub fn read(response: Fields<'_>, ignored: impl Fn(&[u8]) -> bool) -> Varies {
    let mut names: Vec<Box<[u8]>> = Vec::new();
    for name in response.all(b"vary").flat_map(|line| line.split(|b| *b == b',')) {
        let name = name.trim_ascii().to_ascii_lowercase();
        // What is no name cannot be looked for.
        if name == b"*" || !name.iter().all(|byte| is_tchar(*byte)) {
            return Varies::Any;
        }
        let counts = !name.is_empty() && !ignored(&name);
        // One too many is as bad as more.
        if counts && names.len() <= MAX_NAMES && !names.iter().any(|known| **known == *name) {
            names.push(name.into());
        }
    }
    match Names::new(names) {
        None => Varies::Any,
        Some(names) if names.is_empty() => Varies::No,
        Some(names) => Varies::On(names),
    }
}

/// Appends the values that a request has for `names`, each with its length in front, so that no two
/// lists of values are the same bytes; a field that is not there differs from an empty one.
///
/// # Errors
/// Why they cannot be part of a key.
pub fn write_values(
    out: &mut Vec<u8>,
    names: &Names,
    request: Fields<'_>,
    normalisers: &Normalisers,
) -> Result<(), VaryRefusal> {
    let start = out.len();
    for name in &names.sorted {
        let value = match normalisers.apply(name, request) {
            Normal::Value(_) if is_credential(name) => return Err(VaryRefusal::Credential),
            Normal::Value(value) => Some(value),
            Normal::Absent | Normal::Ignored => None,
        };
        let value = value.as_deref();
        let length = value.map_or(0, |value| value.len() + 1);
        out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(value.unwrap_or_default());
        if out.len() - start > MAX_VALUES {
            return Err(VaryRefusal::TooLong);
        }
    }
    Ok(())
}

/// RFC 9110, 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::super::fields::block;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn names(text: &str) -> Names {
        Names::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn rfc9110_12_5_5_lines_lists_and_the_asterisk() {
        let many: Vec<String> = (0..=MAX_NAMES).map(|n| format!("x-{n}")).collect();
        for (lines, expected) in [
            (&[][..], Varies::No),
            (&[" , "], Varies::No),
            (&["Accept-Language,, ACCEPT", "accept"], Varies::On(names("accept,accept-language"))),
            (&["Accept, *"], Varies::Any),
            (&["Accept;q=1"], Varies::Any),
            (&["Cookie"], Varies::No),
            (&["Cookie, Origin"], Varies::On(names("origin"))),
            (&[&many.join(",")], Varies::Any),
            (&[&"x".repeat(MAX_NAME + 1)], Varies::Any),
            (&[&"a,".repeat(10_000), "b"], Varies::On(names("a,b"))),
        ] {
            let fields: Vec<_> = lines.iter().map(|line: &&str| ("vary", *line)).collect();
            let bytes = block(&fields);
            let found = read(Fields::new(&bytes), |name| name == b"cookie");
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[test]
    fn names_are_a_set_and_come_back() {
        let (a, ab) = (names("a"), names("a,b"));
        assert!(a.is_subset_of(&ab) && !ab.is_subset_of(&a) && Names::default().is_subset_of(&a));
        assert_eq!(a.union(&names("b")), Some(ab.clone()));
        assert_eq!(Names::from_bytes(&ab.to_bytes()), Some(ab));
        assert_eq!(Names::from_bytes(b""), Some(Names::default()));
        for bad in [&b"b,a"[..], b"a,a", b"a,,b", b"1,2,3,4,5,6,7,8,9", &[b'a'; 65]] {
            assert_eq!(Names::from_bytes(bad), None, "{bad:?}");
        }
        let many = names("1,2,3,4,5,6,7,8");
        assert_eq!(many.union(&a), None);
    }

    fn values(of: &str, fields: &[(&str, &str)]) -> Result<Vec<u8>, VaryRefusal> {
        let (bytes, mut out) = (block(fields), Vec::new());
        write_values(&mut out, &names(of), Fields::new(&bytes), &Normalisers::default())?;
        Ok(out)
    }

    #[test]
    fn rfc9111_4_1_equal_values_and_only_those_are_equal() {
        let same = [
            (&[("accept", "a/b, c/d")][..], &[("accept", "A/b,c/d")][..]),
            (&[("accept", "a/b"), ("accept", "c/d")], &[("accept", "a/b , c/d")]),
            (&[("x", "1"), ("other", "2")], &[("x", "1")]),
        ];
        for (one, other) in same {
            assert_eq!(values("accept,x", one), values("accept,x", other), "{one:?}");
        }
        let differ = [
            (&[("accept", "")][..], &[][..]),
            (&[("accept", "a")], &[("x", "a")]),
            (&[("x", "a")], &[("x", "A")]),
            (&[("accept", "a"), ("x", "b")], &[("accept", "ab"), ("x", "")]),
        ];
        for (one, other) in differ {
            assert_ne!(values("accept,x", one), values("accept,x", other), "{one:?}");
        }
    }

    #[test]
    fn no_key_holds_credentials_or_too_much() {
        for name in ["authorization", "cookie", "proxy-authorization"] {
            assert_eq!(values(name, &[(name, "secret")]), Err(VaryRefusal::Credential));
            assert!(values(name, &[]).is_ok());
        }
        let long = "x".repeat(MAX_VALUES);
        assert_eq!(values("x", &[("x", &long)]), Err(VaryRefusal::TooLong));
    }
}
