//! An API that changes, fails and lies, for tests.

use serde_json::{Value, json};

use super::super::{HttpSource, Paging, SourcePolicy, SpacePolicy, hash};
use super::tests::{end, space};
use super::*;
use crate::coherence::Pointer;
use crate::http::fields::block;

/// What an API answers: status, fields besides, body.
pub(super) type Answer = (u16, Vec<(&'static str, String)>, String);

/// An API with pages of `size` rows.
pub(super) struct Api {
    pub(super) rows: Vec<Value>,
    pub(super) size: usize,
    pub(super) etags: bool,
    /// What is asked of it: the path, with `*` behind it if there is a condition.
    pub(super) asked: Vec<String>,
    pub(super) most_in_flight: usize,
    /// What happens before the n-th answer.
    pub(super) before: fn(usize, &mut Vec<Value>),
    /// What becomes of the n-th answer.
    pub(super) spoil: fn(usize, &mut Answer),
}

pub(super) fn api(rows: impl IntoIterator<Item = u32>, size: usize) -> Api {
    Api {
        rows: rows.into_iter().map(Value::from).collect(),
        size,
        etags: false,
        asked: Vec::new(),
        most_in_flight: 0,
        before: |_, _| {},
        spoil: |_, _| {},
    }
}

pub(super) fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).unwrap()
}

pub(super) fn source(paging: Paging, total: bool) -> HttpSource {
    HttpSource {
        cluster: "api".into(),
        timeout_ms: 1_000,
        path: "/list?size=5".into(),
        fields: vec![(b":authority"[..].into(), b"api.test"[..].into())],
        paging,
        ids: pointer("/rows/*/id"),
        total: total.then(|| pointer("/total")),
        concurrency: 3,
    }
}

pub(super) fn of(paging: Paging, total: bool) -> SpacePolicy {
    space(SourcePolicy::Http(source(paging, total)), 1_000)
}

pub(super) fn numbers() -> SpacePolicy {
    of(Paging::Numbers { parameter: "page".into(), first: 1 }, true)
}

pub(super) fn cursor(total: bool) -> SpacePolicy {
    of(Paging::Cursor { parameter: "after".into(), next: pointer("/next") }, total)
}

impl Api {
    fn answer(&mut self, request: &[u8]) -> Answer {
        let (n, request) = (self.asked.len(), Fields::new(request));
        let path = String::from_utf8(request.get(b":path").unwrap().to_vec()).unwrap();
        let condition = request.get(b"if-none-match");
        self.asked.push(format!("{path}{}", if condition.is_some() { "*" } else { "" }));
        (self.before)(n, &mut self.rows);
        let value = |name: &str| path.split_once(name).map(|(_, n)| n.parse::<usize>().unwrap());
        let start = match (value("page="), value("after=")) {
            (Some(page), _) => (page - 1) * self.size,
            (_, start) => start.unwrap_or(0),
        };
        let end = start + self.size;
        let page: Vec<_> = self.rows.iter().skip(start).take(self.size).collect();
        let rows: Vec<_> = page.iter().map(|id| json!({ "id": id })).collect();
        let next = if end < self.rows.len() { json!(end) } else { Value::Null };
        let body = json!({"total": self.rows.len(), "rows": rows, "next": next}).to_string();
        let mut answer = (200, vec![("content-length", body.len().to_string())], body);
        if self.etags {
            let etag = format!("\"{:x}\"", hash(answer.2.as_bytes()));
            if condition == Some(etag.as_bytes()) {
                answer = (304, Vec::new(), String::new());
            }
            answer.1.push(("etag", etag));
        }
        (self.spoil)(n, &mut answer);
        answer
    }

    /// Reads; of several that are in flight the one that was asked for last is answered first.
    pub(super) fn read_after(
        &mut self,
        space: &SpacePolicy,
        etags: &Etags,
    ) -> Result<List, Failure> {
        let mut reading = Reading::new(space, etags);
        let mut in_flight = Vec::new();
        self.asked.clear();
        loop {
            in_flight.extend(std::iter::from_fn(|| reading.ask(space)));
            self.most_in_flight = self.most_in_flight.max(in_flight.len());
            let Some(Ask { ticket, what: Asking::Http(request) }) = in_flight.pop() else { break };
            let (status, fields, body) = self.answer(&request);
            let status = status.to_string();
            let fields: Vec<_> = [(":status", &*status)]
                .into_iter()
                .chain(fields.iter().map(|(name, value)| (*name, &**value)))
                .collect();
            let fields = block(&fields);
            let came = match &*status {
                "0" => Came::Nothing,
                "1" => Came::Redis(b":1\r\n"),
                _ => Came::Http(Fields::new(&fields), body.as_bytes()),
            };
            reading.answer(space, ticket, came);
            // Twice does not count, nor does what was not asked for.
            reading.answer(space, ticket, Came::Nothing);
            reading.answer(space, 1 << 30, Came::Nothing);
        }
        end(&mut reading).unwrap()
    }

    pub(super) fn read(&mut self, space: &SpacePolicy) -> Result<(Vec<u64>, u64, usize), Failure> {
        match self.read_after(space, &Etags::default())? {
            List::Unchanged => panic!("nothing was known"),
            List::Ids(ids, highest, etags) => {
                let mut hashes: Vec<_> = ids.buckets.into_iter().flatten().collect();
                hashes.sort_unstable();
                Ok((hashes, highest, etags.0.len()))
            }
        }
    }

    pub(super) fn fails(&mut self, space: &SpacePolicy) -> Failure {
        self.read(space).unwrap_err()
    }
}

pub(super) fn hashes(ids: impl IntoIterator<Item = u32>) -> Vec<u64> {
    let mut hashes: Vec<_> = ids.into_iter().map(|id| hash(id.to_string().as_bytes())).collect();
    hashes.sort_unstable();
    hashes
}

/// Reads a list whose first page has this body.
pub(super) fn read_body(space: &SpacePolicy, body: &str) -> Result<usize, Failure> {
    let mut reading = Reading::new(space, &Etags::default());
    let ask = reading.ask(space).unwrap();
    let fields = block(&[(":status", "200")]);
    reading.answer(space, ask.ticket, Came::Http(Fields::new(&fields), body.as_bytes()));
    end(&mut reading).unwrap_or(Ok(List::Unchanged)).map(|list| match list {
        List::Unchanged => usize::MAX,
        List::Ids(ids, ..) => ids.len(),
    })
}

pub(super) fn etags(api: &mut Api, space: &SpacePolicy) -> Etags {
    match api.read_after(space, &Etags::default()) {
        Ok(List::Ids(_, _, etags)) => etags,
        other => panic!("{other:?}"),
    }
}
