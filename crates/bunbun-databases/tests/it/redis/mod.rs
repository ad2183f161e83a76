//! The Redis engine on real servers.

mod cluster;
mod command;
mod connect;
mod faults;
mod keys;
mod pubsub;
mod sentinel;
mod server;
mod values;

use std::{sync::Arc, time::Duration};

use bunbun_core::egress::{Egress, EgressRule};
use bunbun_databases::{Database, Error, Limits, Settings, redis::Redis};
use bunbun_test::TestRedis;

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn limits() -> Limits {
    Limits {
        connect_timeout: Duration::from_secs(3),
        operation_timeout: Duration::from_secs(5),
        ..Limits::default()
    }
}

pub(crate) async fn try_connect(url: &str, limits: Limits) -> Result<Redis, Error> {
    let settings = Settings::from_url(&url.to_owned().into())?;
    Redis::connect(&settings, &Egress::new(&EgressRule::loopback()), &limits).await
}

pub(crate) async fn connect(server: &TestRedis) -> Arc<Redis> {
    Arc::new(try_connect(&server.url(), limits()).await.unwrap())
}

/// Tries again until it is so: for what takes the server a moment.
pub(crate) async fn eventually<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let started = std::time::Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "it never became so");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
