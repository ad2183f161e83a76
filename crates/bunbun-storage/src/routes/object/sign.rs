//! `POST /object/sign/{bucket}/{name}` and, for several, `POST /object/sign/{bucket}`.

use std::collections::HashSet;

use axum::Json as Answer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    coerce,
    database::objects,
    error::{Result, StorageError},
    image::Options,
    request::{BucketPath, Call, Json, ObjectPath, Session},
    token::SignedUrl,
};

/// `POST /object/sign/{bucket}/{name}`.
#[derive(Deserialize)]
pub(crate) struct SignObjectRequest {
    #[serde(rename = "expiresIn", deserialize_with = "coerce::integer")]
    expires_in: i64,
    transform: Option<Options>,
}

/// `POST /object/sign/{bucket}`.
#[derive(Deserialize)]
pub(crate) struct SignObjectsRequest {
    #[serde(rename = "expiresIn", deserialize_with = "coerce::integer")]
    expires_in: i64,
    paths: Vec<String>,
}

/// The URL of one of several objects.
#[derive(Serialize)]
pub(crate) struct SignedObject {
    error: Option<&'static str>,
    path: String,
    #[serde(rename = "signedURL")]
    signed_url: Option<String>,
}

/// Signs a URL for an object that the caller may read.
pub(crate) async fn sign_object(
    call: Call,
    path: ObjectPath,
    Json(body): Json<SignObjectRequest>,
) -> Result<Answer<Value>> {
    let session = call.required("storage.object.sign").await?;
    check_seconds(body.expires_in)?;
    let transform = body.transform.map(Options::checked).transpose()?;
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    objects::get(&transaction, &path.bucket, &path.name).await?;
    drop(transaction);
    let mut claims = SignedUrl::download(&path.bucket, &path.name, session.now(), body.expires_in);
    // Without rendering the original leaves transformations out.
    let transform = transform.filter(|_| session.service.0.settings.image_rendering);
    claims.transformations = transform
        .as_ref()
        .map(Options::to_text)
        .filter(|text| !text.is_empty());
    claims.format = transform.and_then(|options| options.format_text());
    let place = if claims.transformations.is_some() {
        "render/image"
    } else {
        "object"
    };
    let token = claims.sign(&session.service.0.settings.signing_secret);
    // Clients encode the name themselves.
    let url = format!("/{place}/sign/{}/{}?token={token}", path.bucket, path.name);
    Ok(Answer(json!({ "signedURL": url })))
}

/// Signs URLs for those of some objects that the caller may read.
pub(crate) async fn sign_objects(
    call: Call,
    BucketPath(bucket): BucketPath,
    Json(body): Json<SignObjectsRequest>,
) -> Result<Answer<Vec<SignedObject>>> {
    let session = call.required("storage.object.sign_many").await?;
    check_seconds(body.expires_in)?;
    if body.paths.is_empty() {
        return Err(StorageError::validation(
            "body/paths must NOT have fewer than 1 items",
        ));
    }
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    let visible = objects::visible(&transaction, &bucket, &body.paths).await?;
    drop(transaction);
    let visible: HashSet<String> = visible.into_iter().collect();
    let sign = |path: String| one_of_many(&session, &bucket, path, &visible, body.expires_in);
    Ok(Answer(body.paths.into_iter().map(sign).collect()))
}

fn one_of_many(
    session: &Session,
    bucket: &str,
    path: String,
    visible: &HashSet<String>,
    seconds: i64,
) -> SignedObject {
    if !visible.contains(&path) {
        let error = "Either the object does not exist or you do not have access to it";
        return SignedObject {
            error: Some(error),
            path,
            signed_url: None,
        };
    }
    let claims = SignedUrl::download(bucket, &path, session.now(), seconds);
    let token = claims.sign(&session.service.0.settings.signing_secret);
    let url = format!("/object/sign/{bucket}/{path}?token={token}");
    SignedObject {
        error: None,
        path,
        signed_url: Some(url),
    }
}

fn check_seconds(seconds: i64) -> Result<()> {
    if seconds < 1 {
        return Err(StorageError::validation("body/expiresIn must be >= 1"));
    }
    Ok(())
}
