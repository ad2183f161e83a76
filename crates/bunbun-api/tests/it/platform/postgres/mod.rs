//! `/api/platform/postgres/{ref}` on a real PostgreSQL.

mod activity;
mod catalogue;
mod connections;
mod documentation;
mod explain;
mod migrate;
mod query;
mod stats;
mod tables;

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
    postgres::Postgres,
    registry::{Registry, RegistryLimits},
};
use bunbun_store::Store;
use bunbun_test::TestDb;
use http::Method;
use serde_json::{Value, json};

use crate::api::{Api, Call, Reply};

const MASTER_KEY: &str = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=";

/// The endpoints around the project's own database, a control plane and a database that a stored
/// connection leads to, each of its own.
struct Stage {
    api: Api,
    /// Behind the stored connection `other`.
    other: TestDb,
    // Dropped last: the store's pool has gone then.
    platform: TestDb,
}

impl Stage {
    /// With a schema in the project's own database. Nothing is stored.
    async fn new(schema: &str) -> Option<Self> {
        let database = TestDb::create().await?;
        let (platform, other) = (TestDb::create().await?, TestDb::create().await?);
        let pool = database.pool();
        let client = pool.get().await.expect("a connection");
        client.batch_execute(schema).await.expect("it is good");
        drop(client);
        let config = DatabaseConfig {
            url: None,
            platform_url: Some(platform.url().into()),
            pool_size: 3,
            statement_timeout: Duration::from_secs(30),
            max_rows: 100,
        };
        let store = Store::new(&config).expect("a store");
        bunbun_store::migrate(&store).await.expect("migrated");
        let egress = Egress::new(&EgressRule::loopback());
        let registry = Registry::builder(egress, RegistryLimits::default())
            .with::<Postgres>()
            .build();
        let connections = Connections::new(ConnectionsParts {
            store,
            registry,
            master_keys: Some(MasterKeys::parse(&MASTER_KEY.into(), None).expect("a key")),
            databases: Arc::new(SingleDatabase(Some(pool.clone()))),
            tests_per_minute: 1_000,
        });
        let api = Api::new(Some(pool), Some(database), |parts| {
            parts.connections = Some(connections);
        });
        Some(Self {
            api,
            other,
            platform,
        })
    }

    /// The same with a connection `other` to another database.
    async fn with_connection(schema: &str) -> Option<Self> {
        let stage = Self::new("").await?;
        let client = stage.other.pool().get().await.expect("a connection");
        client.batch_execute(schema).await.expect("it is good");
        let body = json!({ "identifier": "other", "url": stage.other.url(), "is_primary": true });
        let reply = stage.post("connections", &body).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        Some(stage)
    }

    fn call(&self, method: Method, path: &str) -> Call<'_> {
        let path = format!("/api/platform/postgres/default/{path}");
        self.api.call(method, &path).owner()
    }

    async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path).send().await
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::POST, path).json(body).send().await
    }

    /// The rows of a statement.
    async fn ask(&self, sql: &str) -> Value {
        let reply = self.post("query", &json!({ "sql": sql })).await;
        assert_eq!(reply.status, 200, "{sql}: {}", reply.text());
        reply.json()["rows"].clone()
    }

    /// What the audit log says: action, target, outcome.
    async fn audit(&self) -> Vec<(String, String)> {
        let client = self.platform.superuser().await;
        let sql = "select action, coalesce(target, '') from platform.audit_log order by id";
        let rows = client.query(sql, &[]).await.expect("the log");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}
