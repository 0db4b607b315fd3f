//! Where the engine and the crate differ, and the sentence that decides it.

use crate::case::{Case, EARLIER, Field, Request};
use crate::judge::Judgement;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Stored,
    Ttl,
    Served,
    Age,
    Asked,
    Updates,
    Renewed,
}

/// A known difference.
pub(crate) struct Difference {
    /// The sentence that decides it: an RFC's, or a promise of this cache that an RFC allows.
    pub(crate) decided_by: &'static str,
    /// Whether it is the reason why this question has two answers; the judgement is ours.
    pub(crate) explains: fn(&Case, Question, &Judgement) -> bool,
}

use Question::{Age, Asked, Renewed, Served, Stored, Ttl, Updates};

/// Whether the question is of time.
const fn of_time(question: Question) -> bool {
    matches!(question, Ttl | Served | Age | Renewed)
}

/// Whether the response says itself how long it is fresh.
fn explicit(case: &Case) -> bool {
    case.names("max-age") || case.names("s-maxage") || case.line("expires").is_some()
}

pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference {
        decided_by: "RFC 9111, 3: a response MAY be stored if ... ; what never says how fresh it is \
                     is not, by this cache's promise of no default freshness",
        explains: |case, question, ours| {
            question == Stored
                && !ours.stored
                && !explicit(case)
                && case.line("last-modified").is_none()
        },
    },
    Difference {
        decided_by: "RFC 9111, 3: the status code is final, and understood if it is 206 or 304 or \
                     must-understand is present; any other with explicit freshness or public may be stored",
        explains: |case, question, ours| {
            let theirs = [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501];
            question == Stored
                && ours.stored
                && !theirs.contains(&case.response.status)
                && (explicit(case) || case.says("public"))
        },
    },
    Difference {
        decided_by: "RFC 9110, 9.3.2: the server SHOULD send the same header fields in response to \
                     HEAD as to GET, but not the content: there is nothing to store",
        explains: |case, question, ours| {
            question == Stored && !ours.stored && case.first.method == "HEAD"
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.2.2.7: with field names, private says that only those fields are \
                     limited to a private cache",
        explains: |case, question, ours| {
            question == Stored
                && ours.stored
                && case.lines("cache-control").any(|l| l.contains("private=\""))
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.2.2.4: with field names, no-cache is about those fields only",
        explains: |case, question, _| {
            (of_time(question) || question == Stored)
                && case.lines("cache-control").any(|l| l.contains("no-cache=\""))
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.2.2.3: a cache that implements must-understand SHOULD ignore \
                     no-store if it understands the status code",
        explains: |case, question, ours| {
            question == Stored
                && ours.stored
                && case.says("must-understand")
                && case.says("no-store")
        },
    },
    Difference {
        decided_by: "RFC 9111, 7.3: Set-Cookie does not inhibit caching; on a route that respects cookies it \
                     does, by this cache's promise",
        explains: |case, question, ours| {
            question == Stored && !ours.stored && case.line("set-cookie").is_some()
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.2: directives are identified by a token, compared case-insensitively",
        explains: |case, question, _| {
            let of_response = case.says("MAX-AGE=60") || case.says("Private");
            of_response && matches!(question, Stored | Ttl | Served)
                || question == Served && case.second.says("NO-CACHE")
        },
    },
    Difference {
        decided_by: "RFC 9110, 5.6.4: a quoted string is one value, commas included",
        explains: |case, question, ours| {
            question == Stored && ours.stored && case.says("foo=\"a,no-store,b\"")
        },
    },
    Difference {
        decided_by: "RFC 9111, 4.2.1: either the first occurrence should be used or the response \
                     should be considered stale; the shorter is never more than either",
        explains: |case, question, _| {
            let repeated = case.count("max-age") > 1 || case.count("s-maxage") > 1;
            let wanted = case.second.says("max-stale=600") && case.second.says("max-stale=30");
            (of_time(question) || question == Stored) && repeated || question == Served && wanted
        },
    },
    Difference {
        decided_by: "RFC 9111, 4.2.1 and 5.2.2: an argument that is missing or no number makes the \
                     response stale; the heuristic is for those without any explicit time",
        explains: |case, question, _| {
            matches!(question, Stored | Ttl | Served) && case.says("max-age")
        },
    },
    Difference {
        decided_by: "RFC 9111, 1.2.2: a value that is too large is 2147483648",
        explains: |case, question, _| {
            matches!(question, Stored | Ttl | Served) && case.says("max-age=99999999999999999999")
        },
    },
    Difference {
        decided_by: "RFC 9111, 4.2.3: apparent_age = max(0, response_time - date_value)",
        explains: |case, question, _| {
            (of_time(question) || question == Stored) && case.line("date") == Some(EARLIER)
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.1: if it contains a list, the first member is used",
        explains: |case, question, _| {
            (of_time(question) || question == Stored) && case.line("age") == Some("5, 9")
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.2.2.8: proxy-revalidate is about responses that have become stale",
        explains: |case, question, _| {
            (of_time(question) || question == Stored) && case.says("proxy-revalidate")
        },
    },
    Difference {
        decided_by: "RFC 9111, 4.2.4: a cache MUST NOT generate a stale response if it is prohibited \
                     by must-revalidate, proxy-revalidate, s-maxage or no-cache",
        explains: |case, question, ours| {
            let prohibited = case.names("s-maxage") || case.names("no-cache");
            question == Served
                && ours.served == Some(false)
                && prohibited
                && case.second.names("max-stale")
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.4: the meaning of Pragma in responses was never specified",
        explains: |case, question, _| {
            (of_time(question) || question == Stored) && case.line("pragma").is_some()
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.4: Pragma is considered where Cache-Control is not present",
        explains: |case, question, ours| {
            let both =
                case.second.line("pragma").is_some() && case.second.line("cache-control").is_some();
            question == Served && ours.served == Some(true) && both
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.2.1: arguments of requests that are no number are 0, the stricter way",
        explains: |case, question, ours| {
            let soon = case.second.says("max-age=soon") || case.second.says("max-stale=soon");
            question == Served && ours.served == Some(false) && soon
        },
    },
    Difference {
        decided_by: "RFC 8246, 2: immutable is about the freshness lifetime, and gives none",
        explains: |case, question, _| {
            (of_time(question) || question == Stored)
                && case.says("immutable")
                && !case.names("max-age")
        },
    },
    Difference {
        decided_by: "RFC 8246, 2: what is immutable is not validated within its freshness lifetime, \
                     not for a reload either",
        explains: |case, question, ours| {
            question == Served
                && ours.served == Some(true)
                && case.says("immutable")
                && case.second.names("max-age")
        },
    },
    Difference {
        decided_by: "RFC 9111, 4.2.2: caches are encouraged to bound the heuristic; here by a day",
        explains: |case, question, _| {
            let years = case.line("last-modified").is_some_and(|line| line.contains("2024"));
            of_time(question) && years && !explicit(case)
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.2.1.2: stale by no more than the number of seconds; that many is not more",
        explains: |case, question, ours| {
            question == Served && ours.served == Some(true) && case.second.says("max-stale=30")
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.2.1.1: unless max-stale is present too, max-age wants no stale response",
        explains: |case, question, ours| {
            let both = case.second.names("max-stale") && case.second.names("max-age");
            question == Served && ours.served == Some(true) && both
        },
    },
    Difference {
        decided_by: "RFC 9110, 12.5.5: Vary with * means that no request matches: not stored",
        explains: |case, question, ours| {
            question == Stored && !ours.stored && case.lines("vary").any(|line| line.contains('*'))
        },
    },
    Difference {
        decided_by: "RFC 9111, 4.1: fields match if one can be transformed to the other by \
                     normalisation, as the case of a language",
        explains: |case, question, ours| {
            let language =
                |request: &Request| request.line("accept-language").map(str::to_lowercase);
            let same = language(&case.first) == language(&case.second);
            let found = question == Served && ours.served == Some(true) || question == Asked;
            found && same && case.line("vary").is_some()
        },
    },
    Difference {
        decided_by: "RFC 9111, 3.5: only what says that it is shared answers a request with Authorization \
                     here, whoever asked first; nor is anything else asked about or updated by it",
        explains: |case, question, ours| {
            let refused = question == Served && ours.served == Some(false)
                || question == Asked
                || question == Updates && ours.updates == Some(false);
            refused && case.second.line("authorization").is_some()
        },
    },
    Difference {
        decided_by: "RFC 9111, 4: the stored response to GET answers HEAD, too",
        explains: |case, question, ours| {
            question == Served && ours.served == Some(true) && case.second.method == "HEAD"
        },
    },
    Difference {
        decided_by: "RFC 9110, 5.6.7: a recipient MUST accept all three formats of a date",
        explains: |case, question, _| {
            let old = case.line("expires").is_some_and(|line| line.starts_with("Friday"));
            (of_time(question) || question == Stored) && old
        },
    },
    Difference {
        decided_by: "RFC 9110, 8.8.3: entity-tag = [ weak ] opaque-tag, in quotes: what is none is no \
                     validator",
        explains: |case, question, _| {
            matches!(question, Stored | Asked | Updates) && case.line("etag") == Some("a")
        },
    },
    Difference {
        decided_by: "RFC 9111, 4.3.1: the cache's own request asks about what is stored; the client's \
                     conditions are evaluated against the answer (4.3.2)",
        explains: |case, question, _| {
            let own = ["if-none-match", "if-modified-since"];
            question == Asked && own.iter().any(|name| case.second.line(name).is_some())
        },
    },
    Difference {
        decided_by: "RFC 9110, 8.8.3.2: of two tags that are compared strongly neither may be weak",
        explains: |case, question, ours| {
            question == Updates
                && ours.updates == Some(false)
                && case.line("etag") == Some("W/\"a\"")
        },
    },
    Difference {
        decided_by: "RFC 9111, 3.2: the cache MUST add each header field in the provided response",
        explains: |case, question, _| question == Renewed && !case.update.is_empty(),
    },
    Difference {
        decided_by: "RFC 9111, 3.2: the cache MUST add each header field in the provided response; with \
                     no-store among them nothing is kept (5.2.2.5)",
        explains: |case, question, ours| {
            question == Updates && ours.updates == Some(false) && case.update_names("no-store")
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.2.3: unrecognized directives are ignored, contradicting ones too",
        explains: |case, question, _| {
            matches!(question, Stored | Served) && case.says("foo=\"bar\"")
        },
    },
    Difference {
        decided_by: "RFC 9111, 4.3.4: weak validators, those validators, correspond to the stored \
                     response: the tag and the date",
        explains: |case, question, ours| {
            let date = |field: &&Field| field.0 == "last-modified";
            let told = case.update.iter().find(date);
            let other_date = told
                .is_some_and(|told| case.line("last-modified").is_some_and(|line| line != told.1));
            question == Updates && ours.updates == Some(false) && other_date
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.2.1.5: with no-store a cache MUST NOT store any part of any response \
                     to the request: a 304 neither",
        explains: |case, question, ours| {
            question == Updates && ours.updates == Some(false) && case.second.says("no-store")
        },
    },
    Difference {
        decided_by: "RFC 9111, 5.2.1.2: the client will accept a stale response; variants that nothing \
                     else makes useful for longer are not looked for",
        explains: |case, question, ours| {
            let wanted = case.second.names("max-stale") && case.line("vary").is_some();
            question == Served && ours.served == Some(false) && wanted
        },
    },
];
