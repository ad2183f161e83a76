//! Stored database connections, put together: the guard of hosts, the master keys, the engines.

use std::{sync::Arc, time::Duration};

use bunbun_api::{
    connections::{
        Connections, ConnectionsParts,
        secrets::{self, KeyError},
    },
    state::Databases,
};
use bunbun_core::{
    config::{Config, KeysConfig},
    egress::{Egress, EgressRule},
    encryption::MasterKeys,
};
use bunbun_databases::{
    mongodb::Mongodb,
    postgres::Postgres,
    redis::Redis,
    registry::{Registry, RegistryLimits},
};
use bunbun_store::Store;

use crate::failure::Failure;

/// Most trials of a project's connections in a minute.
const TESTS_PER_MINUTE: usize = 20;

/// How long the start waits for the control plane's database to look at the keys in it.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// The connections; `None` where no database is configured that could keep them.
pub(crate) fn new(
    config: &Config,
    store: &Store,
    databases: &Arc<dyn Databases>,
    is_dev: bool,
) -> Result<Option<Connections>, Failure> {
    if config.database.url.is_none() && config.database.platform_url.is_none() {
        return Ok(None);
    }
    let mut allow = config.egress_allow.clone();
    if is_dev {
        allow.extend(EgressRule::loopback());
    }
    let registry = Registry::builder(Egress::new(&allow), RegistryLimits::default())
        .with::<Mongodb>()
        .with::<Postgres>()
        .with::<Redis>()
        .build();
    Ok(Some(Connections::new(ConnectionsParts {
        store: store.clone(),
        registry,
        master_keys: master_keys(&config.keys)?,
        databases: Arc::clone(databases),
        tests_per_minute: TESTS_PER_MINUTE,
    })))
}

/// The master keys of the configuration.
pub(crate) fn master_keys(keys: &KeysConfig) -> Result<Option<MasterKeys>, Failure> {
    let Some(current) = &keys.database_encryption else {
        return Ok(None);
    };
    let previous = keys.database_encryption_previous.as_ref();
    MasterKeys::parse(current, previous)
        .map(Some)
        .map_err(|error| {
            let hint = "`bunbun keys generate` makes one";
            Failure::because("DATABASE_ENCRYPTION_KEY cannot be used", &error, hint)
        })
}

/// Refuses to start with a master key that did not wrap what is stored. A database that cannot be
/// asked now is asked again at the first use of a secret, which is refused then.
pub(crate) async fn check_master_keys(config: &Config, store: &Store) -> Result<(), Failure> {
    if config.database.url.is_none() && config.database.platform_url.is_none() {
        return Ok(());
    }
    let Some(master) = master_keys(&config.keys)? else {
        return Ok(());
    };
    let look = async {
        secrets::check(store, &master).await?;
        secrets::survey(store, &master).await
    };
    match tokio::time::timeout(CHECK_TIMEOUT, look).await {
        Ok(Err(error @ KeyError::OtherMasterKey { .. })) => Err(Failure::because(
            "the stored secrets belong to another DATABASE_ENCRYPTION_KEY; nothing was changed",
            &error,
            "set DATABASE_ENCRYPTION_KEY to the key that was used before; to change it, set the old \
             one as DATABASE_ENCRYPTION_KEY_PREVIOUS and run `bunbun keys rotate`",
        )),
        Ok(Err(error)) => {
            let error = bunbun_core::error::chain(&error);
            tracing::debug!(error, "the stored keys cannot be looked at yet");
            Ok(())
        }
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}
