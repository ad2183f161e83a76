//! Multipart uploads of the S3 protocol.

use axum::response::Response;
use futures_util::StreamExt as _;
use http::{HeaderName, StatusCode, header};

use super::{
    S3Request,
    auth::Content,
    bucket, empty, object,
    xml::{self, NAMESPACE, Writer},
    xml_response,
};
use crate::{
    blobs::Digests,
    database::uploads::{self, NewUpload, Part, Terms, Upload},
    download,
    error::{Code, Result, StorageError},
    mime,
    parts::{self, MAX_PARTS, Place},
    range::{self, Wanted},
    upload,
};

/// Most lines of a page.
const MAX_PAGE: i64 = 1000;

/// Announces an upload.
pub(super) async fn create(request: S3Request) -> Result<Response> {
    request.text().await?;
    let session = &request.session;
    let bucket = upload::bucket(session, &request.bucket).await?;
    let new = object::upload_of(&request, true);
    mime::check(&new.mimetype, bucket.allowed_mime_types.as_deref())?;
    upload::prove(session, &new, None).await?;
    let terms = Terms {
        content_type: Some(new.mimetype.clone()),
        cache_control: Some(new.cache_control.clone()),
        upsert: true,
        ..Terms::default()
    };
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    let row = NewUpload {
        id: &new.version,
        bucket: &new.bucket,
        key: &new.name,
        version: &new.version,
        owner: new.owner.as_deref(),
        terms: &terms,
        user_metadata: new.user_metadata.as_ref(),
    };
    uploads::insert(&transaction, &row).await?;
    transaction.commit().await?;
    let mut body = Writer::document("InitiateMultipartUploadResult", Some(NAMESPACE));
    body.text("Bucket", &request.bucket);
    body.text("Key", &request.key);
    body.text("UploadId", &new.version);
    Ok(xml_response(StatusCode::OK, body.finish()))
}

/// The upload that a request names, where it is of this key and the caller may do it.
async fn find(request: &S3Request) -> Result<Upload> {
    let session = &request.session;
    let id = request.query.get("uploadId").unwrap_or_default();
    let upload = parts::find(session, id).await?;
    if upload.terms.resumable || upload.bucket != request.bucket || upload.key != request.key {
        return Err(StorageError::no_such_upload());
    }
    let proof = upload::Upload {
        mimetype: upload.terms.content_type.clone().unwrap_or_default(),
        ..object::upload_of(request, true)
    };
    upload::prove(session, &proof, None).await?;
    Ok(upload)
}

fn part_number(request: &S3Request) -> Result<i32> {
    let number = request
        .query
        .get("partNumber")
        .and_then(|text| text.parse().ok());
    number
        .filter(|number| (1..=MAX_PARTS).contains(number))
        .ok_or_else(|| {
            let message = "Part number must be an integer between 1 and 10000, inclusive";
            StorageError::new(Code::InvalidParameter, 400, message)
        })
}

/// How many bytes a part may have, and all parts together. What of other parts comes meanwhile is
/// seen when this one is noted.
async fn room(request: &S3Request, upload: &Upload, number: i32) -> Result<(u64, u64)> {
    let session = &request.session;
    let bucket = upload::bucket(session, &request.bucket).await?;
    let limit = upload::limit(session, &bucket);
    let others = parts::size_without(session, &upload.id, number).await?;
    Ok((limit.saturating_sub(others), limit))
}

