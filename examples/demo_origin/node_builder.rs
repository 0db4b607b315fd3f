//! The event node builder, a second view on the event nodes.

use serde_json::{Value, json};

use crate::call::{Call, loose_int, text};
use crate::envelope::{Answer, Reply};
use crate::router::Route;
use crate::rows;
use crate::tables::{Kind, Row};

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/event_node_builder/api/params", params),
    Route::new("GET", "/event_node_builder/api/list", list),
    Route::new("GET", "/event_node_builder/api/search", search),
    Route::new("GET", "/event_node_builder/api/stats", stats),
    Route::new("GET", "/event_node_builder/api/load/<int>", |call| {
        rows::one(call, Kind::EventNodes)
    }),
    Route::new("POST", "/event_node_builder/api/save", save),
    Route::new("POST PUT", "/event_node_builder/api/update", update),
    Route::new("POST", "/event_node_builder/api/copy/<int>", copy),
    Route::new("DELETE", "/event_node_builder/api/delete/<int>", |call| {
        rows::retire(call, Kind::EventNodes)
    }),
    Route::new("POST", "/event_node_builder/api/preview-hql", preview),
];

fn params(call: &mut Call<'_>) -> Answer {
    let event = call.query.id("event_id");
    let event = event.ok_or_else(|| Reply::bad_request("event_id is required"))?;
    let view = |param: &crate::tables::Param| json!({"id": param.id, "param_name": param.name, "param_name_cn": param.name_cn});
    Ok(Reply::data(call.db.params_of(event).map(view).collect::<Vec<Value>>()))
}

fn active(call: &Call<'_>, keyword: &str) -> Vec<Row> {
    let gid = call.query.id("game_gid");
    let rows = call.db.rows(Kind::EventNodes).of_game(gid);
    rows.filter(|row| rows::active(row))
        .filter(|row| {
            let name = |key| text(row, key).unwrap_or_default().to_lowercase();
            name("name_en").contains(keyword) || name("name_cn").contains(keyword)
        })
        .cloned()
        .collect()
}

fn list(call: &mut Call<'_>) -> Answer {
    Ok(Reply::data(active(call, "")))
}

fn search(call: &mut Call<'_>) -> Answer {
    let keyword = call.query.search("keyword").unwrap_or_default();
    Ok(Reply::data(active(call, &keyword)))
}

fn stats(call: &mut Call<'_>) -> Answer {
    Ok(Reply::data(json!({"total": active(call, "").len()})))
}

fn save(call: &mut Call<'_>) -> Answer {
    let id = rows::insert(call, Kind::EventNodes)?;
    Ok(Reply::data(json!({"node_id": id})))
}

fn update(call: &mut Call<'_>) -> Answer {
    let body = call.json(&[])?;
    let id = body.get("id").or_else(|| body.get("node_id")).and_then(loose_int);
    call.id = id.ok_or_else(|| Reply::bad_request("id is required"))?;
    rows::update(call, Kind::EventNodes)
}

fn copy(call: &mut Call<'_>) -> Answer {
    let row = call.db.rows(Kind::EventNodes).rows.get(&call.id).cloned();
    let row = row.ok_or_else(|| Reply::not_found("Event node not found"))?;
    let id = call.db.rows_mut(Kind::EventNodes).insert(row);
    Ok(Reply::data(json!({"node_id": id})))
}

/// A POST that only reads.
fn preview(_: &mut Call<'_>) -> Answer {
    Ok(Reply::data(json!({"hql": "SELECT 1"})))
}
