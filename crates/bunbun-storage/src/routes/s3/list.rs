//! `ListObjects` and `ListObjectsV2`.

use axum::response::Response;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    S3Request, bucket,
    xml::{NAMESPACE, Writer},
    xml_response,
};
use crate::{
    database::{
        listing::{self, After, Entry, Listing},
        objects::Object,
    },
    error::{Result, StorageError},
};

/// Most lines of a page.
const MAX_KEYS: i64 = 1000;
/// What `encoding-type=url` leaves as it is.
const URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'*')
    .remove(b'/');

/// A page of a list.
pub(super) async fn list_objects(request: S3Request) -> Result<Response> {
    bucket::exists(&request).await?;
    let query = &request.query;
    let is_v2 = query.get("list-type") == Some("2");
    let max_keys = match query.get("max-keys") {
        None => MAX_KEYS,
        Some(text) => text
            .parse::<i64>()
            .ok()
            .filter(|n| *n >= 0)
            .ok_or_else(|| StorageError::invalid_parameter("max-keys"))?,
    };
    let limit = max_keys.min(MAX_KEYS);
    let prefix = query.get("prefix").unwrap_or_default();
    let delimiter = query.get("delimiter").filter(|text| !text.is_empty());
    let after = if is_v2 {
        match query.get("continuation-token") {
            Some(token) => Some(read_token(token)?),
            None => query
                .get("start-after")
                .map(|text| from_marker(text, delimiter)),
        }
    } else {
        query.get("marker").map(|text| from_marker(text, delimiter))
    };
    let wanted = Listing {
        bucket: &request.bucket,
        prefix,
        folder: prefix,
        delimiter,
        after: after.filter(|after| *after != After::Name(String::new())),
        descending: false,
        limit: limit + 1,
        offset: 0,
    };
    let mut entries = Vec::new();
    if limit > 0 {
        let session = &request.session;
        let mut client = session.database.client().await?;
        let transaction = session.database.begin(&mut client, &session.caller).await?;
        entries = listing::by_name(&transaction, &wanted).await?;
    }
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let truncated = entries.len() > shown;
    entries.truncate(shown);
    let last = entries.last().filter(|_| truncated);
    Ok(xml_response(
        StatusCode::OK,
        write(&request, is_v2, max_keys, &entries, truncated, last),
    ))
}

fn write(
    request: &S3Request,
    is_v2: bool,
    max_keys: i64,
    entries: &[Entry],
    truncated: bool,
    last: Option<&Entry>,
) -> String {
    let query = &request.query;
    let url = query.get("encoding-type") == Some("url");
    let text = |text: &str| {
        if url {
            utf8_percent_encode(text, URL).to_string()
        } else {
            text.to_owned()
        }
    };
    let mut body = Writer::document("ListBucketResult", Some(NAMESPACE));
    body.text("Name", &request.bucket);
    body.text("Prefix", &text(query.get("prefix").unwrap_or_default()));
    body.text("MaxKeys", &max_keys.to_string());
    body.text("IsTruncated", if truncated { "true" } else { "false" });
    body.optional("Delimiter", query.get("delimiter").map(text).as_deref());
    body.optional("EncodingType", url.then_some("url"));
    if is_v2 {
        body.text("KeyCount", &entries.len().to_string());
        body.optional("ContinuationToken", query.get("continuation-token"));
        body.optional("StartAfter", query.get("start-after").map(text).as_deref());
        body.optional("NextContinuationToken", last.map(write_token).as_deref());
    } else {
        body.text("Marker", &text(query.get("marker").unwrap_or_default()));
        body.optional("NextMarker", last.map(|entry| text(name(entry))).as_deref());
    }
    let owner = query.get("fetch-owner") == Some("true") || !is_v2;
    for entry in entries {
        if let Entry::Object(object) = entry {
            contents(&mut body, object, &text(&object.name), owner);
        }
    }
    for entry in entries {
        if let Entry::Folder(folder) = entry {
            body.open("CommonPrefixes");
            body.text("Prefix", &text(folder));
            body.close();
        }
    }
    body.finish()
}

fn contents(body: &mut Writer, object: &Object, key: &str, owner: bool) {
    body.open("Contents");
    body.text("Key", key);
    body.optional("LastModified", object.updated_at.as_deref());
    body.text("ETag", &object.etag());
    body.text("Size", &object.size().unwrap_or(0).to_string());
    body.text("StorageClass", "STANDARD");
    if owner {
        body.open("Owner");
        body.text("ID", object.owner_id.as_deref().unwrap_or_default());
        body.close();
    }
    body.close();
}

fn name(entry: &Entry) -> &str {
    match entry {
        Entry::Folder(folder) => folder,
        Entry::Object(object) => &object.name,
    }
}

/// A marker that is a folder's name stands for everything in it.
fn from_marker(text: &str, delimiter: Option<&str>) -> After {
    match delimiter {
        Some(delimiter) if text.ends_with(delimiter) => After::Folder(text.to_owned()),
        _ => After::Name(text.to_owned()),
    }
}

fn write_token(entry: &Entry) -> String {
    let text = match entry {
        Entry::Folder(folder) => format!("f{folder}"),
        Entry::Object(object) => format!("l{}", object.name),
    };
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn read_token(token: &str) -> Result<After> {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let after = text.as_deref().and_then(|text| {
        let folder = text
            .strip_prefix('f')
            .map(|folder| After::Folder(folder.to_owned()));
        folder.or_else(|| {
            text.strip_prefix('l')
                .map(|name| After::Name(name.to_owned()))
        })
    });
    after.ok_or_else(|| StorageError::invalid_parameter("continuation-token"))
}
