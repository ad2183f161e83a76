//! The tables of schema `auth` and what runs inside the database.

use bunbun_postgres::{
    Error, Pool,
    migrate::{self, Migration, Report, Service},
};

/// The key of the advisory lock: "bunbun" in ASCII, and the service.
const LOCK_KEY: i64 = 0x6275_6e62_756e_0010;

/// The refresh grant, as a function of the database.
pub(crate) const REFRESH_FUNCTION: &str = include_str!("0002_refresh_token.sql");

const SERVICE: Service = Service {
    schema: "auth",
    history: "auth.bunbun_migrations",
    lock: LOCK_KEY,
    migrations: &[
        Migration {
            version: 1,
            name: "create_tables",
            sql: include_str!("0001_create_tables.sql"),
        },
        Migration {
            version: 2,
            name: "refresh_token",
            sql: REFRESH_FUNCTION,
        },
    ],
};

/// Prepares a project's database for the service. May run any number of times.
///
/// # Errors
/// [`Error::Migration`], [`Error::NeedsSuperuser`], [`Error::Unavailable`].
pub async fn migrate(pool: &Pool) -> Result<Report, Error> {
    migrate::run(pool, &SERVICE).await
}
