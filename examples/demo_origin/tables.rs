//! The in-memory tables and the indexes their joins need.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

pub(crate) type Row = Map<String, Value>;

#[derive(Clone, Debug)]
pub(crate) struct Game {
    pub(crate) id: i64,
    pub(crate) gid: i64,
    pub(crate) name: String,
    pub(crate) ods_db: String,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: i64,
    pub(crate) game_gid: i64,
    pub(crate) name: String,
    pub(crate) name_cn: String,
    pub(crate) category_id: Option<i64>,
    pub(crate) include_in_common_params: i64,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Param {
    pub(crate) id: i64,
    pub(crate) event_id: i64,
    pub(crate) name: String,
    pub(crate) name_cn: String,
    pub(crate) base_type: String,
    pub(crate) description: String,
    pub(crate) json_path: String,
    pub(crate) active: bool,
    pub(crate) version: i64,
    pub(crate) created_at: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Category {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) created_at: String,
}

/// A table whose columns nothing joins on: whole JSON rows under AUTOINCREMENT ids.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    last_id: i64,
    pub(crate) rows: BTreeMap<i64, Row>,
}

impl Rows {
    pub(crate) fn insert(&mut self, mut row: Row) -> i64 {
        self.last_id += 1;
        row.insert("id".to_owned(), self.last_id.into());
        self.rows.insert(self.last_id, row);
        self.last_id
    }

    pub(crate) fn of_game(&self, gid: Option<i64>) -> impl Iterator<Item = &Row> {
        self.rows
            .values()
            .filter(move |row| gid.is_none_or(|gid| field_int(row, "game_gid") == Some(gid)))
    }
}

pub(crate) fn field_int(row: &Row, key: &str) -> Option<i64> {
    row.get(key).and_then(Value::as_i64)
}

/// The tables without a type of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    EventNodes,
    Nodes,
    Flows,
    JoinConfigs,
    CommonParams,
    Hql,
}

/// The params of one event, in the order they came, and how many of them are active.
#[derive(Debug, Default)]
struct EventParams {
    ids: Vec<i64>,
    active: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Db {
    pub(crate) games: BTreeMap<i64, Game>,
    game_ids: HashMap<i64, i64>,
    last_game: i64,
    pub(crate) events: BTreeMap<i64, Event>,
    events_of_game: HashMap<i64, BTreeSet<i64>>,
    last_event: i64,
    pub(crate) params: BTreeMap<i64, Param>,
    params_of_event: HashMap<i64, EventParams>,
    last_param: i64,
    pub(crate) categories: BTreeMap<i64, Category>,
    last_category: i64,
    event_nodes: Rows,
    nodes: Rows,
    flows: Rows,
    join_configs: Rows,
    common_params: Rows,
    hql: Rows,
}

impl Db {
    pub(crate) fn rows(&self, kind: Kind) -> &Rows {
        match kind {
            Kind::EventNodes => &self.event_nodes,
            Kind::Nodes => &self.nodes,
            Kind::Flows => &self.flows,
            Kind::JoinConfigs => &self.join_configs,
            Kind::CommonParams => &self.common_params,
            Kind::Hql => &self.hql,
        }
    }

    pub(crate) fn rows_mut(&mut self, kind: Kind) -> &mut Rows {
        match kind {
            Kind::EventNodes => &mut self.event_nodes,
            Kind::Nodes => &mut self.nodes,
            Kind::Flows => &mut self.flows,
            Kind::JoinConfigs => &mut self.join_configs,
            Kind::CommonParams => &mut self.common_params,
            Kind::Hql => &mut self.hql,
        }
    }

    // === games ===

    pub(crate) fn game(&self, gid: i64) -> Option<&Game> {
        self.game_ids.get(&gid).and_then(|id| self.games.get(id))
    }

    pub(crate) fn game_mut(&mut self, gid: i64) -> Option<&mut Game> {
        self.game_ids.get(&gid).and_then(|id| self.games.get_mut(id))
    }

    /// Gives the row its id; the caller has checked that the gid is free.
    pub(crate) fn insert_game(&mut self, mut game: Game) -> i64 {
        self.last_game += 1;
        game.id = self.last_game;
        self.game_ids.insert(game.gid, game.id);
        self.games.insert(game.id, game);
        self.last_game
    }

    /// Removes the game row only; `cascade_game` removes what hangs on it.
    pub(crate) fn remove_game(&mut self, gid: i64) -> Option<Game> {
        self.game_ids.remove(&gid).and_then(|id| self.games.remove(&id))
    }

