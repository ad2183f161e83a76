//! What the data plane decides about a request, told instead of done.

use http::Method;
use serde::Serialize;

use crate::context::RequestContext;

/// How a request would be, or was, treated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "axum", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// The request that was refused, where one is explained by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The method.
    pub method: String,
    /// The path as it is matched: normalised, without a project's prefix.
    pub path: String,
    /// The project that it belongs to.
    pub project: String,
    /// The name of the route that takes it; absent where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Where the route leads: `slot auth (remote)`, `upstream blog`, `split …`, `fixed answer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The path that the service behind it sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_path: Option<String>,
    /// The credential that the route needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// The rate-limit policy that applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<String>,
    /// How pages of other origins are treated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<String>,
    /// The status with which it is refused; absent where it is passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_with: Option<u16>,
    /// Why, in a sentence.
    pub reason: String,
}

/// Explains requests. Implemented by the gateway.
pub trait Explain: Send + Sync + 'static {
    /// How a request of this method and path would be treated without a credential. The path is
    /// as a client would send it, query included. `context` is that of the asking request: its
    /// project is the one asked about.
    ///
    /// # Errors
    /// A sentence that says why the path cannot be one.
    fn explain(
        &self,
        method: &Method,
        path: &str,
        context: &RequestContext,
    ) -> Result<Explanation, String>;

    /// Why the request of this id was refused, of the asking project; `None` where it is not
    /// among those remembered.
    fn refused(&self, request_id: &str, context: &RequestContext) -> Option<Explanation>;
}
