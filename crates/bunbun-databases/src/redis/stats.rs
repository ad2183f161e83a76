//! `GET /stats` and `WS /stats`: a few numbers that say how the servers are doing.
//!
//! However many callers watch, the servers are asked about once a second.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use super::Redis;
use crate::Error;

/// How long numbers are good.
const FRESH: Duration = Duration::from_millis(900);

/// Sums over all servers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Commands per second, as the servers measure it.
    pub operations_per_second: u64,
    /// Lookups that found their key, since the start.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Bytes that data and overhead take.
    pub used_memory_bytes: u64,
    /// Bytes that they may take; 0: no limit.
    pub max_memory_bytes: u64,
    /// Bytes that the processes take.
    pub resident_memory_bytes: u64,
    /// Connected clients.
    pub connected_clients: u64,
    /// Clients that wait in a blocking command.
    pub blocked_clients: u64,
    /// Keys in all databases.
    pub keys: u64,
    /// Keys with an expiry.
    pub keys_with_expiry: u64,
    /// Keys that expired, since the start.
    pub expired_keys: u64,
    /// Keys that had to go because memory was full, since the start.
    pub evicted_keys: u64,
    /// Kilobytes per second that come in.
    pub input_kbps: f64,
    /// Kilobytes per second that go out.
    pub output_kbps: f64,
    /// Seconds since the youngest start.
    pub uptime_seconds: u64,
    /// How many servers these are.
    pub nodes: usize,
}

impl Stats {
    /// The share of lookups that found their key; `None` before the first one.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        let all = self.hits + self.misses;
        (all > 0).then(|| self.hits as f64 / all as f64)
    }

    fn add(&mut self, sections: &Map<String, Value>) {
        let get = |section: &str, name: &str| sections.get(section).and_then(|all| all.get(name));
        let whole =
            |section: &str, name: &str| get(section, name).and_then(Value::as_u64).unwrap_or(0);
        let decimal = |name: &str| get("stats", name).and_then(Value::as_f64).unwrap_or(0.0);
        self.operations_per_second += whole("stats", "instantaneous_ops_per_sec");
        self.hits += whole("stats", "keyspace_hits");
        self.misses += whole("stats", "keyspace_misses");
        self.used_memory_bytes += whole("memory", "used_memory");
        self.max_memory_bytes += whole("memory", "maxmemory");
        self.resident_memory_bytes += whole("memory", "used_memory_rss");
        self.connected_clients += whole("clients", "connected_clients");
        self.blocked_clients += whole("clients", "blocked_clients");
        self.expired_keys += whole("stats", "expired_keys");
        self.evicted_keys += whole("stats", "evicted_keys");
        self.input_kbps += decimal("instantaneous_input_kbps");
        self.output_kbps += decimal("instantaneous_output_kbps");
        let uptime = whole("server", "uptime_in_seconds");
        self.uptime_seconds = if self.nodes == 0 {
            uptime
        } else {
            self.uptime_seconds.min(uptime)
        };
        self.nodes += 1;
        if let Some(Value::Object(databases)) = sections.get("keyspace") {
            for database in databases.values() {
                let count = |name: &str| database.get(name).and_then(Value::as_u64).unwrap_or(0);
                self.keys += count("keys");
                self.keys_with_expiry += count("expires");
            }
        }
    }
}

/// The last numbers and when they were asked for.
pub(super) type LastStats = tokio::sync::Mutex<Option<(Instant, Arc<Stats>)>>;

impl Redis {
    /// The numbers of about now.
    ///
    /// # Errors
    /// No server.
    pub async fn stats(&self) -> Result<Arc<Stats>, Error> {
        // Whoever comes while someone asks waits here and gets the same numbers.
        let mut last = self.last_stats.lock().await;
        if let Some((at, stats)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(stats));
        }
        let mut stats = Stats::default();
        for info in self.node_infos(Some("default")).await? {
            stats.add(&info.sections);
        }
        let stats = Arc::new(stats);
        *last = Some((Instant::now(), Arc::clone(&stats)));
        Ok(stats)
    }
}
