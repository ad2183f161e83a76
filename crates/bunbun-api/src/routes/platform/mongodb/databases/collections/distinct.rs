//! `GET …/collections/{collection}/distinct`: the different values of a field.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_core::secret::{digest, hex};
use bunbun_databases::mongodb::{DEFAULT_LIMIT, Selection};
use bunbun_http::{
    ApiError,
    extract::{Path, Query as Parameters},
};
use garde::Validate;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::CollectionPath;
use crate::{
    access::{ProjectAccess, Read},
    openapi::{
        DatabaseRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals, UpstreamRefusals,
    },
    routes::platform::mongodb::{
        answer::{Accepted, Object, array},
        body::{parameter, wrong},
    },
    state::ApiState,
};

/// Which values.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DistinctQuery {
    /// The identifier of a stored connection; by default the primary one.
    #[garde(length(min = 1, max = 100))]
    #[param(min_length = 1, max_length = 100)]
    connection: Option<String>,
    /// The field, with dots for fields within.
    #[garde(length(min = 1, max = 1000))]
    #[param(min_length = 1, max_length = 1000, example = "status")]
    key: String,
    /// Of which documents, Extended JSON; all by default.
    #[garde(skip)]
    filter: Option<String>,
    /// How texts compare, Extended JSON.
    #[garde(skip)]
    collation: Option<String>,
    /// Most values of the page; 100 by default.
    #[garde(range(min = 1, max = 1000))]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[garde(length(max = 40))]
    cursor: Option<String>,
}

impl DistinctQuery {
    /// Where a page begins, and of which list.
    fn cursor_at(&self, offset: usize, path: &CollectionPath) -> String {
        let (key, target) = (&self.key, path.target());
        let filter = self.filter.as_deref().unwrap_or_default();
        let collation = self.collation.as_deref().unwrap_or_default();
        let list = json!([target, key, filter, collation]).to_string();
        let list = hex(&digest(list.as_bytes())[..8]);
        format!("{offset}.{list}")
    }

    fn offset(&self, cursor: &str, path: &CollectionPath) -> Option<usize> {
        let offset = cursor.split('.').next()?.parse().ok()?;
        (cursor == self.cursor_at(offset, path)).then_some(offset)
    }
}

/// One page of values.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what is written as text")]
pub(crate) struct MongodbValues {
    /// Extended JSON.
    #[schema(value_type = Vec<Value>)]
    values: Vec<serde_json::Value>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// The different values of a field
///
/// In the server's order. MongoDB finds at most 16 MB of them.
#[utoipa::path(
    get, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/distinct", tag = "mongodb",
    params(CollectionPath, DistinctQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "One page", content((MongodbValues = "application/json"), (MongodbValues = "application/ejson"))),
        ParameterRefusals, ThingRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn list_mongodb_distinct(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<CollectionPath>,
    Parameters(query): Parameters<DistinctQuery>,
    Accepted(format): Accepted,
) -> Result<Response, ApiError> {
    let namespace = path.namespace(false)?;
    let selection = Selection {
        filter: parameter("filter", query.filter.as_deref())?,
        collation: parameter("collation", query.collation.as_deref())?,
        ..Selection::default()
    };
    let first = match &query.cursor {
        Some(cursor) => query
            .offset(cursor, &path)
            .ok_or_else(|| wrong("/cursor", "is no next_cursor of a page of this list"))?,
        None => 0,
    };
    let mongodb = state
        .connections()?
        .mongodb(&access, query.connection.as_deref())
        .await?;
    let values = mongodb
        .distinct(&namespace, &query.key, &selection, format)
        .await?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let end = first.saturating_add(limit);
    let next_cursor = (end < values.len()).then(|| query.cursor_at(end, &path));
    let values = array(values.into_iter().skip(first).take(limit));
    let page = Object::default()
        .raw("values", &values)
        .with("next_cursor", next_cursor);
    Ok(page.respond(StatusCode::OK, format))
}
