//! The health of the database: `GET /api/db/health`.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

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

/// Asks PostgreSQL for its version, on a connection of its own: it does not wait for the pool's.
/// Of several checks at once one asks after the other.
///
/// # Errors
/// [`Error::Unavailable`] when it does not answer within `limit`.
pub async fn check(pool: &Pool, limit: Duration) -> Result<Health, Error> {
    tokio::time::timeout(limit, ask(pool))
        .await
        .map_err(|_| Error::unavailable("PostgreSQL did not answer in time"))?
}

async fn ask(pool: &Pool) -> Result<Health, Error> {
    let mut kept = pool.probe().lock().await;
    // Taken out: a check that fails or is given up closes the connection.
    if let Some(client) = kept.take()
        && let Ok((latency, version)) = version(&client).await
    {
        *kept = Some(client);
        return Ok(health(pool, latency, version));
    }
    // None, or one of before a restart of PostgreSQL.
    let target = pool.target().await?;
    let client = target.connect().await.map_err(Error::unavailable)?;
    let (latency, version) = version(&client).await?;
    *kept = Some(client);
    Ok(health(pool, latency, version))
}

fn health(pool: &Pool, latency: Duration, version: String) -> Health {
    Health {
        latency,
        version,
        pool: pool.status(),
    }
}

async fn version(client: &Client) -> Result<(Duration, String), Error> {
    let started = Instant::now();
    // Not prepared: one round trip, and nothing is left in the session.
    let messages = client
        .simple_query("select version()")
        .await
        .map_err(Error::from_own_statement)?;
    let latency = started.elapsed();
    messages
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .map(|version| (latency, version))
        .ok_or_else(|| Error::internal("version() returned no row"))
}
