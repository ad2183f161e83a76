//! The rows: everything runs in a transaction of its caller, so that row-level security decides;
//! what the service does for itself runs as `service_role`.

pub(crate) mod buckets;
pub(crate) mod listing;
pub(crate) mod objects;
pub(crate) mod uploads;

use std::time::Duration;

use bunbun_postgres::{
    Client, Pool, Savepoint, Transaction,
    migrate::{Migration, Report, Service},
    scope::{self, Scope},
};

use crate::{error::Result, identity::Identity};

/// Longest run of one statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

const SERVICE: Service = Service {
    schema: "storage",
    history: "storage.bunbun_migrations",
    lock: 0x6275_6e62_756e_0053,
    migrations: &[
        Migration {
            version: 1,
            name: "tables",
            sql: include_str!("0001_tables.sql"),
        },
        Migration {
            version: 2,
            name: "functions",
            sql: include_str!("0002_functions.sql"),
        },
    ],
};

/// Brings a project's database up to date; one that the original has migrated stays as it is.
///
/// # Errors
/// When PostgreSQL refuses or cannot be reached.
pub async fn migrate(pool: &Pool) -> Result<Report, bunbun_postgres::Error> {
    bunbun_postgres::migrate::run(pool, &SERVICE).await
}

/// What the database is told of a request, beside who asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestFacts {
    /// Its headers, a JSON object.
    pub(crate) headers: String,
    /// Its method.
    pub(crate) method: String,
    /// Its path.
    pub(crate) path: String,
    /// What it does: `storage.object.upload`.
    pub(crate) operation: &'static str,
}

/// The database of one request's project.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) pool: Pool,
    pub(crate) facts: RequestFacts,
}

impl Database {
    /// A connection.
    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(self.pool.get().await?)
    }

    /// A transaction of a caller.
    pub(crate) async fn begin<'c>(
        &self,
        client: &'c mut Client,
        who: &Identity,
    ) -> Result<Transaction<'c>> {
        Ok(scope::begin(client, &scope(who, &self.settings(who))).await?)
    }

    /// Makes the rest of a savepoint a caller's.
    pub(crate) async fn assume(&self, savepoint: &Savepoint<'_>, who: &Identity) -> Result<()> {
        Ok(scope::assume(savepoint, &scope(who, &self.settings(who))).await?)
    }

    fn settings<'s>(&'s self, who: &'s Identity) -> [(&'static str, &'s str); 6] {
        let facts = &self.facts;
        [
            ("request.jwt", who.token()),
            ("request.headers", &facts.headers),
            ("request.method", &facts.method),
            ("request.path", &facts.path),
            ("storage.operation", facts.operation),
            ("storage.allow_delete_query", "true"),
        ]
    }

    /// A transaction of the service itself.
    pub(crate) async fn begin_service<'c>(
        &self,
        client: &'c mut Client,
    ) -> Result<Transaction<'c>> {
        self.begin(client, &Identity::service()).await
    }
}

fn scope<'s>(who: &'s Identity, settings: &'s [(&'s str, &'s str)]) -> Scope<'s> {
    Scope {
        role: &who.role,
        claims: &who.claims,
        subject: who.subject.as_deref(),
        settings,
        statement_timeout: STATEMENT_TIMEOUT,
    }
}

/// A timestamp as the original's JSON has it.
macro_rules! iso {
    ($column:literal) => {
        concat!(
            "to_char(",
            $column,
            " at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
        )
    };
}
pub(crate) use iso;
