//! Conditional requests: `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`,
//! `If-Range` (RFC 9110 §13).

use http::{HeaderMap, header};
use time::{
    OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem,
    macros::format_description,
};

use crate::error::StorageError;

/// A date of HTTP: `Tue, 15 Nov 1994 08:12:31 GMT`.
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// What the conditions of a request lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Proceed,
    /// 304: the client has it already.
    NotModified,
    /// 412: it is not what the client believes.
    Failed,
}

/// Judges the conditions of a GET or HEAD, in the order of RFC 9110 §13.2.2.
#[must_use]
pub(crate) fn judge(headers: &HeaderMap, etag: &str, modified: OffsetDateTime) -> Verdict {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let modified = modified.unix_timestamp();
    if let Some(list) = text(header::IF_MATCH) {
        if !matches(list, etag, false) {
            return Verdict::Failed;
        }
    } else if let Some(date) = text(header::IF_UNMODIFIED_SINCE).and_then(parse_date)
        && modified > date
    {
        return Verdict::Failed;
    }
    if let Some(list) = text(header::IF_NONE_MATCH) {
        if matches(list, etag, true) {
            return Verdict::NotModified;
        }
    } else if let Some(date) = text(header::IF_MODIFIED_SINCE).and_then(parse_date)
        && modified <= date
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Checks `If-Match` of a write.
///
/// # Errors
/// `PreconditionFailed`.
pub(crate) fn check_match(list: &str, etag: &str) -> Result<(), StorageError> {
    if matches(list, etag, false) {
        return Ok(());
    }
    Err(StorageError::precondition_failed())
}

/// Whether a range still applies: without `If-Range`, or when that names what is there.
#[must_use]
pub(crate) fn range_applies(headers: &HeaderMap, etag: &str, modified: OffsetDateTime) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else {
        return true;
    };
    let text = value.to_str().unwrap_or_default();
    match parse_date(text) {
        Some(date) => modified.unix_timestamp() == date,
        None => text.trim() == etag,
    }
}

/// Whether a list of entity tags holds one; weak comparison takes `W/"x"` for `"x"`. Tags without
/// quotation marks, as some clients send them, are taken for the same tag.
fn matches(list: &str, etag: &str, weak: bool) -> bool {
    let bare = |tag: &str| tag.trim_matches('"').to_owned();
    let wanted = bare(etag);
    list.split(',').map(str::trim).any(|tag| {
        let is_weak = tag.starts_with("W/");
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || ((weak || !is_weak) && bare(tag) == wanted)
    })
}

/// A date of HTTP in seconds since the Unix epoch.
#[must_use]
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let date = PrimitiveDateTime::parse(text.trim(), HTTP_DATE).ok()?;
    Some(date.assume_utc().unix_timestamp())
}

/// A moment as a date of HTTP.
#[must_use]
pub(crate) fn http_date(moment: OffsetDateTime) -> String {
    moment
        .to_offset(time::UtcOffset::UTC)
        .format(HTTP_DATE)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use time::OffsetDateTime;

    use super::{Verdict, http_date, judge, parse_date, range_applies};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(n, v): &(&'static str, &'static str)| {
            (HeaderName::from_static(n), HeaderValue::from_static(v))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn dates_go_there_and_back() {
        let text = "Tue, 15 Nov 1994 08:12:31 GMT";
        let seconds = parse_date(text).unwrap();
        assert_eq!(
            http_date(OffsetDateTime::from_unix_timestamp(seconds).unwrap()),
            text
        );
        assert_eq!(parse_date("yesterday"), None);
    }

    #[test]
    fn conditions_are_judged_in_order() {
        let modified = OffsetDateTime::from_unix_timestamp(784_887_151).unwrap();
        let same = "Tue, 15 Nov 1994 08:12:31 GMT";
        let before = "Tue, 15 Nov 1994 08:12:30 GMT";
        for (pairs, verdict) in [
            (&[][..], Verdict::Proceed),
            (&[("if-none-match", "\"a\"")], Verdict::NotModified),
            (&[("if-none-match", "W/\"a\"")], Verdict::NotModified),
            (&[("if-none-match", "a")], Verdict::NotModified),
            (&[("if-none-match", "\"b\", \"a\"")], Verdict::NotModified),
            (&[("if-none-match", "*")], Verdict::NotModified),
            (&[("if-none-match", "\"b\"")], Verdict::Proceed),
            (
                &[("if-none-match", "\"b\""), ("if-modified-since", same)],
                Verdict::Proceed,
            ),
            (&[("if-modified-since", same)], Verdict::NotModified),
            (&[("if-modified-since", before)], Verdict::Proceed),
            (&[("if-match", "\"a\"")], Verdict::Proceed),
            (&[("if-match", "\"b\"")], Verdict::Failed),
            (&[("if-match", "W/\"a\"")], Verdict::Failed),
            (&[("if-unmodified-since", before)], Verdict::Failed),
            (&[("if-unmodified-since", same)], Verdict::Proceed),
            (
                &[("if-match", "\"a\""), ("if-unmodified-since", before)],
                Verdict::Proceed,
            ),
        ] {
            assert_eq!(
                judge(&headers(pairs), "\"a\"", modified),
                verdict,
                "{pairs:?}"
            );
        }
        assert!(range_applies(
            &headers(&[("if-range", "\"a\"")]),
            "\"a\"",
            modified
        ));
        assert!(range_applies(
            &headers(&[("if-range", same)]),
            "\"a\"",
            modified
        ));
        assert!(!range_applies(
            &headers(&[("if-range", "\"b\"")]),
            "\"a\"",
            modified
        ));
        assert!(!range_applies(
            &headers(&[("if-range", before)]),
            "\"a\"",
            modified
        ));
    }
}
