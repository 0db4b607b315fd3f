//! The syntax of patterns: that part of regular expressions which says what an id looks like.

use std::iter::Peekable;
use std::str::Chars;

/// Groups in groups, at most.
const DEEPEST: usize = 32;

/// Some of all bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Set {
    low: u128,
    high: u128,
}

impl Set {
    fn range(first: u8, last: u8) -> Self {
        (first..=last).fold(Self::default(), |set, byte| match byte.checked_sub(128) {
            None => Self { low: set.low | 1 << byte, ..set },
            Some(byte) => Self { high: set.high | 1 << byte, ..set },
        })
    }

    const fn or(self, other: Self) -> Self {
        Self { low: self.low | other.low, high: self.high | other.high }
    }

    const fn not(self) -> Self {
        Self { low: !self.low, high: !self.high }
    }

    pub(super) const fn has(self, byte: u8) -> bool {
        let half = if byte < 128 { self.low } else { self.high };
        half >> (byte % 128) & 1 == 1
    }
}

/// An expression.
#[derive(Debug)]
pub(super) enum Node {
    Byte(Set),
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    /// At least, and at most, so often.
    Repeat(Box<Node>, u32, Option<u32>),
}

impl Node {
    /// Whether there is no byte in it.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Byte(_) => false,
            Self::Sequence(nodes) | Self::Either(nodes) => nodes.iter().all(Self::is_empty),
            Self::Repeat(node, _, most) => *most == Some(0) || node.is_empty(),
        }
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    depth: usize,
}

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut parser = Parser { rest: text.chars().peekable(), depth: 0 };
    let node = parser.either()?;
    match parser.rest.next() {
        None => Ok(node),
        Some(_) => Err("has a `)` without its `(`".into()),
    }
}

impl Parser<'_> {
    /// One of several, up to the end of the group.
    fn either(&mut self) -> Result<Node, String> {
        let mut all = vec![self.sequence()?];
        while self.rest.next_if_eq(&'|').is_some() {
            all.push(self.sequence()?);
        }
        Ok(Node::Either(all))
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut all = Vec::new();
        while let Some(next) = self.rest.next_if(|next| !matches!(next, '|' | ')')) {
            let node = self.one(next)?;
            all.push(self.repeated(node)?);
        }
        Ok(Node::Sequence(all))
    }

    fn repeated(&mut self, node: Node) -> Result<Node, String> {
        let (least, most) = match self.rest.peek() {
            Some('?') => (0, Some(1)),
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('{') => {
                let has_end = self.rest.clone().any(|c| c == '}');
                let text: String = self.rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                let (least, most) =
                    count(&text).filter(|_| has_end).ok_or("has no count in its braces: {2,8}")?;
                return Ok(Node::Repeat(Box::new(node), least, most));
            }
            _ => return Ok(node),
        };
        self.rest.next();
        Ok(Node::Repeat(Box::new(node), least, most))
    }

    fn one(&mut self, first: char) -> Result<Node, String> {
        Ok(match first {
            '(' => {
                let rest = self.rest.clone();
                if !(self.rest.next() == Some('?') && self.rest.next() == Some(':')) {
                    self.rest = rest;
                }
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err("has too many groups in groups".into());
                }
                let node = self.either()?;
                self.depth -= 1;
                self.rest.next().ok_or("has a group without its end")?;
                node
            }
            '[' => Node::Byte(self.class()?),
            '.' => Node::Byte(Set::range(b'\n', b'\n').not()),
            '\\' => match self.escaped()? {
                Item::Byte(byte) => Node::Byte(Set::range(byte, byte)),
                Item::Set(set) => Node::Byte(set),
            },
            '?' | '*' | '+' | '{' => return Err(format!("has nothing to repeat before `{first}`")),
            '^' | '$' => {
                return Err(format!(
                    "has a `{first}`: it is compared with the whole of an id anyway"
                ));
            }
            other => {
                let mut bytes = [0; 4];
                let bytes = other.encode_utf8(&mut bytes).bytes();
                Node::Sequence(bytes.map(|byte| Node::Byte(Set::range(byte, byte))).collect())
            }
        })
    }

    /// What stands behind a backslash.
    fn escaped(&mut self) -> Result<Item, String> {
        match self.rest.next() {
            Some('d') => Ok(Item::Set(Set::range(b'0', b'9'))),
            Some('w') => {
                let ranges = [(b'0', b'9'), (b'a', b'z'), (b'A', b'Z'), (b'_', b'_')];
                let all = ranges.iter().map(|(first, last)| Set::range(*first, *last));
                Ok(Item::Set(all.fold(Set::default(), Set::or)))
            }
            // Elsewhere these are the bounds of words.
            Some(other) if other.is_ascii_punctuation() && !matches!(other, '<' | '>') => {
                single(other)
            }
            Some(other) => Err(format!("has a `\\{other}`, which is not known here")),
            None => Err("ends in a backslash".into()),
        }
    }

    fn class(&mut self) -> Result<Set, String> {
        let is_not = self.rest.next_if_eq(&'^').is_some();
        let (mut all, mut is_empty) = (Set::default(), true);
        loop {
            if self.rest.next_if_eq(&']').is_some() {
                return match is_empty {
                    true => Err("has an empty class".into()),
                    false if is_not => Ok(all.not()),
                    false => Ok(all),
                };
            }
            let set = match self.item()? {
                Item::Set(set) => set,
                Item::Byte(first) => self.range(first)?,
            };
            (all, is_empty) = (all.or(set), false);
        }
    }

    /// A part of a class, if it is no range.
    fn item(&mut self) -> Result<Item, String> {
        match self.rest.next().ok_or("has a class without its end")? {
            '\\' => self.escaped(),
            '[' => Err(r"has a class in a class: a bracket there is `\[`".into()),
            other => single(other),
        }
    }

    /// A byte of a class, or all from it to another one.
    fn range(&mut self, first: u8) -> Result<Set, String> {
        let mut rest = self.rest.clone();
        if rest.next() != Some('-') || rest.peek() == Some(&']') {
            return Ok(Set::range(first, first));
        }
        self.rest = rest;
        match self.item()? {
            Item::Byte(last) if first <= last => Ok(Set::range(first, last)),
            _ => Err("has a range that is upside down, or none of characters".into()),
        }
    }
}

/// A part of a class.
enum Item {
    Byte(u8),
    Set(Set),
}

fn single(character: char) -> Result<Item, String> {
    match u8::try_from(character) {
        Ok(byte @ 0..=127) => Ok(Item::Byte(byte)),
        _ => Err(format!("has {character:?} in a class: only ASCII may be there")),
    }
}

/// What stands in braces.
fn count(text: &str) -> Option<(u32, Option<u32>)> {
    let number = |text: &str| {
        let is_number = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| is_number)
    };
    let (least, most) = match text.split_once(',') {
        None => (number(text)?, Some(number(text)?)),
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    most.is_none_or(|most| least <= most).then_some((least, most))
}
