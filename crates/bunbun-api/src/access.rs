//! Who may do what with a project: the access extractor of everything below `/api/platform`.
//!
//! [`ProjectAccess<Read>`] and [`ProjectAccess<Write>`] read the project from the path's `{ref}`,
//! and prove that the caller may. Today that is the project's `service_role`; platform sessions,
//! their roles, and API keys with scopes join in [`authorise`], and no handler learns of it.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    RequestPartsExt as _,
    extract::{FromRequestParts, RawPathParams},
};
use bunbun_core::{Code, id::ProjectRef};
use bunbun_http::{ApiError, Caller, RequestContext};
use http::{HeaderMap, header::CACHE_CONTROL, request::Parts};

use crate::audit::Attempt;

/// What a handler asks for.
pub trait Permission: Send + Sync + 'static {
    /// Whether it is about changing something.
    const WRITES: bool;
}

/// Permission to look.
#[derive(Debug, Clone, Copy)]
pub struct Read;

/// Permission to change. Whoever holds it is in the audit log before anything is changed.
#[derive(Debug, Clone, Copy)]
pub struct Write;

impl Permission for Read {
    const WRITES: bool = false;
}

impl Permission for Write {
    const WRITES: bool = true;
}

/// Who acts, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `service_role`; later `user` and `api_key` as well.
    pub kind: &'static str,
    /// The user's or key's id.
    pub id: Option<String>,
}

/// The proof that the caller may read or change things of the project in the path.
#[derive(Debug, Clone)]
pub struct ProjectAccess<P> {
    context: RequestContext,
    actor: Actor,
    fresh: bool,
    attempt: Arc<Attempt>,
    permission: PhantomData<P>,
}

impl<P: Permission> ProjectAccess<P> {
    /// The project.
    #[must_use]
    pub fn project(&self) -> &ProjectRef {
        &self.context.project.reference
    }

    /// The request's context.
    #[must_use]
    pub const fn context(&self) -> &RequestContext {
        &self.context
    }

    /// Who acts.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Whether the caller wants nothing from a cache: `Cache-Control: no-cache`.
    #[must_use]
    pub const fn wants_fresh(&self) -> bool {
        self.fresh
    }

    /// Whether the caller may also change things. A handler with [`Read`] whose body turns out to
    /// want a change (a command, an aggregation with `$out`) asks here.
    ///
    /// # Errors
    /// `FORBIDDEN`.
    pub fn may_write(&self) -> Result<ProjectAccess<Write>, ApiError> {
        authorise(&self.context, self.project().as_str(), true)?;
        Ok(ProjectAccess {
            context: self.context.clone(),
            actor: self.actor.clone(),
            fresh: self.fresh,
            attempt: Arc::clone(&self.attempt),
            permission: PhantomData,
        })
    }

    /// What the audit log will say of this request.
    pub(crate) fn attempt(&self) -> &Attempt {
        &self.attempt
    }
}

impl<P: Permission, S: Send + Sync> FromRequestParts<S> for ProjectAccess<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let context = parts
            .extensions
            .get::<RequestContext>()
            .cloned()
            .ok_or_else(|| ApiError::new(Code::Internal, "The request came past the edge."))?;
        let path = parts
            .extract::<RawPathParams>()
            .await
            .map_err(|error| ApiError::new(Code::InvalidRequest, error.body_text()))?;
        let reference = path
            .iter()
            .find_map(|(name, value)| (name == "ref").then_some(value))
            .unwrap_or_default();
        let actor = authorise(&context, reference, P::WRITES)?;
        let attempt = Attempt::of(parts);
        Ok(Self {
            fresh: wants_fresh(&parts.headers),
            context,
            actor,
            attempt,
            permission: PhantomData,
        })
    }
}

/// Decides. Another project's existence is not told: its reference is as unknown as any.
fn authorise(context: &RequestContext, reference: &str, _writes: bool) -> Result<Actor, ApiError> {
    match &context.caller {
        Some(caller) if caller.is_service_role() => {}
        Some(_) => return Err(ApiError::forbidden()),
        None => return Err(ApiError::unauthorized()),
    }
    if context.project.reference.as_str() != reference {
        return Err(ApiError::new(
            Code::ProjectNotFound,
            "There is no project with this reference.",
        ));
    }
    Ok(Actor {
        kind: "service_role",
        id: context
            .caller
            .as_ref()
            .and_then(Caller::user)
            .map(str::to_owned),
    })
}

/// RFC 9111: a request may ask for an answer that is not from a cache.
fn wants_fresh(headers: &HeaderMap) -> bool {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|directive| {
            ["no-cache", "no-store", "max-age=0"]
                .iter()
                .any(|fresh| directive.eq_ignore_ascii_case(fresh))
        })
}
