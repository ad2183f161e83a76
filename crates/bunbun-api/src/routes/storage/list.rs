//! `GET /api/storage/list/{bucket}`: the objects of a bucket.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, State},
};
use bunbun_http::{
    ApiError,
    access::UserOrService,
    extract::{Path, Query as Parameters, validated},
};
use garde::Validate;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::bucket_name;
use crate::{
    clients::{OnBehalf, storage::Object},
    openapi::{ParameterRefusals, ServiceRefusals, ThingRefusals, UserRefusals},
    state::ApiState,
};

/// Objects on one page, unless the caller says otherwise.
const DEFAULT_LIMIT: u32 = 100;

/// A bucket.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct BucketPath {
    /// The bucket's name.
    #[garde(custom(bucket_name))]
    #[param(min_length = 1, max_length = 100, example = "photos")]
    bucket: String,
}

impl<S: Send + Sync> FromRequestParts<S> for BucketPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(path) = Path::from_request_parts(parts, state).await?;
        validated(path)
    }
}

/// Which objects.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListObjectsQuery {
    /// Only objects whose path begins with this.
    #[garde(length(bytes, max = 1024))]
    #[param(max_length = 1024, example = "2026/")]
    prefix: Option<String>,
    /// Most objects of the answer; 100 when absent.
    #[garde(range(min = 1, max = 1000))]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[garde(length(bytes, min = 1, max = 4096))]
    #[param(min_length = 1, max_length = 4096)]
    cursor: Option<String>,
}

/// An object without its content.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct File {
    /// Its path in the bucket.
    #[schema(example = "2026/cat.png")]
    path: String,
    /// Its size in bytes.
    #[schema(required = true)]
    size: Option<u64>,
    /// Its media type.
    #[schema(required = true, example = "image/png")]
    mime_type: Option<String>,
    /// Names its content.
    #[schema(required = true)]
    etag: Option<String>,
    /// When it was made.
    #[schema(required = true, format = DateTime)]
    created_at: Option<String>,
    /// When it was last written.
    #[schema(required = true, format = DateTime)]
    updated_at: Option<String>,
}

impl From<Object> for File {
    fn from(object: Object) -> Self {
        let text = |name: &str| object.metadata.get(name)?.as_str().map(str::to_owned);
        Self {
            size: object.metadata.get("size").and_then(Value::as_u64),
            mime_type: text("mimetype"),
            etag: text("eTag"),
            path: object.name,
            created_at: object.created_at,
            updated_at: object.updated_at,
        }
    }
}

/// Some objects.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Files {
    /// In the order of their paths.
    files: Vec<File>,
    /// What to send as `cursor` for the next page; null on the last.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// The objects of a bucket
///
/// In the order of their paths, folders and all. Pages neither skip nor repeat what stays while
/// they are read.
#[utoipa::path(
    get, path = "/api/storage/list/{bucket}", tag = "storage",
    params(BucketPath, ListObjectsQuery),
    security(("user" = []), ("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The objects", body = Files),
        ParameterRefusals, ThingRefusals, UserRefusals, ServiceRefusals,
    ),
)]
pub(crate) async fn list_objects(
    State(state): State<Arc<ApiState>>,
    _caller: UserOrService,
    behalf: OnBehalf,
    BucketPath { bucket }: BucketPath,
    Parameters(query): Parameters<ListObjectsQuery>,
) -> Result<Json<Files>, ApiError> {
    let prefix = query.prefix.unwrap_or_default();
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let storage = state.storage(&behalf);
    let listing = storage
        .list(&bucket, &prefix, limit, query.cursor.as_deref())
        .await?;
    Ok(Json(Files {
        files: listing.objects.into_iter().map(Into::into).collect(),
        next_cursor: listing.next_cursor.filter(|_| listing.has_next),
    }))
}
