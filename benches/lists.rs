//! An origin with very many ids, which it lists in pages.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::harness::{Asked, Script, reply};

/// Has all even ids up to twice so many, but for 0; and `/hot`, which may be stored.
pub struct Lists {
    pub script: Script,
    /// Requests for one id.
    #[allow(dead_code)] // of those who share this file not all count
    pub asked: Arc<AtomicU64>,
}

impl Lists {
    /// One of so many ids, so many to a page.
    pub fn start(ids: u64, page: u64) -> Self {
        let asked = Arc::new(AtomicU64::new(0));
        let of_script = Arc::clone(&asked);
        let script = Script::start(move |asked: &Asked| {
            if let Some(number) = asked.target.strip_prefix("/list?page=") {
                let first = (number.parse::<u64>().ok()? - 1) * page;
                let mut body = format!("{{\"total\":{ids},\"ids\":[");
                for id in first..ids.min(first + page) {
                    let comma = if id > first { "," } else { "" };
                    let _ = write!(body, "{comma}{}", 2 * (id + 1)); // writing to a String cannot fail
                }
                body.push_str("]}");
                return reply(200, &[], &body);
            }
            if asked.target == "/hot" {
                return reply(200, &[("cache-control", "max-age=3600")], "hot");
            }
            of_script.fetch_add(1, Ordering::Relaxed);
            let id = asked.target.rsplit('/').next()?.parse::<u64>().ok();
            let exists = id.is_some_and(|id| id > 0 && id % 2 == 0 && id <= 2 * ids);
            let status = if exists { 200 } else { 404 };
            reply(status, &[("cache-control", "no-store")], &asked.target)
        });
        Self { script, asked }
    }

    /// A space called `many` of its ids, from this cluster.
    pub fn space(cluster: &str, ids: u64, width: u8) -> Value {
        json!({"many": {
            "pattern": "[0-9]{1,9}",
            "width": width,
            "max_ids": ids,
            "refresh": "1h",
            "grace": "1h",
            "source": {"http": {
                "cluster": cluster, "path": "/list", "ids": "/ids/*", "total": "/total",
                "page": {"parameter": "page"}, "concurrency": 2,
            }},
        }})
    }
}
