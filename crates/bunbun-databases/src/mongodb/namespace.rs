//! Names of databases and collections, and who asks.

use super::{fault, guard::Scope};
use crate::Error;

/// A collection, or a database where `collection` is empty, on behalf of a caller.
#[derive(Debug, Clone, Copy)]
pub struct Namespace<'a> {
    /// The database.
    pub database: &'a str,
    /// The collection.
    pub collection: &'a str,
    /// Whether the caller may write.
    pub may_write: bool,
}

impl<'a> Namespace<'a> {
    /// A database.
    ///
    /// # Errors
    /// Where no database can have the name.
    pub fn database(database: &'a str, may_write: bool) -> Result<Self, Error> {
        const FORBIDDEN: &[char] = &[
            '/', '\\', '.', ' ', '"', '$', '*', '<', '>', ':', '|', '?', '\0',
        ];
        if database.is_empty() || database.len() > 63 || database.contains(FORBIDDEN) {
            return Err(fault::invalid(
                "No database can have this name: 1 to 63 bytes without /\\. \"$*<>:|? are possible.",
                "/database",
            ));
        }
        Ok(Self {
            database,
            collection: "",
            may_write,
        })
    }

    /// A collection.
    ///
    /// # Errors
    /// Where no collection can have the name, or it is one of the server's own.
    pub fn collection(
        database: &'a str,
        collection: &'a str,
        may_write: bool,
    ) -> Result<Self, Error> {
        let namespace = Self::database(database, may_write)?;
        if collection.is_empty()
            || collection.len() > 255
            || collection.contains(['$', '\0'])
            || collection.starts_with('.')
            || collection.ends_with('.')
        {
            return Err(fault::invalid(
                "No collection can have this name: 1 to 255 bytes without $ and without a dot at \
                 the ends are possible.",
                "/collection",
            ));
        }
        if collection.starts_with("system.") {
            return Err(Error::query_not_allowed(
                "Collections named system.* are the server's own.",
                "/collection",
            ));
        }
        Ok(Self {
            collection,
            ..namespace
        })
    }

    /// What the caller's documents may reach.
    pub(super) fn scope(&self) -> Scope<'a> {
        Scope {
            database: self.database,
            may_write: self.may_write,
        }
    }

    /// Checks a caller's document where there is one.
    pub(super) fn check(&self, bytes: Option<&[u8]>, pointer: &str) -> Result<(), Error> {
        let Some(bytes) = bytes else { return Ok(()) };
        super::guard::check(bytes, self.scope(), pointer).map_err(fault::refused)
    }
}
