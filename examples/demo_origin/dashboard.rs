//! Dashboard figures, which only the newer revision has.

use serde_json::{Value, json};

use crate::call::Call;
use crate::envelope::{Answer, Reply};
use crate::router::Route;
use crate::tables::{Db, Kind};

pub(crate) const ROUTES: &[Route] = &[
    Route::opt("GET", "/api/dashboard/stats", stats),
    Route::opt("GET", "/api/dashboard/summary", summary),
];

struct Figures {
    games: usize,
    events: usize,
    params: usize,
    flows: usize,
}

/// All zeros for an unknown game.
fn figures(db: &Db, gid: Option<i64>) -> Figures {
    let Some(gid) = gid else {
        let params = db.param_total(None);
        let flows = db.rows(Kind::Flows).rows.len();
        return Figures { games: db.games.len(), events: db.events.len(), params, flows };
    };
    Figures {
        games: usize::from(db.game(gid).is_some()),
        events: db.event_count(gid),
        params: db.param_total(Some(gid)),
        flows: db.rows(Kind::Flows).of_game(Some(gid)).count(),
    }
}

fn summary(call: &mut Call<'_>) -> Answer {
    let figures = figures(call.db, call.query.id("game_gid"));
    Ok(Reply::data(json!({
        "total_events": figures.events,
        "total_flows": figures.flows,
        "total_games": figures.games,
        "total_params": figures.params,
    })))
}

fn stats(call: &mut Call<'_>) -> Answer {
    let gid = call.query.id("game_gid");
    let figures = figures(call.db, gid);
    let categories: Vec<Value> = call
        .db
        .categories
        .values()
        .map(|category| {
            let id = Some(category.id);
            let count = match gid {
                Some(gid) => call.db.events_of(gid).filter(|event| event.category_id == id).count(),
                None => call.db.events.values().filter(|event| event.category_id == id).count(),
            };
            json!({"category": category.name, "event_count": count})
        })
        .collect();
    Ok(Reply::data(json!({
        "categories": categories,
        "event_node_count": call.db.rows(Kind::EventNodes).of_game(gid).count(),
        "total_events": figures.events,
        "total_flows": figures.flows,
        "total_games": figures.games,
        "total_params": figures.params,
    })))
}
