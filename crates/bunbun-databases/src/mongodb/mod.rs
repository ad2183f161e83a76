//! Users' MongoDB: any server of its protocol, wire version 8 (MongoDB 4.2) and newer.
//!
//! - [`ejson`]: documents as text, without losing a type.
//! - [`guard`]: what callers' queries may not contain.
//! - the rest: one file per noun, functions of [`Mongodb`].

mod aggregate;
mod bulk;
mod client;
mod collections;
mod command;
mod connect;
mod databases;
mod document;
pub mod ejson;
mod fault;
mod find;
mod frames;
pub mod guard;
mod id;
mod indexes;
mod namespace;
mod page;
pub mod raw;
mod relay;
mod schema;
mod write;

use bunbun_core::egress::Egress;
use mongodb::bson::{Document, raw::cstr};

use self::command::Command;
pub use self::{
    aggregate::{Aggregate, Explained, Selection},
    bulk::{BulkWritten, Operation},
    client::Mongodb,
    collections::Collection,
    databases::{Database as DatabaseEntry, DatabaseStats},
    document::{Changed, Precondition, digest},
    find::{Find, Page},
    id::DocumentId,
    namespace::Namespace,
    page::{DEFAULT_LIMIT, MAX_LIMIT},
    schema::{FieldStats, MAX_SAMPLE, Schema, TypeStats},
    write::{Change, Delete, MAX_WRITES, Update, WriteError, Written},
};
use crate::{Database, DatabaseType, Error, Limits, PoolStatus, ServerInfo, Settings};

/// The driver's BSON types, for those who build requests.
pub use mongodb::bson;

impl Database for Mongodb {
    const TYPE: DatabaseType = DatabaseType::Mongodb;

    async fn connect(settings: &Settings, egress: &Egress, limits: &Limits) -> Result<Self, Error> {
        Self::dial(settings, egress, limits).await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.read("admin", Command::new(cstr!("ping"), 1))
            .await
            .map(drop)
    }

    async fn info(&self) -> Result<ServerInfo, Error> {
        let build = self
            .read("admin", Command::new(cstr!("buildInfo"), 1))
            .await?;
        let hello = self
            .read("admin", Command::new(cstr!("isMaster"), 1))
            .await?;
        Ok(ServerInfo {
            version: build.get_str("version").unwrap_or("unknown").to_owned(),
            role: role(&hello).to_owned(),
            tls: self.uses_tls(),
        })
    }

    async fn disconnect(&self) {
        self.close().await;
    }

    fn status(&self) -> PoolStatus {
        self.pool_status()
    }
}

fn role(hello: &Document) -> &'static str {
    let is = |key| hello.get_bool(key).unwrap_or_default();
    if hello.get_str("msg").ok() == Some("isdbgrid") {
        "mongos"
    } else if !hello.contains_key("setName") {
        "standalone"
    } else if is("ismaster") || is("isWritablePrimary") {
        "primary"
    } else if is("secondary") {
        "secondary"
    } else {
        "other"
    }
}
