//! The plain tables: event nodes, nodes, flows, templates, join configs, common params.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::call::{Call, loose_int, text};
use crate::clock;
use crate::envelope::{Answer, Reply};
use crate::query::Page;
use crate::router::Route;
use crate::tables::{Kind, Row, field_int};

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/api/event-nodes", event_nodes),
    Route::new("POST", "/api/event-nodes", create_event_node),
    Route::new("GET", "/api/event-nodes/<int>", |call| one(call, Kind::EventNodes)),
    Route::new("PUT", "/api/event-nodes/<int>", |call| update(call, Kind::EventNodes)),
    Route::new("DELETE", "/api/event-nodes/<int>", |call| retire(call, Kind::EventNodes)),
    Route::new("GET", "/api/nodes", |call| plain_list(call, Kind::Nodes)),
    Route::new("POST", "/api/nodes", |call| create(call, Kind::Nodes)),
    Route::new("GET", "/api/nodes/<int>", |call| one(call, Kind::Nodes)),
    Route::new("PUT", "/api/nodes/<int>", |call| update(call, Kind::Nodes)),
    Route::new("DELETE", "/api/nodes/<int>", |call| delete(call, Kind::Nodes)),
    Route::new("GET", "/api/flows", flows),
    Route::new("POST", "/api/flows", |call| create(call, Kind::Flows)),
    Route::new("POST", "/canvas/api/flows/save", |call| create(call, Kind::Flows)),
    Route::new("GET", "/canvas/api/flows/<int>", |call| one(call, Kind::Flows)),
    Route::new("GET", "/api/flows/<int>", |call| one(call, Kind::Flows)),
    Route::new("PUT", "/api/flows/<int>", |call| update(call, Kind::Flows)),
    Route::new("DELETE", "/api/flows/<int>", |call| delete(call, Kind::Flows)),
    Route::new("GET", "/api/templates", templates),
    Route::new("POST", "/api/templates", |call| create(call, Kind::Flows)),
    Route::new("GET", "/api/templates/<int>", |call| one(call, Kind::Flows)),
    Route::new("PUT", "/api/templates/<int>", |call| update(call, Kind::Flows)),
    Route::new("DELETE", "/api/templates/<int>", |call| delete(call, Kind::Flows)),
    Route::new("GET", "/api/join-configs", join_configs),
    Route::new("POST", "/api/join-configs", |call| create(call, Kind::JoinConfigs)),
    Route::new("GET", "/api/join-configs/<int>", |call| one(call, Kind::JoinConfigs)),
    Route::new("PUT", "/api/join-configs/<int>", |call| update(call, Kind::JoinConfigs)),
    Route::new("DELETE", "/api/join-configs/<int>", |call| delete(call, Kind::JoinConfigs)),
    Route::new("GET", "/api/field-builder/configs", |call| plain_list(call, Kind::JoinConfigs)),
    Route::new("POST", "/api/field-builder/config", |call| create(call, Kind::JoinConfigs)),
    Route::new("PUT", "/api/field-builder/config/<int>", |call| update(call, Kind::JoinConfigs)),
    Route::new("DELETE", "/api/field-builder/config/<int>", |call| delete(call, Kind::JoinConfigs)),
    Route::new("GET", "/api/common-params", common_params),
    Route::new("POST", "/api/common-params/sync", sync_common_params),
    Route::new("DELETE", "/api/common-params/<int>", |call| delete(call, Kind::CommonParams)),
    Route::new("DELETE", "/api/common-params/batch", |call| delete_batch(call, Kind::CommonParams)),
    Route::new("POST", "/api/common-params/bulk-delete", |call| {
        delete_batch(call, Kind::CommonParams)
    }),
];

fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::EventNodes => "Event node",
        Kind::Nodes => "Node",
        Kind::Flows => "Flow",
        Kind::JoinConfigs => "Join config",
        Kind::CommonParams => "Common parameter",
        Kind::Hql => "HQL",
    }
}

fn unknown(kind: Kind) -> Reply {
    Reply::not_found(&format!("{} not found", label(kind)))
}

/// Rows that were not retired.
pub(crate) fn active(row: &Row) -> bool {
    field_int(row, "is_active") != Some(0)
}

pub(crate) fn one(call: &mut Call<'_>, kind: Kind) -> Answer {
    let row = call.db.rows(kind).rows.get(&call.id).filter(|row| active(row));
    Ok(Reply::data(row.ok_or_else(|| unknown(kind))?))
}

pub(crate) fn plain_list(call: &mut Call<'_>, kind: Kind) -> Answer {
    let gid = call.query.id("game_gid");
    let rows: Vec<&Row> = call.db.rows(kind).of_game(gid).filter(|row| active(row)).collect();
    Ok(Reply::data(rows))
}

/// Inserts the body as it is, for a game that exists.
pub(crate) fn insert(call: &mut Call<'_>, kind: Kind) -> Result<i64, Reply> {
    let mut row = call.json(&[])?;
    if let Some(gid) = row.get("game_gid").and_then(loose_int) {
        call.check_game(gid, StatusCode::BAD_REQUEST)?;
        row.insert("game_gid".to_owned(), gid.into());
    }
    row.insert("created_at".to_owned(), clock::sql_now().into());
    row.insert("is_active".to_owned(), 1.into());
    Ok(call.db.rows_mut(kind).insert(row))
}

fn create(call: &mut Call<'_>, kind: Kind) -> Answer {
    let id = insert(call, kind)?;
    let message = format!("{} created successfully", label(kind));
    Ok(Reply::success(json!({"id": id}), Some(&message)))
}

