//! Two requests for one resource, and what the origin answers: as they come in the wild, in small
//! alphabets, so that what matters meets often.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// When the response is received, in seconds since the epoch: Fri, 10 Jul 2026 12:00:00 GMT.
pub(crate) const RECEIVED_S: u64 = 1_783_684_800;
pub(crate) const EARLIER: &str = "Fri, 10 Jul 2026 11:59:30 GMT";
pub(crate) const NOW: &str = "Fri, 10 Jul 2026 12:00:00 GMT";
pub(crate) const LATER: &str = "Fri, 10 Jul 2026 12:01:00 GMT";

pub(crate) type Field = (&'static str, &'static str);

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) fields: Vec<Field>,
}

/// A request, its response, another request some time later, and the 304 to that.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) first: Request,
    pub(crate) response: Response,
    pub(crate) later_s: u64,
    pub(crate) second: Request,
    pub(crate) update: Vec<Field>,
}

impl Case {
    /// Every value of a field of the response.
    pub(crate) fn lines(&self, name: &'static str) -> impl Iterator<Item = &'static str> {
        self.response.fields.iter().filter(move |field| field.0 == name).map(|field| field.1)
    }

    /// The first value of a field of the response.
    pub(crate) fn line(&self, name: &'static str) -> Option<&'static str> {
        self.lines(name).next()
    }

    /// Whether the response has such a directive, in this very form.
    pub(crate) fn says(&self, directive: &str) -> bool {
        members(self.lines("cache-control")).any(|member| member == directive)
    }

    /// How often the response has a directive of this name, in any form.
    pub(crate) fn count(&self, directive: &str) -> usize {
        members(self.lines("cache-control")).filter(|member| is_named(member, directive)).count()
    }

    /// Whether the response has a directive of this name, in any form.
    pub(crate) fn names(&self, directive: &str) -> bool {
        self.count(directive) > 0
    }

    /// Whether a 304 brings a directive of this name.
    pub(crate) fn update_names(&self, directive: &str) -> bool {
        let lines = self.update.iter().filter(|field| field.0 == "cache-control");
        members(lines.map(|field| field.1)).any(|member| is_named(member, directive))
    }
}

impl Request {
    /// The first value of a field.
    pub(crate) fn line(&self, name: &str) -> Option<&'static str> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1)
    }

    /// Whether the request has such a directive, in this very form.
    pub(crate) fn says(&self, directive: &str) -> bool {
        members(self.line("cache-control").into_iter()).any(|member| member == directive)
    }

    /// Whether the request has a directive of this name, in any form.
    pub(crate) fn names(&self, directive: &str) -> bool {
        members(self.line("cache-control").into_iter()).any(|member| is_named(member, directive))
    }
}

/// The directives of a generated list: commas in quotes stand without a space behind.
fn members(lines: impl Iterator<Item = &'static str>) -> impl Iterator<Item = &'static str> {
    lines.flat_map(|line| line.split(", "))
}

fn is_named(member: &str, name: &str) -> bool {
    let end = member.find('=').unwrap_or(member.len());
    member[..end].trim().eq_ignore_ascii_case(name)
}

/// Directives as most write them, alone or together.
const USUAL: [&str; 14] = [
    "max-age=60",
    "max-age=60, public",
    "s-maxage=30, max-age=60",
    "max-age=0",
    "public",
    "no-store",
    "private",
    "no-cache",
    "must-revalidate, max-age=60",
    "max-age=60, stale-while-revalidate=30, stale-if-error=90",
    "s-maxage=0, max-age=60",
    "max-age=60, foo, foo=\"bar\"",
    "max-age = 60",
    "max-age=\"60\"",
];

/// Those that caches are known to differ in.
const ODD: [&str; 20] = [
    "proxy-revalidate, max-age=60",
    "immutable",
    "max-age=60, immutable",
    "MAX-AGE=60",
    "Private, max-age=60",
    "max-age=60, max-age=30",
    "max-age=30, max-age=60",
    "max-age=-1",
    "max-age=1.5",
    "max-age",
    "max-age=soon",
    "max-age=99999999999999999999",
    "max-age=60, private=\"x-user\"",
    "max-age=60, no-cache=\"x-csrf,x-user\"",
    "max-age=60, private=\"set-cookie\"",
    "max-age=60, foo=\"a,no-store,b\"",
    "must-understand, no-store, max-age=60",
    "must-understand, max-age=60",
    "s-maxage=60, s-maxage=60",
    "max-age=60, no-cache, private=\"x-user\"",
];

const WANTED: [&str; 18] = [
    "no-cache",
    "no-store",
    "max-age=0",
    "max-age=20",
    "max-age=600",
    "max-age=soon",
    "min-fresh=20",
    "min-fresh=600",
    "max-stale",
    "max-stale=30",
    "max-stale=600",
    "max-stale=soon",
    "max-age=20, max-stale=600",
    "max-stale, min-fresh=20",
    "NO-CACHE",
    "only-if-cached",
    "foo=bar",
    "max-stale=600, max-stale=30",
];

/// Nothing most of the time; `weight` of ten times one of these.
fn maybe(name: &'static str, values: &'static [&str], weight: u32) -> BoxedStrategy<Vec<Field>> {
    let one = select(values).prop_map(move |value| vec![(name, value)]);
    prop_oneof![10 - weight => Just(Vec::new()), weight => one].boxed()
}

/// All of these, one behind the other.
fn fields(parts: Vec<BoxedStrategy<Vec<Field>>>) -> impl Strategy<Value = Vec<Field>> {
    parts.prop_map(|parts| parts.concat())
}

fn request(is_second: bool) -> impl Strategy<Value = Request> {
    let method = prop_oneof![9 => Just("GET"), 1 => Just("HEAD")];
    let wanted = if is_second { 4 } else { 1 };
    let conditions = u32::from(is_second);
    let fields = fields(vec![
        maybe("cache-control", &WANTED, wanted),
        maybe("pragma", &["no-cache"], 1),
        maybe("authorization", &["Basic eA=="], 1),
        maybe("accept-language", &["en", "zh", "EN"], 5),
        maybe("if-none-match", &["\"a\"", "\"z\""], conditions),
        maybe("if-modified-since", &[NOW], conditions),
    ]);
    (method, fields).prop_map(|(method, fields)| Request { method, fields })
}

fn response() -> impl Strategy<Value = Response> {
    let status = prop_oneof![
        6 => Just(200),
        4 => select(vec![202, 203, 204, 206, 299, 301, 302, 307, 404, 410, 500, 503]),
    ];
    let fields = fields(vec![
        maybe("cache-control", &USUAL, 8),
        maybe("cache-control", &ODD, 2),
        maybe("expires", &[LATER, EARLIER, "0", "Friday, 10-Jul-26 12:01:00 GMT"], 2),
        maybe("date", &[NOW, EARLIER, LATER, "now"], 4),
        maybe("age", &["7", "45", "-5", "5, 9"], 2),
        maybe(
            "last-modified",
            &["Fri, 10 Jul 2026 11:30:00 GMT", "Wed, 10 Jul 2024 12:00:00 GMT"],
            4,
        ),
        maybe("etag", &["\"a\"", "W/\"a\"", "a"], 4),
        maybe("vary", &["Accept-Language", "accept-language,  X", "*", "accept-language, *"], 2),
        maybe("set-cookie", &["a=b"], 1),
        maybe("pragma", &["no-cache"], 1),
        maybe("warning", &["110 - stale"], 1),
    ]);
    (status, fields).prop_map(|(status, fields)| Response { status, fields })
}

/// What a 304 says.
fn update() -> impl Strategy<Value = Vec<Field>> {
    let told = vec![
        ("etag", "\"a\""),
        ("etag", "W/\"a\""),
        ("etag", "\"b\""),
        ("last-modified", "Fri, 10 Jul 2026 11:30:00 GMT"),
        ("last-modified", NOW),
        ("cache-control", "max-age=90"),
        ("cache-control", "no-store"),
        ("age", "3"),
    ];
    subsequence(told, 0..4).prop_map(|mut fields| {
        fields.dedup_by_key(|field| field.0);
        fields
    })
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let later = select(vec![0, 10, 29, 30, 31, 59, 60, 75, 90, 200, 500]);
    (request(false), response(), later, request(true), update(), vec(any::<bool>(), 2)).prop_map(
        |(mut first, response, later_s, mut second, update, same)| {
            // Requests that have nothing in common but the resource are rare.
            if same[0] {
                second.fields.retain(|field| field.0 != "accept-language");
                let language = first.fields.iter().filter(|field| field.0 == "accept-language");
                second.fields.extend(language.copied());
            }
            if same[1] {
                first.fields.retain(|field| field.0 != "cache-control");
            }
            Case { first, response, later_s, second, update }
        },
    )
}
