//! The part of the GraphQL language the demo needs: operations, fields, arguments, variables.

use serde_json::{Map, Value};

/// One selected field.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Field {
    /// The key in the answer: the alias, or else the name.
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) arguments: Map<String, Value>,
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Operation {
    pub(crate) mutation: bool,
    pub(crate) name: Option<String>,
    pub(crate) fields: Vec<Field>,
}

/// Deeper selections are refused rather than followed.
const DEEPEST: usize = 16;

#[derive(Debug, PartialEq)]
enum Token {
    Name(String),
    Variable(String),
    Literal(Value),
    Mark(char),
}

/// Reads a document; variables are replaced by their values, null when they have none.
pub(crate) fn parse(
    document: &str,
    variables: &Map<String, Value>,
) -> Result<Vec<Operation>, String> {
    let mut tokens = tokenize(document)?;
    tokens.reverse();
    let mut parser = Parser { tokens, variables };
    let mut operations = Vec::new();
    while !parser.tokens.is_empty() {
        operations.push(parser.operation()?);
    }
    Ok(operations)
}

fn tokenize(document: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = document.trim_start();
    while let Some(first) = rest.chars().next() {
        let used = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            ',' | '\u{feff}' => first.len_utf8(),
            '{' | '}' | '(' | ')' | '[' | ']' | ':' | '!' | '=' => {
                tokens.push(Token::Mark(first));
                1
            }
            '"' => {
                let (value, used) = string(rest)?;
                tokens.push(Token::Literal(value));
                used
            }
            '$' => {
                let name = word(rest.get(1..).unwrap_or_default());
                tokens.push(Token::Variable(name.to_owned()));
                name.len() + 1
            }
            '-' | '0'..='9' => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
                let number = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                let value = serde_json::from_str(number).map_err(|_| format!("bad {number}"))?;
                tokens.push(Token::Literal(value));
                number.len()
            }
            _ => {
                let name = word(rest);
                if name.is_empty() {
                    return Err(format!("Syntax Error: Unexpected character {first:?}."));
                }
                tokens.push(match name {
                    "true" => Token::Literal(Value::Bool(true)),
                    "false" => Token::Literal(Value::Bool(false)),
                    "null" => Token::Literal(Value::Null),
                    name => Token::Name(name.to_owned()),
                });
                name.len()
            }
        };
        rest = rest.get(used..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

/// A quoted string at the start of the text, and its length there.
fn string(text: &str) -> Result<(Value, usize), String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Ok((value, values.byte_offset())),
        _ => Err("Syntax Error: Unterminated string.".to_owned()),
    }
}

struct Parser<'a> {
    /// In reverse, the next one last.
    tokens: Vec<Token>,
    variables: &'a Map<String, Value>,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<Token, String> {
        self.tokens.pop().ok_or_else(|| "Syntax Error: Unexpected <EOF>.".to_owned())
    }

    fn take(&mut self, mark: char) -> bool {
        let found = self.tokens.last() == Some(&Token::Mark(mark));
        if found {
            self.tokens.pop();
        }
        found
    }

    fn expect(&mut self, mark: char) -> Result<(), String> {
        if self.take(mark) { Ok(()) } else { Err(format!("Syntax Error: Expected '{mark}'.")) }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.next()? {
            Token::Name(name) => Ok(name),
            other => Err(format!("Syntax Error: Expected a name, found {other:?}.")),
        }
    }

    fn operation(&mut self) -> Result<Operation, String> {
        let mut operation = Operation { mutation: false, name: None, fields: Vec::new() };
        if !matches!(self.tokens.last(), Some(Token::Mark('{'))) {
            operation.mutation = match self.name()?.as_str() {
                "query" => false,
                "mutation" => true,
                other => return Err(format!("Syntax Error: Unexpected Name {other:?}.")),
            };
            if matches!(self.tokens.last(), Some(Token::Name(_))) {
                operation.name = Some(self.name()?);
            }
            if self.take('(') {
                // The types of variables do not matter here.
                while !self.take(')') {
                    self.next()?;
                }
            }
        }
        operation.fields = self.selection(DEEPEST)?;
        Ok(operation)
    }

    fn selection(&mut self, depth: usize) -> Result<Vec<Field>, String> {
        let deeper = depth.checked_sub(1).ok_or("The query is nested too deeply.")?;
        self.expect('{')?;
        let mut fields = Vec::new();
        while !self.take('}') {
            let key = self.name()?;
            let name = if self.take(':') { self.name()? } else { key.clone() };
            let mut field = Field { key, name, ..Field::default() };
            if self.take('(') {
                while !self.take(')') {
                    let argument = self.name()?;
                    self.expect(':')?;
                    field.arguments.insert(argument, self.value(depth)?);
                }
            }
            if matches!(self.tokens.last(), Some(Token::Mark('{'))) {
                field.fields = self.selection(deeper)?;
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        let deeper = depth.checked_sub(1).ok_or("The query is nested too deeply.")?;
        match self.next()? {
            Token::Literal(value) => Ok(value),
            Token::Name(name) => Ok(name.into()),
            Token::Variable(name) => Ok(self.variables.get(&name).cloned().unwrap_or_default()),
            Token::Mark('[') => {
                let mut list = Vec::new();
                while !self.take(']') {
                    list.push(self.value(deeper)?);
                }
                Ok(list.into())
            }
            Token::Mark('{') => {
                let mut object = Map::new();
                while !self.take('}') {
                    let key = self.name()?;
                    self.expect(':')?;
                    object.insert(key, self.value(deeper)?);
                }
                Ok(object.into())
            }
            Token::Mark(mark) => Err(format!("Syntax Error: Unexpected '{mark}'.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn only(document: &str, variables: &Value) -> Option<Operation> {
        let variables = variables.as_object().cloned().unwrap_or_default();
        parse(document, &variables).ok()?.pop()
    }

    #[test]
    fn fields_arguments_and_variables() {
        let text = "query Q($g: Int!) { # one\n a: game(gid: $g, by: \"x\\\"y\") { name, id } }";
        let operation = only(text, &json!({"g": 7}));
        let field = operation.as_ref().and_then(|operation| operation.fields.first());
        assert_eq!(
            field.map(|field| (field.key.as_str(), field.name.as_str())),
            Some(("a", "game"))
        );
        let arguments = field.map(|field| Value::from(field.arguments.clone()));
        assert_eq!(arguments, Some(json!({"by": "x\"y", "gid": 7})));
        assert_eq!(field.map(|field| field.fields.len()), Some(2));
        assert_eq!(operation.and_then(|operation| operation.name).as_deref(), Some("Q"));
    }

    #[test]
    fn mutations_are_told_apart() {
        let mutation = |text| only(text, &json!({})).map(|operation| operation.mutation);
        assert_eq!(mutation("{ games { gid } }"), Some(false));
        assert_eq!(mutation("mutation { updateGame(gid: 1) { gid } }"), Some(true));
        assert_eq!(mutation("{ games { gid }"), None);
        assert_eq!(mutation("subscription { games }"), None);
        assert_eq!(mutation(&"{a".repeat(1000)), None);
    }
}
