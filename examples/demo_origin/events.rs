//! Events, their lists and their params.

use serde::Serialize;
use serde_json::{Value, json};

use crate::call::{Call, loose_int, text};
use crate::clock;
use crate::envelope::{Answer, Reply};
use crate::query::Page;
use crate::router::Route;
use crate::tables::{Db, Event, Param, Row};

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/api/events", list),
    Route::new("POST", "/api/events", create),
    Route::new("GET", "/api/events/count", count),
    Route::new("DELETE", "/api/events/batch", delete_batch),
    Route::new("PUT", "/api/events/batch-update", update_batch),
    Route::new("GET", "/api/events/<int>", one),
    Route::new("PUT PATCH", "/api/events/<int>", update),
    Route::new("GET", "/api/events/<int>/parameters", params),
    Route::new("GET", "/api/events/<int>/params", params),
    Route::new("POST", "/bulk-delete-events", delete_batch),
    Route::new("POST", "/bulk-update-category", bulk_category),
    Route::new("POST", "/bulk-toggle-common-params", bulk_common),
];

/// What a new event without a category is filed under.
const UNCATEGORIZED: &str = "未分类";

/// An event joined with its game and category.
#[derive(Serialize)]
pub(crate) struct View<'a> {
    category_id: Option<i64>,
    category_name: Option<&'a str>,
    created_at: &'a str,
    event_name: &'a str,
    event_name_cn: &'a str,
    game_gid: i64,
    game_name: Option<&'a str>,
    id: i64,
    include_in_common_params: i64,
    ods_db: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    param_count: Option<usize>,
    source_table: String,
    target_table: String,
    updated_at: &'a str,
}

impl<'a> View<'a> {
    pub(crate) fn new(db: &'a Db, event: &'a Event) -> Self {
        let game = db.game(event.game_gid);
        let ods_db = game.map(|game| game.ods_db.as_str());
        let gid = event.game_gid;
        Self {
            category_id: event.category_id,
            category_name: db.category_name(event.category_id),
            created_at: &event.created_at,
            event_name: &event.name,
            event_name_cn: &event.name_cn,
            game_gid: gid,
            game_name: game.map(|game| game.name.as_str()),
            id: event.id,
            include_in_common_params: event.include_in_common_params,
            ods_db,
            param_count: None,
            source_table: format!("{}.ods_{gid}_all_view", ods_db.unwrap_or("ieu_ods")),
            target_table: format!("ieu_cdm.v_dwd_{gid}_{}_di", event.name),
            updated_at: &event.updated_at,
        }
    }

    pub(crate) fn counted(db: &'a Db, event: &'a Event) -> Self {
        let mut view = Self::new(db, event);
        view.param_count = Some(db.param_count(event.id));
        view
    }
}

#[derive(Serialize)]
struct ParamView<'a> {
    created_at: &'a str,
    description: &'a str,
    event_id: i64,
    id: i64,
    is_active: i64,
    json_path: &'a str,
    param_name: &'a str,
    param_name_cn: &'a str,
    param_type: &'a str,
}

impl<'a> ParamView<'a> {
    fn new(param: &'a Param) -> Self {
        Self {
            created_at: &param.created_at,
            description: &param.description,
            event_id: param.event_id,
            id: param.id,
            is_active: i64::from(param.active),
            json_path: &param.json_path,
            param_name: &param.name,
            param_name_cn: &param.name_cn,
            param_type: &param.base_type,
        }
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    events: Vec<View<'a>>,
    pagination: Value,
}

fn unknown() -> Reply {
    Reply::not_found("Event not found")
}

/// The newest-first events of a game or of all games, as far as they match the search.
fn selected<'a>(
    db: &'a Db,
    gid: Option<i64>,
    search: Option<&'a str>,
) -> Box<dyn Iterator<Item = &'a Event> + 'a> {
    let all: Box<dyn Iterator<Item = &Event>> = match gid {
        Some(gid) => Box::new(db.events_of(gid).rev()),
        None => Box::new(db.events.values().rev()),
    };
    let Some(search) = search else { return all };
    let holds = move |text: &str| text.to_lowercase().contains(search);
    Box::new(all.filter(move |event| {
        holds(&event.name)
            || holds(&event.name_cn)
            || db.category_name(event.category_id).is_some_and(holds)
    }))
}

fn total(db: &Db, gid: Option<i64>, search: Option<&str>) -> usize {
    match (gid, search) {
        (Some(gid), None) => db.event_count(gid),
        (None, None) => db.events.len(),
        (_, Some(_)) => selected(db, gid, search).count(),
    }
}

fn list(call: &mut Call<'_>) -> Answer {
    let gid = call.query.id("game_gid");
    let search = call.query.search("search");
    let page = Page::read(&call.query, "per_page", 20);
    let db = &*call.db;
    let total = total(db, gid, search.as_deref());
    let events: Vec<View<'_>> = selected(db, gid, search.as_deref())
        .skip(page.offset())
        .take(page.len())
        .map(|event| View::counted(db, event))
        .collect();

    let pagination = json!({
        "page": page.number,
        "per_page": page.size,
        "total": total,
        "total_pages": page.pages(total),
    });
    Ok(Reply::data(Listed { events, pagination }))
}

fn count(call: &mut Call<'_>) -> Answer {
    let search = call.query.search("search");
    let total = total(call.db, call.query.id("game_gid"), search.as_deref());
    Ok(Reply::data(json!({"total": total})))
}

fn one(call: &mut Call<'_>) -> Answer {
    let gid = call.gid_or_session()?;
    let event = call.db.events.get(&call.id).filter(|event| event.game_gid == gid);
    let event = event.ok_or_else(unknown)?;
    Ok(Reply::data(View::new(call.db, event)))
}

