//! `POST /object/upload/sign/{bucket}/{name}` signs a URL for an upload, `PUT` uses it.

use axum::{Json as Answer, extract::Request};
use http::HeaderMap;
use serde_json::{Value, json};

use super::create;
use crate::{
    error::{Result, StorageError},
    identity::Identity,
    mime,
    request::{Call, ObjectPath, query_parameter},
    token::{Scope, SignedUrl},
    upload::{self, Upload},
};

/// Signs a URL for an upload that the caller may do.
pub(crate) async fn sign_upload(
    call: Call,
    path: ObjectPath,
    headers: HeaderMap,
) -> Result<Answer<Value>> {
    let session = call.required("storage.object.sign_upload_url").await?;
    let upsert = create::is_upsert(&headers);
    let owner = session.owner().map(str::to_owned);
    upload::bucket(&session, &path.bucket).await?;
    let upload = Upload {
        bucket: path.bucket.clone(),
        name: path.name.clone(),
        version: upload::new_version(),
        who: session.caller.clone(),
        owner: owner.clone(),
        upsert,
        if_match: None,
        mimetype: mime::OCTET_STREAM.to_owned(),
        cache_control: String::new(),
        user_metadata: None,
    };
    upload::prove(&session, &upload, None).await?;
    let settings = &session.service.0.settings;
    let seconds = i64::try_from(settings.upload_url_ttl.as_secs()).unwrap_or(i64::MAX);
    let claims = SignedUrl::upload(
        &path.bucket,
        &path.name,
        owner,
        upsert,
        session.now(),
        seconds,
    );
    let token = claims.sign(&settings.signing_secret);
    let url = format!(
        "/object/upload/sign/{}/{}?token={token}",
        path.bucket, path.name
    );
    Ok(Answer(json!({ "url": url, "token": token })))
}

/// Uploads by a signed URL; whoever signed it had the right.
pub(crate) async fn upload_signed(
    call: Call,
    path: ObjectPath,
    request: Request,
) -> Result<Answer<Value>> {
    let session = call
        .without_credential("storage.object.upload_signed")
        .await?;
    let token = query_parameter(request.uri().query(), "token");
    let token = token.ok_or_else(|| {
        StorageError::validation("querystring must have required property 'token'")
    })?;
    let secret = &session.service.0.settings.signing_secret;
    let signed = SignedUrl::verify(
        &token,
        secret,
        session.now(),
        Scope::Upload,
        &path.bucket,
        &path.name,
    )?;
    let upsert = signed.upsert.unwrap_or(false);
    create::from_request(
        &session,
        Identity::service(),
        path,
        signed.owner,
        upsert,
        request,
    )
    .await
}