pub(crate) fn update(call: &mut Call<'_>, kind: Kind) -> Answer {
    let body = call.json(&[])?;
    let row = call.db.rows_mut(kind).rows.get_mut(&call.id).filter(|row| active(row));
    let row = row.ok_or_else(|| unknown(kind))?;
    row.extend(body.into_iter().filter(|(key, _)| key != "id"));
    Ok(Reply::message(&format!("{} updated successfully", label(kind))))
}

pub(crate) fn delete(call: &mut Call<'_>, kind: Kind) -> Answer {
    call.db.rows_mut(kind).rows.remove(&call.id).ok_or_else(|| unknown(kind))?;
    Ok(Reply::message(&format!("{} deleted successfully", label(kind))))
}

/// Deletes softly: the row stays, but no read shows it.
pub(crate) fn retire(call: &mut Call<'_>, kind: Kind) -> Answer {
    let row = call.db.rows_mut(kind).rows.get_mut(&call.id).filter(|row| active(row));
    let row = row.ok_or_else(|| unknown(kind))?;
    row.insert("is_active".to_owned(), 0.into());
    Ok(Reply::message(&format!("{} deleted successfully", label(kind))))
}

fn delete_batch(call: &mut Call<'_>, kind: Kind) -> Answer {
    let body = call.json(&["ids"])?;
    let ids = Call::batch_ids(&body, &["ids"])?;
    let rows = &mut call.db.rows_mut(kind).rows;
    let deleted = ids.iter().filter(|id| rows.remove(id).is_some()).count();
    Ok(Reply::data(json!({"deleted_count": deleted})))
}

fn event_nodes(call: &mut Call<'_>) -> Answer {
    let gid = call.known_gid()?;
    let rows = call.db.rows(Kind::EventNodes).of_game(Some(gid));
    let nodes: Vec<&Row> = rows.filter(|row| active(row)).collect();
    Ok(Reply::data(json!({"nodes": nodes})))
}

fn create_event_node(call: &mut Call<'_>) -> Answer {
    let mut reply = create(call, Kind::EventNodes)?;
    reply.status = StatusCode::CREATED;
    Ok(reply)
}

fn common_params(call: &mut Call<'_>) -> Answer {
    call.known_gid()?;
    plain_list(call, Kind::CommonParams)
}

fn join_configs(call: &mut Call<'_>) -> Answer {
    if !call.on_main() {
        return Err(Reply::failed("Failed to fetch join configs"));
    }
    plain_list(call, Kind::JoinConfigs)
}

/// Main lists all flows at once, the other revision in pages.
fn flows(call: &mut Call<'_>) -> Answer {
    if call.on_main() {
        return plain_list(call, Kind::Flows);
    }
    let page = Page::read(&call.query, "page_size", 50);
    let (rows, total) = flow_page(call, page);
    let pagination = json!({
        "page": page.number,
        "page_size": page.size,
        "total": total,
        "total_pages": page.pages(total),
    });
    Ok(Reply::data(json!({"flows": rows, "pagination": pagination})))
}

fn templates(call: &mut Call<'_>) -> Answer {
    let page = Page::read(&call.query, "per_page", 20);
    let (rows, total) = flow_page(call, page);
    let pagination = json!({
        "page": page.number,
        "pages": page.pages(total),
        "per_page": page.size,
        "total": total,
    });
    Ok(Reply::data(json!({"pagination": pagination, "templates": rows})))
}

/// One page of the flows that match the filters, and how many match.
fn flow_page<'a>(call: &'a Call<'_>, page: Page) -> (Vec<&'a Row>, usize) {
    let category = call.query.get("category").filter(|category| !category.is_empty());
    let search = call.query.search("search").unwrap_or_default();
    let field = |row: &'a Row, key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
    let found: Vec<&Row> = call
        .db
        .rows(Kind::Flows)
        .of_game(call.query.id("game_gid"))
        .filter(|row| active(row))
        .filter(|row| category.is_none_or(|category| field(row, "category") == category))
        .filter(|row| field(row, "flow_name").to_lowercase().contains(&search))
        .collect();
    let total = found.len();
    (found.into_iter().skip(page.offset()).take(page.len()).collect(), total)
}

/// Makes a common param of every name that more than half of the game's events have.
fn sync_common_params(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["game_gid"])?;
    let gid = body.get("game_gid").and_then(loose_int).unwrap_or_default();
    call.check_game(gid, StatusCode::NOT_FOUND)?;
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for param in call.db.params_of_game(gid) {
        *uses.entry(&param.name).or_default() += 1;
    }
    let half = call.db.event_count(gid) / 2;
    let names: Vec<String> = uses
        .into_iter()
        .filter(|(name, count)| {
            let mut rows = call.db.rows(Kind::CommonParams).of_game(Some(gid));
            let known = rows.any(|row| text(row, "param_name") == Some(*name));
            *count > half && !known
        })
        .map(|(name, _)| name.to_owned())
        .collect();
    for name in &names {
        let row = Row::from_iter([
            ("created_at".to_owned(), clock::sql_now().into()),
            ("game_gid".to_owned(), gid.into()),
            ("param_name".to_owned(), name.as_str().into()),
            ("status".to_owned(), "synced".into()),
        ]);
        call.db.rows_mut(Kind::CommonParams).insert(row);
    }
    Ok(Reply::success(json!({"synced": names.len()}), Some("Common parameters synced")))
}
