//! `POST /object/list/{bucket}` and, with a cursor, `POST /object/list-v2/{bucket}`.

use axum::Json as Answer;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    coerce,
    database::{
        listing::{self, After, Entry, Listing},
        objects::Object,
    },
    error::{Result, StorageError},
    request::{BucketPath, Call, Json, Session},
};

/// Most lines of a list by name and page.
const MAX_LINES: i64 = 10_000;
/// Most lines of a page with a cursor.
const MAX_PAGE: i64 = 1000;

/// A column and an order.
#[derive(Debug, Deserialize)]
pub(crate) struct SortBy {
    column: Option<String>,
    order: Option<String>,
}

/// `POST /object/list/{bucket}`.
#[derive(Deserialize)]
pub(crate) struct ListObjectsRequest {
    prefix: String,
    #[serde(default, deserialize_with = "coerce::optional_integer")]
    limit: Option<i64>,
    #[serde(default, deserialize_with = "coerce::optional_integer")]
    offset: Option<i64>,
    #[serde(rename = "sortBy")]
    sort_by: Option<SortBy>,
    search: Option<String>,
}

/// `POST /object/list-v2/{bucket}`.
#[derive(Deserialize)]
pub(crate) struct ListObjectsV2Request {
    prefix: Option<String>,
    #[serde(default, deserialize_with = "coerce::optional_integer")]
    limit: Option<i64>,
    cursor: Option<String>,
    #[serde(default, deserialize_with = "coerce::optional_boolean")]
    with_delimiter: Option<bool>,
    #[serde(rename = "sortBy")]
    sort_by: Option<SortBy>,
}

/// A page of a list with a cursor.
#[derive(Serialize)]
pub(crate) struct Page {
    #[serde(rename = "hasNext")]
    has_next: bool,
    #[serde(rename = "nextCursor", skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    folders: Vec<Value>,
    objects: Vec<Value>,
}

/// Where the next page begins.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    /// After this object.
    #[serde(rename = "l", skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// After this folder.
    #[serde(rename = "f", skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    /// After so many lines, where the order is not by name.
    #[serde(rename = "n", default)]
    offset: i64,
    #[serde(rename = "o")]
    descending: bool,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    column: Option<String>,
}

/// One level of a folder; folders have no id.
pub(crate) async fn list_objects(
    call: Call,
    BucketPath(bucket): BucketPath,
    Json(body): Json<ListObjectsRequest>,
) -> Result<Answer<Vec<Value>>> {
    let session = call.required("storage.object.list").await?;
    let column = column(body.sort_by.as_ref(), true)?;
    let descending = is_descending(body.sort_by.as_ref())?;
    // A prefix is a folder, with or without its slash.
    let mut folder = body.prefix.trim_start_matches('/').to_owned();
    if !folder.is_empty() && !folder.ends_with('/') {
        folder.push('/');
    }
    let prefix = format!("{folder}{}", body.search.as_deref().unwrap_or_default());
    let wanted = Listing {
        bucket: &bucket,
        prefix: &prefix,
        folder: &folder,
        delimiter: Some("/"),
        after: None,
        descending,
        limit: bounded(body.limit, 100, MAX_LINES)?,
        offset: body.offset.filter(|offset| *offset >= 0).unwrap_or(0),
    };
    let entries = entries(&session, &wanted, column).await?;
    let line = |entry: &Entry| match entry {
        Entry::Folder(name) => json!({
            "name": name[folder.len()..].trim_end_matches('/'), "id": null, "updated_at": null,
            "created_at": null, "last_accessed_at": null, "metadata": null,
        }),
        Entry::Object(object) => json!({
            "name": &object.name[folder.len()..], "id": object.id, "updated_at": object.updated_at,
            "created_at": object.created_at, "last_accessed_at": object.last_accessed_at,
            "metadata": object.metadata,
        }),
    };
    Ok(Answer(entries.iter().map(line).collect()))
}

