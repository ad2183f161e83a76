//! `/api/platform/…`

pub(crate) mod connections;
mod mongodb;
mod postgres;
mod redis;
mod security;

use std::{sync::Arc, time::Duration};

use bunbun_api::{
    connections::{Connections, ConnectionsParts},
    state::SingleDatabase,
};
use bunbun_core::{
    config::DatabaseConfig,
    egress::{Egress, EgressRule},
    encryption::MasterKeys,
};
use bunbun_databases::{
    Limits,
    postgres::Postgres,
    registry::{Registry, RegistryLimits},
};
use bunbun_store::Store;
use bunbun_test::TestDb;

use crate::api::Api;

pub(crate) const MASTER_KEY: &str =
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// What a test may want otherwise.
pub(crate) struct Setup {
    pub(crate) allow: Vec<EgressRule>,
    pub(crate) master_key: Option<&'static str>,
    pub(crate) tests_per_minute: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            allow: EgressRule::loopback(),
            master_key: Some(MASTER_KEY),
            tests_per_minute: 100,
        }
    }
}

/// The control plane's database of a test.
pub(crate) fn store(url: &str) -> Store {
    Store::new(&DatabaseConfig {
        url: None,
        platform_url: Some(url.into()),
        pool_size: 1,
        statement_timeout: Duration::from_secs(30),
        max_rows: 1,
    })
    .expect("a store")
}

/// Connections whose control plane is this database.
pub(crate) fn connections(database: &TestDb, setup: Setup) -> Connections {
    let limits = RegistryLimits {
        pool: Limits {
            connect_timeout: Duration::from_secs(1),
            ..Limits::default()
        },
        test_timeout: Duration::from_millis(700),
        ..RegistryLimits::default()
    };
    let registry = Registry::builder(Egress::new(&setup.allow), limits)
        .with::<Postgres>()
        .build();
    let master_keys = setup
        .master_key
        .map(|key| MasterKeys::parse(&key.into(), None).expect("a key"));
    Connections::new(ConnectionsParts {
        store: store(database.url()),
        registry,
        master_keys,
        databases: Arc::new(SingleDatabase(Some(database.pool()))),
        tests_per_minute: setup.tests_per_minute,
    })
}

/// The endpoints with stored connections; `None`, said aloud, where there is no PostgreSQL.
pub(crate) async fn api(setup: Setup) -> Option<Api> {
    let database = TestDb::create().await?;
    let connections = connections(&database, setup);
    Some(Api::new(Some(database.pool()), Some(database), |parts| {
        parts.connections = Some(connections);
    }))
}

/// The URL of the test's database.
pub(crate) fn url(api: &Api) -> &str {
    api.database.as_ref().expect("a database").url()
}
