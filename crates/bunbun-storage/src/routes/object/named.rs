//! `/object/{bucket}/{name}` for buckets that are named as routes are: `POST /object/public/a/b` is
//! an upload into the bucket `public`, because what is public is only read.

use axum::{
    extract::{FromRequest as _, FromRequestParts as _, RawQuery, Request},
    response::{IntoResponse as _, Response},
};
use http::Method;
use percent_encoding::percent_decode_str;

use super::{create, read, remove};
use crate::{
    error::{Result, StorageError},
    names,
    request::{BucketPath, Call, Json, ObjectPath},
    service::StorageService,
};

/// A method that the route of this path does not have.
pub(crate) async fn other_methods(
    axum::extract::State(service): axum::extract::State<StorageService>,
    request: Request,
) -> Response {
    match dispatch(&service, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn dispatch(service: &StorageService, request: Request) -> Result<Response> {
    let (mut parts, body) = request.into_parts();
    let Ok(call) = Call::from_request_parts(&mut parts, service).await;
    let (bucket, name) = place(parts.uri.path())?;
    let (method, headers) = (parts.method.clone(), parts.headers.clone());
    let query = RawQuery(parts.uri.query().map(str::to_owned));
    let request = Request::from_parts(parts, body);
    let Some(name) = name else {
        return match method {
            Method::DELETE => {
                let names = Json::from_request(request, &()).await?;
                let deleted = remove::delete_objects(call, BucketPath(bucket), names).await;
                Ok(deleted.into_response())
            }
            _ => Ok(super::super::not_found(request).await),
        };
    };
    let path = ObjectPath { bucket, name };
    Ok(match method {
        Method::GET | Method::HEAD => read::get_object(call, method, path, headers, query)
            .await
            .into_response(),
        Method::POST => create::create_object(call, path, request)
            .await
            .into_response(),
        Method::PUT => create::update_object(call, path, request)
            .await
            .into_response(),
        Method::DELETE => remove::delete_object(call, path).await.into_response(),
        _ => super::super::not_found(request).await,
    })
}

/// Bucket and name of a path below `/object`.
fn place(path: &str) -> Result<(String, Option<String>)> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (bucket, name) = match path.split_once('/') {
        Some((bucket, name)) => (bucket, Some(name)),
        None => (path, None),
    };
    let decode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(std::borrow::Cow::into_owned)
            .map_err(|_| StorageError::invalid_key(""))
    };
    let (bucket, name) = (decode(bucket)?, name.map(decode).transpose()?);
    names::bucket(&bucket)?;
    if let Some(name) = &name {
        names::key(name)?;
    }
    Ok((bucket, name))
}
