//! The S3 protocol on buckets: list, create, delete, head, location, versioning, and what is in
//! them.

use axum::response::Response;
use http::{HeaderName, Method, StatusCode, header};

use super::{
    S3Request, empty, list, multipart, not_implemented,
    xml::{self, NAMESPACE, Writer},
    xml_response,
};
use crate::{
    database::buckets::{self, BucketList},
    download,
    error::{Code, Result, StorageError},
    names,
    routes::{bucket, object::remove},
};

/// Most objects of one `DeleteObjects`.
const MAX_DELETE: usize = 1000;
/// Questions about buckets that have no answer here.
const UNKNOWN: [&str; 16] = [
    "acl",
    "cors",
    "encryption",
    "lifecycle",
    "logging",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "tagging",
    "versions",
    "website",
];

/// `/s3` itself: the list of buckets.
pub(super) async fn service(request: S3Request) -> Result<Response> {
    if request.parts.method != Method::GET {
        return Err(not_implemented());
    }
    let session = &request.session;
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    let wanted = BucketList {
        sort: "name collate \"C\"",
        ..BucketList::default()
    };
    let found = buckets::list(&transaction, &wanted).await?;
    let mut body = Writer::document("ListAllMyBucketsResult", Some(NAMESPACE));
    body.open("Owner");
    body.text("ID", session.project_ref());
    body.close();
    body.open("Buckets");
    for bucket in &found {
        body.open("Bucket");
        body.text("Name", &bucket.name);
        body.optional("CreationDate", bucket.created_at.as_deref());
        body.close();
    }
    Ok(xml_response(StatusCode::OK, body.finish()))
}

/// `/s3/{bucket}`.
pub(super) async fn handle(request: S3Request) -> Result<Response> {
    if UNKNOWN.iter().any(|name| request.query.has(name)) {
        return Err(not_implemented());
    }
    match request.parts.method {
        Method::GET if request.query.has("uploads") => multipart::list_uploads(request).await,
        Method::GET if request.query.has("location") => location(request).await,
        Method::GET if request.query.has("versioning") => versioning(request).await,
        Method::GET => list::list_objects(request).await,
        Method::HEAD => head(request).await,
        Method::PUT => create(request).await,
        Method::DELETE => delete(request).await,
        Method::POST if request.query.has("delete") => delete_objects(request).await,
        _ => Err(not_implemented()),
    }
}

/// A bucket that the caller may see.
async fn visible(request: &S3Request) -> Result<()> {
    let session = &request.session;
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    buckets::get(&transaction, &request.bucket).await.map(drop)
}

async fn head(request: S3Request) -> Result<Response> {
    visible(&request).await?;
    let mut response = empty(StatusCode::OK);
    let region = &request.session.service.0.settings.s3_region;
    download::insert(
        response.headers_mut(),
        HeaderName::from_static("x-amz-bucket-region"),
        region,
    );
    Ok(response)
}

async fn location(request: S3Request) -> Result<Response> {
    visible(&request).await?;
    let region = &request.session.service.0.settings.s3_region;
    // The one region that the protocol writes as nothing.
    let region = if region == "us-east-1" { "" } else { region };
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><LocationConstraint xmlns=\"{NAMESPACE}\">{region}</LocationConstraint>"
    );
    Ok(xml_response(StatusCode::OK, text))
}

async fn versioning(request: S3Request) -> Result<Response> {
    visible(&request).await?;
    let mut body = Writer::document("VersioningConfiguration", Some(NAMESPACE));
    body.text("Status", "Suspended");
    Ok(xml_response(StatusCode::OK, body.finish()))
}

async fn create(request: S3Request) -> Result<Response> {
    // A region may be wished for; there is one.
    request.text().await?;
    let public = request
        .header("x-amz-acl")
        .is_some_and(|acl| acl.starts_with("public-read"));
    bucket::create(
        &request.session,
        &request.bucket,
        &request.bucket,
        public,
        None,
        None,
    )
    .await?;
    let mut response = empty(StatusCode::OK);
    download::insert(
        response.headers_mut(),
        header::LOCATION,
        &format!("/{}", request.bucket),
    );
    Ok(response)
}

async fn delete(request: S3Request) -> Result<Response> {
    bucket::delete(&request.session, &request.bucket).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn delete_objects(request: S3Request) -> Result<Response> {
    let text = request.text().await?;
    let wanted: xml::Delete = xml::read(&text)?;
    if wanted.objects.is_empty() || wanted.objects.len() > MAX_DELETE {
        return Err(super::malformed_xml());
    }
    let mut body = Writer::document("DeleteResult", Some(NAMESPACE));
    let (good, bad): (Vec<_>, Vec<_>) = wanted
        .objects
        .into_iter()
        .map(|object| object.key)
        .partition(|key| names::key(key).is_ok());
    let session = &request.session;
    let deleted = remove::many(session, &request.bucket, &good).await?;
    let left = remaining(&request, &good).await?;
    for key in &good {
        // What is not there is deleted, as in S3; what is there and stays was not the caller's.
        let is_deleted = deleted.iter().any(|object| object.name == *key) || !left.contains(key);
        if is_deleted && !wanted.quiet {
            body.open("Deleted");
            body.text("Key", key);
            body.close();
        } else if !is_deleted {
            failed(&mut body, key, Code::AccessDenied, "Access denied");
        }
    }
    for key in &bad {
        failed(&mut body, key, Code::InvalidKey, "Invalid key");
    }
    Ok(xml_response(StatusCode::OK, body.finish()))
}

/// Those of some keys that are still there and that the caller may see.
async fn remaining(request: &S3Request, keys: &[String]) -> Result<Vec<String>> {
    let session = &request.session;
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    crate::database::objects::visible(&transaction, &request.bucket, keys).await
}

fn failed(body: &mut Writer, key: &str, code: Code, message: &str) {
    body.open("Error");
    body.text("Key", key);
    body.text("Code", code.as_str());
    body.text("Message", message);
    body.close();
}

/// A bucket, whoever may see it: what is in it is another question.
pub(super) async fn exists(request: &S3Request) -> Result<()> {
    let session = &request.session;
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    match buckets::find(&transaction, &request.bucket).await? {
        Some(_) => Ok(()),
        None => Err(StorageError::no_such_bucket()),
    }
}