/// Takes a part.
pub(super) async fn put_part(request: S3Request) -> Result<Response> {
    let number = part_number(&request)?;
    let upload = find(&request).await?;
    let content = Content::of(&request.parts.headers, request.payload.clone())?;
    let (room, limit) = room(&request, &upload, number).await?;
    if content.declared.is_some_and(|size| size > room) {
        return Err(StorageError::too_large());
    }
    let session = &request.session;
    let (writer, version) = parts::writer(session, &upload, content.digests());
    let (body, trailers) = content.stream(request.take_body());
    let writer = upload::receive(writer, body, room).await?;
    let checked = move |written: &crate::blobs::Written| {
        content.check(written.size, &written.sums, &trailers)
    };
    let (part, sums) = parts::add(
        session,
        &upload,
        Place::Number(number),
        writer,
        version,
        limit,
        checked,
    )
    .await?;
    let mut response = empty(StatusCode::OK);
    download::insert(response.headers_mut(), header::ETAG, &part.etag);
    for (algorithm, sum) in sums {
        if let Ok(name) = HeaderName::try_from(format!("x-amz-checksum-{}", algorithm.s3_name())) {
            download::insert(response.headers_mut(), name, &sum);
        }
    }
    Ok(response)
}

/// Takes a part from an object that is there.
pub(super) async fn copy_part(request: S3Request) -> Result<Response> {
    let number = part_number(&request)?;
    let upload = find(&request).await?;
    let (from_bucket, from_key) = object::copy_source(&request)?;
    let session = &request.session;
    let source = object::find(session, &from_bucket, &from_key).await?;
    object::check_source(&request, &source)?;
    let (_, blob) = download::open(session, source).await?;
    let range = match request.header("x-amz-copy-source-range") {
        None => 0..blob.size,
        Some(text) => match range::parse(Some(text), blob.size) {
            Wanted::Part(range) => range,
            _ => return Err(StorageError::invalid_parameter("CopySourceRange")),
        },
    };
    let (room, limit) = room(&request, &upload, number).await?;
    if range.end - range.start > room {
        return Err(StorageError::too_large());
    }
    let size = range.end - range.start;
    let (writer, version) = parts::writer(session, &upload, Digests::etag());
    let body = axum::body::Body::new(blob.body(range)).into_data_stream();
    let body = body.map(|chunk| chunk.map_err(StorageError::internal));
    let writer = upload::receive(writer, body, size).await?;
    let (part, ()) = parts::add(
        session,
        &upload,
        Place::Number(number),
        writer,
        version,
        limit,
        |_| Ok(()),
    )
    .await?;
    let mut body = Writer::document("CopyPartResult", Some(NAMESPACE));
    body.text("ETag", &part.etag);
    body.text("LastModified", &part.created_at);
    Ok(xml_response(StatusCode::OK, body.finish()))
}

/// Puts the parts together.
pub(super) async fn complete(request: S3Request) -> Result<Response> {
    let text = request.text().await?;
    let wanted = if text.trim().is_empty() {
        Vec::new()
    } else {
        xml::read::<xml::CompleteMultipartUpload>(&text)?.parts
    };
    let mut upload = find(&request).await?;
    upload.terms.upsert &= object::may_replace(&request)?;
    let session = &request.session;
    let all = parts::list(session, &upload.id, 0, i64::from(MAX_PARTS)).await?;
    let chosen = choose(all, &wanted, &upload.id)?;
    let if_match = request.header("if-match").map(str::to_owned);
    let object = parts::complete(session, &session.caller, if_match, upload, chosen)
        .await
        .map_err(object::exists)?;
    let mut body = Writer::document("CompleteMultipartUploadResult", Some(NAMESPACE));
    body.text(
        "Location",
        &format!("/{}/{}", object.bucket_id, object.name),
    );
    body.text("Bucket", &object.bucket_id);
    body.text("Key", &object.name);
    body.text("ETag", &object.etag());
    Ok(xml_response(StatusCode::OK, body.finish()))
}

/// The parts that a client names, in its order, which must be ascending; without names, all.
fn choose(all: Vec<Part>, wanted: &[xml::CompletedPart], id: &str) -> Result<Vec<Part>> {
    if all.is_empty() {
        let message = "You must specify at least one part";
        return Err(StorageError::new(Code::InvalidRequest, 400, message));
    }
    if wanted.is_empty() {
        return Ok(all);
    }
    if !wanted.is_sorted_by(|a, b| a.number < b.number) {
        let message = "The list of parts was not in ascending order";
        return Err(StorageError::new(Code::InvalidRequest, 400, message));
    }
    let find = |wanted: &xml::CompletedPart| {
        let part = all.iter().find(|part| part.number == wanted.number);
        let part = part.filter(|part| part.etag.trim_matches('"') == wanted.etag.trim_matches('"'));
        part.cloned().ok_or_else(|| {
            let message = format!("Part {} is missing for upload id {id}", wanted.number);
            StorageError::new(Code::MissingPart, 400, message)
        })
    };
    wanted.iter().map(find).collect()
}

