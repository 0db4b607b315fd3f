//! The API as a whole: from a request to the reply with all its common headers.

use std::collections::HashSet;

use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, COOKIE, HOST, HeaderMap, SET_COOKIE};
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use crate::args::Revision;
use crate::call::Call;
use crate::envelope::Reply;
use crate::query::Query;
use crate::router::{Found, Router};
use crate::session::Session;
use crate::tables::Db;
use crate::{
    categories, dashboard, event_params, events, games, graphql, node_builder, parameters, rows,
    simple,
};

/// POSTs that only read and thus leave the application's own cache alone.
const READING_POSTS: [&str; 10] = [
    "/api/parameters/search",
    "/api/param-library/batch-check",
    "/api/validate-hql",
    "/api/preview-excel",
    "/api/canvas/",
    "/api/field-builder/preview",
    "/hql-preview-v2/api/",
    "/api/v1-adapter/",
    "/event_node_builder/api/preview-hql",
    "/bulk-export-events",
];

const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'unsafe-inline' \
'unsafe-eval' https://cdn.jsdelivr.net https://cdnjs.cloudflare.com https://unpkg.com; style-src \
'self' 'unsafe-inline' https://cdn.jsdelivr.net https://cdnjs.cloudflare.com \
https://fonts.googleapis.com; font-src 'self' data: https://fonts.gstatic.com \
https://cdn.jsdelivr.net; img-src 'self' data: blob: https:; connect-src 'self' \
https://cdn.jsdelivr.net; object-src 'none'; base-uri 'self'; form-action 'self'; \
frame-ancestors 'self'";

/// What the application has answered before, which some of its messages tell.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashSet<String>);

impl Seen {
    const MOST: usize = 1_000;

    /// Tells whether this is a repetition, and remembers it.
    pub(crate) fn again(&mut self, key: &str) -> bool {
        if self.0.contains(key) {
            return true;
        }
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.insert(key.to_owned());
        false
    }
}

pub(crate) struct Api {
    router: Router,
    db: Db,
    seen: Seen,
    serial: u64,
}

/// The parts of a request the API looks at.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Bytes,
}

impl Api {
    pub(crate) fn new(db: Db) -> Self {
        let router = Router::new(&[
            games::ROUTES,
            events::ROUTES,
            event_params::ROUTES,
            categories::ROUTES,
            parameters::ROUTES,
            rows::ROUTES,
            dashboard::ROUTES,
            graphql::ROUTES,
            node_builder::ROUTES,
            simple::ROUTES,
        ]);
        Self { router, db, seen: Seen::default(), serial: 0 }
    }

    pub(crate) fn answer(&mut self, revision: Revision, asked: &Asked<'_>) -> Reply {
        let header = |name| asked.headers.get(&name).and_then(|value| value.to_str().ok());
        let path = percent_decode_str(asked.path).decode_utf8_lossy();
        let mut session = Session::read(header(COOKIE));
        let mut reply = match self.router.find(revision, asked.method.as_str(), &path) {
            Found::Run(run, captured) => {
                if asked.method != Method::GET && !reads_only(asked.method, &path) {
                    self.seen.0.clear();
                }
                let target =
                    asked.query.map_or(path.to_string(), |query| format!("{path}?{query}"));
                let mut call = Call {
                    revision,
                    method: asked.method.as_str(),
                    target: &target,
                    db: &mut self.db,
                    seen: &mut self.seen,
                    query: Query::parse(asked.query),
                    id: captured.id,
                    name: captured.name,
                    session,
                    accepts_html: header(ACCEPT).is_some_and(|accept| accept.contains("text/html")),
                    json_body: header(CONTENT_TYPE).is_some_and(|kind| kind.contains("json")),
                    body: asked.body,
                };
                let reply = run(&mut call).unwrap_or_else(|error| error);
                session = call.session;
                reply
            }
            Found::Methods(allow) if asked.method == Method::OPTIONS => Reply::options(&allow),
            Found::Methods(allow) => wrong_method(&path).with(hyper::header::ALLOW, &allow),
            Found::Nothing => self.no_route(revision, asked, &path),
        };
        self.add_common(&mut reply, revision, &path, &session);
        if let Some(cookie) = session.cookie(revision == Revision::Main, self.serial) {
            reply = reply.with(SET_COOKIE, &cookie);
        }
        reply
    }

    /// A path without route: doubled slashes lead to the route without them, if there is one.
    fn no_route(&self, revision: Revision, asked: &Asked<'_>, path: &str) -> Reply {
        if path.contains("//") {
            let merged = merge_slashes(path);
            let found = self.router.find(revision, asked.method.as_str(), &merged);
            if !matches!(found, Found::Nothing) {
                let host = asked.headers.get(HOST).and_then(|host| host.to_str().ok());
                let query = asked.query.map(|query| format!("?{query}")).unwrap_or_default();
                let raw = merge_slashes(asked.path);
                let location = format!("http://{}{raw}{query}", host.unwrap_or("localhost"));
                return Reply::redirect(&location);
            }
        }
        if speaks_json(path) {
            return Reply::no_route();
        }
        if *asked.method == Method::GET || *asked.method == Method::HEAD {
            return Reply::html_error(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Reply::html_error(StatusCode::METHOD_NOT_ALLOWED)
    }

    fn add_common(&mut self, reply: &mut Reply, revision: Revision, path: &str, session: &Session) {
        self.serial += 1;
        match revision {
            Revision::Main => {
                reply.push_static("content-security-policy", CONTENT_SECURITY_POLICY);
                reply.push_static("x-frame-options", "SAMEORIGIN");
                reply.push_static("x-content-type-options", "nosniff");
                reply.push_static("x-xss-protection", "1; mode=block");
                reply.push_static("referrer-policy", "strict-origin-when-cross-origin");
            }
            Revision::Opt if path.starts_with("/api/") => {
                reply.push_static("x-api-deprecated", "true");
                reply.push_static("x-api-deprecation-date", "2026-02-25");
                reply.push_static("x-api-sunset", "2026-08-25");
                reply.push_static("x-api-replacement", "/api/graphql");
            }
            Revision::Opt => {}
        }
        if session.used || (revision == Revision::Main && !session.valid) {
            reply.push_static("vary", "Cookie");
        }
    }
}

fn wrong_method(path: &str) -> Reply {
    if speaks_json(path) {
        let message = "The method is not allowed for the requested URL.";
        return Reply::handled(StatusCode::METHOD_NOT_ALLOWED, message);
    }
    Reply::html_error(StatusCode::METHOD_NOT_ALLOWED)
}

fn speaks_json(path: &str) -> bool {
    ["/api/", "/canvas/", "/hql-preview-v2/"].iter().any(|prefix| path.starts_with(prefix))
}

fn reads_only(method: &Method, path: &str) -> bool {
    matches!(*method, Method::HEAD | Method::OPTIONS)
        || READING_POSTS.iter().any(|prefix| path.starts_with(prefix))
}

fn merge_slashes(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    merged
}
