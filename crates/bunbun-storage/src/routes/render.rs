//! `GET /render/image/{authenticated,public,sign}/{bucket}/{name}`.

use axum::{body::Body, extract::RawQuery, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::object::read;
use crate::{
    conditions::{self, Verdict},
    database::objects::Object,
    download::{self, Access, Show},
    error::{Code, Result, StorageError},
    image::Options,
    mime,
    request::{Call, ObjectPath, Session, query_parameter},
};

/// Largest file that is read to be rendered.
const MAX_SOURCE_BYTES: u64 = 32 * 1024 * 1024;
const X_TRANSFORMATIONS: HeaderName = HeaderName::from_static("x-transformations");

/// An image that the caller may read.
pub(super) async fn render_authenticated(
    call: Call,
    method: Method,
    path: ObjectPath,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let session = call.required("storage.render.image_authenticated").await?;
    let options = Options::of_query(query.as_deref())?;
    let show = Show {
        download: query_parameter(query.as_deref(), "download"),
        expires_at: None,
    };
    let object = download::find(&session, &path.bucket, &path.name, Access::Caller).await?;
    respond(&session, object, &method, &headers, &options, &show).await
}

/// An image of a public bucket.
pub(super) async fn render_public(
    call: Call,
    method: Method,
    path: ObjectPath,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let session = call
        .without_credential("storage.render.image_public")
        .await?;
    let options = Options::of_query(query.as_deref())?;
    let show = Show {
        download: query_parameter(query.as_deref(), "download"),
        expires_at: None,
    };
    let object = download::find(&session, &path.bucket, &path.name, Access::Public).await?;
    respond(&session, object, &method, &headers, &options, &show).await
}

/// An image by a signed URL; how it is rendered stands in the token.
pub(super) async fn render_signed(
    call: Call,
    method: Method,
    path: ObjectPath,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let session = call.without_credential("storage.render.image_sign").await?;
    let signed = read::verified(&session, &path, query.as_deref())?;
    let transformations = signed.transformations.as_deref().unwrap_or_default();
    let format = signed
        .format
        .as_deref()
        .map(|format| format!(",format:{format}"))
        .unwrap_or_default();
    let options = Options::of_text(&format!("{transformations}{format}"))?;
    let show = Show {
        download: query_parameter(query.as_deref(), "download"),
        expires_at: Some(signed.exp),
    };
    let object = download::find(&session, &path.bucket, &path.name, Access::Proven).await?;
    respond(&session, object, &method, &headers, &options, &show).await
}

async fn respond(
    session: &Session,
    object: Object,
    method: &Method,
    headers: &HeaderMap,
    options: &Options,
    show: &Show,
) -> Result<Response> {
    let settings = &session.service.0.settings;
    if !settings.image_rendering {
        let message = "The feature imageTransformation is not enabled for this resource";
        return Err(StorageError::new(Code::FeatureNotEnabled, 409, message));
    }
    let source = mime::essence(object.mimetype());
    // A drawing scales by itself.
    if source == "image/svg+xml" {
        return download::respond(session, object, method, headers, show).await;
    }
    let format = options.output(&source, headers);
    let transformations = options.to_text();
    let tag = format!("{transformations}>{}", format.mimetype());
    let print = bunbun_core::secret::fingerprint(tag.as_bytes());
    let etag = format!("\"{}-{print}\"", object.etag().trim_matches('"'));
    let mut response = Response::new(Body::empty());
    describe(
        response.headers_mut(),
        &object,
        &etag,
        &transformations,
        show,
    );
    match conditions::judge(headers, &etag, object.modified) {
        Verdict::Proceed => {}
        Verdict::NotModified => {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().remove(header::CONTENT_TYPE);
            return Ok(response);
        }
        Verdict::Failed => {
            *response.status_mut() = StatusCode::PRECONDITION_FAILED;
            return Ok(response);
        }
    }
    // Every content has a version of its own: a rendering of it never grows old.
    let key = format!(
        "{}/{}/{}/{tag}",
        session.project_ref(),
        object.id,
        object.version.as_deref().unwrap_or_default()
    );
    let source = async {
        let (_, blob) = download::open(session, object).await?;
        if blob.size > MAX_SOURCE_BYTES {
            let message = "The source image is too large to be rendered";
            return Err(StorageError::new(Code::EntityTooLarge, 413, message));
        }
        Ok(blob.bytes().await?)
    };
    let renderer = &session.service.0.renderer;
    let rendered = Box::pin(renderer.render(key, options, format, source)).await?;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(rendered.mimetype),
    );
    headers.insert(header::CONTENT_LENGTH, rendered.bytes.len().into());
    if method != Method::HEAD {
        *response.body_mut() = Body::from(rendered.bytes);
    }
    Ok(response)
}

fn describe(
    headers: &mut HeaderMap,
    object: &Object,
    etag: &str,
    transformations: &str,
    show: &Show,
) {
    download::describe(headers, object, show);
    headers.remove(header::ACCEPT_RANGES);
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    download::insert(headers, header::ETAG, etag);
    if !transformations.is_empty() {
        download::insert(headers, X_TRANSFORMATIONS, transformations);
    }
}
