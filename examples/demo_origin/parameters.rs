//! Parameters across the events of a game.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::call::{Call, loose_int, text};
use crate::envelope::{Answer, Reply};
use crate::query::Page;
use crate::router::Route;
use crate::tables::{Db, Kind, Param};

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/api/parameters/all", all),
    Route::new("GET", "/api/parameters/stats", stats),
    Route::new("GET", "/api/parameters/common", common),
    Route::new("GET", "/api/parameters/validate", validate),
    Route::new("POST", "/api/parameters/search", search),
    Route::new("GET", "/api/parameters/<int>", one),
    Route::new("PUT", "/api/parameters/<int>", update),
    Route::new("GET", "/api/parameters/<path>/details", details),
    Route::new("GET", "/api/param-library/check", library_check),
    Route::new("POST", "/api/param-library/batch-check", library_batch_check),
    Route::new("GET", "/api/parameter-aliases", aliases),
];

/// The active params of a game under their distinct names.
fn distinct(db: &Db, gid: i64) -> BTreeMap<&str, Vec<&Param>> {
    let mut by_name: BTreeMap<&str, Vec<&Param>> = BTreeMap::new();
    for param in db.params_of_game(gid) {
        by_name.entry(&param.name).or_default().push(param);
    }
    by_name
}

fn summary(name: &str, uses: &[&Param]) -> Value {
    let first = uses.first();
    json!({
        "base_type": first.map(|param| param.base_type.as_str()),
        "events_count": uses.len(),
        "is_common": i64::from(uses.len() > 1),
        "param_name": name,
        "param_name_cn": first.map(|param| param.name_cn.as_str()),
        "usage_count": uses.len(),
    })
}

fn all(call: &mut Call<'_>) -> Answer {
    let gid = call.gid_or_session()?;
    call.check_game(gid, StatusCode::BAD_REQUEST)?;
    let search = call.query.search("search").unwrap_or_default();
    let base_type = call.query.get("type").unwrap_or_default();
    let page = Page::read(&call.query, "limit", 50);
    let by_name = distinct(call.db, gid);
    let matches = |name: &str, uses: &[&Param]| {
        let searched = name.to_lowercase().contains(&search)
            || uses.iter().any(|param| param.name_cn.to_lowercase().contains(&search));
        searched && (base_type.is_empty() || uses.iter().any(|param| param.base_type == base_type))
    };
    let found: Vec<_> = by_name.iter().filter(|(name, uses)| matches(name, uses)).collect();
    let parameters: Vec<Value> = found
        .iter()
        .skip(page.offset())
        .take(page.len())
        .map(|(name, uses)| summary(name, uses))
        .collect();
    let data = json!({
        "has_more": page.offset().saturating_add(parameters.len()) < found.len(),
        "page": page.number,
        "parameters": parameters,
        "total": found.len(),
    });
    let again = call.seen.again(call.target);
    let message = if again { " (cached)" } else { "" };
    Ok(Reply::success(data, Some(&format!("Parameters retrieved successfully{message}"))))
}

fn details(call: &mut Call<'_>) -> Answer {
    if !call.on_main() {
        return Err(Reply::failed("Failed to fetch parameter details"));
    }
    let gid = call.gid_or_session()?;
    let by_name = distinct(call.db, gid);
    let uses = by_name.get(call.name.as_str());
    let uses = uses.ok_or_else(|| Reply::not_found("Parameter not found"))?;
    let event = |param: &&Param| {
        let event = call.db.events.get(&param.event_id);
        json!({
            "event_name": event.map(|event| event.name.as_str()),
            "event_name_cn": event.map(|event| event.name_cn.as_str()),
            "id": param.event_id,
        })
    };
    let mut data = summary(&call.name, uses);
    if let Value::Object(row) = &mut data {
        row.insert("events".to_owned(), uses.iter().map(event).collect());
        row.insert("in_common_params".to_owned(), is_common(call.db, gid, &call.name).into());
    }
    Ok(Reply::data(data))
}

fn is_common(db: &Db, gid: i64, name: &str) -> bool {
    let mut rows = db.rows(Kind::CommonParams).of_game(Some(gid));
    rows.any(|row| text(row, "param_name") == Some(name))
}

