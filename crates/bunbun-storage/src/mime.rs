//! Types of content: what a bucket allows, and what a browser may be shown.

use crate::error::{Result, StorageError};

/// The type where a client names none.
pub(crate) const OCTET_STREAM: &str = "application/octet-stream";

/// Whether a bucket's list allows a type. An empty or missing list allows all; `image/*` allows
/// every image.
///
/// # Errors
/// `InvalidMimeType`.
pub(crate) fn check(mime: &str, allowed: Option<&[String]>) -> Result<()> {
    let Some(allowed) = allowed.filter(|list| !list.is_empty()) else {
        return Ok(());
    };
    let essence = essence(mime);
    let (kind, sub) = essence.split_once('/').unwrap_or((&essence, ""));
    let fits = is_one_type(mime)
        && allowed.iter().any(|rule| {
            let rule = rule.trim().to_ascii_lowercase();
            match rule.split_once('/') {
                Some(("*", "*")) => true,
                Some((k, "*")) => k == kind,
                Some((k, s)) => k == kind && s == sub,
                None => rule == "*",
            }
        });
    fits.then_some(())
        .ok_or_else(|| StorageError::invalid_mime_type(mime))
}

/// `Text/HTML; charset=utf-8` as `text/html`.
pub(crate) fn essence(mime: &str) -> String {
    let end = mime.find(';').unwrap_or(mime.len());
    mime[..end].trim().to_ascii_lowercase()
}

/// Whether a text is one type with its parameters (RFC 9110 §8.3.1) and not a list, of which a
/// browser takes the last.
fn is_one_type(mime: &str) -> bool {
    let token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let (essence, mut rest) = mime.trim().split_once(';').unwrap_or((mime.trim(), ""));
    let Some((kind, sub)) = essence.trim_end().split_once('/') else {
        return false;
    };
    if !token(kind) || !token(sub) {
        return false;
    }
    loop {
        rest = rest.trim_start();
        // A parameter up to its semicolon; a quoted value may hold one. Whoever escapes within
        // quotes has something in mind that not everybody reads alike.
        let end = rest.find([';', '"']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let after = if let Some(quoted) = after.strip_prefix('"') {
            let Some((value, after)) = quoted.split_once('"') else {
                return false;
            };
            let name = name.strip_suffix('=').is_some_and(token);
            if !name || value.contains('\\') || value.contains(char::is_control) {
                return false;
            }
            after.trim_start()
        } else {
            let (name, value) = name
                .trim_end()
                .split_once('=')
                .unwrap_or((name.trim_end(), "x"));
            // `;` at the end, or two in a row, mean nothing.
            if !(token(name) && token(value) || name.is_empty() && value == "x") {
                return false;
            }
            after
        };
        match after.strip_prefix(';') {
            Some(next) => rest = next,
            None => return after.is_empty(),
        }
    }
}

/// The type under which content is shown. Pages of HTML are text, as the original has it: they
/// would run with the origin of the API. So would the parts of a document that replace each other;
/// and of a list of types nobody knows which one a browser takes.
pub(crate) fn shown(mime: &str) -> &str {
    if !is_one_type(mime) {
        return OCTET_STREAM;
    }
    let essence = essence(mime);
    if essence == "text/html" || essence.starts_with("multipart/") {
        "text/plain"
    } else {
        mime
    }
}

/// Whether a browser may run what is in such content when it is opened as a page. All may that is
/// not known for the contrary: browsers have more such types than anybody lists.
pub(crate) fn may_run(mime: &str) -> bool {
    const QUIET: [&str; 10] = [
        "application/gzip",
        "application/json",
        OCTET_STREAM,
        // Browsers do not show it in a sandbox, and do not let it near the page's origin.
        "application/pdf",
        "application/x-ndjson",
        "application/zip",
        "text/css",
        "text/csv",
        "text/markdown",
        "text/plain",
    ];
    let essence = essence(mime);
    let kind = essence.split_once('/').map(|(kind, _)| kind);
    let is_quiet = match kind {
        Some("image" | "audio" | "video" | "font") => {
            !essence.contains("svg") && !essence.contains("xml")
        }
        _ => QUIET.contains(&essence.as_str()),
    };
    !is_quiet || !is_one_type(mime)
}

#[cfg(test)]
mod tests {
    use super::{check, may_run, shown};

    #[test]
    fn lists_with_wildcards_decide() {
        let list = |rules: &[&str]| rules.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>();
        let images = list(&["image/*", "application/pdf"]);
        for (mime, fits) in [
            ("image/png", true),
            ("IMAGE/PNG; q=1", true),
            ("application/pdf", true),
            ("application/pdfx", false),
            ("image", false),
            ("imagex/png", false),
            ("", false),
            ("image/png;", true),
            ("image/png; a=\"b, c; d\"; e=f", true),
            ("image/png, text/html", false),
            ("image/png;, text/html", false),
            ("image/png; a=b, text/html", false),
            ("image/png; a=\"b\", text/html", false),
            ("image/png; a=\"\\\", text/html; b=\"", false),
            ("image/png; a=\"b", false),
            ("image/png text/html", false),
        ] {
            assert_eq!(check(mime, Some(&images)).is_ok(), fits, "{mime}");
        }
        assert!(check("x", None).is_ok());
        assert!(check("x", Some(&[])).is_ok());
        assert!(check("a/b", Some(&list(&["*/*"]))).is_ok());
    }

    #[test]
    fn pages_are_shown_as_text_and_active_content_is_known() {
        assert_eq!(shown("text/HTML; charset=utf-8"), "text/plain");
        assert_eq!(shown("image/png"), "image/png");
        assert_eq!(shown("multipart/x-mixed-replace; boundary=x"), "text/plain");
        assert_eq!(shown("text/plain, text/html"), "application/octet-stream");
        for mime in [
            "image/svg+xml",
            "application/xhtml+xml",
            "text/xsl",
            "text/rdf",
            "text/html",
            "text/plain, image/png",
            "a/b",
        ] {
            assert!(may_run(mime), "{mime}");
        }
        for mime in ["image/png", "video/mp4; codecs=\"a, b\"", "TEXT/plain"] {
            assert!(!may_run(mime), "{mime}");
        }
    }
}
