//! JSON pointers (RFC 6901), with `*` for every element of an array.

use serde_json::Value;

/// Where values lie in a JSON document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer(Vec<Box<str>>);

impl Pointer {
    /// Reads `/ids/*`; none if it is no pointer.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let steps = text.strip_prefix('/')?.split('/');
        Some(Self(steps.map(|step| step.replace("~1", "/").replace("~0", "~").into()).collect()))
    }

    /// Calls `give` with each value there is, until it says to stop. Whether it did not, and every element
    /// that a `*` stands for has a value.
    pub fn visit<'a>(&self, document: &'a Value, give: &mut impl FnMut(&'a Value) -> bool) -> bool {
        visit(&self.0, document, false, give)
    }

    /// Whether the value is there or, if there is a `*`, the array of the first.
    #[must_use]
    pub fn leads(&self, document: &Value) -> bool {
        let mut node = document;
        for step in &self.0 {
            if **step == *"*" && node.is_array() {
                return true;
            }
            let Some(next) = child(node, step) else { return false };
            node = next;
        }
        true
    }
}

/// What lies in `node` under a step that is no `*`.
fn child<'a>(node: &'a Value, step: &str) -> Option<&'a Value> {
    match node {
        Value::Array(items) => step.parse().ok().and_then(|index: usize| items.get(index)),
        Value::Object(members) => members.get(step),
        _ => None,
    }
}

fn visit<'a>(
    steps: &[Box<str>],
    node: &'a Value,
    of_many: bool,
    give: &mut impl FnMut(&'a Value) -> bool,
) -> bool {
    let Some((step, rest)) = steps.split_first() else { return give(node) };
    if let (Value::Array(items), "*") = (node, &**step) {
        return items.iter().all(|item| visit(rest, item, true, give));
    }
    // One that is missing is not known; of several, none is.
    child(node, step).map_or(!of_many, |next| visit(rest, next, of_many, give))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn found(pointer: &str, document: &Value) -> Vec<String> {
        let mut all = Vec::new();
        Pointer::parse(pointer).unwrap().visit(document, &mut |value| {
            all.push(value.to_string());
            all.len() < 3
        });
        all
    }

    #[test]
    fn values_are_found() {
        let document =
            json!({"a/b": {"~": 1}, "ids": [7, 8, 9, 10], "rows": [{"id": 1}, {}, {"id": 2}]});
        for (pointer, values) in [
            ("/a~1b/~0", &["1"][..]),
            ("/ids/1", &["8"]),
            ("/ids/*", &["7", "8", "9"]),
            ("/rows/*/id", &["1"]),
            ("/ids/x", &[]),
            ("/ids/9", &[]),
            ("/a~1b/x/y", &[]),
            ("/nothing/*", &[]),
        ] {
            assert_eq!(found(pointer, &document), values, "{pointer}");
        }
        assert_eq!(Pointer::parse("ids"), None);
    }

    #[test]
    fn an_array_is_there_though_it_is_empty() {
        let document = json!({"a": {"rows": []}, "n": null, "o": {"x": 1}});
        for (pointer, leads) in [
            ("/a/rows/*", true),
            ("/a/rows/*/id", true),
            ("/n", true),
            ("/n/*", false),
            ("/o/*", false),
            ("/a/none/*", false),
        ] {
            assert_eq!(Pointer::parse(pointer).unwrap().leads(&document), leads, "{pointer}");
        }
    }
}
