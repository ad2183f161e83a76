//! `GET …/collections/{collection}/schema`: what the documents look like, from a sample.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::mongodb::{FieldStats, Schema};
use bunbun_http::{
    ApiError,
    extract::{Path, Query as Parameters},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::CollectionPath;
use crate::{
    access::{ProjectAccess, Read},
    connections::Cacheable,
    openapi::{
        DatabaseRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals, UpstreamRefusals,
    },
    state::ApiState,
};

/// Documents of a sample where nobody says how many.
const DEFAULT_SAMPLE: usize = 1000;

/// How large a sample.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SchemaQuery {
    /// The identifier of a stored connection; by default the primary one.
    #[garde(length(min = 1, max = 100))]
    #[param(min_length = 1, max_length = 100)]
    connection: Option<String>,
    /// Documents to look at; 1000 by default.
    #[garde(range(min = 1, max = 10_000))]
    #[param(minimum = 1, maximum = 10_000)]
    sample: Option<usize>,
}

/// A collection's fields.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MongodbSchema {
    /// Documents that were looked at.
    sampled: u64,
    /// By path: `a.b`, and `a[]` for the elements of an array; at most 1000.
    fields: Vec<MongodbField>,
    /// Whether there are more fields than are listed.
    truncated: bool,
}

/// A field.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MongodbField {
    /// Its path.
    #[schema(example = "address.city")]
    path: String,
    /// Values of the sample; of `a[]` there can be more than documents.
    count: u64,
    /// The same per document of the sample.
    share: f64,
    /// By type, the most frequent first.
    types: Vec<MongodbFieldType>,
}

/// A type of a field.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MongodbFieldType {
    /// As `$type` names it.
    #[serde(rename = "type")]
    #[schema(rename = "type", example = "string")]
    name: &'static str,
    /// Values of this type.
    count: u64,
    /// Of the field's values, 0 to 1.
    share: f64,
    /// The least number or date (in milliseconds since 1970), or length of strings and arrays.
    min: Option<f64>,
    /// The greatest.
    max: Option<f64>,
}

/// The fields of a collection's documents
///
/// From a random sample, with their types and how often each occurs. Kept for ten minutes;
/// `Cache-Control: no-cache` looks again.
#[utoipa::path(
    get, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/schema", tag = "mongodb",
    params(CollectionPath, SchemaQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The fields", body = MongodbSchema),
        ParameterRefusals, ThingRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn get_mongodb_schema(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<CollectionPath>,
    Parameters(query): Parameters<SchemaQuery>,
) -> Result<Json<MongodbSchema>, ApiError> {
    let namespace = path.namespace(false)?;
    let sample = query.sample.unwrap_or(DEFAULT_SAMPLE);
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    let key = format!("{}/{sample}", path.target());
    let look = mongodb.schema(&namespace, sample);
    let schema = connections
        .cached(&mongodb, Cacheable::Samples, &key, look)
        .await?;
    Ok(Json(MongodbSchema::from(&*schema)))
}

#[expect(clippy::cast_precision_loss, reason = "shares of at most thousands")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

impl From<&Schema> for MongodbSchema {
    fn from(schema: &Schema) -> Self {
        let most = bunbun_databases::mongodb::MAX_LIMIT;
        let fields = schema.fields.iter().take(most);
        Self {
            sampled: schema.sampled,
            truncated: schema.truncated || schema.fields.len() > most,
            fields: fields
                .map(|(path, field)| MongodbField::new(path, field, schema.sampled))
                .collect(),
        }
    }
}

impl MongodbField {
    fn new(path: &str, field: &FieldStats, sampled: u64) -> Self {
        let mut types: Vec<_> = field
            .types
            .iter()
            .map(|(name, stats)| MongodbFieldType {
                name,
                count: stats.count,
                share: share(stats.count, field.count),
                min: stats.min,
                max: stats.max,
            })
            .collect();
        types.sort_by_key(|stats| std::cmp::Reverse(stats.count));
        Self {
            path: path.to_owned(),
            count: field.count,
            share: share(field.count, sampled),
            types,
        }
    }
}
