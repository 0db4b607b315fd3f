//! The URL map: which path has which routes, as the origin's framework matches them.

use crate::args::Revision;
use crate::call::Call;
use crate::envelope::Answer;
use crate::query::path_int;

pub(crate) type Handler = fn(&mut Call<'_>) -> Answer;

/// One route. In the pattern, `<int>` stands for digits and `<path>` for one segment or more.
pub(crate) struct Route {
    /// Method names with blanks between them; GET brings HEAD, and all bring OPTIONS.
    pub(crate) methods: &'static str,
    pub(crate) pattern: &'static str,
    /// The only revision that has the route, if not both.
    pub(crate) only: Option<Revision>,
    pub(crate) run: Handler,
}

impl Route {
    pub(crate) const fn new(methods: &'static str, pattern: &'static str, run: Handler) -> Self {
        Self { methods, pattern, only: None, run }
    }

    pub(crate) const fn opt(methods: &'static str, pattern: &'static str, run: Handler) -> Self {
        Self { methods, pattern, only: Some(Revision::Opt), run }
    }
}

/// What the variable parts of a path held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) id: i64,
    pub(crate) name: String,
}

pub(crate) enum Found {
    Run(Handler, Captured),
    /// The path exists, the method does not; the value of `Allow`.
    Methods(String),
    Nothing,
}

pub(crate) struct Router {
    routes: Vec<(Vec<&'static str>, &'static Route)>,
}

impl Router {
    pub(crate) fn new(groups: &[&'static [Route]]) -> Self {
        let all = groups.iter().flat_map(|group| group.iter());
        Self { routes: all.map(|route| (segments(route.pattern).collect(), route)).collect() }
    }

    /// Looks a decoded path up. OPTIONS always ends in `Found::Methods`.
    pub(crate) fn find(&self, revision: Revision, method: &str, path: &str) -> Found {
        let path: Vec<&str> = segments(path).collect();
        let method = if method == "HEAD" { "GET" } else { method };
        let mut allowed: Vec<&str> = Vec::new();
        for (pattern, route) in &self.routes {
            if route.only.is_some_and(|only| only != revision) {
                continue;
            }
            let Some(captured) = capture(pattern, &path) else { continue };
            if route.methods.split(' ').any(|name| name == method) {
                return Found::Run(route.run, captured);
            }
            allowed.extend(route.methods.split(' '));
        }
        if allowed.is_empty() {
            return Found::Nothing;
        }
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        allowed.push("OPTIONS");
        allowed.sort_unstable();
        allowed.dedup();
        Found::Methods(allowed.join(", "))
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn capture(pattern: &[&str], path: &[&str]) -> Option<Captured> {
    let mut captured = Captured::default();
    let mut left = path;
    for (position, part) in pattern.iter().enumerate() {
        let (first, rest) = left.split_first()?;
        left = rest;
        match *part {
            "<int>" => captured.id = path_int(first)?,
            "<path>" => {
                let after = pattern.len() - position - 1;
                let (more, tail) = rest.split_at_checked(rest.len().checked_sub(after)?)?;
                let parts: Vec<&str> =
                    std::iter::once(*first).chain(more.iter().copied()).collect();
                captured.name = parts.join("/");
                left = tail;
            }
            literal if literal == *first => {}
            _ => return None,
        }
    }
    left.is_empty().then_some(captured)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pattern: &str, path: &str) -> Option<Captured> {
        let pattern: Vec<&str> = segments(pattern).collect();
        let path: Vec<&str> = segments(path).collect();
        capture(&pattern, &path)
    }

    #[test]
    fn ids_take_leading_zeros_and_nothing_else() {
        let found = captured("/api/games/<int>", "/api/games/010000147");
        assert_eq!(found.map(|found| found.id), Some(10_000_147));
        for path in ["/api/games/-1", "/api/games/x", "/api/games/1/", "/api/games/", "/api/games"]
        {
            assert_eq!(captured("/api/games/<int>", path), None, "{path}");
        }
    }

    #[test]
    fn a_path_part_may_hold_slashes() {
        let name = |path| captured("/p/<path>/details", path).map(|found| found.name);
        assert_eq!(name("/p/role_id/details").as_deref(), Some("role_id"));
        assert_eq!(name("/p/a/b/details").as_deref(), Some("a/b"));
        assert_eq!(name("/p/details"), None);
    }
}
