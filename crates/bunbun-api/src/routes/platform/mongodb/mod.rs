//! `/api/platform/mongodb/{ref}`: MongoDB through a stored connection.
//!
//! Bodies and answers are Extended JSON v2, read and written by the engine. `Accept:
//! application/ejson` asks for the canonical form, which keeps every type; everything else gets
//! the relaxed one.

// Operations beside one another, for utoipa.
pub mod action;
pub mod databases;

mod answer;
mod body;

use std::sync::Arc;

use bunbun_databases::mongodb::Mongodb;
use bunbun_http::ApiError;
use garde::Validate;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access::{Permission, ProjectAccess},
    connections::{Connected, Connections},
    state::ApiState,
};

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(action::run_mongodb_action))
        .merge(databases::router())
}

impl Connections {
    /// The pool of a stored MongoDB connection: the one of this identifier, or the primary one.
    ///
    /// # Errors
    /// As [`Connections::database`].
    pub async fn mongodb<P: Permission>(
        &self,
        access: &ProjectAccess<P>,
        identifier: Option<&str>,
    ) -> Result<Connected<Mongodb>, ApiError> {
        self.database(access, identifier).await
    }
}

/// Which stored connection.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ConnectionQuery {
    /// The identifier of a stored connection; by default the primary one.
    #[garde(length(min = 1, max = 100))]
    #[param(min_length = 1, max_length = 100)]
    pub(crate) connection: Option<String>,
}
