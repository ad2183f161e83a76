//! `POST …/collections/{collection}/explain`: the server's plan for a question.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::mongodb::{Explained, MAX_LIMIT, Selection};
use bunbun_http::{
    ApiError,
    extract::{Path, Query as Parameters},
};
use http::StatusCode;
use utoipa::ToSchema;

use super::{CollectionPath, aggregate, documents::one::MongodbDocument};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{BodyRefusals, DatabaseRefusals, OwnerRefusals, ThingRefusals, UpstreamRefusals},
    routes::platform::mongodb::{
        ConnectionQuery,
        answer::{Accepted, respond},
        body::{Ejson, Members, wrong},
    },
    state::ApiState,
};

/// What to explain: one of `find`, `aggregate` and `count`.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what is read as Extended JSON")]
pub(crate) struct MongodbExplain {
    /// `{filter, sort, projection, skip, limit, collation}`
    #[schema(value_type = Option<Object>)]
    find: Option<serde_json::Value>,
    /// `{pipeline, let, collation, allow_disk_use}`; the pipeline does not write.
    #[schema(value_type = Option<Object>)]
    aggregate: Option<serde_json::Value>,
    /// `{filter, skip, limit, collation}`
    #[schema(value_type = Option<Object>)]
    count: Option<serde_json::Value>,
    /// `queryPlanner` (by default), `executionStats` or `allPlansExecution`; the latter two run it.
    verbosity: Option<String>,
}

/// The plan of a question
///
/// As the server tells it, without its own host name.
#[utoipa::path(
    post, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/explain", tag = "mongodb",
    params(CollectionPath, ConnectionQuery),
    request_body(content((MongodbExplain = "application/json"), (MongodbExplain = "application/ejson"))),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The plan", content((MongodbDocument = "application/json"), (MongodbDocument = "application/ejson"))),
        BodyRefusals, ThingRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn run_mongodb_explain(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<CollectionPath>,
    Parameters(query): Parameters<ConnectionQuery>,
    Accepted(format): Accepted,
    Ejson(body): Ejson,
) -> Result<Response, ApiError> {
    let members = Members::of(&body, "", &["find", "aggregate", "count", "verbosity"])?;
    let verbosity = members.text("verbosity")?.unwrap_or("queryPlanner");
    if !["queryPlanner", "executionStats", "allPlansExecution"].contains(&verbosity) {
        let message = "must be queryPlanner, executionStats or allPlansExecution";
        return Err(wrong("/verbosity", message));
    }
    let explained = read(&members)?;
    let namespace = path.namespace(access.may_write().is_ok())?;
    let mongodb = state
        .connections()?
        .mongodb(&access, query.connection.as_deref())
        .await?;
    let plan = mongodb
        .explain(&namespace, &explained, verbosity, format)
        .await?;
    Ok(respond(StatusCode::OK, format, plan))
}

fn read(members: &Members<'_>) -> Result<Explained, ApiError> {
    let (find, aggregate, count) = (
        members.document("find")?,
        members.document("aggregate")?,
        members.document("count")?,
    );
    match (find, aggregate, count) {
        (Some(find), None, None) => {
            let members = Members::of(
                &find,
                "/find",
                &["filter", "sort", "projection", "skip", "limit", "collation"],
            )?;
            Ok(Explained::Find {
                selection: selection(&members)?,
                sort: members.document("sort")?,
                projection: members.document("projection")?,
            })
        }
        (None, Some(aggregate), None) => {
            let members = Members::of(&aggregate, "/aggregate", aggregate::MEMBERS)?;
            Ok(Explained::Aggregate(aggregate::read(&members, MAX_LIMIT)?))
        }
        (None, None, Some(count)) => {
            let members = Members::of(&count, "/count", &["filter", "skip", "limit", "collation"])?;
            Ok(Explained::Count(selection(&members)?))
        }
        _ => Err(wrong(
            "",
            "one of 'find', 'aggregate' and 'count' must be there",
        )),
    }
}

fn selection(members: &Members<'_>) -> Result<Selection, ApiError> {
    Ok(Selection {
        filter: members.document("filter")?,
        collation: members.document("collation")?,
        skip: members.whole("skip")?,
        limit: members.whole("limit")?,
    })
}
