//! The health of the database: `GET /api/db/health`.

use std::time::{Duration, Instant};

use super::{
    error::Error,
    pool::{Pool, Status},
};

/// PostgreSQL answered.
#[derive(Debug, Clone)]
pub struct Health {
    /// The round trip of one statement, without the wait for a connection.
    pub latency: Duration,
    /// What `version()` says.
    pub version: String,
    /// The pool at that moment.
    pub pool: Status,
}

/// Asks PostgreSQL for its version.
///
/// # Errors
/// [`Error::Unavailable`] when it does not answer within `limit`.
pub async fn check(pool: &Pool, limit: Duration) -> Result<Health, Error> {
    let work = async {
        let client = pool.get().await?;
        let started = Instant::now();
        let row = client
            .query_one("select version()", &[])
            .await
            .map_err(Error::from_own_statement)?;
        let latency = started.elapsed();
        Ok(Health {
            latency,
            version: row.get(0),
            pool: pool.status(),
        })
    };
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| Error::unavailable("PostgreSQL did not answer in time"))?
}
