//! HTTP vocabulary that the data plane and the routers share: bodies, the request's context,
//! who is calling, errors and their one rendering, requests to hosts that users name, and (feature
//! `axum`) extractors.

pub mod body;
pub mod context;
pub mod error;
pub mod explain;
pub mod identity;
pub mod multipart;
pub mod outbound;
pub mod security_headers;
pub mod slots;

#[cfg(feature = "axum")]
pub mod access;
#[cfg(feature = "axum")]
pub mod embed;
#[cfg(feature = "axum")]
pub mod extract;
pub use body::{Body, BoxError};
pub use context::{RequestContext, RequestId};
pub use error::ApiError;
pub use identity::Caller;