    /// Removes a game's events, their params and its nodes; tells how many of each.
    pub(crate) fn cascade_game(&mut self, gid: i64) -> (usize, usize, usize) {
        let ids: Vec<i64> = self.event_ids(gid).collect();
        let mut params = 0;
        for id in &ids {
            params += self.remove_event(*id).unwrap_or_default();
        }
        let before = self.nodes.rows.len();
        self.nodes.rows.retain(|_, row| field_int(row, "game_gid") != Some(gid));
        (ids.len(), params, before - self.nodes.rows.len())
    }

    // === events ===

    pub(crate) fn insert_event(&mut self, mut event: Event) -> i64 {
        self.last_event += 1;
        event.id = self.last_event;
        self.events_of_game.entry(event.game_gid).or_default().insert(event.id);
        self.events.insert(event.id, event);
        self.last_event
    }

    /// Removes an event with its params and tells how many those were.
    pub(crate) fn remove_event(&mut self, id: i64) -> Option<usize> {
        let event = self.events.remove(&id)?;
        if let Some(ids) = self.events_of_game.get_mut(&event.game_gid) {
            ids.remove(&id);
        }
        let params = self.params_of_event.remove(&id).unwrap_or_default().ids;
        for param in &params {
            self.params.remove(param);
        }
        Some(params.len())
    }

    pub(crate) fn event_ids(&self, gid: i64) -> impl DoubleEndedIterator<Item = i64> {
        self.events_of_game.get(&gid).into_iter().flatten().copied()
    }

    pub(crate) fn event_count(&self, gid: i64) -> usize {
        self.events_of_game.get(&gid).map_or(0, BTreeSet::len)
    }

    pub(crate) fn events_of(&self, gid: i64) -> impl DoubleEndedIterator<Item = &Event> {
        self.event_ids(gid).filter_map(|id| self.events.get(&id))
    }

    // === params ===

    pub(crate) fn insert_param(&mut self, mut param: Param) -> i64 {
        self.last_param += 1;
        param.id = self.last_param;
        let of_event = self.params_of_event.entry(param.event_id).or_default();
        of_event.ids.push(param.id);
        of_event.active += usize::from(param.active);
        self.params.insert(param.id, param);
        self.last_param
    }

    pub(crate) fn all_params_of(&self, event: i64) -> impl Iterator<Item = &Param> {
        let ids = self.params_of_event.get(&event).map(|params| params.ids.iter());
        ids.into_iter().flatten().filter_map(|id| self.params.get(id))
    }

    /// Makes a param inactive and hands out its row.
    pub(crate) fn retire_param(&mut self, id: i64) -> Option<&Param> {
        let param = self.params.get_mut(&id)?;
        if std::mem::replace(&mut param.active, false)
            && let Some(of_event) = self.params_of_event.get_mut(&param.event_id)
        {
            of_event.active = of_event.active.saturating_sub(1);
        }
        Some(param)
    }

    /// How many active params an event has.
    pub(crate) fn param_count(&self, event: i64) -> usize {
        self.params_of_event.get(&event).map_or(0, |params| params.active)
    }

    /// How many active params the events of one game or of all games have.
    pub(crate) fn param_total(&self, gid: Option<i64>) -> usize {
        match gid {
            Some(gid) => self.event_ids(gid).map(|event| self.param_count(event)).sum(),
            None => self.params_of_event.values().map(|params| params.active).sum(),
        }
    }

    pub(crate) fn params_of(&self, event: i64) -> impl Iterator<Item = &Param> {
        self.all_params_of(event).filter(|param| param.active)
    }

    pub(crate) fn params_of_game(&self, gid: i64) -> impl Iterator<Item = &Param> {
        self.event_ids(gid).flat_map(|event| self.params_of(event))
    }

    // === categories ===

    pub(crate) fn insert_category(&mut self, name: &str, created_at: &str) -> i64 {
        self.last_category += 1;
        let id = self.last_category;
        let category = Category { id, name: name.to_owned(), created_at: created_at.to_owned() };
        self.categories.insert(id, category);
        id
    }

    pub(crate) fn category_named(&self, name: &str) -> Option<i64> {
        self.categories.values().find(|category| category.name == name).map(|found| found.id)
    }

    pub(crate) fn category_name(&self, id: Option<i64>) -> Option<&str> {
        id.and_then(|id| self.categories.get(&id)).map(|category| category.name.as_str())
    }
}
