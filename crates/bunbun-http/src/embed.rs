//! Fills a slot with an axum router, and renders its errors where the request's id is known.

use std::sync::Arc;

use axum::{Router, response::IntoResponse};
use bunbun_core::Code;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::{
    body::{Body, Embedded},
    context::{RequestContext, RequestId},
    error::{ApiError, Unrendered},
    security_headers,
};

/// An axum router as an embedded service. Unknown paths and methods get our envelope.
pub fn router(router: Router) -> Arc<dyn Embedded> {
    let router = router
        .fallback(|| async {
            ApiError::new(
                Code::RouteNotFound,
                "No operation at this path; see /api/docs.",
            )
        })
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                Code::MethodNotAllowed,
                "This path has no such method; see /api/docs.",
            )
        });
    Arc::new(RouterService(router))
}

struct RouterService(Router);

impl Embedded for RouterService {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let router = self.0.clone();
        Box::pin(async move {
            let request_id = request
                .extensions()
                .get::<RequestContext>()
                .map_or_else(RequestId::generate, |context| context.request_id.clone());
            let Ok(response) = router.oneshot(request.map(axum::body::Body::new)).await;
            let mut response = match response.extensions().get::<Unrendered>() {
                Some(Unrendered(error)) => with_allow(error.render(&request_id), &response),
                None => response.map(|body| body.map_err(Into::into).boxed_unsync()),
            };
            security_headers::apply(response.headers_mut());
            response
        })
    }
}

/// Keeps the `Allow` header that axum adds to a 405.
fn with_allow<B>(mut rendered: Response<Body>, original: &Response<B>) -> Response<Body> {
    if let Some(allow) = original.headers().get(http::header::ALLOW) {
        rendered
            .headers_mut()
            .insert(http::header::ALLOW, allow.clone());
    }
    rendered
}

impl IntoResponse for ApiError {
    fn into_response(self) -> axum::response::Response {
        let mut response = axum::response::Response::new(axum::body::Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(Unrendered(Arc::new(self)));
        response
    }
}
