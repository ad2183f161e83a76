//! Storing, changing and removing connections.
//!
//! The password is write-only, and therefore stays where it is: a change of the hosts, or of how
//! they prove themselves, needs it again. Otherwise whoever may change a connection could have its
//! password sent to a host of their own.

use bunbun_core::{
    Code,
    id::{ConnectionId, ProjectRef},
};
use bunbun_databases::{DatabaseType, Settings};
use bunbun_http::ApiError;
use bunbun_store::database_connections::{
    self as rows, DatabaseConnection, StoredHost, StoredSettings,
};
use secrecy::SecretString;
use serde_json::json;

use super::{Connections, secrets};
use crate::access::{ProjectAccess, Read, Write};

/// What becomes of the password.
#[derive(Debug, Clone, Default)]
pub(crate) enum PasswordChange {
    /// The stored one stays.
    #[default]
    Keep,
    /// There is none any more.
    Remove,
    /// This one.
    Set(SecretString),
}

/// A connection to be stored. The password of `settings` is not looked at.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) identifier: String,
    pub(crate) settings: Settings,
    pub(crate) password: PasswordChange,
    /// `None`: as it is.
    pub(crate) is_primary: Option<bool>,
}

impl Draft {
    fn stored(
        &self,
        password: Option<Vec<u8>>,
        is_primary: bool,
    ) -> Result<StoredSettings, ApiError> {
        self.settings
            .validate()
            .map_err(bunbun_databases::Error::from)?;
        let tls = serde_json::to_value(self.settings.tls).unwrap_or_default();
        Ok(StoredSettings {
            identifier: self.identifier.clone(),
            hosts: self
                .settings
                .hosts
                .iter()
                .map(|host| StoredHost {
                    name: host.name.clone(),
                    port: host.port,
                })
                .collect(),
            database_name: self.settings.database.clone(),
            username: self.settings.username.clone(),
            password,
            tls: tls.as_str().unwrap_or_default().to_owned(),
            options: self.settings.options.to_json(),
            is_primary: self.is_primary.unwrap_or(is_primary),
        })
    }
}

/// Which versions a change is for: `If-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Any.
    Any,
    /// One of these.
    Versions(Vec<i64>),
}

impl Expected {
    fn check(&self, row: &DatabaseConnection) -> Result<(), ApiError> {
        match self {
            Self::Versions(versions) if !versions.contains(&row.version) => Err(ApiError::new(
                Code::PreconditionFailed,
                "The connection was changed in the meantime: read it again.",
            )),
            _ => Ok(()),
        }
    }
}

