//! What a well-formed id looks like: a regular expression, as an automaton that looks at each byte once.
//!
//! Every request that is refused is asked whether its id is well-formed. The regular expressions of a crate small
//! enough for the module take 280 ns for eight digits, ours 20, more than all else that a refusal costs beyond a hit.

mod parse;

use hashbrown::HashMap;

use self::parse::{Node, Set};

/// Steps of the expression, with all repetitions written out, at most.
const MOST_STEPS: usize = 1_000;
/// States of the automaton times kinds of bytes, at most.
const MOST_CELLS: usize = 1 << 14;
/// Places of all its states, at most.
const MOST_PLACES: usize = 1 << 17;
/// The state from which nothing is an id.
const DEAD: u16 = 0;

/// A regular expression for the whole of an id.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Of each byte its kind: those of a kind are alike everywhere.
    kinds: Vec<u8>,
    columns: usize,
    /// The next state, by state and kind; the first is [`DEAD`], the second is where it begins.
    next: Vec<u16>,
    /// Whether it may end in a state.
    ends: Vec<bool>,
}

/// A step of the expression.
enum Step {
    Byte(Set, usize),
    Either(usize, usize),
    End,
}

impl Pattern {
    /// Reads an expression: characters, `.`, classes (`[0-9a-f]`, `[^/]`, `\d`, `\w`), groups, `|`, and `?`, `*`, `+`,
    /// `{2}`, `{2,}`, `{2,8}` behind any of them. It stands for the whole of an id. All is counted in bytes.
    ///
    /// # Errors
    /// What is wrong, for behind "it".
    pub fn parse(text: &str) -> Result<Self, String> {
        let node = parse::parse(text)?;
        let mut steps = vec![Step::End];
        let start = write(&mut steps, &node, 0)?;
        Self::new(&steps, start)
    }

    /// Makes the automaton: its states are sets of places in the expression.
    fn new(steps: &[Step], start: usize) -> Result<Self, String> {
        let (kinds, samples) = kinds(steps);
        let mut known = HashMap::new();
        let mut states = vec![Vec::new(), closure(steps, vec![start])];
        states.iter().zip(0_u16..).for_each(|(state, number)| {
            known.insert(state.clone(), number);
        });
        let (mut next, mut ends, mut done, mut places) = (Vec::new(), Vec::new(), 0, 0);
        while let Some(state) = states.get(done).cloned() {
            done += 1;
            places += state.len();
            ends.push(state.contains(&0));
            for byte in &samples {
                let after = state.iter().filter_map(|place| match steps.get(*place) {
                    Some(Step::Byte(set, next)) if set.has(*byte) => Some(*next),
                    _ => None,
                });
                let after = closure(steps, after.collect());
                let fresh = u16::try_from(states.len()).unwrap_or(u16::MAX);
                let number = *known.entry(after.clone()).or_insert(fresh);
                if number == fresh {
                    states.push(after);
                }
                next.push(number);
            }
            if next.len() > MOST_CELLS || places > MOST_PLACES {
                return Err("is too complicated".into());
            }
        }
        Ok(Self { kinds, columns: samples.len(), next, ends })
    }

    /// Whether this is a well-formed id.
    #[must_use]
    pub fn is_match(&self, id: &[u8]) -> bool {
        let mut state = 1;
        for byte in id {
            let kind = self.kinds.get(usize::from(*byte)).copied().unwrap_or_default();
            let cell = usize::from(state) * self.columns + usize::from(kind);
            state = self.next.get(cell).copied().unwrap_or(DEAD);
            if state == DEAD {
                return false;
            }
        }
        self.ends.get(usize::from(state)).copied().unwrap_or_default()
    }
}

/// Writes what leads to the step `next`, from the end to the beginning; where it begins.
fn write(steps: &mut Vec<Step>, node: &Node, next: usize) -> Result<usize, String> {
    if steps.len() > MOST_STEPS {
        return Err("is too long, with its repetitions".into());
    }
    let mut add = |step| {
        steps.push(step);
        steps.len() - 1
    };
    match node {
        Node::Byte(set) => Ok(add(Step::Byte(*set, next))),
        Node::Sequence(nodes) => {
            nodes.iter().rev().try_fold(next, |next, node| write(steps, node, next))
        }
        Node::Either(nodes) => {
            let (last, others) = nodes.split_last().ok_or("is empty")?;
            let last = write(steps, last, next)?;
            others.iter().rev().try_fold(last, |other, node| {
                let this = write(steps, node, next)?;
                steps.push(Step::Either(this, other));
                Ok(steps.len() - 1)
            })
        }
        Node::Repeat(node, ..) if node.is_empty() => Ok(next),
        Node::Repeat(node, least, Some(most)) => {
            let start = (*least..*most).try_fold(next, |start, _| {
                let once = write(steps, node, start)?;
                steps.push(Step::Either(once, next));
                Ok::<_, String>(steps.len() - 1)
            })?;
            (0..*least).try_fold(start, |next, _| write(steps, node, next))
        }
        Node::Repeat(node, least, None) => {
            let again = add(Step::Either(next, next));
            let once = write(steps, node, again)?;
            if let Some(step) = steps.get_mut(again) {
                *step = Step::Either(once, next);
            }
            (0..*least).try_fold(again, |next, _| write(steps, node, next))
        }
    }
}

