//! `DELETE /api/storage/delete/{bucket}/{path}`: the end of an object.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_http::{ApiError, access::UserOrService};

use super::ObjectPath;
use crate::{
    clients::OnBehalf,
    openapi::{ParameterRefusals, ServiceRefusals, ThingRefusals, UserRefusals},
    routes::Success,
    state::ApiState,
};

/// Delete an object
#[utoipa::path(
    delete, path = "/api/storage/delete/{bucket}/{*path}", tag = "storage",
    params(ObjectPath),
    security(("user" = []), ("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "It is deleted", body = Success),
        ParameterRefusals, ThingRefusals, UserRefusals, ServiceRefusals,
    ),
)]
pub(crate) async fn delete_object(
    State(state): State<Arc<ApiState>>,
    _caller: UserOrService,
    behalf: OnBehalf,
    object: ObjectPath,
) -> Result<Json<Success>, ApiError> {
    state.storage(&behalf).delete(object.place()).await?;
    Ok(Json(Success::new()))
}
