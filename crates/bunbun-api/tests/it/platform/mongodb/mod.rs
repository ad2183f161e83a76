//! `/api/platform/mongodb`: through a stored connection, on FerretDB and mongo-java-server, or what
//! `MONGODB_TEST_URI` names.

mod action;
mod databases;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bunbun_api::{
    connections::{Connections, ConnectionsParts},
    state::SingleDatabase,
};
use bunbun_core::{config::DatabaseConfig, egress::Egress};
use bunbun_databases::{
    mongodb::Mongodb,
    registry::{Registry, RegistryLimits},
};
use bunbun_store::Store;
use bunbun_test::{MongodbKind, MongodbServer, TestDb};
use http::Method;
use serde_json::{Value, json};

use crate::api::{Api, Call, Reply};

static DATABASES: AtomicUsize = AtomicUsize::new(0);

/// The endpoints around a stored connection, and a database of the test's own behind it.
pub(crate) struct Site {
    pub(crate) api: Api,
    pub(crate) database: String,
    pub(crate) is_ferretdb: bool,
}

impl Site {
    pub(crate) async fn ferretdb() -> Option<Self> {
        Self::on(MongodbServer::ferretdb().await?).await
    }

    pub(crate) async fn java() -> Option<Self> {
        Self::on(MongodbServer::java().await?).await
    }

    /// On both.
    pub(crate) async fn each() -> Vec<Self> {
        let mut sites: Vec<_> = Self::ferretdb().await.into_iter().collect();
        sites.extend(Self::java().await);
        sites
    }

    async fn on(server: &MongodbServer) -> Option<Self> {
        let database = TestDb::create().await?;
        let api = with_connections(database);
        let body = json!({ "identifier": "main", "url": server.uri() });
        let reply = api
            .post("/api/platform/mongodb/default/connections")
            .owner()
            .json(&body)
            .send()
            .await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let database = format!("bunbun_api_{}_{number}", std::process::id());
        let is_ferretdb = server.kind() == MongodbKind::Ferretdb;
        Some(Self {
            api,
            database,
            is_ferretdb,
        })
    }

    /// A call below the test's own database.
    pub(crate) fn call(&self, method: Method, path: &str) -> Call<'_> {
        let path = format!(
            "/api/platform/mongodb/default/databases/{}{path}",
            self.database
        );
        self.api.call(method, &path).owner()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path).send().await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::POST, path).json(body).send().await
    }

    /// Canonical Extended JSON, both ways.
    pub(crate) async fn typed(&self, method: Method, path: &str, body: &str) -> Reply {
        let call = self
            .call(method, path)
            .header("accept", "application/ejson");
        if body.is_empty() {
            return call.send().await;
        }
        call.raw("application/ejson", body.to_owned()).send().await
    }

    pub(crate) async fn insert(&self, collection: &str, documents: &Value) {
        let body = json!({ "documents": documents });
        let reply = self
            .post(&format!("/collections/{collection}/documents"), &body)
            .await;
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
}

fn with_connections(database: TestDb) -> Api {
    let config = DatabaseConfig {
        url: None,
        platform_url: Some(database.url().into()),
        pool_size: 4,
        statement_timeout: Duration::from_secs(30),
        max_rows: 100,
    };
    let store = Store::new(&config).expect("a store");
    let egress = Egress::new(&["127.0.0.0/8".parse().expect("a rule")]);
    let registry = Registry::builder(egress, RegistryLimits::default())
        .with::<Mongodb>()
        .build();
    let connections = Connections::new(ConnectionsParts {
        store,
        registry,
        master_keys: None,
        databases: Arc::new(SingleDatabase(None)),
        tests_per_minute: 100,
    });
    Api::new(None, Some(database), |parts| {
        parts.connections = Some(connections);
    })
}

/// Percent-encodes a query's or path's part.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[tokio::test]
async fn without_a_connection_there_is_nothing_to_read() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let api = with_connections(database);
    let reply = api
        .get("/api/platform/mongodb/default/databases")
        .owner()
        .send()
        .await;
    assert_eq!(reply.error(), (404, "CONNECTION_NOT_FOUND".to_owned()));
    let reply = api
        .get("/api/platform/mongodb/other/databases")
        .owner()
        .send()
        .await;
    assert_eq!(reply.error(), (404, "PROJECT_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_connection_can_be_tried() {
    let Some(site) = Site::ferretdb().await else {
        return;
    };
    let list = site
        .api
        .get("/api/platform/mongodb/default/connections")
        .owner()
        .send()
        .await
        .json();
    let id = list["connections"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/api/platform/mongodb/default/connections/{id}/test");
    let trial = site.api.post(&path).owner().send().await.json();
    assert_eq!(
        (&trial["ok"], &trial["server"]["role"]),
        (&json!(true), &json!("standalone")),
        "{trial}"
    );
    let body = json!({ "identifier": "inside", "url": "mongodb://169.254.169.254/" });
    let path = "/api/platform/mongodb/default/connections/test";
    let trial = site.api.post(path).owner().json(&body).send().await.json();
    assert_eq!(
        (&trial["ok"], &trial["error"]["code"]),
        (&json!(false), &json!("HOST_NOT_ALLOWED")),
        "{trial}"
    );
}
