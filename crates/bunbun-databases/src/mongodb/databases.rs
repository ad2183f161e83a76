//! Databases of a server.

use mongodb::bson::raw::cstr;

use super::{Mongodb, command::Command, namespace::Namespace, write::number};
use crate::Error;

/// A database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Whether it has nothing in it.
    pub empty: bool,
}

/// The server's book-keeping of a database; sizes in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatabaseStats {
    /// Collections, views left out.
    pub collections: u64,
    /// Views.
    pub views: u64,
    /// Documents.
    pub documents: u64,
    /// Of all documents, uncompressed.
    pub data_size: u64,
    /// Of all collections on disk.
    pub storage_size: u64,
    /// Indexes.
    pub indexes: u64,
    /// Of all indexes.
    pub index_size: u64,
    /// Of a document, on average.
    pub average_document_size: u64,
}

impl Mongodb {
    /// All databases that the connection's user may see, by name.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn databases(&self) -> Result<Vec<Database>, Error> {
        let command =
            Command::new(cstr!("listDatabases"), 1).set(cstr!("authorizedDatabases"), true);
        let reply = self.read("admin", command).await?;
        let mut databases: Vec<Database> = reply
            .get_array("databases")
            .into_iter()
            .flatten()
            .filter_map(|database| database.as_document())
            .map(|database| Database {
                name: database.get_str("name").unwrap_or_default().to_owned(),
                size_bytes: number(database, "sizeOnDisk"),
                empty: database.get_bool("empty").unwrap_or_default(),
            })
            .collect();
        databases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(databases)
    }

    /// Numbers about a database; all 0 where there is none of this name, as the server has it.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn database_stats(&self, namespace: &Namespace<'_>) -> Result<DatabaseStats, Error> {
        let command = Command::new(cstr!("dbStats"), 1).set(cstr!("scale"), 1);
        let reply = self.read(namespace.database, command).await?;
        let of = |key| number(&reply, key);
        Ok(DatabaseStats {
            collections: of("collections"),
            views: of("views"),
            documents: of("objects"),
            data_size: of("dataSize"),
            storage_size: of("storageSize"),
            indexes: of("indexes"),
            index_size: of("indexSize"),
            average_document_size: of("avgObjSize"),
        })
    }
}
