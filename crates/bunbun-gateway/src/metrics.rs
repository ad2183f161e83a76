//! The data plane's metrics. Handles are made once per route: counting a request is a few atomic
//! additions.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The metrics of one route.
pub struct RouteMetrics {
    by_class: [Counter; 5],
    duration: Histogram,
}

impl std::fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RouteMetrics")
    }
}

impl RouteMetrics {
    /// The handles for a route.
    #[must_use]
    pub fn new(route: &str) -> Self {
        let by_class = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| {
            counter!("bunbun_requests_total", "route" => route.to_owned(), "class" => class)
        });
        let duration = histogram!("bunbun_request_duration_seconds", "route" => route.to_owned());
        Self { by_class, duration }
    }

    /// Counts an answer.
    pub fn count(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.by_class[class].increment(1);
        self.duration.record(took.as_secs_f64());
    }
}

/// The gauges of connections and upstreams, set when `/metrics` is read.
pub fn publish_upstream(name: &str, load: crate::upstream::Load) {
    let set = |metric: &'static str, value: usize| {
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of connections are small"
        )]
        gauge!(metric, "upstream" => name.to_owned()).set(value as f64);
    };
    set("bunbun_upstream_addresses", load.addresses);
    set("bunbun_upstream_requests_in_flight", load.in_flight);
    set("bunbun_upstream_connections_idle", load.idle);
    set("bunbun_upstream_addresses_unavailable", load.unavailable);
}

/// Open client connections.
pub fn connections() -> Gauge {
    gauge!("bunbun_connections_open")
}

/// Refusals by reason.
pub fn count_refusal(reason: &'static str) {
    counter!("bunbun_refusals_total", "reason" => reason).increment(1);
}
