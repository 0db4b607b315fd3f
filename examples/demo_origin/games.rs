//! Games.

use hyper::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::call::{Call, loose_int, text};
use crate::clock;
use crate::envelope::{Answer, Reply};
use crate::router::Route;
use crate::tables::{Db, Game, Kind, Row, field_int};

pub(crate) const ROUTES: &[Route] = &[
    Route::new("GET", "/api/games", list),
    Route::new("POST", "/api/games", create),
    Route::new("DELETE", "/api/games/batch", delete_batch),
    Route::new("PUT", "/api/games/batch-update", update_batch),
    Route::new("GET", "/api/games/by-gid/<int>", by_gid),
    Route::new("GET", "/api/games/<int>", one),
    Route::new("PUT PATCH", "/api/games/<int>", update),
    Route::new("DELETE", "/api/games/<int>", delete),
];

/// The revisions disagree on the type of `gid`.
#[derive(Serialize)]
#[serde(untagged)]
enum Gid {
    Number(i64),
    Text(String),
}

#[derive(Serialize)]
struct View<'a> {
    created_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_node_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_template_count: Option<usize>,
    gid: Gid,
    icon_path: Option<&'a str>,
    id: i64,
    name: &'a str,
    ods_db: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    param_count: Option<usize>,
    updated_at: &'a str,
}

impl<'a> View<'a> {
    fn new(game: &'a Game, on_main: bool) -> Self {
        Self {
            created_at: &game.created_at,
            event_count: None,
            event_node_count: None,
            flow_template_count: None,
            gid: if on_main { Gid::Text(game.gid.to_string()) } else { Gid::Number(game.gid) },
            icon_path: None,
            id: game.id,
            name: &game.name,
            ods_db: &game.ods_db,
            param_count: None,
            updated_at: &game.updated_at,
        }
    }

    fn with_counts(mut self, db: &Db, game: &Game) -> Self {
        let gid = Some(game.gid);
        let active = |row: &&Row| field_int(row, "is_active") != Some(0);
        self.event_count = Some(db.event_count(game.gid));
        self.event_node_count = Some(db.rows(Kind::Nodes).of_game(gid).count());
        self.flow_template_count = Some(db.rows(Kind::Flows).of_game(gid).filter(active).count());
        self.param_count = Some(db.param_total(gid));
        self
    }
}

/// One game as JSON, for the other ways to ask for it.
pub(crate) fn to_json(game: &Game, on_main: bool) -> Value {
    json!(View::new(game, on_main))
}

fn list(call: &mut Call<'_>) -> Answer {
    let on_main = call.on_main();
    let view = |game| {
        let view = View::new(game, on_main);
        if on_main { view.with_counts(call.db, game) } else { view }
    };
    Ok(Reply::data(call.db.games.values().map(view).collect::<Vec<_>>()))
}

fn one(call: &mut Call<'_>) -> Answer {
    let game = call.db.game(call.id).ok_or_else(unknown)?;
    Ok(Reply::data(View::new(game, call.on_main())))
}

fn by_gid(call: &mut Call<'_>) -> Answer {
    if call.on_main() { one(call) } else { Err(Reply::failed("Failed to get game")) }
}

fn unknown() -> Reply {
    Reply::not_found("Game not found")
}

fn create(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["gid", "name", "ods_db"])?;
    let gid = body.get("gid").and_then(loose_int).filter(|gid| *gid > 0);
    let gid = gid.ok_or_else(|| Reply::bad_request("Game GID must be a positive integer"))?;
    let name = text(&body, "name").ok_or_else(|| Reply::bad_request("name cannot be empty"))?;
    let ods_db =
        text(&body, "ods_db").ok_or_else(|| Reply::bad_request("ods_db cannot be empty"))?;
    if call.db.game(gid).is_some() {
        return Err(Reply::error(StatusCode::CONFLICT, "Game GID already exists"));
    }
    let now = clock::sql_now();
    let game = Game {
        id: 0,
        gid,
        name: name.to_owned(),
        ods_db: ods_db.to_owned(),
        created_at: now.clone(),
        updated_at: now,
    };
    call.db.insert_game(game);
    let data = call.db.game(gid).map(|game| View::new(game, call.on_main()));
    Ok(Reply::success(data, Some("Game created successfully")))
}

/// Applies `name` and `ods_db` and tells whether either was there.
fn apply(game: &mut Game, updates: &Row) -> bool {
    let name = text(updates, "name");
    let ods_db = text(updates, "ods_db");
    if let Some(name) = name {
        name.clone_into(&mut game.name);
    }
    if let Some(ods_db) = ods_db {
        ods_db.clone_into(&mut game.ods_db);
    }
    let changed = name.is_some() || ods_db.is_some();
    if changed {
        game.updated_at = clock::sql_now();
    }
    changed
}

fn update(call: &mut Call<'_>) -> Answer {
    let on_main = call.on_main();
    if call.db.game(call.id).is_none() {
        return Err(unknown());
    }
    let body = call.json(&[])?;
    let game = call.db.game_mut(call.id).ok_or_else(unknown)?;
    if !apply(game, &body) {
        let problem = "No valid fields to update. Provide 'name' and/or 'ods_db'";
        return Err(Reply::bad_request(problem));
    }
    Ok(Reply::success(View::new(game, on_main), Some("Game updated successfully")))
}

fn delete(call: &mut Call<'_>) -> Answer {
    call.db.remove_game(call.id).ok_or_else(unknown)?;
    if !call.on_main() {
        return Ok(Reply::message("Game deleted successfully"));
    }
    let (events, params, nodes) = call.db.cascade_game(call.id);
    let data = json!({
        "deleted_event_count": events,
        "deleted_node_config_count": nodes,
        "deleted_param_count": params,
    });
    Ok(Reply::success(data, Some("Game and all associated data deleted successfully")))
}

/// The gids a batch body names; under `ids` they may also be row ids.
fn batch_gids(call: &Call<'_>, body: &Row) -> Result<Vec<i64>, Reply> {
    let ids = Call::batch_ids(body, &["game_gids", "gids", "ids"])?;
    let gid_of = |id: &i64| match call.db.game(*id) {
        Some(game) => Some(game.gid),
        None => call.db.games.get(id).map(|game| game.gid),
    };
    Ok(ids.iter().filter_map(gid_of).collect())
}

fn delete_batch(call: &mut Call<'_>) -> Answer {
    let body = call.json(&[])?;
    let gids = batch_gids(call, &body)?;
    let deleted = gids.iter().filter(|gid| call.db.remove_game(**gid).is_some()).count();
    let message = format!("Deleted {deleted} games");
    Ok(Reply::success(json!({"deleted_count": deleted}), Some(&message)))
}

fn update_batch(call: &mut Call<'_>) -> Answer {
    let body = call.json(&["updates"])?;
    let gids = batch_gids(call, &body)?;
    let updates = body.get("updates").and_then(Value::as_object);
    let updates = updates.ok_or_else(|| Reply::bad_request("Invalid request data"))?;
    let mut count = 0;
    for gid in gids {
        if call.db.game_mut(gid).is_some_and(|game| apply(game, updates)) {
            count += 1;
        }
    }
    let message = format!("Updated {count} games");
    Ok(Reply::success(json!({"updated_count": count}), Some(&message)))
}
