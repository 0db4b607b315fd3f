//! Header fields in the form in which the host gives and takes them.
//!
//! proxy-wasm passes a list of fields as one block: a count, the length of every name and value
//! (all u32, little endian), then each name and value with a NUL behind it. Entries keep that
//! block, so that a hit copies it instead of building it.

/// A borrowed block of fields. Reading a damaged block yields fewer fields, never a panic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    block: &'a [u8],
}

/// The owned form, built field by field.
#[derive(Clone, Debug, Default)]
pub struct FieldsBuf {
    sizes: Vec<u8>,
    data: Vec<u8>,
    count: u32,
}

/// Iterates over (name, value); names are lower case, as Envoy keeps them.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    sizes: &'a [u8],
    data: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Wraps a block as it came from the host.
    #[must_use]
    pub const fn new(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// The block's bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.block
    }

    /// The number of fields the block says it has.
    #[must_use]
    pub fn count(self) -> usize {
        self.block.first_chunk().map_or(0, |count| u32::from_le_bytes(*count) as usize)
    }

    /// The lengths and the data, apart.
    #[must_use]
    pub fn split(self) -> (&'a [u8], &'a [u8]) {
        let rest = self.block.get(4..).unwrap_or_default();
        let sizes = self.count().saturating_mul(8);
        rest.split_at_checked(sizes).unwrap_or_default()
    }

    /// Iterates over the fields.
    #[must_use]
    pub fn iter(self) -> Iter<'a> {
        let (sizes, data) = self.split();
        Iter { sizes, data }
    }

    /// Appends the block to `out`, with `more` fields behind its own. The block must be sound.
    pub fn write_with<'b>(
        self,
        more: impl Iterator<Item = (&'b [u8], &'b [u8])> + Clone,
        out: &mut Vec<u8>,
    ) {
        let (sizes, data) = self.split();
        let start = out.len();
        let mut count = u32::try_from(self.count()).unwrap_or(0);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(sizes);
        for (name, value) in more.clone() {
            count += 1;
            out.extend_from_slice(&length(name).to_le_bytes());
            out.extend_from_slice(&length(value).to_le_bytes());
        }
        out.extend_from_slice(data);
        for text in more.flat_map(|(name, value)| [name, value]) {
            out.extend_from_slice(text);
            out.push(0);
        }
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&count.to_le_bytes());
        }
    }

    /// The first value of a field; `name` in lower case.
    #[must_use]
    pub fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter().find_map(|(n, value)| (n == name).then_some(value))
    }

    /// Every value of a field, in order; `name` in lower case.
    pub fn all(self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter_map(move |(n, value)| (n == name).then_some(value))
    }

    /// Whether the block is sound from its first byte to its last.
    #[must_use]
    pub fn is_sound(self) -> bool {
        let count = self.count() as u64;
        let read = self.iter().fold((0, 4 + count * 8), |(count, bytes), (name, value)| {
            (count + 1, bytes + name.len() as u64 + value.len() as u64 + 2)
        });
        read == (count, self.block.len() as u64)
    }

    /// Whether each can be sent: none ends before its end, or is a pseudo-field.
    #[must_use]
    pub fn are_sendable(self) -> bool {
        let is_name = |name: &[u8]| {
            !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic() && *b != b':')
        };
        let is_value = |value: &[u8]| !value.iter().any(|b| matches!(b, b'\0' | b'\r' | b'\n'));
        self.iter().all(|(name, value)| is_name(name) && is_value(value))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name_len, rest) = self.sizes.split_first_chunk::<4>()?;
        let (value_len, rest) = rest.split_first_chunk::<4>()?;
        self.sizes = rest;
        let (name, data) = take(self.data, u32::from_le_bytes(*name_len))?;
        let (value, data) = take(data, u32::from_le_bytes(*value_len))?;
        self.data = data;
        Some((name, value))
    }
}

/// The length of a name or a value; no field has 4 GiB.
fn length(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

/// Takes `len` bytes and the NUL behind them.
fn take(data: &[u8], len: u32) -> Option<(&[u8], &[u8])> {
    let (text, rest) = data.split_at_checked(len as usize)?;
    Some((text, rest.strip_prefix(b"\0")?))
}

impl FieldsBuf {
    /// Adds a field.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.count += 1;
        self.sizes.extend_from_slice(&length(name).to_le_bytes());
        self.sizes.extend_from_slice(&length(value).to_le_bytes());
        for text in [name, value] {
            self.data.extend_from_slice(text);
            self.data.push(0);
        }
    }

    /// Forgets the fields, keeps the memory.
    pub fn clear(&mut self) {
        self.sizes.clear();
        self.data.clear();
        self.count = 0;
    }

    /// The length of the block.
    #[must_use]
    pub const fn len(&self) -> usize {
        4 + self.sizes.len() + self.data.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends the block to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.len());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.sizes);
        out.extend_from_slice(&self.data);
    }

    /// The block as bytes of its own.
    #[must_use]
    pub fn to_block(&self) -> Box<[u8]> {
        let mut block = Vec::with_capacity(self.len());
        self.write(&mut block);
        block.into_boxed_slice()
    }
}

impl<'a> Extend<(&'a [u8], &'a [u8])> for FieldsBuf {
    fn extend<I: IntoIterator<Item = (&'a [u8], &'a [u8])>>(&mut self, fields: I) {
        fields.into_iter().for_each(|(name, value)| self.push(name, value));
    }
}

impl<'a> FromIterator<(&'a [u8], &'a [u8])> for FieldsBuf {
    fn from_iter<I: IntoIterator<Item = (&'a [u8], &'a [u8])>>(fields: I) -> Self {
        let mut buf = Self::default();
        buf.extend(fields);
        buf
    }
}

#[cfg(test)]
pub(crate) fn block(fields: &[(&str, &str)]) -> Box<[u8]> {
    fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect::<FieldsBuf>().to_block()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_is_pushed_is_read() {
        let bytes = block(&[(":path", "/x"), ("vary", "a"), ("vary", ""), ("x", "\u{e9}")]);
        let fields = Fields::new(&bytes);
        assert!(fields.is_sound());
        assert_eq!(fields.get(b":path"), Some(&b"/x"[..]));
        assert_eq!(fields.all(b"vary").collect::<Vec<_>>(), [&b"a"[..], b""]);
        assert_eq!(fields.get(b"nope"), None);
        let mut twice = b"before".to_vec();
        fields.write_with(fields.iter(), &mut twice);
        let twice = Fields::new(&twice[6..]);
        assert!(twice.is_sound());
        assert_eq!(
            twice.iter().collect::<Vec<_>>(),
            fields.iter().chain(fields.iter()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn damaged_blocks_never_panic_and_are_noticed() {
        let good = block(&[("a", "1"), ("bb", "22")]);
        for cut in 0..good.len() {
            let part = Fields::new(&good[..cut]);
            assert!(!part.is_sound(), "cut at {cut}");
            part.iter().for_each(drop);
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            Fields::new(&bad).iter().for_each(drop);
        }
        assert!(!Fields::new(&[0xff; 64]).is_sound());
    }
}
