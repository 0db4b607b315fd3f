//! The deterministic rows the origin starts with.

use serde_json::{Value, json};

use crate::args::Args;
use crate::tables::{Db, Event, Game, Kind, Param, Row};

pub(crate) const FIRST_GID: i64 = 10_000_147;
const SEEDED_AT: &str = "2026-02-20 08:00:00";

const CATEGORIES: [&str; 8] = ["登录", "充值", "战斗", "社交", "任务", "活动", "系统", "养成"];

const EVENTS: [(&str, &str); 5] = [
    ("role_login", "角色登录"),
    ("battle_finish", "战斗结束"),
    ("item_change", "道具变化"),
    ("quest_accept", "任务接取"),
    ("guild_join", "加入公会"),
];

/// Name, Chinese name and base type.
const PARAMS: [(&str, &str, &str); 12] = [
    ("role_id", "角色编号", "bigint"),
    ("account_id", "账号编号", "string"),
    ("server_id", "服务器", "int"),
    ("role_level", "角色等级", "int"),
    ("vip_level", "贵族等级", "int"),
    ("channel", "渠道", "string"),
    ("item_id", "道具编号", "int"),
    ("item_num", "道具数量", "bigint"),
    ("map_id", "地图编号", "int"),
    ("duration", "持续时间", "int"),
    ("reason", "原因", "string"),
    ("extra", "扩展信息", "map"),
];

pub(crate) fn build(args: &Args) -> Db {
    let mut db = Db::default();
    for name in CATEGORIES {
        db.insert_category(name, SEEDED_AT);
    }
    for index in 0..i64::from(args.games) {
        let gid = FIRST_GID + index;
        db.insert_game(Game {
            id: 0,
            gid,
            name: format!("Star Legend {:03}", index + 1),
            ods_db: if index % 2 == 0 { "ieu_ods" } else { "overseas_ods" }.to_owned(),
            created_at: SEEDED_AT.to_owned(),
            updated_at: SEEDED_AT.to_owned(),
        });
        seed_events(&mut db, gid, args);
        seed_rows(&mut db, gid, index);
    }
    db
}

fn seed_events(db: &mut Db, gid: i64, args: &Args) {
    for number in 0..i64::from(args.events_per_game) {
        let (name, name_cn) = pick(&EVENTS, number).copied().unwrap_or_default();
        let id = db.insert_event(Event {
            id: 0,
            game_gid: gid,
            name: format!("{name}_{:02}", number + 1),
            name_cn: format!("{name_cn}{:02}", number + 1),
            category_id: Some(number % 8 + 1),
            include_in_common_params: i64::from(number % 3 != 0),
            created_at: SEEDED_AT.to_owned(),
            updated_at: SEEDED_AT.to_owned(),
        });
        for param in 0..i64::from(args.params_per_event) {
            db.insert_param(seed_param(id, number, param));
        }
    }
}

/// Neighbouring events start elsewhere in the list, so that names are shared but differ.
fn seed_param(event_id: i64, event_number: i64, number: i64) -> Param {
    let position = event_number * 2 + number;
    let (name, name_cn, base_type) = pick(&PARAMS, position).copied().unwrap_or_default();
    let round = number / 12;
    let name = if round == 0 { name.to_owned() } else { format!("{name}_{round}") };
    Param {
        id: 0,
        event_id,
        json_path: format!("$.{name}"),
        name,
        name_cn: name_cn.to_owned(),
        base_type: base_type.to_owned(),
        description: String::new(),
        active: true,
        version: 1,
        created_at: SEEDED_AT.to_owned(),
    }
}

fn pick<T>(items: &[T], position: i64) -> Option<&T> {
    let position = usize::try_from(position).ok()?;
    items.get(position % items.len().max(1))
}

fn seed_rows(db: &mut Db, gid: i64, index: i64) {
    let number = index + 1;
    let first_event = db.event_ids(gid).next();
    let event_node = json!({
        "config_json": {"fields": ["role_id", "server_id"], "where": []},
        "created_at": SEEDED_AT, "event_id": first_event, "game_gid": gid, "is_active": 1,
        "name_cn": format!("登录节点{number}"), "name_en": format!("login_node_{number}"),
    });
    let node = json!({
        "config": {"x": 120, "y": 80}, "created_at": SEEDED_AT, "event_id": first_event,
        "game_gid": gid, "name": format!("node_{number}"), "node_type": "event",
    });
    let flow = json!({
        "category": if index % 2 == 0 { "retention" } else { "payment" },
        "created_at": SEEDED_AT, "description": "", "flow_graph": {"edges": [], "nodes": []},
        "game_gid": gid, "game_id": number, "is_active": 1,
        "flow_name": format!("Flow {number}"), "version": 1,
    });
    let join = json!({
        "created_at": SEEDED_AT, "display_name": format!("连接{number}"), "game_gid": gid,
        "join_conditions": [{"left": "role_id", "right": "role_id"}], "join_type": "join",
        "name": format!("join_{number}"), "output_fields": [],
    });
    insert(db, Kind::EventNodes, event_node);
    insert(db, Kind::Nodes, node);
    insert(db, Kind::Flows, flow);
    insert(db, Kind::JoinConfigs, join);
    for (name, name_cn, base_type) in PARAMS.iter().take(3) {
        let common = json!({
            "created_at": SEEDED_AT, "game_gid": gid, "param_name": name,
            "param_name_cn": name_cn, "param_type": base_type, "status": "synced",
        });
        insert(db, Kind::CommonParams, common);
    }
}

fn insert(db: &mut Db, kind: Kind, value: Value) {
    let row = match value {
        Value::Object(row) => row,
        _ => Row::new(),
    };
    db.rows_mut(kind).insert(row);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_data_set() {
        let db = build(&Args::default());
        assert_eq!(db.games.len(), 20);
        assert_eq!(db.events.len(), 1000);
        assert_eq!(db.params.len(), 6000);
        assert_eq!(db.event_count(FIRST_GID), 50);
        assert_eq!(db.params_of(1).count(), 6);
        let names: std::collections::BTreeSet<_> =
            db.params_of_game(FIRST_GID).map(|param| param.name.as_str()).collect();
        assert_eq!(names.len(), 12);
    }

    #[test]
    fn retired_params_do_not_count() {
        let mut db = build(&Args { games: 1, ..Args::default() });
        assert_eq!((db.param_count(1), db.param_total(None)), (6, 300));
        assert!(db.retire_param(1).is_some() && db.retire_param(1).is_some());
        assert_eq!((db.param_count(1), db.param_total(Some(FIRST_GID))), (5, 299));
        assert_eq!((db.params_of(1).count(), db.all_params_of(1).count()), (5, 6));
    }

    #[test]
    fn cascade_leaves_nothing_of_the_game() {
        let mut db = build(&Args { games: 2, ..Args::default() });
        assert_eq!(db.cascade_game(FIRST_GID), (50, 300, 1));
        assert!(db.remove_game(FIRST_GID).is_some());
        assert_eq!((db.games.len(), db.events.len(), db.params.len()), (1, 50, 300));
        assert!(db.game(FIRST_GID).is_none());
    }
}