/// Objects under a prefix, page by page; with a delimiter folders apart.
pub(crate) async fn list_objects_v2(
    call: Call,
    BucketPath(bucket): BucketPath,
    Json(body): Json<ListObjectsV2Request>,
) -> Result<Answer<Page>> {
    let session = call.required("storage.object.list_v2").await?;
    let cursor = body.cursor.as_deref().map(read_cursor).transpose()?;
    let (column, descending) = match &cursor {
        Some(cursor) => (
            cursor
                .column
                .as_deref()
                .map(known_column)
                .transpose()?
                .flatten(),
            cursor.descending,
        ),
        None => (
            column(body.sort_by.as_ref(), false)?,
            is_descending(body.sort_by.as_ref())?,
        ),
    };
    let prefix = body.prefix.unwrap_or_default();
    let delimited = body.with_delimiter.unwrap_or(false);
    let limit = bounded(body.limit, MAX_PAGE, MAX_PAGE)?;
    let offset = cursor.as_ref().map_or(0, |cursor| cursor.offset);
    let after = cursor.and_then(|cursor| {
        cursor
            .folder
            .map(After::Folder)
            .or_else(|| cursor.name.map(After::Name))
    });
    let wanted = Listing {
        bucket: &bucket,
        prefix: &prefix,
        folder: &prefix,
        delimiter: delimited.then_some("/"),
        after,
        descending,
        limit: limit + 1,
        offset,
    };
    let mut found = entries(&session, &wanted, column).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_next = found.len() > shown;
    found.truncate(shown);
    let next_cursor = found
        .last()
        .filter(|_| has_next)
        .map(|last| write_cursor(last, column, descending, offset + limit));
    let key = |name: &str| {
        let name = name.trim_end_matches('/');
        name.rsplit('/').next().unwrap_or(name).to_owned()
    };
    let (mut folders, mut objects) = (Vec::new(), Vec::new());
    for entry in &found {
        match entry {
            Entry::Folder(name) => folders.push(json!({ "key": key(name), "name": name })),
            Entry::Object(object) => {
                objects.push(object_line(object, delimited.then(|| key(&object.name))));
            }
        }
    }
    Ok(Answer(Page {
        has_next,
        next_cursor,
        folders,
        objects,
    }))
}

fn object_line(object: &Object, key: Option<String>) -> Value {
    json!({
        "key": key.as_deref().unwrap_or(&object.name), "name": object.name, "id": object.id,
        "updated_at": object.updated_at, "created_at": object.created_at,
        "last_accessed_at": object.last_accessed_at, "metadata": object.metadata,
    })
}

async fn entries(
    session: &Session,
    wanted: &Listing<'_>,
    column: Option<&'static str>,
) -> Result<Vec<Entry>> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    match column {
        None => listing::by_name(&transaction, wanted).await,
        Some(column) => listing::by_date(&transaction, wanted, column).await,
    }
}

fn bounded(limit: Option<i64>, default: i64, most: i64) -> Result<i64> {
    match limit.unwrap_or(default) {
        limit if limit < 1 => Err(StorageError::validation("body/limit must be >= 1")),
        limit => Ok(limit.min(most)),
    }
}

/// The column to sort by, where it is not the name.
fn column(sort_by: Option<&SortBy>, accessed: bool) -> Result<Option<&'static str>> {
    let column = sort_by
        .and_then(|sort| sort.column.as_deref())
        .unwrap_or("name");
    match known_column(column)? {
        Some("last_accessed_at") if !accessed => Err(not_allowed("column")),
        column => Ok(column),
    }
}

fn known_column(column: &str) -> Result<Option<&'static str>> {
    Ok(match column {
        "name" | "" => None,
        "updated_at" => Some("updated_at"),
        "created_at" => Some("created_at"),
        "last_accessed_at" => Some("last_accessed_at"),
        _ => return Err(not_allowed("column")),
    })
}

fn is_descending(sort_by: Option<&SortBy>) -> Result<bool> {
    match sort_by.and_then(|sort| sort.order.as_deref()) {
        None | Some("asc" | "") => Ok(false),
        Some("desc") => Ok(true),
        Some(_) => Err(not_allowed("order")),
    }
}

fn not_allowed(what: &str) -> StorageError {
    let message = format!("body/sortBy/{what} must be equal to one of the allowed values");
    StorageError::validation(message)
}

fn write_cursor(
    last: &Entry,
    column: Option<&'static str>,
    descending: bool,
    offset: i64,
) -> String {
    let (name, folder) = match last {
        _ if column.is_some() => (None, None),
        Entry::Folder(name) => (None, Some(name.clone())),
        Entry::Object(object) => (Some(object.name.clone()), None),
    };
    let cursor = Cursor {
        offset: if column.is_some() { offset } else { 0 },
        column: column.map(str::to_owned),
        name,
        folder,
        descending,
    };
    let json = serde_json::to_vec(&cursor).unwrap_or_default();
    BASE64_URL_SAFE_NO_PAD.encode(json)
}

fn read_cursor(text: &str) -> Result<Cursor> {
    let json = BASE64_URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .ok();
    json.and_then(|json| serde_json::from_slice(&json).ok())
        .filter(|cursor: &Cursor| cursor.offset >= 0)
        .ok_or_else(|| StorageError::invalid_parameter("cursor"))
}
