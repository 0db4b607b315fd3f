//! Everything else: HQL, logs, health and debug routes, and the page that fills the session.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::call::Call;
use crate::envelope::{Answer, Reply};
use crate::router::Route;
use crate::rows;
use crate::tables::Kind;

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/canvas/node_canvas", node_canvas),
    Route::new("GET", "/api/hql", hql_list),
    Route::new("GET", "/api/hql/results", empty_list),
    Route::new("GET", "/api/hql/<int>", |call| rows::one(call, Kind::Hql)),
    Route::new("POST", "/api/hql/<int>/activate", |call| rows::update(call, Kind::Hql)),
    Route::new("POST", "/api/hql/<int>/deactivate", |call| rows::retire(call, Kind::Hql)),
    Route::new("POST", "/api/generate", generate),
    Route::new("GET", "/api/logs/<int>", no_logs),
    Route::new("GET", "/hql-preview-v2/api/status", status),
    Route::new("GET", "/hql-preview-v2/api/cache-stats", cache_stats),
    Route::new("GET", "/hql-preview-v2/api/recommend-fields", empty_list),
    Route::new("GET", "/hql-preview-v2/api/history/list", broken),
    Route::new("POST", "/hql-preview-v2/api/history/search", broken),
    Route::new("POST", "/hql-preview-v2/api/validate", valid),
    Route::new("POST", "/api/validate-hql", valid),
    Route::new("POST", "/api/canvas/validate", valid),
    Route::new("POST", "/bulk-export-events", valid),
    Route::new("POST", "/bulk-validate-parameters", valid),
    Route::new("GET", "/api/canvas/health", health),
    Route::new("GET", "/canvas/api/canvas/health", health),
    Route::new("GET", "/api/v1-adapter/status", status),
    Route::new("GET", "/debug-env", health),
    Route::new("GET", "/test", health),
    Route::new("GET", "/admin/cache/status", cache_status),
    Route::new("POST", "/admin/cache/clear", cache_clear),
];

/// Remembers the game in the session, for the reads that fall back to it.
fn node_canvas(call: &mut Call<'_>) -> Answer {
    if let Some(gid) = call.query.id("game_gid") {
        call.session.set_game_gid(gid);
    }
    let page = "<!doctype html>\n<html lang=en>\n<title>Node canvas</title>\n<div id=app></div>\n";
    Ok(Reply::html(StatusCode::OK, page.to_owned()))
}

fn hql_list(call: &mut Call<'_>) -> Answer {
    call.required_gid()?;
    rows::plain_list(call, Kind::Hql)
}

fn generate(call: &mut Call<'_>) -> Answer {
    let id = rows::insert(call, Kind::Hql)?;
    Ok(Reply::data(json!({"hql": "SELECT 1", "id": id})))
}

fn empty_list(_: &mut Call<'_>) -> Answer {
    Ok(Reply::data(json!([])))
}

/// The table for these was never made.
fn no_logs(_: &mut Call<'_>) -> Answer {
    Err(Reply::not_found("Log not found"))
}

fn broken(_: &mut Call<'_>) -> Answer {
    Err(Reply::failed("An internal error occurred"))
}

fn valid(_: &mut Call<'_>) -> Answer {
    Ok(Reply::data(json!({"errors": [], "valid": true})))
}

fn health(_: &mut Call<'_>) -> Answer {
    Ok(Reply::data(json!({"status": "healthy"})))
}

fn status(_: &mut Call<'_>) -> Answer {
    Ok(Reply::data(json!({"status": "active", "version": "2.0.0"})))
}

fn cache_stats(_: &mut Call<'_>) -> Answer {
    Ok(Reply::data(json!({"hit_rate": 0.0, "hits": 0, "misses": 0, "size": 0})))
}

fn cache_status(call: &mut Call<'_>) -> Answer {
    let stats = json!({
        "hit_rate": 0.0,
        "keyspace_hits": 0,
        "keyspace_misses": 0,
        "memory_used": "1.00M",
        "total_keys": call.db.games.len(),
        "uptime_days": 0,
    });
    let body = json!({"data": {"stats": stats, "status": "active"}, "success": true});
    Ok(Reply::bare(StatusCode::OK, &body))
}

fn cache_clear(_: &mut Call<'_>) -> Answer {
    let details: Value = json!({"l1_cleared": 0, "l2_cleared": 0, "total_cleared": 0});
    Ok(Reply::bare(StatusCode::OK, &json!({"details": details, "success": true})))
}
