//! `POST /api/storage/sign/{bucket}/{path}`: a URL that opens an object to whoever has it.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_core::clock::{Clock as _, SystemClock};
use bunbun_http::{ApiError, access::UserOrService, extract::Json as Body};
use garde::Validate;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::ObjectPath;
use crate::{
    clients::OnBehalf,
    openapi::{BodyRefusals, ServiceRefusals, ThingRefusals, UserRefusals},
    state::ApiState,
};

/// For how long.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "expires_in": 3600 }))]
pub(crate) struct SignObject {
    /// Seconds for which the URL is good; at most a year.
    #[garde(range(min = 1, max = 31_536_000))]
    #[schema(minimum = 1, maximum = 31_536_000)]
    expires_in: u32,
}

/// A URL that needs no credential.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SignedObject {
    /// The URL.
    url: String,
    /// Until when it is good.
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

/// Sign a URL of an object
///
/// Whoever has the URL can read the object until it expires; nothing takes that back except moving
/// or deleting the object.
#[utoipa::path(
    post, path = "/api/storage/sign/{bucket}/{*path}", tag = "storage",
    params(ObjectPath),
    request_body = SignObject,
    security(("user" = []), ("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The URL", body = SignedObject),
        BodyRefusals, ThingRefusals, UserRefusals, ServiceRefusals,
    ),
)]
pub(crate) async fn sign_object(
    State(state): State<Arc<ApiState>>,
    _caller: UserOrService,
    behalf: OnBehalf,
    object: ObjectPath,
    Body(body): Body<SignObject>,
) -> Result<Json<SignedObject>, ApiError> {
    let storage = state.storage(&behalf);
    // Before the call: the URL is never promised for longer than it is good.
    let expires_at = SystemClock.now() + time::Duration::seconds(body.expires_in.into());
    let path = storage.sign(object.place(), body.expires_in).await?;
    let url = format!("{}{path}", behalf.base_url(state.public_url()));
    Ok(Json(SignedObject { url, expires_at }))
}
