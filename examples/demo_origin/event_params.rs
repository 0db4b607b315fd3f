//! Versioned event params: every change makes a new row and retires the old one.

use serde_json::{Value, json};

use crate::call::{Call, text};
use crate::clock;
use crate::envelope::{Answer, Reply};
use crate::parameters::raw_row;
use crate::router::Route;
use crate::tables::Param;

pub(crate) const ROUTES: &[Route] = &[
    Route::new("PUT", "/api/event-parameters/<int>", update),
    Route::new("DELETE", "/api/event-parameters/<int>", delete),
    Route::new("POST", "/api/event-parameters/<int>/rollback", rollback),
    Route::new("PUT", "/api/event-parameters/<int>/display-name", display_name),
    Route::new("GET", "/api/event-parameters/<int>/config", config),
    Route::new("GET", "/api/event-parameters/<int>/history", history),
    Route::new("GET", "/api/event-parameters/<int>/validation-rules", broken),
    Route::new("GET", "/api/alter-table/<int>", broken),
    Route::new("POST", "/api/event-params/<int>/link-library", link_library),
];

fn unknown() -> Reply {
    Reply::not_found("Parameter not found")
}

/// Retires the param of the path and inserts what `change` makes of its copy.
fn new_version(call: &mut Call<'_>, change: impl FnOnce(&mut Param)) -> Answer {
    let mut new = call.db.retire_param(call.id).ok_or_else(unknown)?.clone();
    new.active = true;
    new.version += 1;
    new.created_at = clock::sql_now();
    change(&mut new);
    let id = call.db.insert_param(new);
    let row = call.db.params.get(&id).map(raw_row);
    Ok(Reply::success(row, Some("Parameter updated successfully")))
}

fn update(call: &mut Call<'_>) -> Answer {
    let body = call.json(&[])?;
    new_version(call, |param| {
        if let Some(name) = text(&body, "param_name") {
            name.clone_into(&mut param.name);
        }
        if let Some(name_cn) = text(&body, "param_name_cn") {
            name_cn.clone_into(&mut param.name_cn);
        }
        if let Some(base_type) = text(&body, "param_type") {
            base_type.clone_into(&mut param.base_type);
        }
    })
}

fn display_name(call: &mut Call<'_>) -> Answer {
    let body = call.json(&[])?;
    let name = text(&body, "display_name").or_else(|| text(&body, "param_name_cn"));
    let name = name.ok_or_else(|| Reply::bad_request("display_name is required"))?;
    new_version(call, |param| name.clone_into(&mut param.name_cn))
}

fn rollback(call: &mut Call<'_>) -> Answer {
    new_version(call, |_| ())
}

fn delete(call: &mut Call<'_>) -> Answer {
    call.db.retire_param(call.id).ok_or_else(unknown)?;
    Ok(Reply::message("Parameter deleted successfully"))
}

fn link_library(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["library_id"])?;
    call.db.params.get(&call.id).ok_or_else(unknown)?;
    Ok(Reply::data(json!({"library_id": body.get("library_id"), "param_id": call.id})))
}

/// Unknown ids have the default configuration.
fn config(call: &mut Call<'_>) -> Answer {
    Ok(Reply::data(json!({
        "config": {"is_required": false, "max_length": Value::Null, "transform": "none"},
        "param_id": call.id,
    })))
}

/// All versions under the same event and path, oldest first; empty for unknown ids.
fn history(call: &mut Call<'_>) -> Answer {
    let Some(param) = call.db.params.get(&call.id) else { return Ok(Reply::data(json!([]))) };
    let versions = call.db.all_params_of(param.event_id);
    let same = versions.filter(|other| other.json_path == param.json_path);
    let rows: Vec<Value> = same
        .map(|other| json!({"id": other.id, "is_active": other.active, "version": other.version}))
        .collect();
    Ok(Reply::data(rows))
}

fn broken(_: &mut Call<'_>) -> Answer {
    Err(Reply::failed("An internal error occurred"))
}
