//! `GET /api/dev/mailbox`: the mails that `bunbun dev` keeps instead of sending them.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_core::Code;
use bunbun_http::{ApiError, access::ServiceRole};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    openapi::{OwnerRefusals, ThingRefusals},
    state::ApiState,
};

/// The mailbox.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct MailboxResponse {
    /// The mails, the latest first; at most 200 are kept.
    pub(crate) mails: Vec<Mail>,
}

/// A mail.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Mail {
    /// Counts up from 1.
    pub(crate) id: u64,
    /// When it came, in seconds since the Unix epoch.
    pub(crate) received_at: i64,
    /// The address it goes to.
    pub(crate) to: String,
    /// Its subject.
    pub(crate) subject: String,
    /// Its body.
    pub(crate) html: String,
    /// `signup`, `invite`, `recovery`, `magiclink`, `email_change` or `reauthentication`.
    pub(crate) kind: String,
    /// The link in it.
    pub(crate) link: String,
    /// The code in it.
    pub(crate) token: String,
    /// The hash in its link.
    pub(crate) token_hash: String,
}

/// Mails of a developer's machine
///
/// Only `bunbun dev` without `SMTP_HOST` has a mailbox.
#[utoipa::path(
    get, path = "/api/dev/mailbox", tag = "dev",
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The mails, the latest first", body = MailboxResponse),
        ThingRefusals, OwnerRefusals,
    ),
)]
pub(crate) async fn get_mailbox(
    State(state): State<Arc<ApiState>>,
    _owner: ServiceRole,
) -> Result<Json<Value>, ApiError> {
    let Some(mailbox) = &state.parts.mailbox else {
        let message = "This server has no mailbox; `bunbun dev` without SMTP_HOST has one.";
        return Err(ApiError::new(Code::RouteNotFound, message));
    };
    Ok(Json(mailbox.mails()))
}