/// Forgets an upload.
pub(super) async fn abort(request: S3Request) -> Result<Response> {
    let upload = find(&request).await?;
    parts::abandon(&request.session, &upload.id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn page(request: &S3Request, name: &'static str) -> Result<i64> {
    match request.query.get(name) {
        None => Ok(MAX_PAGE),
        Some(text) => {
            let number = text.parse::<i64>().ok().filter(|number| *number >= 1);
            number
                .map(|number| number.min(MAX_PAGE))
                .ok_or_else(|| StorageError::invalid_parameter(name))
        }
    }
}

/// The parts that have come.
pub(super) async fn list_parts(request: S3Request) -> Result<Response> {
    let upload = find(&request).await?;
    let limit = page(&request, "max-parts")?;
    let marker = request.query.get("part-number-marker").unwrap_or("0");
    let after = marker
        .parse()
        .map_err(|_| StorageError::invalid_parameter("part-number-marker"))?;
    let mut found = parts::list(&request.session, &upload.id, after, limit + 1).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let truncated = found.len() > shown;
    found.truncate(shown);
    let mut body = Writer::document("ListPartsResult", Some(NAMESPACE));
    body.text("Bucket", &request.bucket);
    body.text("Key", &request.key);
    body.text("UploadId", &upload.id);
    body.text("PartNumberMarker", marker);
    if let Some(last) = found.last().filter(|_| truncated) {
        body.text("NextPartNumberMarker", &last.number.to_string());
    }
    body.text("MaxParts", &limit.to_string());
    body.text("IsTruncated", if truncated { "true" } else { "false" });
    for part in &found {
        body.open("Part");
        body.text("PartNumber", &part.number.to_string());
        body.text("LastModified", &part.created_at);
        body.text("ETag", &part.etag);
        body.text("Size", &part.size.to_string());
        body.close();
    }
    body.text("StorageClass", "STANDARD");
    Ok(xml_response(StatusCode::OK, body.finish()))
}

/// The uploads of a bucket that are under way, for those who may see their rows.
pub(super) async fn list_uploads(request: S3Request) -> Result<Response> {
    bucket::exists(&request).await?;
    let query = &request.query;
    let limit = page(&request, "max-uploads")?;
    let prefix = query.get("prefix").unwrap_or_default();
    let after = (
        query.get("key-marker").unwrap_or_default(),
        query.get("upload-id-marker").unwrap_or_default(),
    );
    let session = &request.session;
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    let mut found = uploads::list(&transaction, &request.bucket, prefix, after, limit + 1).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let truncated = found.len() > shown;
    found.truncate(shown);
    let mut body = Writer::document("ListMultipartUploadsResult", Some(NAMESPACE));
    body.text("Bucket", &request.bucket);
    body.text("KeyMarker", after.0);
    body.text("UploadIdMarker", after.1);
    if let Some(last) = found.last().filter(|_| truncated) {
        body.text("NextKeyMarker", &last.key);
        body.text("NextUploadIdMarker", &last.id);
    }
    body.text("Prefix", prefix);
    body.text("MaxUploads", &limit.to_string());
    body.text("IsTruncated", if truncated { "true" } else { "false" });
    for upload in &found {
        body.open("Upload");
        body.text("Key", &upload.key);
        body.text("UploadId", &upload.id);
        body.text("StorageClass", "STANDARD");
        body.text("Initiated", &upload.created_at);
        body.close();
    }
    Ok(xml_response(StatusCode::OK, body.finish()))
}
