//! `POST /api/auth/signin`: a session for a user's address and password.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_http::{ApiError, extract::Json as Body};
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    clients::{OnBehalf, auth::SignedIn},
    openapi::{AnyoneRefusals, BodyRefusals, ServiceRefusals, SignInRefusals},
    state::ApiState,
};

/// Who wants in.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "email": "ada@example.com", "password": "correct horse battery" }))]
pub(crate) struct SignIn {
    /// The address.
    #[garde(length(bytes, min = 3, max = 255), contains("@"))]
    #[schema(min_length = 3, max_length = 255)]
    email: String,
    /// The password.
    #[garde(length(bytes, min = 1, max = 1024))]
    #[schema(min_length = 1, max_length = 1024)]
    password: String,
}

/// Sign in
///
/// An unknown address and a wrong password have the same answer.
#[utoipa::path(
    post, path = "/api/auth/signin", tag = "auth",
    request_body = SignIn,
    responses(
        (status = 200, description = "The user and its session", body = SignedIn),
        BodyRefusals, SignInRefusals, AnyoneRefusals, ServiceRefusals,
    ),
)]
pub(crate) async fn sign_in(
    State(state): State<Arc<ApiState>>,
    behalf: OnBehalf,
    Body(body): Body<SignIn>,
) -> Result<Json<SignedIn>, ApiError> {
    let auth = state.auth(&behalf);
    let signed_in = auth.sign_in(&body.email, &body.password).await?;
    Ok(Json(signed_in))
}
