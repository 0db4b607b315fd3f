//! The RFCs on real Envoy, a file for each part; docs/semantics.md is the index.

mod rfc5861_stale;
mod rfc9110_13_conditional;
mod rfc9110_14_ranges;
mod rfc9111_3_storing;
mod rfc9111_4_1_vary;
mod rfc9111_4_2_freshness;
mod rfc9111_4_3_validation;
mod rfc9111_4_4_invalidation;
mod rfc9111_5_2_1_requests;
mod rfc9211_cache_status;
mod rfc9213_targets;

use crate::harness::{Asked, Client, Response, reply};

/// Answers every request with 200 and these fields; the body counts.
fn always(
    fields: &'static [(&'static str, &'static str)],
) -> impl FnMut(&Asked) -> Option<Vec<u8>> {
    let mut count = 0;
    move |_| {
        count += 1;
        reply(200, fields, &format!("body {count}"))
    }
}

/// Answers by the query, percent-decoded: `/x?200|cache-control: max-age=60|etag: "a"`; the body counts.
fn by_query() -> impl FnMut(&Asked) -> Option<Vec<u8>> {
    let mut count = 0;
    move |asked| {
        count += 1;
        let query = asked.target.split_once('?').map_or("", |(_, query)| query);
        let query = percent_encoding::percent_decode_str(query).decode_utf8_lossy();
        let mut parts = query.split('|');
        let status = parts.next().and_then(|status| status.parse().ok()).unwrap_or(200);
        let fields: Vec<(&str, &str)> = parts.filter_map(|field| field.split_once(": ")).collect();
        reply(status, &fields, &format!("body {count}"))
    }
}

/// A target for [`by_query`].
fn target(path: &str, status: u16, fields: &[&str]) -> String {
    let text = format!("{status}|{}", fields.join("|"));
    format!(
        "{path}?{}",
        percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC)
    )
}

fn get_with(client: &mut Client, path: &str, fields: &[(&str, &str)]) -> Response {
    client.request("GET", path, fields, b"")
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(&response.body).expect("text")
}
