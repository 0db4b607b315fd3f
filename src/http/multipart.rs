//! `multipart/byteranges` (RFC 9110, 14.6): several parts of a body in one 206.

use super::range::content_range;

/// The content of a 206 with several parts (RFC 9110, 15.3.7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    /// The value of the response's `Content-Type`. Its `Content-Range` must be left out.
    pub content_type: Vec<u8>,
    /// The response's content.
    pub payload: Vec<u8>,
}

/// Puts together `parts` of `body`, the first and the last byte of each; `part_type` is the
/// `Content-Type` of the 200, which every part repeats.
///
/// `hash`, of the key or of the body, becomes the boundary, so that equal requests get equal
/// answers. A body that holds it was made to; that, and a part outside the body, gives none, and
/// the whole response is to be sent.
#[must_use]
pub fn multipart(
    body: &[u8],
    parts: &[(usize, usize)],
    part_type: Option<&[u8]>,
    hash: u128,
) -> Option<Multipart> {
    let boundary = format!("{hash:032x}");
    // Unquoted: "some existing implementations handle a quoted boundary string incorrectly" (14.6).
    let content_type = format!("multipart/byteranges; boundary={boundary}").into_bytes();
    let payload = payload(body, parts, part_type, boundary.as_bytes())?;
    Some(Multipart { content_type, payload })
}

/// The content, laid out as RFC 2046, 5.1.1 has it: the line end before a delimiter is the
/// delimiter's. `boundary` has no hyphen.
fn payload(
    body: &[u8],
    parts: &[(usize, usize)],
    part_type: Option<&[u8]>,
    boundary: &[u8],
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (first, last) in parts {
        let part = body.get(*first..=*last)?;
        // A delimiter is hyphens and the boundary: only behind a hyphen can there be one.
        if part.split(|b| *b == b'-').any(|text| text.starts_with(boundary)) {
            return None;
        }
        let line_end: &[u8] = if out.is_empty() { b"" } else { b"\r\n" };
        out.extend([line_end, b"--", boundary, b"\r\n"].concat());
        if let Some(part_type) = part_type {
            out.extend([b"Content-Type: ", part_type, b"\r\n"].concat());
        }
        out.extend_from_slice(b"Content-Range: ");
        content_range(&mut out, *first, *last, body.len());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(part);
    }
    out.extend([b"\r\n--", boundary, b"--\r\n"].concat());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const HASH: u128 = 0xfeed;
    const BOUNDARY: &[u8] = b"0000000000000000000000000000feed";

    #[test]
    fn the_example_of_15_3_7_2() {
        let body: Vec<u8> = (0..=u8::MAX).cycle().take(8_000).collect();
        let parts = [(500, 999), (7000, 7999)];
        let made = payload(&body, &parts, Some(b"application/pdf"), b"THIS_STRING_SEPARATES");
        let expected = [
            &b"--THIS_STRING_SEPARATES\r\n"[..],
            b"Content-Type: application/pdf\r\n",
            b"Content-Range: bytes 500-999/8000\r\n",
            b"\r\n",
            &body[500..1000],
            b"\r\n--THIS_STRING_SEPARATES\r\n",
            b"Content-Type: application/pdf\r\n",
            b"Content-Range: bytes 7000-7999/8000\r\n",
            b"\r\n",
            &body[7000..8000],
            b"\r\n--THIS_STRING_SEPARATES--\r\n",
        ];
        assert_eq!(made, Some(expected.concat()));
    }

    #[test]
    fn the_boundary_is_the_hash_and_the_type_may_be_absent_14_6() {
        let made = multipart(b"abcdef", &[(4, 5), (0, 0)], None, HASH).unwrap();
        assert_eq!(made.content_type, [b"multipart/byteranges; boundary=", BOUNDARY].concat());
        let expected = [
            b"--",
            BOUNDARY,
            b"\r\nContent-Range: bytes 4-5/6\r\n\r\nef\r\n--",
            BOUNDARY,
            b"\r\nContent-Range: bytes 0-0/6\r\n\r\na\r\n--",
            BOUNDARY,
            b"--\r\n",
        ];
        assert_eq!(made.payload, expected.concat());
    }

    #[test]
    fn a_part_that_holds_the_boundary_cannot_be_told_from_two() {
        for (before, fits) in [
            (&b""[..], false),
            (b"--", false),
            (b"x\r\n--", false),
            (b"-----", false),
            (b"x", true),
            (b"--x", true),
        ] {
            let body = [before, BOUNDARY, b"z"].concat();
            let parts = [(0, body.len() - 2), (body.len() - 1, body.len() - 1)];
            assert_eq!(multipart(&body, &parts, None, HASH).is_some(), fits, "{before:?}");
            // What is not sent does no harm.
            let ends = [(0, 0), (body.len() - 1, body.len() - 1)];
            assert!(multipart(&body, &ends, None, HASH).is_some());
        }
    }

    #[test]
    fn parts_outside_the_body_are_none() {
        for part in [(0, 3), (3, 3), (9, 9), (0, usize::MAX), (usize::MAX, usize::MAX)] {
            assert_eq!(multipart(b"abc", &[(0, 0), part], None, HASH), None, "{part:?}");
        }
    }
}
