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
    let fits = allowed.iter().any(|rule| {
        let rule = rule.trim().to_ascii_lowercase();
        match rule.split_once('/') {
            Some(("*", "*")) => true,
            Some((k, "*")) => k == kind && !sub.is_empty(),
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

/// The type under which content is shown. Pages of HTML are text, as the original has it: they
/// would run with the origin of the API.
pub(crate) fn shown(mime: &str) -> &str {
    if mime.to_ascii_lowercase().contains("text/html") {
        "text/plain"
    } else {
        mime
    }
}

/// Whether a browser may run what is in such content when it is opened as a page.
pub(crate) fn is_active(mime: &str) -> bool {
    let essence = essence(mime);
    essence.contains("html") || essence.contains("xml") || essence.contains("svg")
}

#[cfg(test)]
mod tests {
    use super::{check, is_active, shown};

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
        assert!(is_active("image/svg+xml") && is_active("application/xhtml+xml"));
        assert!(!is_active("image/png"));
    }
}
