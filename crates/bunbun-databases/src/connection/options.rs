//! What an engine may be told beside host, database, user, password and TLS. A closed list: options
//! that read files of this machine, open sockets of another kind or load code are not on it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DatabaseType;

/// The options of a connection, by its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Options {
    /// PostgreSQL's.
    Postgres(PostgresOptions),
    /// Redis'.
    Redis(RedisOptions),
    /// MongoDB's.
    Mongodb(MongodbOptions),
}

/// PostgreSQL's options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresOptions {
    /// Shown in `pg_stat_activity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    /// Which of several hosts will do: `any` or `read-write`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_session_attrs: Option<TargetSession>,
    /// PEM text of the authority that signed the server's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<String>,
}

/// Which server a PostgreSQL connection wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetSession {
    /// The first that answers.
    Any,
    /// One that takes writes.
    ReadWrite,
}

/// Redis' options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisOptions {
    /// What stands at the hosts.
    pub mode: RedisMode,
    /// The name of the master that sentinels watch; with `mode` `sentinel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_master: Option<String>,
    /// PEM text of the authority that signed the server's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<String>,
}

/// What stands at a Redis connection's hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisMode {
    /// One server.
    #[default]
    Standalone,
    /// Nodes of a cluster.
    Cluster,
    /// Sentinels.
    Sentinel,
}

/// MongoDB's options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MongodbOptions {
    /// Whether the host is a name whose SRV and TXT records tell the rest (`mongodb+srv`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub srv: bool,
    /// The database of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_source: Option<String>,
    /// How the user proves itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_mechanism: Option<AuthMechanism>,
    /// The name of the replica set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_set: Option<String>,
    /// Talk to this one host only, whatever it says of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_connection: Option<bool>,
    /// Which members are read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_preference: Option<ReadPreference>,
    /// Whether writes are repeated once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_writes: Option<bool>,
    /// Shown in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_name: Option<String>,
    /// PEM text of the authority that signed the server's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<String>,
}

/// How a MongoDB user proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthMechanism {
    /// SCRAM with SHA-1.
    #[serde(rename = "SCRAM-SHA-1")]
    ScramSha1,
    /// SCRAM with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
}

/// Which members of a replica set are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReadPreference {
    /// The primary.
    Primary,
    /// The primary where there is one.
    PrimaryPreferred,
    /// A secondary.
    Secondary,
    /// A secondary where there is one.
    SecondaryPreferred,
    /// Whichever is near.
    Nearest,
}

impl Options {
    /// A kind's defaults.
    #[must_use]
    pub fn new(database_type: DatabaseType) -> Self {
        match database_type {
            DatabaseType::Postgres => Self::Postgres(PostgresOptions::default()),
            DatabaseType::Redis => Self::Redis(RedisOptions::default()),
            DatabaseType::Mongodb => Self::Mongodb(MongodbOptions::default()),
        }
    }

    /// Reads a JSON object as a kind's options.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence's end; it repeats no value.
    pub fn from_json(database_type: DatabaseType, value: Value) -> Result<Self, String> {
        fn read<T: for<'de> Deserialize<'de>>(value: Value) -> Result<T, String> {
            serde_json::from_value(value).map_err(|error| {
                let text = error.to_string();
                // serde repeats wrong values, and names the fields that there are.
                if text.starts_with("unknown field") {
                    text.replace('`', "'")
                } else {
                    "an option has a value of the wrong type".to_owned()
                }
            })
        }
        if value.is_null() {
            return Ok(Self::new(database_type));
        }
        Ok(match database_type {
            DatabaseType::Postgres => Self::Postgres(read(value)?),
            DatabaseType::Redis => Self::Redis(read(value)?),
            DatabaseType::Mongodb => Self::Mongodb(read(value)?),
        })
    }

    /// As a JSON object: what is stored and shown.
    ///
    /// # Panics
    /// Never: options are plain data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("options are plain data")
    }

    /// PEM text of the authority that signed the server's certificate.
    #[must_use]
    pub fn ca_certificate(&self) -> Option<&str> {
        match self {
            Self::Postgres(options) => options.ca_certificate.as_deref(),
            Self::Redis(options) => options.ca_certificate.as_deref(),
            Self::Mongodb(options) => options.ca_certificate.as_deref(),
        }
    }

    /// Texts that are free, certificates aside.
    pub(super) fn texts(&self) -> [Option<&str>; 3] {
        match self {
            Self::Postgres(options) => [options.application_name.as_deref(), None, None],
            Self::Redis(options) => [options.sentinel_master.as_deref(), None, None],
            Self::Mongodb(options) => [
                options.auth_source.as_deref(),
                options.replica_set.as_deref(),
                options.app_name.as_deref(),
            ],
        }
    }

    /// The kind that they are for.
    #[must_use]
    pub const fn database_type(&self) -> DatabaseType {
        match self {
            Self::Postgres(_) => DatabaseType::Postgres,
            Self::Redis(_) => DatabaseType::Redis,
            Self::Mongodb(_) => DatabaseType::Mongodb,
        }
    }
}
