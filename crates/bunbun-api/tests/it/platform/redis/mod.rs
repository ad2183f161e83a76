//! `/api/platform/redis/{ref}/…` on real Redis servers, stored as connections in a real control
//! plane.

mod command;
mod keys;
mod pubsub;
mod server;

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
    redis::Redis,
    registry::{Registry, RegistryLimits},
};
use bunbun_store::Store;
use bunbun_test::{TestDb, TestRedis};
use http::Method;
use serde_json::{Value, json};

use crate::api::{Api, Call, Reply};

const PATH: &str = "/api/platform/redis/default";

/// The endpoints and one server that is stored as the primary connection `main`.
pub(super) struct Stage {
    pub(super) api: Api,
    pub(super) server: TestRedis,
    pub(super) platform: TestDb,
}

impl Stage {
    pub(super) async fn new() -> Option<Self> {
        Self::around(TestRedis::with_password("a-secret-of-redis")?).await
    }

    pub(super) async fn around(server: TestRedis) -> Option<Self> {
        let platform = TestDb::create().await?;
        let config = DatabaseConfig {
            url: None,
            platform_url: Some(platform.url().into()),
            pool_size: 2,
            statement_timeout: Duration::from_secs(30),
            max_rows: 1,
        };
        let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let master_keys = MasterKeys::parse(&key.to_owned().into(), None).expect("a key");
        let egress = Egress::new(&EgressRule::loopback());
        let connections = Connections::new(ConnectionsParts {
            store: Store::new(&config).expect("a store"),
            registry: Registry::builder(egress, RegistryLimits::default())
                .with::<Redis>()
                .build(),
            master_keys: Some(master_keys),
            databases: Arc::new(SingleDatabase(None)),
            tests_per_minute: 1000,
        });
        let api = Api::new(None, None, |parts| parts.connections = Some(connections));
        let stage = Self {
            api,
            server,
            platform,
        };
        let body = json!({ "identifier": "main", "url": stage.server.url() });
        let stored = stage.send(Method::POST, "/connections", Some(&body)).await;
        assert_eq!(stored.status, 201, "{}", stored.text());
        Some(stage)
    }

    pub(super) fn call(&self, method: Method, path: &str) -> Call<'_> {
        self.api.call(method, &format!("{PATH}{path}")).owner()
    }

    pub(super) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let call = self.call(method, path);
        match body {
            Some(body) => call.json(body).send().await,
            None => call.send().await,
        }
    }

    /// The body of a successful answer.
    pub(super) async fn get(&self, path: &str) -> Value {
        let reply = self.send(Method::GET, path, None).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    }

    /// Status and code of a refusal.
    pub(super) async fn refusal(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, String) {
        self.send(method, path, body).await.error()
    }
}

/// The data of a stream's events of one kind.
pub(super) fn events(reply: &Reply, kind: &str) -> Vec<Value> {
    reply
        .text()
        .split("\n\n")
        .filter(|event| event.lines().any(|line| line == format!("event: {kind}")))
        .filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect()
}
