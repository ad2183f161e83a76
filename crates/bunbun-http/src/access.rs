//! Access is a type: an extractor that is there proves that the caller may.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::{context::RequestContext, error::ApiError};

/// The project's owner: a valid `service_role` credential. Holds the request's context.
#[derive(Debug, Clone)]
pub struct ServiceRole(pub RequestContext);

impl<S: Sync> FromRequestParts<S> for ServiceRole {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let context = context(parts)?;
        match &context.caller {
            Some(caller) if caller.is_service_role() => Ok(Self(context.clone())),
            Some(_) => Err(ApiError::forbidden()),
            None => Err(ApiError::unauthorized()),
        }
    }
}

/// A user of the project, by a valid token of theirs.
#[derive(Debug, Clone)]
pub struct User(pub RequestContext);

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let context = context(parts)?;
        match &context.caller {
            Some(caller) if is_user(caller) => Ok(Self(context.clone())),
            Some(_) => Err(ApiError::not_a_user()),
            None => Err(ApiError::unauthorized()),
        }
    }
}

/// A user of the project, or its owner. What a user may do is decided further down, by row-level
/// security.
#[derive(Debug, Clone)]
pub struct UserOrService(pub RequestContext);

impl<S: Sync> FromRequestParts<S> for UserOrService {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let context = context(parts)?;
        match &context.caller {
            Some(caller) if caller.is_service_role() || is_user(caller) => {
                Ok(Self(context.clone()))
            }
            Some(_) => Err(ApiError::not_a_user()),
            None => Err(ApiError::unauthorized()),
        }
    }
}

/// The owner is no user, even with a token that names one.
fn is_user(caller: &crate::Caller) -> bool {
    caller.user().is_some() && !caller.is_service_role()
}

/// Anyone; says whether it is the project's owner, for answers that then tell more.
#[derive(Debug, Clone)]
pub struct Anyone(pub RequestContext);

impl Anyone {
    /// Whether the caller is the project's owner.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.0
            .caller
            .as_ref()
            .is_some_and(crate::Caller::is_service_role)
    }
}

impl<S: Sync> FromRequestParts<S> for Anyone {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        context(parts).map(|context| Self(context.clone()))
    }
}

fn context(parts: &Parts) -> Result<&RequestContext, ApiError> {
    parts.extensions.get::<RequestContext>().ok_or_else(|| {
        ApiError::new(
            bunbun_core::Code::Internal,
            "The request came past the edge.",
        )
    })
}
