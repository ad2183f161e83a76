//! Passwords of stored connections: sealed before they reach the store, opened when a pool is.

use std::sync::Arc;

use bunbun_core::{
    encryption::{DataKey, EncryptionError, MasterKeys, Place},
    id::{ConnectionId, ProjectRef},
};
use bunbun_databases::{DatabaseType, Error, Host, Options, Settings, TlsMode};
use bunbun_store::{
    Executor, Store,
    data_keys::{self, WrappedKey},
    database_connections::{DatabaseConnection, StoredSettings},
};
use moka::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

/// The column that passwords lie in, as part of what they are bound to.
const PASSWORD: &str = "database_connections.password";

pub(super) struct Secrets {
    master_keys: Option<MasterKeys>,
    data_keys: Cache<ProjectRef, Arc<DataKey>>,
}

impl Secrets {
    pub(super) fn new(master_keys: Option<MasterKeys>) -> Self {
        Self {
            master_keys,
            data_keys: Cache::new(1_000),
        }
    }

    /// The key that opens a connection's password; `None` where it has none.
    pub(super) async fn key_for(
        &self,
        store: &Store,
        project: &ProjectRef,
        settings: &StoredSettings,
    ) -> Result<Option<Arc<DataKey>>, KeyError> {
        if settings.password.is_none() {
            return Ok(None);
        }
        self.data_key(store, project).await.map(Some)
    }

    /// The project's data key; its first use makes it.
    pub(super) async fn data_key(
        &self,
        store: &Store,
        project: &ProjectRef,
    ) -> Result<Arc<DataKey>, KeyError> {
        if let Some(key) = self.data_keys.get(project) {
            return Ok(key);
        }
        let master = self
            .master_keys
            .as_ref()
            .ok_or(EncryptionError::NoMasterKey)?;
        let client = store.client().await?;
        let stored = match data_keys::find(&client, project).await? {
            Some(stored) => stored,
            None => {
                // A wrong master key must not begin a second set of keys.
                check(store, master).await?;
                // Nor must a second key hide that the first one is lost.
                if data_keys::list_missing(&client).await?.contains(project) {
                    return Err(KeyError::Lost);
                }
                let new = DataKey::generate();
                let wrapped = WrappedKey {
                    id: new.id(),
                    wrapped_key: master.wrap(project, &new),
                };
                let name = master.current_id().to_string();
                if data_keys::insert(&client, project, &wrapped, &name).await? {
                    wrapped
                } else {
                    data_keys::find(&client, project)
                        .await?
                        .ok_or(EncryptionError::Damaged)?
                }
            }
        };
        let key = Arc::new(master.unwrap(project, stored.id, &stored.wrapped_key)?);
        self.data_keys.insert(project.clone(), Arc::clone(&key));
        Ok(key)
    }

    /// Makes sure that the store still has the data key that a password was sealed with: nobody
    /// could read it otherwise.
    pub(super) async fn lock<C: Executor>(
        &self,
        transaction: &C,
        project: &ProjectRef,
        sealed: &[u8],
    ) -> Result<(), KeyError> {
        if data_keys::lock(transaction, project, DataKey::id_of(sealed)?).await? {
            return Ok(());
        }
        self.data_keys.invalidate(project);
        Err(KeyError::Lost)
    }
}

/// Whether the configured master keys are those that wrapped what is stored.
///
/// # Errors
/// [`EncryptionError::UnknownMasterKey`] as [`KeyError`], and the store's.
pub async fn check(store: &Store, master: &MasterKeys) -> Result<(), KeyError> {
    let client = store.client().await?;
    let live =
        [Some(master.current_id()), master.previous_id()].map(|id| id.map(|id| id.to_string()));
    for (name, count) in data_keys::list_master_key_ids(&client).await? {
        if !live.iter().flatten().any(|own| *own == name) {
            return Err(KeyError::OtherMasterKey {
                name,
                count,
                current: master.current_id().to_string(),
            });
        }
    }
    Ok(())
}

