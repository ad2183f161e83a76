//! The one pagination of `/api/platform`: `?limit=` (100, at most 1000) and `?cursor=`, an opaque
//! text from the previous answer's `next_cursor`.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bunbun_core::Code;
use bunbun_http::ApiError;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

/// Items on one page, unless the caller says otherwise.
pub(crate) const DEFAULT_LIMIT: u32 = 100;

/// Most items on one page.
pub(crate) const MAX_LIMIT: u32 = 1000;

/// Longest cursor.
const MAX_CURSOR: usize = 4096;

/// Where a page begins, as text that callers pass on unread.
pub(crate) fn encode<T: Serialize>(position: &T) -> String {
    let json = serde_json::to_vec(position).expect("positions are plain data");
    BASE64_URL_SAFE_NO_PAD.encode(json)
}

/// Where a page begins.
///
/// # Errors
/// `VALIDATION_FAILED` for what is no cursor of this list.
pub(crate) fn decode<T: DeserializeOwned>(cursor: Option<&str>) -> Result<Option<T>, ApiError> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    let position = (cursor.len() <= MAX_CURSOR)
        .then(|| BASE64_URL_SAFE_NO_PAD.decode(cursor).ok())
        .flatten()
        .and_then(|json| serde_json::from_slice(&json).ok());
    position.map(Some).ok_or_else(|| {
        let message = "is not the next_cursor of an answer of this list";
        ApiError::new(Code::ValidationFailed, format!("The cursor {message}."))
            .with_details(json!({ "errors": [{ "pointer": "/cursor", "message": message }] }))
    })
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn a_cursor_comes_back_and_anything_else_is_refused() {
        let cursor = encode(&("a", 7));
        assert_eq!(
            decode::<(String, u8)>(Some(&cursor)).unwrap(),
            Some(("a".to_owned(), 7))
        );
        assert!(decode::<u8>(None).unwrap().is_none());
        for bad in ["", "%", "bm90IGpzb24", &cursor[1..], &"A".repeat(5000)] {
            assert!(decode::<(String, u8)>(Some(bad)).is_err(), "{bad}");
        }
    }
}
