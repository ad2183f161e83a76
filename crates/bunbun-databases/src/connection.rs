//! A stored connection as the engines see it: where the database is, as whom to come, and the one
//! trait that PostgreSQL, Redis and MongoDB share (`/api/platform/{kind}/{ref}/connections`).

pub mod options;
#[cfg(test)]
mod tests;
mod url;

use std::{fmt, future::Future, str::FromStr, time::Duration};

use bunbun_core::egress::Egress;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use options::Options;
pub use url::InvalidSettings;

use crate::Error;

/// The kinds of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseType {
    /// PostgreSQL.
    Postgres,
    /// Redis, Valkey and what speaks their protocol.
    Redis,
    /// MongoDB and what speaks its protocol.
    Mongodb,
}

impl DatabaseType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Redis, Self::Mongodb];

    /// The text in URLs, in the table and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Mongodb => "mongodb",
        }
    }

    /// The port where nothing is said.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::Redis => 6379,
            Self::Mongodb => 27017,
        }
    }
}

impl fmt::Display for DatabaseType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DatabaseType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(())
    }
}

/// One address of the database.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Host {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub name: String,
    /// The port; 0 for the one name of a `mongodb+srv` connection, which has none.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// How TLS is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Not at all.
    Disable,
    /// Where the server has it, certificate unchecked; PostgreSQL only.
    Prefer,
    /// Always, certificate unchecked: protects against listeners only.
    Require,
    /// Always; certificate and name are checked against `ca_certificate` or the public roots.
    VerifyFull,
}

/// Everything that it takes to connect.
#[derive(Clone)]
pub struct Settings {
    /// The kind.
    pub database_type: DatabaseType,
    /// Where it is: at least one.
    pub hosts: Vec<Host>,
    /// The database; Redis' is a number.
    pub database: Option<String>,
    /// The user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// How TLS is done.
    pub tls: TlsMode,
    /// What else the engine may be told.
    pub options: Options,
}

// By hand: user names may be secrets of a kind, passwords are.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("database_type", &self.database_type)
            .field("hosts", &self.hosts)
            .field("database", &self.database)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// A connection to one host, with the kind's defaults for everything else.
    #[must_use]
    pub fn new(database_type: DatabaseType, host: &str, port: u16) -> Self {
        Self {
            database_type,
            hosts: vec![Host {
                name: host.to_owned(),
                port,
            }],
            database: None,
            username: None,
            password: None,
            tls: Self::default_tls(database_type),
            options: Options::new(database_type),
        }
    }

    /// Understands `postgres://`, `redis://`, `rediss://`, `mongodb://` and `mongodb+srv://`, with
    /// several hosts where the kind knows that. Redis has also `redis+cluster://` and
    /// `redis+sentinel://…/MASTER/DB` (and `rediss+…`).
    ///
    /// # Errors
    /// [`InvalidSettings`], which repeats neither user nor password.
    pub fn from_url(text: &SecretString) -> Result<Self, InvalidSettings> {
        url::parse(text)
    }

    /// What a kind does about TLS when nothing is said.
    #[must_use]
    pub const fn default_tls(database_type: DatabaseType) -> TlsMode {
        match database_type {
            DatabaseType::Postgres => TlsMode::Prefer,
            DatabaseType::Redis | DatabaseType::Mongodb => TlsMode::Disable,
        }
    }

    /// What no single field shows: the rules between them.
    ///
    /// # Errors
    /// [`InvalidSettings`] with the field's name.
    pub fn validate(&self) -> Result<(), InvalidSettings> {
        url::validate(self)
    }
}

/// Bounds of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most connections to one database.
    pub max_connections: usize,
    /// Longest wait for one attempt to connect.
    pub connect_timeout: Duration,
    /// Longest run of one operation where nothing else is said.
    pub operation_timeout: Duration,
    /// Most callers who wait for a connection; further ones are refused at once.
    pub max_waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10,
            connect_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(30),
            max_waiting: 1_000,
        }
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerInfo {
    /// Its version.
    pub version: String,
    /// `primary`, `replica`, `standalone`, `cluster`, `sentinel`, `mongos`, …
    pub role: String,
    /// Whether this connection is encrypted.
    pub tls: bool,
}

/// The connections of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PoolStatus {
    /// Most connections in use at once.
    pub size: usize,
    /// Connections in use.
    pub in_use: usize,
    /// Open connections that wait for work.
    pub idle: usize,
    /// Callers who wait for a connection.
    pub waiting: usize,
}

impl From<crate::postgres::pool::Status> for PoolStatus {
    fn from(status: crate::postgres::pool::Status) -> Self {
        let crate::postgres::pool::Status {
            size,
            in_use,
            idle,
            waiting,
        } = status;
        Self {
            size,
            in_use,
            idle,
            waiting,
        }
    }
}

/// The one trait of the three: a pool of connections to one database. What else an engine can do
/// stands beside it, on the type itself.
pub trait Database: Sized + Send + Sync + 'static {
    /// The kind.
    const TYPE: DatabaseType;

    /// Opens a pool. At least one connection has been made and authenticated when it is there;
    /// every host, also those that servers name later on, has passed `egress`, and connections go
    /// to the addresses that it answered with.
    fn connect(
        settings: &Settings,
        egress: &Egress,
        limits: &Limits,
    ) -> impl Future<Output = Result<Self, Error>> + Send;

    /// One round trip.
    fn ping(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// What the server says of itself.
    fn info(&self) -> impl Future<Output = Result<ServerInfo, Error>> + Send;

    /// Closes what is idle at once and the rest when it comes back.
    fn disconnect(&self) -> impl Future<Output = ()> + Send;

    /// The pool at this moment.
    fn status(&self) -> PoolStatus;

    /// Closes connections that have been idle for so long. Pools that do so themselves need not.
    fn close_idle(&self, _longer_than: Duration) -> impl Future<Output = ()> + Send {
        async {}
    }
}