/// All steps that are reached without another byte; just those that are of interest, in order.
fn closure(steps: &[Step], mut open: Vec<usize>) -> Vec<usize> {
    let (mut seen, mut found) = (vec![false; steps.len()], Vec::new());
    while let Some(place) = open.pop() {
        if seen.get_mut(place).is_none_or(|seen| std::mem::replace(seen, true)) {
            continue;
        }
        match steps.get(place) {
            Some(Step::Either(one, other)) => open.extend([*one, *other]),
            _ => found.push(place),
        }
    }
    found.sort_unstable();
    found
}

/// The kind of each byte, and one byte of each kind.
fn kinds(steps: &[Step]) -> (Vec<u8>, Vec<u8>) {
    let mut samples = Vec::new();
    let mut known = HashMap::new();
    let kinds = (0..=u8::MAX).map(|byte| {
        let sets = steps.iter().filter_map(|step| match step {
            Step::Byte(set, _) => Some(set.has(byte)),
            Step::Either(..) | Step::End => None,
        });
        let sets: Vec<bool> = sets.collect();
        *known.entry(sets).or_insert_with(|| {
            samples.push(byte);
            u8::try_from(samples.len() - 1).unwrap_or(u8::MAX)
        })
    });
    (kinds.collect(), samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_whole_of_an_id_is_compared() {
        let uuid = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
        for (pattern, good, bad) in [
            ("[0-9]+", &["0", "12345678901234567890"][..], &["", "a", "1a", "a1", "-1", "1 "][..]),
            ("0*[1-9][0-9]{0,3}", &["1", "0012", "9999", "09999"], &["0", "00", "10000", ""]),
            (uuid, &["0123abcd-0123-4567-89ab-0123456789ab"], &["0123abcd-0123-4567-89ab"]),
            ("[a-z]{2,}", &["ab", "abcdefgh"], &["a", "aB", "a1"]),
            ("a|bc|", &["a", "bc", ""], &["b", "abc"]),
            ("(?:ab|c)*d?", &["", "ab", "cabd", "d"], &["a", "dd"]),
            (r"\d{2}\.\w", &["12._", "00.Z"], &["12a_", "1..a"]),
            (r"[\w.-]+@[^@/]", &["a.b-c@d", "_@\u{ff}"], &["a@@", "a/b"][..]),
            ("x{3}", &["xxx"], &["xx", "xxxx"]),
            ("(a*)*b", &["b", "aab"], &["a", "ba"]),
            ("\u{e9}+.", &["\u{e9}\u{e9}x"], &["\u{e9}", "x"]),
            (r"[\]\-a]", &["]", "-", "a"], &["\\", "b"]),
            (r"[\$-f][+-\.][a-]", &["$,a", "f.-"], &["g,a", "$/a", "$,b"]),
        ] {
            let (pattern, text) = (Pattern::parse(pattern).unwrap(), pattern);
            for id in good {
                assert_eq!(pattern.is_match(id.as_bytes()), !id.contains('\u{ff}'), "{text} {id}");
            }
            assert!(!bad.iter().any(|id| pattern.is_match(id.as_bytes())), "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for (text, wrong) in [
            ("[0-9", "a class without its end"),
            ("[]", "an empty class"),
            ("[z-a]", "a range that is upside down"),
            (r"[a-\d]", "none of characters"),
            ("[a", "a class without its end"),
            ("[a-", "a class without its end"),
            (r"[a\", "ends in"),
            ("[\u{e9}]", "only ASCII"),
            ("(a", "a group without its end"),
            ("a)", "`)` without"),
            ("*a", "nothing to repeat"),
            ("a|+", "nothing to repeat"),
            ("a**", "nothing to repeat"),
            ("a{2,1}", "no count"),
            ("a{x}", "no count"),
            ("a{", "no count"),
            ("a{1,2", "no count"),
            ("^a", "`^`"),
            ("a$", "`$`"),
            (r"a\b", "`\\b`"),
            (r"[0-9]+\>", "`\\>`"),
            ("\\", "ends in"),
            ("a{1001}", "too long"),
            ("(a?){4294967295}", "too long"),
            ("[ab]*a[ab]{10}(a?b?){240}", "too complicated"),
            ("((a{100}){100}){100}", "too long"),
            ("[ab]*a[ab]{14}", "too complicated"),
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert!(error.contains(wrong), "{text}: {error}");
        }
        assert!(Pattern::parse(&"(".repeat(100_000)).is_err());
        assert!(Pattern::parse(&"a{9}".repeat(100)).is_ok());
        // However often nothing is repeated.
        let nothing = Pattern::parse("((|(b{0}){4294967295}){4294967295}a)+").unwrap();
        assert!(nothing.is_match(b"aa") && !nothing.is_match(b""));
    }
}
