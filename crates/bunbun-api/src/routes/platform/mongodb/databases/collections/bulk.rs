//! `POST …/collections/{collection}/bulk`: several writes in one request.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::{
    Error,
    mongodb::{
        BulkWritten, Change, Delete, MAX_WRITES, Operation, Update,
        bson::{RawBsonRef, RawDocument},
        ejson::{self, Format},
        raw,
    },
};
use bunbun_http::{
    ApiError,
    extract::{Path, Query as Parameters},
};
use http::StatusCode;
use utoipa::ToSchema;

use super::CollectionPath;
use crate::{
    access::{ProjectAccess, Write},
    openapi::{
        BodyRefusals, ConflictRefusals, DatabaseRefusals, OwnerRefusals, ThingRefusals,
        UpstreamRefusals,
    },
    routes::platform::mongodb::{
        ConnectionQuery,
        answer::{Accepted, Object, array},
        body::{Ejson, Members, wrong},
    },
    state::ApiState,
};

/// Several writes.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what is read as Extended JSON")]
pub(crate) struct MongodbBulk {
    /// Up to 1000, each an object with one of: `insert_one: {document}`, `update_one` and
    /// `update_many: {filter, update, upsert, array_filters, collation}`, `replace_one: {filter,
    /// replacement, upsert, collation}`, `delete_one` and `delete_many: {filter, collation}`.
    #[schema(value_type = Vec<Object>)]
    operations: Vec<serde_json::Value>,
    /// Whether the first refusal ends it; true by default.
    ordered: Option<bool>,
}

/// The `_id` of a document that an operation inserted.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what is written as text")]
pub(crate) struct InsertedMongodbId {
    /// The operation, from 0.
    index: u64,
    /// The `_id`, Extended JSON.
    #[schema(value_type = Value)]
    id: serde_json::Value,
}

/// An operation that was refused.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what is written as text")]
pub(crate) struct MongodbWriteError {
    /// The operation, from 0.
    index: u64,
    /// MongoDB's code.
    code: i32,
    /// MongoDB's words.
    message: String,
}

/// What all operations did.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what is written as text")]
pub(crate) struct MongodbBulkResult {
    /// Documents inserted.
    inserted: u64,
    /// Documents that updates fitted.
    matched: u64,
    /// Documents that are different now.
    modified: u64,
    /// Documents deleted.
    deleted: u64,
    /// The `_id`s of what was inserted, upserts among it.
    ids: Vec<InsertedMongodbId>,
    /// What was refused; the rest was done.
    errors: Vec<MongodbWriteError>,
}

/// Run several writes
///
/// In order, neighbours of a kind as one command. What one operation is refused for stands in
/// `errors`; the others count.
#[utoipa::path(
    post, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/bulk", tag = "mongodb",
    params(CollectionPath, ConnectionQuery),
    request_body(content((MongodbBulk = "application/json"), (MongodbBulk = "application/ejson"))),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "What was done", content((MongodbBulkResult = "application/json"), (MongodbBulkResult = "application/ejson"))),
        BodyRefusals, ThingRefusals, ConflictRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn run_mongodb_bulk(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<CollectionPath>,
    Parameters(query): Parameters<ConnectionQuery>,
    Accepted(format): Accepted,
    Ejson(body): Ejson,
) -> Result<Response, ApiError> {
    let namespace = path.namespace(true)?;
    let members = Members::of(&body, "", &["operations", "ordered"])?;
    let listed = members.required("operations", members.documents("operations")?)?;
    if listed.is_empty() || listed.len() > MAX_WRITES {
        return Err(wrong(
            "/operations",
            &format!("must be 1 to {MAX_WRITES} operations"),
        ));
    }
    let operations = listed
        .iter()
        .enumerate()
        .map(|(index, operation)| read(operation, &format!("/operations/{index}")))
        .collect::<Result<Vec<_>, _>>()?;
    let ordered = members.flag("ordered")?.unwrap_or(true);
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    connections
        .audit(&access, "mongodb.bulk", &path.target())
        .await?;
    let written = mongodb.bulk(&namespace, operations, ordered).await?;
    Ok(result(&written, format)?.respond(StatusCode::OK, format))
}

fn read(operation: &RawDocument, pointer: &str) -> Result<Operation, ApiError> {
    let mut elements = operation.iter();
    let (Some(Ok((kind, RawBsonRef::Document(body)))), None) = (elements.next(), elements.next())
    else {
        return Err(wrong(
            pointer,
            "must be an object with one operation, which is an object",
        ));
    };
    let kind = kind.as_str();
    let pointer = format!("{pointer}/{kind}");
    let of = |known: &[&str]| Members::of(body, &pointer, known);
    match kind {
        "insert_one" => {
            let members = of(&["document"])?;
            let document = members.required("document", members.document("document")?)?;
            Ok(Operation::Insert(document))
        }
        "update_one" | "update_many" => {
            let members = of(&["filter", "update", "upsert", "array_filters", "collation"])?;
            let change = Change::from_value(members.required("update", members.value("update"))?)?;
            if matches!(change, Change::Replacement(_)) {
                return Err(wrong(
                    &members.pointer("update"),
                    "must have operators like $set; use replace_one",
                ));
            }
            Ok(Operation::Update(update(
                &members,
                change,
                kind == "update_many",
            )?))
        }
        "replace_one" => {
            let members = of(&["filter", "replacement", "upsert", "collation"])?;
            let document = members.required("replacement", members.document("replacement")?)?;
            Ok(Operation::Update(update(
                &members,
                Change::Replacement(document),
                false,
            )?))
        }
        "delete_one" | "delete_many" => {
            let members = of(&["filter", "collation"])?;
            Ok(Operation::Delete(Delete {
                filter: members.required("filter", members.document("filter")?)?,
                many: kind == "delete_many",
                collation: members.document("collation")?,
            }))
        }
        _ => Err(wrong(
            &pointer,
            "unknown; insert_one, update_one, update_many, replace_one, delete_one and delete_many are known",
        )),
    }
}

fn update(members: &Members<'_>, change: Change, many: bool) -> Result<Update, ApiError> {
    Ok(Update {
        filter: members.required("filter", members.document("filter")?)?,
        change,
        many,
        upsert: members.flag("upsert")?.unwrap_or_default(),
        array_filters: members.array("array_filters")?,
        collation: members.document("collation")?,
    })
}

fn result(written: &BulkWritten, format: Format) -> Result<Object, ApiError> {
    let mut ids = Vec::with_capacity(written.ids.len());
    for (index, id) in &written.ids {
        let mut text = Vec::new();
        if let Some(id) = raw::get(id.as_bytes(), "") {
            ejson::write_value(&id, format, &mut text).map_err(Error::from)?;
        }
        ids.push(
            Object::default()
                .with("index", *index)
                .raw("id", &text)
                .finish(),
        );
    }
    let errors = written.errors.iter().map(|error| {
        let object = Object::default()
            .with("index", error.index)
            .with("code", error.code);
        object.with("message", error.message.as_str()).finish()
    });
    Ok(Object::default()
        .with("inserted", written.inserted)
        .with("matched", written.matched)
        .with("modified", written.modified)
        .with("deleted", written.deleted)
        .raw("ids", &array(ids))
        .raw("errors", &array(errors)))
}