fn stats(call: &mut Call<'_>) -> Answer {
    let gid = call.gid_or_session()?;
    call.check_game(gid, StatusCode::NOT_FOUND)?;
    let by_name = distinct(call.db, gid);
    let total: usize = by_name.values().map(Vec::len).sum();
    Ok(Reply::data(json!({
        "common_params_count": call.db.rows(Kind::CommonParams).of_game(Some(gid)).count(),
        "events_count": call.db.event_count(gid),
        "shared_params_count": by_name.values().filter(|uses| uses.len() > 1).count(),
        "total_params": total,
        "unique_params": by_name.len(),
    })))
}

fn common(call: &mut Call<'_>) -> Answer {
    let gid = call.gid_or_session()?;
    call.check_game(gid, StatusCode::NOT_FOUND)?;
    let by_name = distinct(call.db, gid);
    let view = |row| {
        let name = text(row, "param_name").unwrap_or_default();
        json!({
            "events_count": by_name.get(name).map_or(0, Vec::len),
            "id": row.get("id"),
            "param_name": name,
            "param_name_cn": row.get("param_name_cn"),
        })
    };
    let rows: Vec<Value> = call.db.rows(Kind::CommonParams).of_game(Some(gid)).map(view).collect();
    Ok(Reply::data(rows))
}

fn validate(call: &mut Call<'_>) -> Answer {
    let gid = call.gid_or_session()?;
    call.check_game(gid, StatusCode::BAD_REQUEST)?;
    let name = call.query.get("param_name").unwrap_or_default().trim();
    if name.is_empty() {
        return Err(Reply::bad_request("Parameter name is required"));
    }
    let valid = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if !valid {
        let reason = "Parameter name must be letters, digits and underscores";
        return Ok(Reply::data(json!({"reason": reason, "valid": false})));
    }
    let exists = call.db.params_of_game(gid).any(|param| param.name == name);
    Ok(Reply::data(json!({"exists": exists, "valid": true})))
}

/// A POST that only reads.
fn search(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["game_gid", "keyword"])?;
    let gid = body.get("game_gid").and_then(loose_int).unwrap_or_default();
    let keyword = text(&body, "keyword").unwrap_or_default().to_lowercase();
    let found: Vec<Value> = distinct(call.db, gid)
        .iter()
        .filter(|(name, _)| name.to_lowercase().contains(&keyword))
        .map(|(name, uses)| summary(name, uses))
        .collect();
    Ok(Reply::data(found))
}

fn unknown() -> Reply {
    Reply::not_found("Parameter not found")
}

/// The whole row, also of a version that is no longer active.
pub(crate) fn raw_row(param: &Param) -> Value {
    json!({
        "created_at": param.created_at,
        "event_id": param.event_id,
        "hql_config": Value::Null,
        "id": param.id,
        "is_active": i64::from(param.active),
        "json_path": param.json_path,
        "library_id": Value::Null,
        "param_description": param.description,
        "param_name": param.name,
        "param_name_cn": param.name_cn,
        "param_type": param.base_type,
        "template_id": 1,
        "updated_at": param.created_at,
        "version": param.version,
    })
}

fn one(call: &mut Call<'_>) -> Answer {
    let param = call.db.params.get(&call.id).ok_or_else(unknown)?;
    Ok(Reply::data(raw_row(param)))
}

fn update(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["param_name"])?;
    let param = call.db.params.get_mut(&call.id).ok_or_else(unknown)?;
    let name = text(&body, "param_name");
    name.ok_or_else(|| Reply::bad_request("param_name cannot be empty"))?
        .clone_into(&mut param.name);
    if let Some(name_cn) = text(&body, "param_name_cn") {
        name_cn.clone_into(&mut param.name_cn);
    }
    if let Some(base_type) = text(&body, "param_type") {
        base_type.clone_into(&mut param.base_type);
    }
    if let Some(json_path) = text(&body, "json_path") {
        json_path.clone_into(&mut param.json_path);
    }
    Ok(Reply::success(raw_row(param), Some("Parameter updated successfully")))
}

fn library_check(call: &mut Call<'_>) -> Answer {
    if call.query.get("param_name").is_none() {
        return Err(Reply::bad_request("Missing required parameters"));
    }
    Ok(Reply::data(json!({"exists": false, "library_param": Value::Null})))
}

fn library_batch_check(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["parameters"])?;
    let asked = body.get("parameters").and_then(Value::as_array).map_or(0, Vec::len);
    let none = json!({"exists": false, "library_param": Value::Null});
    Ok(Reply::data(vec![none; asked]))
}

fn aliases(call: &mut Call<'_>) -> Answer {
    call.required_gid()?;
    Ok(Reply::data(json!([])))
}
