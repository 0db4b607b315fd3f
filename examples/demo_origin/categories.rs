//! Event categories.

use hyper::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::call::{Call, text};
use crate::clock;
use crate::envelope::{Answer, Reply};
use crate::router::Route;
use crate::tables::Row;

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/api/categories", list),
    Route::new("POST", "/api/categories", create),
    Route::new("DELETE", "/api/categories/batch", delete_batch),
    Route::new("PUT", "/api/categories/batch-update", update_batch),
    Route::new("GET", "/api/categories/<int>", one),
    Route::new("PUT PATCH", "/api/categories/<int>", update),
    Route::new("DELETE", "/api/categories/<int>", delete),
];

#[derive(Serialize)]
struct View<'a> {
    created_at: &'a str,
    event_count: usize,
    id: i64,
    name: &'a str,
}

/// All categories in the order of their names, counted for one game.
fn list(call: &mut Call<'_>) -> Answer {
    let gid = call.known_gid()?;
    let mut views: Vec<View<'_>> = call
        .db
        .categories
        .values()
        .map(|category| View {
            created_at: &category.created_at,
            event_count: 0,
            id: category.id,
            name: &category.name,
        })
        .collect();
    for category in call.db.events_of(gid).filter_map(|event| event.category_id) {
        if let Some(view) = views.iter_mut().find(|view| view.id == category) {
            view.event_count += 1;
        }
    }
    views.sort_by(|left, right| left.name.cmp(right.name));
    Ok(Reply::data(views))
}

fn unknown() -> Reply {
    Reply::not_found("Category not found")
}

fn one(call: &mut Call<'_>) -> Answer {
    let category = call.db.categories.get(&call.id).ok_or_else(unknown)?;
    Ok(Reply::data(json!({
        "created_at": category.created_at,
        "id": category.id,
        "name": category.name,
        "updated_at": category.created_at,
    })))
}

/// The `name` of a body, which no other category may have.
fn free_name(call: &Call<'_>, body: &Row) -> Result<String, Reply> {
    let name = text(body, "name").ok_or_else(|| Reply::bad_request("name cannot be empty"))?;
    match call.db.category_named(name) {
        Some(id) if id != call.id => {
            Err(Reply::error(StatusCode::CONFLICT, "Category name already exists"))
        }
        _ => Ok(name.to_owned()),
    }
}

fn create(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["name"])?;
    let name = free_name(call, &body)?;
    let id = call.db.insert_category(&name, &clock::sql_now());
    Ok(Reply::success(json!({"id": id}), Some("Category created successfully")))
}

fn update(call: &mut Call<'_>) -> Answer {
    if !call.db.categories.contains_key(&call.id) {
        return Err(unknown());
    }
    let body = call.json(&["name"])?;
    let name = free_name(call, &body)?;
    call.db.categories.get_mut(&call.id).ok_or_else(unknown)?.name = name;
    Ok(Reply::message("Category updated successfully"))
}

/// Events keep the id of a deleted category; their joined name becomes null.
fn delete(call: &mut Call<'_>) -> Answer {
    call.db.categories.remove(&call.id).ok_or_else(unknown)?;
    Ok(Reply::message("Category deleted successfully"))
}

fn delete_batch(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["ids"])?;
    let ids = Call::batch_ids(&body, &["ids"])?;
    let deleted = ids.iter().filter(|id| call.db.categories.remove(id).is_some()).count();
    let message = format!("Deleted {deleted} categories");
    Ok(Reply::success(json!({"deleted_count": deleted}), Some(&message)))
}

fn update_batch(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["ids", "updates"])?;
    let ids = Call::batch_ids(&body, &["ids"])?;
    let updates = body.get("updates").and_then(Value::as_object);
    let name = updates.and_then(|updates| text(updates, "name"));
    let name = name.ok_or_else(|| Reply::bad_request("Invalid request data"))?;
    let mut count = 0;
    for id in ids {
        if let Some(category) = call.db.categories.get_mut(&id) {
            name.clone_into(&mut category.name);
            count += 1;
        }
    }
    let message = format!("Updated {count} categories");
    Ok(Reply::success(json!({"updated_count": count}), Some(&message)))
}
