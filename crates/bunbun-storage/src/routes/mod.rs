//! The routes, by their URLs. What no route knows gets the original's 404.

mod bucket;
mod object;
mod render;
mod s3;
mod status;
mod upload;

use axum::{
    Json, Router,
    extract::Request,
    response::{IntoResponse as _, Response},
    routing::{any, delete, get, post},
};
use http::StatusCode;
use serde_json::json;

use self::upload::resumable;
use crate::service::StorageService;

/// The whole service.
pub(crate) fn router(service: StorageService) -> Router {
    Router::new()
        .route("/status", get(status::status))
        .route("/version", get(status::version))
        .route("/health", get(status::health))
        .nest("/bucket", buckets())
        .route(
            "/bucket/",
            get(bucket::list_buckets).post(bucket::create_bucket),
        )
        .nest("/object", objects())
        .nest("/render/image", images())
        .nest("/upload/resumable", resumable::router())
        .route(
            "/upload/resumable/",
            post(resumable::create_upload).options(resumable::options),
        )
        .route(
            "/upload/resumable/sign/",
            post(resumable::create_signed_upload).options(resumable::options),
        )
        .route("/s3", any(s3::handle))
        .route("/s3/", any(s3::handle))
        .route("/s3/{*path}", any(s3::handle))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .with_state(service)
}

fn buckets() -> Router<StorageService> {
    Router::new()
        .route("/", get(bucket::list_buckets).post(bucket::create_bucket))
        .route(
            "/{bucket}",
            get(bucket::get_bucket)
                .put(bucket::update_bucket)
                .delete(bucket::delete_bucket),
        )
        .route("/{bucket}/empty", post(bucket::empty_bucket))
}

fn objects() -> Router<StorageService> {
    use object::{copy, create, list, r#move, named, read, remove, sign, upload_sign};
    let other = named::other_methods;
    Router::new()
        .route("/{bucket}", delete(remove::delete_objects))
        .route(
            "/{bucket}/{*name}",
            get(read::get_object)
                .post(create::create_object)
                .put(create::update_object)
                .delete(remove::delete_object),
        )
        .route(
            "/authenticated/{bucket}/{*name}",
            get(read::get_authenticated_object).fallback(other),
        )
        .route(
            "/public/{bucket}/{*name}",
            get(read::get_public_object).fallback(other),
        )
        .route("/sign/{bucket}", post(sign::sign_objects).fallback(other))
        .route(
            "/sign/{bucket}/{*name}",
            get(read::get_signed_object)
                .post(sign::sign_object)
                .fallback(other),
        )
        .route(
            "/upload/sign/{bucket}/{*name}",
            post(upload_sign::sign_upload)
                .put(upload_sign::upload_signed)
                .fallback(other),
        )
        .route(
            "/info/{bucket}/{*name}",
            get(read::get_info).fallback(other),
        )
        .route(
            "/info/authenticated/{bucket}/{*name}",
            get(read::get_authenticated_info).fallback(other),
        )
        .route(
            "/info/public/{bucket}/{*name}",
            get(read::get_public_info).fallback(other),
        )
        .route(
            "/info/sign/{bucket}/{*name}",
            get(read::get_signed_info).fallback(other),
        )
        .route("/list/{bucket}", post(list::list_objects).fallback(other))
        .route(
            "/list-v2/{bucket}",
            post(list::list_objects_v2).fallback(other),
        )
        .route("/move", post(r#move::move_object).fallback(other))
        .route("/copy", post(copy::copy_object).fallback(other))
}

fn images() -> Router<StorageService> {
    Router::new()
        .route(
            "/authenticated/{bucket}/{*name}",
            get(render::render_authenticated),
        )
        .route("/public/{bucket}/{*name}", get(render::render_public))
        .route("/sign/{bucket}/{*name}", get(render::render_signed))
}

async fn not_found(request: Request) -> Response {
    let message = format!(
        "Route {}:{} not found",
        request.method(),
        request.uri().path()
    );
    let body = json!({ "message": message, "error": "Not Found", "statusCode": 404 });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}
