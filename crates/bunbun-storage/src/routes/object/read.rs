//! `GET` and `HEAD` of `/object/{bucket}/{name}`, `/object/{authenticated,public,sign}/…`, and
//! `/object/info/…`.

use axum::{
    extract::RawQuery,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, Method};
use serde_json::json;

use crate::{
    database::objects::Object,
    download::{self, Access, Show},
    error::{Result, StorageError},
    request::{Call, ObjectPath, Session, query_parameter},
    token::{Scope, SignedUrl},
};

/// An object of a public bucket, or one that the caller may read.
pub(crate) async fn get_object(
    call: Call,
    method: Method,
    path: ObjectPath,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let session = call.optional("storage.object.get_authenticated").await?;
    show(
        &session,
        Access::Caller,
        &method,
        &path,
        &headers,
        query.as_deref(),
    )
    .await
}

/// An object that the caller may read.
pub(crate) async fn get_authenticated_object(
    call: Call,
    method: Method,
    path: ObjectPath,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let session = call.required("storage.object.get_authenticated").await?;
    show(
        &session,
        Access::Caller,
        &method,
        &path,
        &headers,
        query.as_deref(),
    )
    .await
}

/// An object of a public bucket.
pub(crate) async fn get_public_object(
    call: Call,
    method: Method,
    path: ObjectPath,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let session = call.without_credential("storage.object.get_public").await?;
    show(
        &session,
        Access::Public,
        &method,
        &path,
        &headers,
        query.as_deref(),
    )
    .await
}

/// An object by a signed URL.
pub(crate) async fn get_signed_object(
    call: Call,
    method: Method,
    path: ObjectPath,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let session = call.without_credential("storage.object.get_signed").await?;
    let signed = verified(&session, &path, query.as_deref())?;
    let object = download::find(&session, &path.bucket, &path.name, Access::Proven).await?;
    let how = Show {
        expires_at: Some(signed.exp),
        download: query_parameter(query.as_deref(), "download"),
    };
    download::respond(&session, object, &method, &headers, &how).await
}

/// The claims of a signed URL's token.
pub(crate) fn verified(
    session: &Session,
    path: &ObjectPath,
    query: Option<&str>,
) -> Result<SignedUrl> {
    let token = query_parameter(query, "token");
    let token = token.ok_or_else(|| {
        StorageError::validation("querystring must have required property 'token'")
    })?;
    let secret = &session.service.0.settings.signing_secret;
    SignedUrl::verify(
        &token,
        secret,
        session.now(),
        Scope::Download,
        &path.bucket,
        &path.name,
    )
}

async fn show(
    session: &Session,
    access: Access,
    method: &Method,
    path: &ObjectPath,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Response> {
    let object = download::find(session, &path.bucket, &path.name, access).await?;
    let how = Show {
        download: query_parameter(query, "download"),
        expires_at: None,
    };
    download::respond(session, object, method, headers, &how).await
}

/// What is known of an object in a public bucket, or of one that the caller may read.
pub(crate) async fn get_info(call: Call, path: ObjectPath) -> Result<Response> {
    let session = call.optional("storage.object.info_authenticated").await?;
    info(&session, Access::Caller, &path).await
}

/// What is known of an object that the caller may read.
pub(crate) async fn get_authenticated_info(call: Call, path: ObjectPath) -> Result<Response> {
    let session = call.required("storage.object.info_authenticated").await?;
    info(&session, Access::Caller, &path).await
}

/// What is known of an object in a public bucket.
pub(crate) async fn get_public_info(call: Call, path: ObjectPath) -> Result<Response> {
    let session = call
        .without_credential("storage.object.info_public")
        .await?;
    info(&session, Access::Public, &path).await
}

/// What is known of an object, by a signed URL.
pub(crate) async fn get_signed_info(
    call: Call,
    path: ObjectPath,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let session = call.without_credential("storage.object.get_signed").await?;
    verified(&session, &path, query.as_deref())?;
    info(&session, Access::Proven, &path).await
}

async fn info(session: &Session, access: Access, path: &ObjectPath) -> Result<Response> {
    let object = download::find(session, &path.bucket, &path.name, access).await?;
    let field = |name: &str| object.metadata.as_ref().and_then(|m| m.get(name).cloned());
    let body = json!({
        "id": object.id,
        "name": object.name,
        "version": object.version,
        "bucket_id": object.bucket_id,
        "size": object.size(),
        "content_type": field("mimetype"),
        "cache_control": field("cacheControl"),
        "etag": field("eTag"),
        "metadata": object.user_metadata,
        "last_modified": object.updated_at,
        "created_at": object.created_at,
    });
    let mut response = axum::Json(body).into_response();
    tell(response.headers_mut(), &object);
    Ok(response)
}

fn tell(headers: &mut HeaderMap, object: &Object) {
    download::insert(headers, http::header::ETAG, &object.etag());
    download::insert(headers, http::header::CACHE_CONTROL, "no-cache");
    download::insert(
        headers,
        http::header::LAST_MODIFIED,
        &crate::conditions::http_date(object.modified),
    );
}
