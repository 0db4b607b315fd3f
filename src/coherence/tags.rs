//! Tags: what a stored response depends on.

use xxhash_rust::xxh3::xxh3_64;

use crate::secrets::Secrets;

/// The bit that tells the prefix of a path from everything else.
const PREFIX: u32 = 1 << 31;
/// Prefixes of longer paths are not told apart: what is purged by one goes further.
const MAX_PREFIXES: usize = 8;

/// What may become stale, as 32 bits of its name's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u32);

impl Tag {
    /// Whether it is a prefix's.
    #[must_use]
    pub const fn is_prefix(self) -> bool {
        self.0 & PREFIX != 0
    }

    /// Its bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The tag with these bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// What names are hashed with. Without a key, whoever knows the names can tell which tags fall into the same slot.
#[derive(Clone, Debug, Default)]
pub struct TagKey(Secrets);

impl TagKey {
    /// The key made of a text; none makes the hash one that everybody knows.
    #[must_use]
    pub fn new(text: Option<&str>) -> Self {
        Self(Secrets::new(text))
    }

    /// Tells it from other keys, in names, and does not give it away; empty if there is none.
    #[must_use]
    pub fn mark(&self) -> String {
        // Other bytes than a tag has, should one have this name.
        let bytes = self.0.sign(b"tiercel: mark of the key of tags");
        let mark = bytes.and_then(|bytes| bytes.last_chunk().copied()).map(u64::from_be_bytes);
        mark.map_or(String::new(), |mark| format!(":{mark:016x}"))
    }

    /// The tag of a resource by its key, or one that has a name.
    #[must_use]
    pub fn named(&self, name: &[u8]) -> Tag {
        Tag(self.hash(name) & !PREFIX)
    }

    /// The tag of everything whose key begins with `prefix`, which ends in a slash.
    #[must_use]
    pub fn prefix(&self, prefix: &[u8]) -> Tag {
        Tag(self.hash(prefix) | PREFIX)
    }

    /// The tags that a field's value names, separated by blanks or commas.
    pub fn list(&self, value: &[u8]) -> impl Iterator<Item = Tag> {
        let names = value.split(|b| matches!(b, b' ' | b',' | b'\t'));
        names.filter(|name| !name.is_empty()).map(|name| self.named(name))
    }

    /// The tag for the prefix that a purge names: the longest there is a tag for.
    #[must_use]
    pub fn of_prefix(&self, prefix: &[u8]) -> Tag {
        let last = prefixes(prefix).last();
        self.prefix(last.unwrap_or_default())
    }

    /// The tags that every resource has: its own and its prefixes'.
    #[must_use]
    pub fn of_resource(&self, key: &[u8]) -> Tags {
        let prefixes = prefixes(key).map(|prefix| self.prefix(prefix));
        std::iter::once(self.named(key)).chain(prefixes).collect()
    }

    #[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
    fn hash(&self, name: &[u8]) -> u32 {
        let keyed = self.0.sign(name);
        let keyed = keyed.and_then(|bytes| bytes.first_chunk().copied()).map(u32::from_le_bytes);
        keyed.unwrap_or_else(|| xxh3_64(name) as u32)
    }
}

/// Tags, each once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<Tag>);

impl Tags {
    /// Adds one, if it is not among them.
    pub fn add(&mut self, tag: Tag) {
        self.extend([tag]);
    }

    /// These and others.
    #[must_use]
    pub fn with(&self, others: &[Tag]) -> Self {
        self.0.iter().chain(others).copied().collect()
    }

    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[Tag] {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Extend<Tag> for Tags {
    fn extend<I: IntoIterator<Item = Tag>>(&mut self, tags: I) {
        self.0.extend(tags);
        self.0.sort_unstable();
        self.0.dedup();
    }
}

impl FromIterator<Tag> for Tags {
    fn from_iter<I: IntoIterator<Item = Tag>>(tags: I) -> Self {
        let mut all = Self::default();
        all.extend(tags);
        all
    }
}

/// What a key begins with, up to each slash of its path.
fn prefixes(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let path = key.windows(2).position(|two| two == b"//").map_or(0, |at| at + 2);
    let end = key.iter().position(|b| *b == b'?').unwrap_or(key.len());
    let slashes = (path..end).filter(|at| key.get(*at) == Some(&b'/'));
    slashes.take(MAX_PREFIXES).filter_map(|at| key.get(..=at))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_resource_has_its_own_tag_and_its_prefixes() {
        let key = TagKey::default();
        let tags = key.of_resource(b"http://a/api/games/7?x=/y");
        let expected = [
            key.named(b"http://a/api/games/7?x=/y"),
            key.prefix(b"http://a/"),
            key.prefix(b"http://a/api/"),
            key.prefix(b"http://a/api/games/"),
        ];
        assert_eq!(tags, expected.into_iter().collect());
        assert!(expected[1].is_prefix() && !expected[0].is_prefix());
        assert_eq!(key.of_resource(b"///x").as_slice().len(), 2);
    }

    #[test]
    fn a_deep_prefix_is_purged_by_the_last_that_is_told_apart() {
        let key = TagKey::default();
        let deep = b"http://a/1/2/3/4/5/6/7/8/9/10/";
        let tags = key.of_resource(&[&deep[..], b"x"].concat());
        assert_eq!(tags.as_slice().len(), 1 + MAX_PREFIXES);
        assert!(tags.as_slice().contains(&key.of_prefix(deep)));
        assert_eq!(key.of_prefix(b"http://a/api/"), key.prefix(b"http://a/api/"));
    }

    #[test]
    fn each_tag_is_there_once() {
        let key = TagKey::default();
        let names = [&b"a"[..], b"b", b"a"];
        let tags: Tags = names.into_iter().map(|name| key.named(name)).collect();
        assert!(tags.as_slice().len() == 2 && tags.as_slice().is_sorted());
    }

    #[test]
    fn each_key_makes_other_tags_of_the_same_names() {
        let keys = [None, Some("a key of tags"), Some("another key")].map(TagKey::new);
        let names: Vec<_> = (0..1_000).map(|n: u32| n.to_le_bytes()).collect();
        let tags =
            keys.each_ref().map(|key| names.iter().map(|n| key.named(n)).collect::<Vec<_>>());
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            let slot = |tag: &Tag| tag.bits() % 4_096;
            let same = tags[one].iter().zip(&tags[other]).filter(|(a, b)| slot(a) == slot(b));
            assert!(same.count() < 10, "no more than chance makes");
            assert_ne!(keys[one].mark(), keys[other].mark());
        }
        assert_eq!(tags[1], names.iter().map(|n| keys[1].clone().named(n)).collect::<Vec<_>>());
        assert_eq!((keys[0].mark(), keys[1].mark().len()), (String::new(), 17));
        assert!(keys[1].prefix(b"/").is_prefix() && !keys[1].named(b"/").is_prefix());
    }
}
