//! What the fuzz targets share: inputs of several parts are text, so that seeds can be written by
//! hand.

pub mod host;
mod policy;

pub use policy::{CONFIG, policy};
use tiercel::http::fields::{Fields, FieldsBuf};

/// The parts of an input, apart by empty lines; those that are not there are empty. The last takes
/// the rest, without the line end that editors leave.
#[must_use]
pub fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut rest = input.strip_suffix(b"\n").unwrap_or(input);
    let mut parts = [&[][..]; N];
    for (part, place) in parts.iter_mut().zip(1..) {
        let end = rest.windows(2).position(|two| two == b"\n\n").filter(|_| place < N);
        (*part, rest) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 2..]));
    }
    parts
}

/// The lines of a part; an empty part has none.
pub fn lines(part: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    part.split(|byte| *byte == b'\n').filter(|_| !part.is_empty())
}

/// A block of fields, each a line `name: value`; a line without a colon is a name.
#[must_use]
pub fn block(part: &[u8]) -> Box<[u8]> {
    lines(part).map(field).collect::<FieldsBuf>().to_block()
}

/// A block of fields, one of this name for each line.
#[must_use]
pub fn block_of(name: &[u8], part: &[u8]) -> Box<[u8]> {
    lines(part).map(|value| (name, value)).collect::<FieldsBuf>().to_block()
}

/// The fields of a block.
#[must_use]
pub fn all(block: &[u8]) -> Vec<(&[u8], &[u8])> {
    Fields::new(block).iter().collect()
}

/// The fields of a request: a line `method target`, then its own.
#[must_use]
pub fn head(part: &[u8]) -> Box<[u8]> {
    let mut all = lines(part);
    let line = all.next().unwrap_or_default();
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (method, target) = (&line[..end], line.get(end + 1..).unwrap_or_default());
    let mut fields = FieldsBuf::default();
    fields.push(b":method", method);
    fields.push(b":path", target);
    let of_line = [&b":method"[..], b":path"];
    fields.extend(all.map(field).filter(|(name, _)| !of_line.contains(name)));
    fields.to_block()
}

fn field(line: &[u8]) -> (&[u8], &[u8]) {
    // Names of pseudo-fields begin with a colon.
    let colon = line.iter().skip(1).position(|byte| *byte == b':').map(|at| at + 1);
    let (name, value) = line.split_at(colon.unwrap_or(line.len()));
    let value = value.strip_prefix(b":").unwrap_or(value);
    (name, value.strip_prefix(b" ").unwrap_or(value))
}
