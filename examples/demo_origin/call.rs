//! One request as a route handler sees it.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::Value;

use crate::api::Seen;
use crate::args::Revision;
use crate::envelope::Reply;
use crate::query::{Query, python_int};
use crate::session::Session;
use crate::tables::{Db, Row};

pub(crate) struct Call<'a> {
    pub(crate) revision: Revision,
    pub(crate) method: &'a str,
    /// Path and query as received.
    pub(crate) target: &'a str,
    pub(crate) db: &'a mut Db,
    pub(crate) seen: &'a mut Seen,
    pub(crate) query: Query,
    /// The integer in the path, 0 when the route has none.
    pub(crate) id: i64,
    /// The text in the path, empty when the route has none.
    pub(crate) name: String,
    pub(crate) session: Session,
    pub(crate) accepts_html: bool,
    pub(crate) json_body: bool,
    pub(crate) body: &'a Bytes,
}

impl Call<'_> {
    pub(crate) fn on_main(&self) -> bool {
        self.revision == Revision::Main
    }

    /// The body as a JSON object that has the `required` keys.
    pub(crate) fn json(&self, required: &[&str]) -> Result<Row, Reply> {
        if !self.json_body {
            return Err(Reply::html_error(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let row = match serde_json::from_slice(self.body) {
            Ok(Value::Object(row)) => row,
            Ok(_) => return Err(Reply::bad_request("Request body must be a JSON object")),
            Err(_) if self.on_main() => {
                let message = "The browser (or proxy) sent a request that cannot be understood.";
                return Err(Reply::handled(StatusCode::BAD_REQUEST, message));
            }
            Err(_) => return Err(Reply::bad_request("Invalid request format")),
        };
        let missing: Vec<&str> =
            required.iter().copied().filter(|key| !row.contains_key(*key)).collect();
        if missing.is_empty() {
            return Ok(row);
        }
        Err(Reply::bad_request(&format!("Missing required fields: {}", missing.join(", "))))
    }

    /// The ids a batch body names under the first of `keys` it has.
    pub(crate) fn batch_ids(body: &Row, keys: &[&str]) -> Result<Vec<i64>, Reply> {
        let list = keys.iter().find_map(|key| body.get(*key)).and_then(Value::as_array);
        let ids: Vec<i64> = list.into_iter().flatten().filter_map(loose_int).collect();
        if ids.is_empty() { Err(Reply::bad_request("Invalid IDs")) } else { Ok(ids) }
    }

    /// The `game_gid` parameter, or 400.
    pub(crate) fn required_gid(&self) -> Result<i64, Reply> {
        self.query.id("game_gid").ok_or_else(|| Reply::bad_request("game_gid is required"))
    }

    /// The `game_gid` parameter of a known game, or 400 and 404.
    pub(crate) fn known_gid(&self) -> Result<i64, Reply> {
        let gid = self.required_gid()?;
        self.check_game(gid, StatusCode::NOT_FOUND)
    }

    pub(crate) fn check_game(&self, gid: i64, unknown: StatusCode) -> Result<i64, Reply> {
        if self.db.game(gid).is_some() {
            return Ok(gid);
        }
        Err(Reply::error(unknown, &format!("Game {gid} not found")))
    }

    /// The `game_gid` parameter, else the one in the session, else 400.
    pub(crate) fn gid_or_session(&mut self) -> Result<i64, Reply> {
        if let Some(gid) = self.query.id("game_gid") {
            return Ok(gid);
        }
        self.session.game_gid().ok_or_else(|| Reply::bad_request("game_gid required"))
    }
}

/// An integer that may be written as a string.
pub(crate) fn loose_int(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str().and_then(python_int))
}

/// A non-empty string field, trimmed.
pub(crate) fn text<'a>(row: &'a Row, key: &str) -> Option<&'a str> {
    row.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}