/// Says in the log which data keys are damaged or missing, and with them all passwords of their
/// projects. Other projects work on.
///
/// # Errors
/// The store's.
pub async fn survey(store: &Store, master: &MasterKeys) -> Result<(), KeyError> {
    const PAGE: u32 = 100;
    const HELP: &str = "restore platform.data_keys from a backup, or store the passwords again";
    let client = store.client().await?;
    for project in data_keys::list_missing(&client).await? {
        tracing::error!(%project, "the data key of stored passwords is gone: {HELP}");
    }
    let mut after = None;
    loop {
        let page = data_keys::list_after(&client, after, PAGE).await?;
        for (project, key) in &page {
            if let Err(error) = master.unwrap(project, key.id, &key.wrapped_key) {
                let error = bunbun_core::error::chain(&error);
                tracing::error!(%project, data_key = %key.id.0, error, "a data key cannot be opened: {HELP}");
            }
        }
        after = match page.last() {
            Some((_, last)) if page.len() == PAGE as usize => Some(last.id),
            _ => return Ok(()),
        };
    }
}

/// Why there is no data key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key or the master key.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// What is stored was wrapped by another master key.
    #[error(
        "{count} stored data keys are wrapped by the master key {name}; DATABASE_ENCRYPTION_KEY is {current}"
    )]
    OtherMasterKey {
        /// The key that wrapped them.
        name: String,
        /// How many.
        count: i64,
        /// The configured one.
        current: String,
    },
    /// Stored passwords have no data key any more, or it is another one than this node knows.
    #[error("the data key of the project's stored passwords is gone")]
    Lost,
    /// The store.
    #[error(transparent)]
    Store(#[from] bunbun_store::Error),
}

impl bunbun_core::Classify for KeyError {
    fn code(&self) -> bunbun_core::Code {
        match self {
            Self::Encryption(error) => error.code(),
            Self::OtherMasterKey { .. } => bunbun_core::Code::ServiceUnavailable,
            Self::Lost => bunbun_core::Code::Internal,
            Self::Store(error) => error.code(),
        }
    }

    fn public_message(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Self::Encryption(error) => error.public_message(),
            Self::OtherMasterKey { .. } => Some(
                "The stored secrets cannot be read with the configured DATABASE_ENCRYPTION_KEY; \
                 the operator has to set the right one."
                    .into(),
            ),
            Self::Lost => Some(
                "The key of the project's stored passwords is gone from platform.data_keys; nothing \
                 was stored. The operator has to restore it from a backup, or remove the stored \
                 passwords."
                    .into(),
            ),
            Self::Store(error) => error.public_message(),
        }
    }

    fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            Self::Store(error) => error.retry_after(),
            _ => None,
        }
    }
}

/// Seals a password for its row.
pub(super) fn seal(
    project: &ProjectRef,
    id: ConnectionId,
    key: &DataKey,
    password: &SecretString,
) -> Vec<u8> {
    key.seal(&place(project, id), password.expose_secret().as_bytes())
}

const fn place(project: &ProjectRef, id: ConnectionId) -> Place<'_> {
    Place {
        project,
        column: PASSWORD,
        row: id.0,
    }
}

/// A stored connection as the engines take it, password and all.
pub(super) fn open(
    project: &ProjectRef,
    database_type: DatabaseType,
    row: &DatabaseConnection,
    key: Option<&DataKey>,
) -> Result<Settings, Error> {
    let mut settings = without_password(database_type, &row.settings)?;
    if let (Some(sealed), Some(key)) = (&row.settings.password, key) {
        let opened = key
            .open(&place(project, row.id), sealed)
            .map_err(Error::classified)?;
        let text = String::from_utf8(opened.to_vec()).map_err(Error::internal)?;
        settings.password = Some(text.into());
    }
    Ok(settings)
}

/// The same without the password.
pub(crate) fn without_password(
    database_type: DatabaseType,
    stored: &StoredSettings,
) -> Result<Settings, Error> {
    let host = |host: &bunbun_store::database_connections::StoredHost| Host {
        name: host.name.clone(),
        port: host.port,
    };
    let tls = serde_json::from_value::<TlsMode>(Value::String(stored.tls.clone()))
        .map_err(Error::internal)?;
    Ok(Settings {
        database_type,
        hosts: stored.hosts.iter().map(host).collect(),
        database: stored.database_name.clone(),
        username: stored.username.clone(),
        password: None,
        tls,
        options: Options::from_json(database_type, stored.options.clone())
            .map_err(Error::internal)?,
    })
}