impl Connections {
    /// The project's connections of a kind, oldest first, and where the next page begins.
    pub(crate) async fn list(
        &self,
        access: &ProjectAccess<Read>,
        kind: DatabaseType,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<(Vec<DatabaseConnection>, Option<ConnectionId>), ApiError> {
        let client = self.0.store.client().await?;
        let kind = kind.as_str();
        let mut found = rows::list(&client, access.project(), kind, after, limit + 1).await?;
        let has_more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next = found.last().filter(|_| has_more).map(|row| row.id);
        Ok((found, next))
    }

    /// One of them.
    pub(crate) async fn stored(
        &self,
        project: &ProjectRef,
        kind: DatabaseType,
        id: ConnectionId,
    ) -> Result<DatabaseConnection, ApiError> {
        let client = self.0.store.client().await?;
        let found = rows::find(&client, project, kind.as_str(), id).await?;
        Ok(found.ok_or(bunbun_store::Error::ConnectionNotFound)?)
    }

    /// Stores a new one.
    pub(crate) async fn create(
        &self,
        access: &ProjectAccess<Write>,
        draft: &Draft,
    ) -> Result<DatabaseConnection, ApiError> {
        let project = access.project();
        let kind = draft.settings.database_type.as_str();
        let id = ConnectionId::generate();
        let password = match &draft.password {
            PasswordChange::Set(password) => Some(self.sealed(project, id, password).await?),
            PasswordChange::Keep | PasswordChange::Remove => None,
        };
        let stored = draft.stored(password, false)?;
        self.audit(access, "connection.create", &draft.identifier)
            .await?;
        let mut client = self.0.store.client().await?;
        let transaction = client
            .transaction()
            .await
            .map_err(bunbun_store::Error::from)?;
        if let Some(sealed) = &stored.password {
            self.0.secrets.lock(&transaction, project, sealed).await?;
        }
        rows::lock_project(&transaction, project).await?;
        if stored.is_primary {
            rows::update_no_primary_but(&transaction, project, kind, id).await?;
        }
        let row = rows::insert(&transaction, project, id, kind, &stored).await?;
        transaction
            .commit()
            .await
            .map_err(bunbun_store::Error::from)?;
        self.0.cache.forget_connection(project, id);
        Ok(row)
    }

    /// Changes one: `change` makes the new settings from the old ones.
    pub(crate) async fn change(
        &self,
        access: &ProjectAccess<Write>,
        kind: DatabaseType,
        id: ConnectionId,
        expected: &Expected,
        change: impl FnOnce(&DatabaseConnection) -> Result<Draft, ApiError> + Send,
    ) -> Result<DatabaseConnection, ApiError> {
        let project = access.project();
        // Before the transaction: it takes a connection of its own.
        self.audit(access, "connection.update", &id.to_string())
            .await?;
        // Made ready here, so that the lock is not held while keys are fetched.
        let before = self.stored(project, kind, id).await?;
        expected.check(&before)?;
        let draft = change(&before)?;
        let password = self
            .changed_password(project, kind, &before, &draft)
            .await?;
        let stored = draft.stored(password, before.settings.is_primary)?;
        let mut client = self.0.store.client().await?;
        let transaction = client
            .transaction()
            .await
            .map_err(bunbun_store::Error::from)?;
        if let (Some(sealed), PasswordChange::Set(_)) = (&stored.password, &draft.password) {
            self.0.secrets.lock(&transaction, project, sealed).await?;
        }
        rows::lock_project(&transaction, project).await?;
        let current = rows::lock(&transaction, project, kind.as_str(), id).await?;
        // What was changed since it was read may be what the change builds on.
        Expected::Versions(vec![before.version]).check(&current)?;
        if stored.is_primary {
            rows::update_no_primary_but(&transaction, project, kind.as_str(), id).await?;
        }
        let row = rows::update(&transaction, project, kind.as_str(), id, &stored).await?;
        transaction
            .commit()
            .await
            .map_err(bunbun_store::Error::from)?;
        self.changed(project, id, before.version);
        Ok(row)
    }

    /// Removes one.
    pub(crate) async fn remove(
        &self,
        access: &ProjectAccess<Write>,
        kind: DatabaseType,
        id: ConnectionId,
        expected: &Expected,
    ) -> Result<(), ApiError> {
        let project = access.project();
        self.audit(access, "connection.delete", &id.to_string())
            .await?;
        let mut client = self.0.store.client().await?;
        let transaction = client
            .transaction()
            .await
            .map_err(bunbun_store::Error::from)?;
        let row = rows::lock(&transaction, project, kind.as_str(), id).await?;
        expected.check(&row)?;
        rows::delete(&transaction, project, kind.as_str(), id).await?;
        transaction
            .commit()
            .await
            .map_err(bunbun_store::Error::from)?;
        self.changed(project, id, i64::MAX);
        self.0.changes.lock().remove(&id);
        Ok(())
    }

    /// Nobody works with what was known of it any more.
    pub(super) fn changed(&self, project: &ProjectRef, id: ConnectionId, version: i64) {
        self.0.cache.forget_connection(project, id);
        self.0.registry.retire(id, version);
    }

    async fn changed_password(
        &self,
        project: &ProjectRef,
        kind: DatabaseType,
        before: &DatabaseConnection,
        draft: &Draft,
    ) -> Result<Option<Vec<u8>>, ApiError> {
        match &draft.password {
            PasswordChange::Remove => Ok(None),
            PasswordChange::Set(password) => {
                self.sealed(project, before.id, password).await.map(Some)
            }
            PasswordChange::Keep => {
                let old = secrets::without_password(kind, &before.settings)?;
                if before.settings.password.is_some() && leads_elsewhere(&old, &draft.settings) {
                    return Err(password_again());
                }
                Ok(before.settings.password.clone())
            }
        }
    }

    async fn sealed(
        &self,
        project: &ProjectRef,
        id: ConnectionId,
        password: &SecretString,
    ) -> Result<Vec<u8>, ApiError> {
        let key = self.0.secrets.data_key(&self.0.store, project).await?;
        Ok(secrets::seal(project, id, &key, password))
    }
}

/// Whether a stored password would go to someone whom its owner did not have in mind.
fn leads_elsewhere(old: &Settings, new: &Settings) -> bool {
    old.hosts != new.hosts
        || new.tls < old.tls
        || old.options.ca_certificate() != new.options.ca_certificate()
}

fn password_again() -> ApiError {
    let message = "send the password again: the hosts, TLS or the certificate change, and a stored \
                   password is not sent to others";
    ApiError::new(
        Code::ValidationFailed,
        "A change of hosts, tls or ca_certificate needs the password again.",
    )
    .with_details(json!({ "errors": [{ "pointer": "/password", "message": message }] }))
}
