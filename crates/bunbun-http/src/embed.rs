//! Fills a slot with an axum router, and renders its errors where the request's id is known.

use std::sync::Arc;

use axum::{Router, response::IntoResponse};
use bunbun_core::Code;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use tower::Service;

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
    Arc::new(RouterService(Arc::new(Inner {
        router,
        headers: security_headers::all(),
    })))
}

struct RouterService(Arc<Inner>);

struct Inner {
    router: Router,
    /// What every answer has, unless its handler says otherwise.
    headers: HeaderMap,
}

impl Embedded for RouterService {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let service = Arc::clone(&self.0);
        Box::pin(async move {
            let request_id = request
                .extensions()
                .get::<RequestContext>()
                .map_or_else(RequestId::generate, |context| context.request_id.clone());
            // A router is always ready.
            let mut router = service.router.clone();
            let Ok(response) = router.call(request.map(axum::body::Body::new)).await;
            let mut response = match response.extensions().get::<Unrendered>() {
                Some(Unrendered(error)) => with_allow(error.render(&request_id), &response),
                None => response.map(|body| body.map_err(Into::into).boxed_unsync()),
            };
            let own = std::mem::replace(response.headers_mut(), service.headers.clone());
            // Those of the handler take the places of ours.
            response.headers_mut().extend(own);
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

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use http::{
        HeaderMap, Request,
        header::{CONTENT_SECURITY_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS},
    };

    use super::router;
    use crate::body;

    #[tokio::test]
    async fn a_handlers_own_headers_take_the_places_of_ours() {
        let handler = || async {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_SECURITY_POLICY, "default-src *".parse().unwrap());
            headers.append(SET_COOKIE, "a=1".parse().unwrap());
            headers.append(SET_COOKIE, "b=2".parse().unwrap());
            headers
        };
        let service = router(Router::new().route("/", get(handler)));
        let response = service.call(Request::new(body::empty())).await;
        let headers = response.headers();
        let all = |name| headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(all(CONTENT_SECURITY_POLICY), ["default-src *"]);
        assert_eq!(all(SET_COOKIE), ["a=1", "b=2"]);
        assert_eq!(all(X_CONTENT_TYPE_OPTIONS), ["nosniff"]);
    }
}