fn params(call: &mut Call<'_>) -> Answer {
    if !call.db.events.contains_key(&call.id) {
        return Err(unknown());
    }
    let params: Vec<_> = call.db.params_of(call.id).map(ParamView::new).collect();
    Ok(Reply::data(params))
}

fn create(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["game_gid", "event_name"])?;
    let gid = body.get("game_gid").and_then(loose_int);
    let gid = gid.filter(|gid| call.db.game(*gid).is_some());
    let gid = gid.ok_or_else(|| Reply::bad_request("Game not found"))?;
    let name = text(&body, "event_name");
    let name = name.ok_or_else(|| Reply::bad_request("event_name cannot be empty"))?;
    let now = clock::sql_now();
    let category_id = match body.get("category_id").and_then(loose_int).filter(|id| *id != 0) {
        Some(id) if call.db.categories.contains_key(&id) => id,
        Some(id) => {
            return Err(Reply::bad_request(&format!("Category with id {id} not found")));
        }
        None => match call.db.category_named(UNCATEGORIZED) {
            Some(id) => id,
            None => call.db.insert_category(UNCATEGORIZED, &now),
        },
    };
    let id = call.db.insert_event(Event {
        id: 0,
        game_gid: gid,
        name: name.to_owned(),
        name_cn: text(&body, "event_name_cn").unwrap_or_default().to_owned(),
        category_id: Some(category_id),
        include_in_common_params: common_flag(&body).unwrap_or(1),
        created_at: now.clone(),
        updated_at: now.clone(),
    });
    insert_params(call.db, id, &body, &now);
    if call.on_main() {
        return Ok(Reply::success(json!({"event_id": id}), Some("Event created successfully")));
    }
    // The row is written all the same.
    Err(Reply::failed("Failed to create event"))
}

fn common_flag(body: &Row) -> Option<i64> {
    let value = body.get("include_in_common_params")?;
    value.as_bool().map(i64::from).or_else(|| loose_int(value))
}

fn insert_params(db: &mut Db, event_id: i64, body: &Row, now: &str) {
    let list = |key: &str| body.get(key).and_then(Value::as_array);
    let translations = list("param_names_cn");
    for (position, name) in list("param_names").into_iter().flatten().enumerate() {
        let Some(name) = name.as_str().filter(|name| !name.is_empty()) else { continue };
        let name_cn = translations.and_then(|names| names.get(position)).and_then(Value::as_str);
        db.insert_param(Param {
            id: 0,
            event_id,
            name: name.to_owned(),
            name_cn: name_cn.unwrap_or_default().to_owned(),
            base_type: "string".to_owned(),
            description: String::new(),
            json_path: format!("$.{name}"),
            active: true,
            version: 1,
            created_at: now.to_owned(),
        });
    }
}

/// Applies what is there of the changeable columns and tells whether there was anything.
fn apply(event: &mut Event, updates: &Row) -> bool {
    let mut changed = false;
    if let Some(name) = text(updates, "event_name") {
        name.clone_into(&mut event.name);
        changed = true;
    }
    if let Some(name_cn) = text(updates, "event_name_cn") {
        name_cn.clone_into(&mut event.name_cn);
        changed = true;
    }
    if let Some(category) = updates.get("category_id").and_then(loose_int) {
        event.category_id = Some(category);
        changed = true;
    }
    if let Some(flag) = common_flag(updates) {
        event.include_in_common_params = flag;
        changed = true;
    }
    if changed {
        event.updated_at = clock::sql_now();
    }
    changed
}

fn update(call: &mut Call<'_>) -> Answer {
    let body = call.json(&[])?;
    let event = call.db.events.get_mut(&call.id).ok_or_else(unknown)?;
    if !apply(event, &body) {
        return Err(Reply::bad_request("No update fields provided"));
    }
    Ok(Reply::message("Event updated successfully"))
}

const IDS: [&str; 2] = ["ids", "event_ids"];

fn delete_batch(call: &mut Call<'_>) -> Answer {
    let body = call.json(&[])?;
    let ids = Call::batch_ids(&body, &IDS)?;
    let deleted = ids.iter().filter(|id| call.db.remove_event(**id).is_some()).count();
    let message = format!("Deleted {deleted} events");
    Ok(Reply::success(json!({"deleted_count": deleted}), Some(&message)))
}

fn update_all(call: &mut Call<'_>, ids: &[i64], updates: &Row) -> Reply {
    let mut count = 0;
    for id in ids {
        if call.db.events.get_mut(id).is_some_and(|event| apply(event, updates)) {
            count += 1;
        }
    }
    let message = format!("Updated {count} events");
    Reply::success(json!({"updated_count": count}), Some(&message))
}

fn update_batch(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["ids", "updates"])?;
    let ids = Call::batch_ids(&body, &IDS)?;
    let updates = body.get("updates").and_then(Value::as_object);
    let updates = updates.ok_or_else(|| Reply::bad_request("Invalid request data"))?;
    Ok(update_all(call, &ids, updates))
}

fn bulk_category(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["category_id"])?;
    let ids = Call::batch_ids(&body, &IDS)?;
    let category = body.get("category_id").cloned().unwrap_or_default();
    Ok(update_all(call, &ids, &Row::from_iter([("category_id".to_owned(), category)])))
}

fn bulk_common(call: &mut Call<'_>) -> Answer {
    let body = call.json(&[])?;
    let ids = Call::batch_ids(&body, &IDS)?;
    let key = "include_in_common_params";
    let flag = body.get(key).cloned().unwrap_or(Value::from(1));
    Ok(update_all(call, &ids, &Row::from_iter([(key.to_owned(), flag)])))
}
