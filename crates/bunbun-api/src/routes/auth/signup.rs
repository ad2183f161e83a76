//! `POST /api/auth/signup`: a new user.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_http::{ApiError, extract::Json as Body};
use garde::Validate;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    clients::{OnBehalf, auth::SignedIn},
    openapi::{AnyoneRefusals, BodyRefusals, ConflictRefusals, ServiceRefusals, SignInRefusals},
    state::ApiState,
};

/// A new user.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "email": "ada@example.com", "password": "correct horse battery" }))]
pub(crate) struct SignUp {
    /// The address.
    #[garde(length(bytes, min = 3, max = 255), contains("@"))]
    #[schema(min_length = 3, max_length = 255)]
    email: String,
    /// The password; how strong it has to be is the auth service's matter.
    #[garde(length(bytes, min = 1, max = 1024))]
    #[schema(min_length = 1, max_length = 1024)]
    password: String,
    /// What becomes the user's `user_metadata`.
    #[garde(skip)]
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    data: Option<Map<String, Value>>,
}

/// Sign up
///
/// Makes a user and signs it in. `session` is null where the project wants addresses confirmed
/// first; the answer for an address that is taken looks the same then.
#[utoipa::path(
    post, path = "/api/auth/signup", tag = "auth",
    request_body = SignUp,
    responses(
        (status = 200, description = "The user", body = SignedIn),
        BodyRefusals, SignInRefusals, ConflictRefusals, AnyoneRefusals, ServiceRefusals,
    ),
)]
pub(crate) async fn sign_up(
    State(state): State<Arc<ApiState>>,
    behalf: OnBehalf,
    Body(body): Body<SignUp>,
) -> Result<Json<SignedIn>, ApiError> {
    let auth = state.auth(&behalf);
    let signed_in = auth
        .sign_up(&body.email, &body.password, body.data.as_ref())
        .await?;
    Ok(Json(signed_in))
}
