//! Trying a connection, stored or not.

use std::time::Duration;

use bunbun_core::{Classify as _, Code, id::ConnectionId};
use bunbun_databases::{DatabaseType, Error, ServerInfo, Settings};
use bunbun_http::ApiError;

use super::Connections;
use crate::access::{ProjectAccess, Write};

/// How a trial ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The database answered.
    Works {
        /// One round trip.
        latency: Duration,
        /// What it says of itself.
        server: ServerInfo,
    },
    /// It did not, or not as it should.
    Fails {
        /// The code.
        code: Code,
        /// What may be said of it.
        message: String,
        /// What to do.
        hint: &'static str,
    },
}

impl Connections {
    /// Tries settings that are not stored.
    pub(crate) async fn try_settings(
        &self,
        access: &ProjectAccess<Write>,
        settings: &Settings,
    ) -> Result<Outcome, ApiError> {
        self.0.trials.count(access.project())?;
        settings.validate().map_err(Error::from)?;
        // Who tried which hosts is known afterwards.
        let hosts: Vec<_> = settings.hosts.iter().map(ToString::to_string).collect();
        self.audit(access, "connection.test", &hosts.join(","))
            .await?;
        outcome(Box::pin(self.0.registry.test(settings)).await)
    }

    /// Tries a stored connection and keeps how it went.
    pub(crate) async fn try_stored(
        &self,
        access: &ProjectAccess<Write>,
        kind: DatabaseType,
        id: ConnectionId,
    ) -> Result<Outcome, ApiError> {
        let project = access.project();
        self.0.trials.count(project)?;
        let row = self.stored(project, kind, id).await?;
        self.audit(access, "connection.test", &id.to_string())
            .await?;
        let opened = self.opened(project, kind, &row).await;
        let trial = match opened {
            Ok(settings) => Box::pin(self.0.registry.test(&settings)).await,
            Err(error) => Err(error),
        };
        self.note(project, &row, trial.as_ref().err());
        outcome(trial)
    }
}

fn outcome(trial: Result<bunbun_databases::registry::Trial, Error>) -> Result<Outcome, ApiError> {
    let error = match trial {
        Ok(trial) => {
            return Ok(Outcome::Works {
                latency: trial.latency,
                server: trial.server,
            });
        }
        Err(error) => error,
    };
    let code = error.code();
    let hint = match code {
        Code::ConnectionFailed => {
            "Check host, port and TLS, and that the database lets this installation in."
        }
        Code::AuthenticationFailed => "Check user, password and the database of the user.",
        Code::HostNotAllowed => "Use a public host, or ask the operator to add it to EGRESS_ALLOW.",
        Code::QueryInvalid | Code::DatabaseNotFound => {
            "The server refused the session: check the name of the database and the user's rights."
        }
        // A fault of ours or of the request.
        _ => return Err(error.into()),
    };
    let message = error.public_message().unwrap_or_default().into_owned();
    tracing::debug!(error = bunbun_core::error::chain(&error), "a trial failed");
    Ok(Outcome::Fails {
        code,
        message,
        hint,
    })
}
