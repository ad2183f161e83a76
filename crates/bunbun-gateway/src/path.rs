//! The path normaliser (RFC 3986 §6.2.2): the one path that is matched, authorised *and*
//! forwarded, so that no spelling of a path gets another decision than the path itself.
//!
//! Unreserved characters are decoded, other escapes get upper-case digits, dot segments go, runs
//! of slashes become one. What two servers could read differently is refused: broken escapes,
//! NUL and other control characters, backslashes, and dot segments that hide behind an encoded
//! slash or a path parameter. `%2F` itself stays as it is: names of stored files contain it.

use std::borrow::Cow;

/// The path cannot be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ambiguous path: {0}")]
pub struct AmbiguousPath(pub &'static str);

/// Normalises the path of a request target (without its query).
///
/// # Errors
/// [`AmbiguousPath`] where servers disagree on the meaning.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, AmbiguousPath> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(AmbiguousPath("does not begin with a slash"));
    }
    if is_normal(bytes) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(bytes)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in decoded.split('/').skip(1) {
        ends_open = true;
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ if hides_dots(segment) => return Err(AmbiguousPath("hidden dot segment")),
            _ => {
                segments.push(segment);
                ends_open = false;
            }
        }
    }
    let mut normal = String::with_capacity(decoded.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if ends_open || segments.is_empty() {
        normal.push('/');
    }
    Ok(Cow::Owned(normal))
}

/// Whether nothing needs to change: the usual case, decided in one pass without allocation.
fn is_normal(bytes: &[u8]) -> bool {
    let mut previous = 0;
    bytes.iter().all(|&byte| {
        let plain = match byte {
            b'/' => previous != b'/',
            b'.' => previous != b'/',
            b'%' | b'\\' | b';' => false,
            0x21..=0x7e => true,
            _ => false,
        };
        previous = byte;
        plain
    })
}

fn decode(bytes: &[u8]) -> Result<String, AmbiguousPath> {
    let mut decoded = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'%' => {
                let [high, low, tail @ ..] = rest else {
                    return Err(AmbiguousPath("broken escape"));
                };
                let value = hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l);
                rest = tail;
                push_escaped(&mut decoded, value.ok_or(AmbiguousPath("broken escape"))?)?;
            }
            b'\\' => return Err(AmbiguousPath("backslash")),
            0x21..=0x7e => decoded.push(char::from(*byte)),
            0x80.. => escape(&mut decoded, *byte),
            _ => return Err(AmbiguousPath("control character")),
        }
    }
    Ok(decoded)
}

fn push_escaped(out: &mut String, value: u8) -> Result<(), AmbiguousPath> {
    match value {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out.push(char::from(value));
        }
        b'\\' => return Err(AmbiguousPath("backslash")),
        0x00..=0x1f | 0x7f => return Err(AmbiguousPath("control character")),
        _ => escape(out, value),
    }
    Ok(())
}

fn escape(out: &mut String, value: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(value >> 4)]));
    out.push(char::from(DIGITS[usize::from(value & 15)]));
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A segment that is `.` or `..` to a server that decodes `%2F` or cuts at `;`, encoded or not.
fn hides_dots(segment: &str) -> bool {
    segment.split("%2F").any(|part| {
        let name = part.split("%3B").next().unwrap_or_default();
        let name = name.split(';').next().unwrap_or_default();
        let is_whole = name.len() == segment.len();
        !is_whole && (name == "." || name == "..")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::normalise;

    #[test]
    fn paths_get_their_normal_form() {
        for (given, normal) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//pg/", "/pg/"),
            ("/rest/v1/../../pg/", "/pg/"),
            ("/rest/v1/%2e%2e/%2E%2e/pg/", "/pg/"),
            ("/auth/v1/verify/../admin/users", "/auth/v1/admin/users"),
            ("/../../x", "/x"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/./b", "/a/b"),
            ("/%7euser/%41", "/~user/A"),
            ("/a%2fb%3a", "/a%2Fb%3A"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/ä", "/%C3%A4"),
            ("/%C3%a4", "/%C3%A4"),
        ] {
            assert_eq!(normalise(given).as_deref(), Ok(normal), "{given}");
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for given in [
            "",
            "a",
            "*",
            "/a%",
            "/a%4",
            "/a%zz",
            "/%00",
            "/a%0d%0ab",
            "/a\\..\\pg",
            "/%5c..%5cpg/",
            "/rest/v1/..%2fpg/",
            "/rest/v1/%2e%2e%2Fpg/",
            "/x%2F..",
            "/rest/v1/..;/pg/",
            "/.;a/b",
            "/rest/v1/..%3b/pg/",
            "/a b",
            "/a\tb",
            "/\u{7f}",
        ] {
            assert!(normalise(given).is_err(), "{given}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_stable_and_has_no_dot_segments(path in "/[a-c/.%25fFeE;~\\\\ä]{0,24}") {
            if let Ok(normal) = normalise(&path) {
                let again = normalise(&normal);
                prop_assert_eq!(again.as_deref(), Ok(normal.as_ref()));
                prop_assert!(normal.starts_with('/') && !normal.contains("//"));
                prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }
    }
}
