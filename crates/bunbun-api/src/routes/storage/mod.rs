//! `/api/storage`: objects in buckets, whatever fills the slot of the storage service. Row-level
//! security decides what a user may: what they may not see is not there.

pub mod delete;
pub mod download;
pub mod list;
pub mod sign;
pub mod upload;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use bunbun_http::{
    ApiError,
    extract::{Path, validated},
};
use garde::Validate;
use http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{clients::storage::Place, state::ApiState};

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(upload::upload_object))
        .routes(routes!(download::download_object))
        .routes(routes!(delete::delete_object))
        .routes(routes!(list::list_objects))
        .routes(routes!(sign::sign_object))
}

/// An object.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ObjectPath {
    /// The bucket's name.
    #[garde(custom(bucket_name))]
    #[param(min_length = 1, max_length = 100, example = "photos")]
    bucket: String,
    /// The object's path in the bucket; its slashes need no escape.
    #[garde(custom(object_path))]
    #[param(min_length = 1, max_length = 1024, example = "2026/cat.png")]
    path: String,
}

impl ObjectPath {
    fn place(&self) -> Place<'_> {
        Place {
            bucket: &self.bucket,
            path: &self.path,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ObjectPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(path) = Path::from_request_parts(parts, state).await?;
        validated(path)
    }
}

/// A bucket's name becomes a segment of a path.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes its context so"
)]
pub(super) fn bucket_name(name: &str, _context: &()) -> garde::Result {
    let sound = (1..=100).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name
            .chars()
            .any(|c| c == '/' || c == '\\' || c.is_control());
    if sound {
        return Ok(());
    }
    let rule = "must be 1 to 100 bytes without slashes and control characters, and not . or ..";
    Err(garde::Error::new(rule))
}

/// An object's path becomes the path of a URL and must survive that unchanged.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes its context so"
)]
pub(super) fn object_path(path: &str, _context: &()) -> garde::Result {
    let sound = (1..=1024).contains(&path.len())
        && !path.chars().any(char::is_control)
        && path
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | ".."));
    if sound {
        return Ok(());
    }
    let rule = "must be 1 to 1024 bytes: segments between single slashes, none of them . or .., \
                without control characters";
    Err(garde::Error::new(rule))
}

#[cfg(test)]
mod tests {
    use super::{bucket_name, object_path};

    #[test]
    fn paths_that_a_url_would_change_are_refused() {
        for good in ["a", "a/b c/ä.png", "a..b", "...", "100% & more?#"] {
            assert!(object_path(good, &()).is_ok(), "{good}");
        }
        let long = "a".repeat(1025);
        for bad in [
            "", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\nb", "a\0", &long,
        ] {
            assert!(object_path(bad, &()).is_err(), "{bad:?}");
        }
        for bad in ["", "a/b", "..", "a\\b", "a\0", &"b".repeat(101)] {
            assert!(bucket_name(bad, &()).is_err(), "{bad:?}");
        }
    }
}
