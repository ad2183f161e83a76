//! MongoDB: FerretDB and mongo-java-server, or what `MONGODB_TEST_URI` names.

mod collections;
mod corpus;
mod documents;
mod faults;
mod locking;
mod queries;
mod relay;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bunbun_core::{egress::Egress, error::Classify as _};
use bunbun_databases::{
    Database as _, Error, Limits, Settings,
    mongodb::{
        Find, Mongodb, Namespace,
        bson::{RawArrayBuf, RawDocumentBuf},
        ejson::{Format, parse_document, parse_value},
    },
};
use bunbun_test::MongodbServer;
use serde_json::Value;

static DATABASES: AtomicUsize = AtomicUsize::new(0);

/// A database of a test's own on a server.
pub(crate) struct Place {
    pub(crate) mongodb: Mongodb,
    pub(crate) database: String,
}

impl Place {
    /// On FerretDB; `None`, said aloud, where it cannot be had.
    pub(crate) async fn ferretdb() -> Option<Self> {
        Some(Self::on(MongodbServer::ferretdb().await?).await)
    }

    /// On mongo-java-server; `None`, said aloud, where it cannot be had.
    pub(crate) async fn java() -> Option<Self> {
        Some(Self::on(MongodbServer::java().await?).await)
    }

    /// On both.
    pub(crate) async fn each() -> Vec<Self> {
        let mut places: Vec<_> = Self::ferretdb().await.into_iter().collect();
        places.extend(Self::java().await);
        places
    }

    pub(crate) async fn on(server: &MongodbServer) -> Self {
        let mongodb = connect(server.uri(), &limits())
            .await
            .expect("the server is there");
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let database = format!("bunbun_{}_{number}", std::process::id());
        Self { mongodb, database }
    }

    pub(crate) fn collection<'a>(&'a self, name: &'a str) -> Namespace<'a> {
        Namespace::collection(&self.database, name, true).expect("a name")
    }

    pub(crate) async fn insert(&self, name: &str, documents: &[&str]) {
        let documents: Vec<_> = documents.iter().map(|text| document(text)).collect();
        self.mongodb
            .insert(&self.collection(name), &documents, true, Format::Canonical)
            .await
            .expect("inserted");
    }

    /// All documents that fit, relaxed.
    pub(crate) async fn all(&self, name: &str, filter: &str) -> Value {
        let find = Find {
            filter: Some(document(filter)),
            limit: 1000,
            ..Find::default()
        };
        let page = self
            .mongodb
            .find(&self.collection(name), &find, Format::Relaxed)
            .await
            .expect("found");
        json(&page.documents)
    }
}

pub(crate) fn limits() -> Limits {
    Limits {
        max_connections: 10,
        connect_timeout: Duration::from_secs(5),
        operation_timeout: Duration::from_secs(20),
        max_waiting: 2000,
    }
}

pub(crate) fn loopback() -> Egress {
    Egress::new(&["127.0.0.0/8".parse().expect("a rule")])
}

pub(crate) async fn connect(uri: &str, limits: &Limits) -> Result<Mongodb, Error> {
    let settings = Settings::from_url(&uri.to_owned().into())?;
    Mongodb::connect(&settings, &loopback(), limits).await
}

pub(crate) fn document(text: &str) -> RawDocumentBuf {
    parse_document(text.as_bytes()).expect(text)
}

pub(crate) fn array(text: &str) -> RawArrayBuf {
    let value = parse_value(text.as_bytes()).expect(text);
    let mut copy = RawArrayBuf::new();
    for item in value.get_array("").expect("an array") {
        copy.push(item.expect("well-formed"));
    }
    copy
}

pub(crate) fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// The code of an error.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.expect_err("refused").code().as_str()
}

/// The public facts of an error.
pub(crate) fn details(error: &Error) -> Value {
    bunbun_core::Classify::details(error).unwrap_or_default()
}
