//! URI references resolved against the URI of a request (RFC 3986, 5), as far as an HTTP cache
//! needs: to see whether they lead to the same origin, and where.

/// Resolves the value of `Location` or `Content-Location` for a request for `scheme`, `authority` and
/// `path`. Returns path and query if it names something of the same origin, without a fragment.
#[must_use]
pub fn same_origin(
    scheme: &[u8],
    authority: &[u8],
    path: &[u8],
    reference: &[u8],
) -> Option<Vec<u8>> {
    let reference = until(reference.trim_ascii(), b"#");
    let before_path = until(reference, b"/?");
    let rest = match before_path.iter().position(|b| *b == b':') {
        Some(colon) => {
            let (said, rest) = reference.split_at_checked(colon)?;
            said.eq_ignore_ascii_case(scheme).then_some(rest.get(1..)?)?
        }
        None => reference,
    };
    if let Some(rest) = rest.strip_prefix(b"//") {
        let said = until(rest, b"/?");
        let same = host(scheme, said).eq_ignore_ascii_case(host(scheme, authority));
        let rest = rest.get(said.len()..).filter(|_| same)?;
        return Some(if rest.starts_with(b"/") {
            without_dots(rest)
        } else {
            [b"/", rest].concat()
        });
    }
    let base = until(path, b"?");
    Some(match rest.first() {
        // A scheme without an authority is another kind of URI.
        _ if rest.len() != reference.len() => return None,
        Some(b'/') => without_dots(rest),
        Some(b'?') => [base, rest].concat(),
        None => path.to_vec(),
        Some(_) => {
            let folder = base.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
            without_dots(&[base.get(..folder)?, rest].concat())
        }
    })
}

fn until<'a>(text: &'a [u8], ends: &[u8]) -> &'a [u8] {
    text.split(|b| ends.contains(b)).next().unwrap_or_default()
}

/// Host and port, without the user and without a default port.
fn host<'a>(scheme: &[u8], authority: &'a [u8]) -> &'a [u8] {
    let port: &[u8] = if scheme.eq_ignore_ascii_case(b"https") { b":443" } else { b":80" };
    let authority = authority.rsplit(|b| *b == b'@').next().unwrap_or_default();
    authority.strip_suffix(port).unwrap_or(authority)
}

/// Removes `.` and `..` segments (5.2.4); the query is left as it is.
fn without_dots(target: &[u8]) -> Vec<u8> {
    let path = until(target, b"?");
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut folder = false;
    for segment in path.split(|b| *b == b'/').skip(1) {
        folder = matches!(segment, b"." | b"..");
        match segment {
            b"." => {}
            b".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    if folder {
        kept.push(b"");
    }
    let mut out = Vec::with_capacity(target.len());
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    out.extend_from_slice(target.get(path.len()..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn rfc3986_5_references_within_the_origin() {
        for (reference, expected) in [
            ("/x", Some("/x")),
            ("/x?y#z", Some("/x?y")),
            ("http://api.test/x", Some("/x")),
            ("HTTP://API.test:80/x", Some("/x")),
            ("http://api.test", Some("/")),
            ("http://api.test?q", Some("/?q")),
            ("http://user:pw@api.test/x", Some("/x")),
            ("http://api.test@evil.test/x", None),
            ("//api.test/x", Some("/x")),
            ("https://api.test/x", None),
            ("http://api.test:81/x", None),
            ("http://evil.test/x", None),
            ("//evil.test/x", None),
            ("http:/x", None),
            ("mailto:x@y", None),
            ("7", Some("/api/games/7")),
            ("./7?a", Some("/api/games/7?a")),
            ("../events/7", Some("/api/events/7")),
            ("../../../x", Some("/x")),
            ("..", Some("/api/")),
            ("?page=2", Some("/api/games/?page=2")),
            ("", Some("/api/games/?page=1")),
            ("a/b:c", Some("/api/games/a/b:c")),
        ] {
            let found =
                same_origin(b"http", b"api.test", b"/api/games/?page=1", reference.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{reference}");
        }
    }
}
