//! Active checks: is a service there? For rotation, and for `GET /api/health/services`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bunbun_core::{shutdown::Shutdown, task};
use http::{HeaderMap, HeaderValue, Method, header::USER_AGENT};

use super::{
    Registry, Upstream,
    connection::{self, Sender},
    endpoint::Endpoint,
    http1::RequestHead,
};
use crate::body::EdgeBody;

/// How often the background task looks whether a check is due, and idle connections are old.
const TICK: Duration = Duration::from_millis(500);

/// Why a probe found a service down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Its name does not resolve.
    #[error("the host name does not resolve")]
    NameResolution,
    /// No connection.
    #[error("the connection failed")]
    Connection,
    /// It answers with a server error.
    #[error("it answers with status {0}")]
    Status(u16),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
}

impl Upstream {
    /// Asks the service's first address for a path; any status below 500 is a sign of life.
    ///
    /// # Errors
    /// Why it counts as down.
    pub async fn probe(
        self: &Arc<Self>,
        path: &str,
        timeout: Duration,
    ) -> Result<Duration, ProbeError> {
        let started = Instant::now();
        let probing = async {
            let endpoints = self.endpoints().await;
            let endpoint = endpoints.first().ok_or(ProbeError::NameResolution)?;
            self.check(endpoint, path, timeout).await
        };
        tokio::time::timeout(timeout, probing)
            .await
            .map_err(|_| ProbeError::Timeout)??;
        Ok(started.elapsed())
    }

    async fn check(
        &self,
        endpoint: &Endpoint,
        path: &str,
        timeout: Duration,
    ) -> Result<(), ProbeError> {
        let origin = &self.origins[endpoint.origin];
        let sender =
            connection::connect(endpoint.address, origin, self.tls.as_ref(), true, timeout)
                .await
                .map_err(|_| ProbeError::Connection)?;
        let Sender::Http1(connection) = sender else {
            return Err(ProbeError::Connection);
        };
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("bunbun-health-check"));
        let head = RequestHead {
            method: &Method::GET,
            base_path: &origin.base_path,
            target: path,
            host: &origin.authority,
            headers: &headers,
            upgrade: false,
        };
        let response = connection
            .exchange(&head, EdgeBody::Empty)
            .await
            .map_err(|_| ProbeError::Connection)?;
        let status = response.status();
        if status.is_server_error() {
            Err(ProbeError::Status(status.as_u16()))
        } else {
            Ok(())
        }
    }

    async fn check_all(self: &Arc<Self>) {
        let Some((path, _, timeout)) = &self.settings.health else {
            return;
        };
        for endpoint in self.endpoints().await.iter() {
            let checking = self.check(endpoint, path, *timeout);
            let verdict = tokio::time::timeout(*timeout, checking).await;
            let healthy = matches!(verdict, Ok(Ok(())));
            if endpoint.healthy.swap(healthy, Ordering::Relaxed) != healthy {
                tracing::warn!(upstream = self.name(), address = %endpoint.address, healthy, "health changed");
            }
        }
    }
}

/// Runs the active checks of all upstreams and closes idle connections, until shutdown.
pub async fn run(registry: Arc<Registry>, shutdown: Shutdown) {
    let mut last_checked: std::collections::HashMap<String, Instant> =
        std::collections::HashMap::new();
    loop {
        tokio::select! {
            () = shutdown.begun() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        for upstream in registry.all() {
            upstream.sweep();
            let Some((_, interval, _)) = &upstream.settings.health else {
                continue;
            };
            let due = last_checked
                .get(upstream.name())
                .is_none_or(|at| at.elapsed() >= *interval);
            if due {
                last_checked.insert(upstream.name().to_owned(), Instant::now());
                task::spawn("check upstream", async move { upstream.check_all().await });
            }
        }
    }
}
