//! GraphQL, which only the newer revision has.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use crate::call::{Call, loose_int};
use crate::envelope::{Answer, Reply};
use crate::events;
use crate::games;
use crate::graphql_parser::{Field, Operation, parse};
use crate::parameters::raw_row;
use crate::router::Route;
use crate::tables::{Db, Event, Game, Param};

pub(crate) const ROUTES: &[Route] =
    &[Route::opt("GET", "/api/graphql", over_get), Route::opt("POST", "/api/graphql", over_post)];

/// A request in any of its transports.
struct Asked {
    document: Option<String>,
    variables: Map<String, Value>,
    operation: Option<String>,
}

fn over_get(call: &mut Call<'_>) -> Answer {
    let variables = call.query.get("variables").unwrap_or("{}");
    let asked = Asked {
        document: call.query.get("query").map(str::to_owned),
        variables: serde_json::from_str(variables).unwrap_or_default(),
        operation: call.query.get("operationName").map(str::to_owned),
    };
    answer(call, &asked)
}

fn over_post(call: &mut Call<'_>) -> Answer {
    let body = call.json(&[])?;
    let field = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let asked = Asked {
        document: field("query").or_else(|| call.query.get("query").map(str::to_owned)),
        variables: body.get("variables").and_then(Value::as_object).cloned().unwrap_or_default(),
        operation: field("operationName"),
    };
    answer(call, &asked)
}

fn refused(status: StatusCode, message: &str) -> Reply {
    Reply::bare(status, &json!({"errors": [{"message": message}]}))
}

/// The same URL gives a page to browsers, without saying so in a `Vary`.
fn answer(call: &mut Call<'_>, asked: &Asked) -> Answer {
    if call.accepts_html && call.method != "POST" {
        return Ok(Reply::html(StatusCode::OK, graphiql()));
    }
    let bad = |message: &str| refused(StatusCode::BAD_REQUEST, message);
    let document = asked.document.as_deref().filter(|document| !document.trim().is_empty());
    let document = document.ok_or_else(|| bad("Must provide query string."))?;
    let operations = parse(document, &asked.variables).map_err(|problem| bad(&problem))?;
    let operation = match &asked.operation {
        Some(name) => operations.iter().find(|found| found.name.as_ref() == Some(name)),
        None => operations.first(),
    };
    let operation = operation.ok_or_else(|| bad("Unknown operation."))?;
    if operation.mutation && call.method != "POST" {
        let message = "Can only perform a mutation operation from a POST request.";
        return Err(refused(StatusCode::METHOD_NOT_ALLOWED, message));
    }
    Ok(execute(call, operation))
}

fn execute(call: &mut Call<'_>, operation: &Operation) -> Reply {
    let mut data = Map::new();
    let mut errors = Vec::new();
    for field in &operation.fields {
        let value =
            if operation.mutation { mutate(call.db, field) } else { resolve(call.db, field) };
        match value {
            Ok(value) => {
                data.insert(field.key.clone(), select(&value, &field.fields));
            }
            Err(message) => {
                data.insert(field.key.clone(), Value::Null);
                errors.push(json!({"message": message, "path": [field.key]}));
            }
        }
    }
    if errors.is_empty() {
        return Reply::bare(StatusCode::OK, &json!({"data": data}));
    }
    Reply::bare(StatusCode::OK, &json!({"data": data, "errors": errors}))
}

fn int(field: &Field, key: &str) -> Option<i64> {
    field.arguments.get(key).and_then(loose_int)
}

fn size(field: &Field, key: &str, default: usize) -> usize {
    int(field, key).map_or(default, |size| usize::try_from(size).unwrap_or(0))
}

fn game(game: &Game) -> Value {
    games::to_json(game, false)
}

fn event(db: &Db, event: &Event) -> Value {
    json!(events::View::counted(db, event))
}

fn resolve(db: &Db, field: &Field) -> Result<Value, String> {
    let value = match field.name.as_str() {
        "__typename" => "Query".into(),
        "game" => int(field, "gid").and_then(|gid| db.game(gid)).map(game).unwrap_or_default(),
        "games" => {
            let (limit, offset) = (size(field, "limit", 10), size(field, "offset", 0));
            db.games.values().skip(offset).take(limit).map(game).collect()
        }
        "event" => {
            let found = int(field, "id").and_then(|id| db.events.get(&id));
            found.map(|found| event(db, found)).unwrap_or_default()
        }
        "events" => {
            let gid = int(field, "gameGid").ok_or("Argument 'gameGid' is required.")?;
            let category = field.arguments.get("category").and_then(Value::as_str);
            let fits = |event: &&Event| {
                category.is_none() || db.category_name(event.category_id) == category
            };
            let (limit, offset) = (size(field, "limit", 50), size(field, "offset", 0));
            let found = db.events_of(gid).rev().filter(fits).skip(offset).take(limit);
            found.map(|found| event(db, found)).collect()
        }
        "categories" => {
            let all = db.categories.values();
            all.map(|category| json!({"id": category.id, "name": category.name})).collect()
        }
        "parameters" => {
            let event = int(field, "eventId").ok_or("Argument 'eventId' is required.")?;
            db.params_of(event).map(|param: &Param| raw_row(param)).collect()
        }
        other => return Err(format!("Cannot query field '{other}' on type 'Query'.")),
    };
    Ok(value)
}

/// One mutation stands for all; it changes what REST reads return, too.
fn mutate(db: &mut Db, field: &Field) -> Result<Value, String> {
    if field.name != "updateGame" {
        return Err(format!("Cannot query field '{}' on type 'Mutation'.", field.name));
    }
    let gid = int(field, "gid").ok_or("Argument 'gid' is required.")?;
    let text = |key: &str| field.arguments.get(key).and_then(Value::as_str);
    let found = db.game_mut(gid).ok_or("Game not found")?;
    if let Some(name) = text("name") {
        name.clone_into(&mut found.name);
    }
    if let Some(ods_db) = text("odsDb") {
        ods_db.clone_into(&mut found.ods_db);
    }
    Ok(json!({"game": game(found), "ok": true}))
}

/// Picks the asked fields, whose names are the columns in camel case.
fn select(value: &Value, fields: &[Field]) -> Value {
    if fields.is_empty() {
        return value.clone();
    }
    match value {
        Value::Array(list) => list.iter().map(|item| select(item, fields)).collect(),
        Value::Object(row) => {
            let pick = |field: &Field| {
                let value = row.get(&snake_case(&field.name)).unwrap_or(&Value::Null);
                (field.key.clone(), select(value, &field.fields))
            };
            Value::Object(fields.iter().map(pick).collect())
        }
        other => other.clone(),
    }
}

fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(character.to_ascii_lowercase());
    }
    out
}

fn graphiql() -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html>\n<head>\n  <meta charset=\"utf-8\">\n  <title>GraphiQL</title>\n\
         </head>\n<body>\n  <div id=\"graphiql\">Loading...</div>\n  <script>\n",
    );
    while page.len() < 4_000 {
        page.push_str("    // The interactive explorer of the schema would be started here.\n");
    }
    page.push_str("  </script>\n</body>\n</html>\n");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_turn_into_columns() {
        assert_eq!(snake_case("eventNameCn"), "event_name_cn");
        assert_eq!(snake_case("gid"), "gid");
    }
}
