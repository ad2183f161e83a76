//! One address of an upstream: its idle connections, its load and its circuit breaker.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bunbun_core::config::gateway::BreakerConfig;
use parking_lot::Mutex;

use super::connection::Sender;

/// How many idle HTTP/1 connections one worker keeps per address.
const MAX_IDLE: usize = 256;

struct Idle {
    sender: Sender,
    opened: Instant,
    since: Instant,
}

/// One address.
pub(crate) struct Endpoint {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// Which of the upstream's URLs it came from.
    pub(crate) origin: usize,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) breaker: Breaker,
    /// The active check's verdict; true without one.
    pub(crate) healthy: AtomicBool,
    /// One list per worker: a connection lives on the thread that opened it.
    idle: Box<[Mutex<Vec<Idle>>]>,
    /// Whether it is known to speak HTTP/2: then one connection per worker is enough, and only
    /// one request opens it while the others wait.
    pub(crate) speaks_http2: AtomicBool,
    opening: Box<[tokio::sync::Mutex<()>]>,
}

impl Endpoint {
    pub(crate) fn new(address: SocketAddr, origin: usize, shards: usize) -> Self {
        Self {
            address,
            origin,
            in_flight: AtomicUsize::new(0),
            breaker: Breaker::default(),
            healthy: AtomicBool::new(true),
            idle: (0..shards.max(1)).map(|_| Mutex::new(Vec::new())).collect(),
            speaks_http2: AtomicBool::new(false),
            opening: (0..shards.max(1))
                .map(|_| tokio::sync::Mutex::new(()))
                .collect(),
        }
    }

    fn shard(&self, shard: usize) -> &Mutex<Vec<Idle>> {
        &self.idle[shard % self.idle.len()]
    }

    /// Who may open this worker's HTTP/2 connection.
    pub(crate) fn opening(&self, shard: usize) -> &tokio::sync::Mutex<()> {
        &self.opening[shard % self.opening.len()]
    }

    /// A connection that was used before; the most recent one, so that surplus ones grow old. Where
    /// the request can be sent `once` only, the kernel is asked whether it is still there.
    pub(crate) fn take_idle(
        &self,
        shard: usize,
        keepalive: Duration,
        once: bool,
    ) -> Option<Sender> {
        let mut idle = self.shard(shard).lock();
        while let Some(Idle {
            mut sender,
            opened,
            since,
        }) = idle.pop()
        {
            if since.elapsed() > keepalive {
                idle.clear(); // the rest is older still
                return None;
            }
            if sender.is_closed() || (once && sender.is_closed_now()) {
                continue;
            }
            if let Sender::Http2(shared) = &sender {
                let shared = shared.clone();
                idle.push(Idle {
                    sender,
                    opened,
                    since: Instant::now(),
                });
                return Some(Sender::Http2(shared));
            }
            return Some(sender);
        }
        None
    }

    /// Keeps a connection for the next request. Whether it is closed is asked when it is taken.
    pub(crate) fn put_idle(&self, shard: usize, sender: Sender) {
        let mut idle = self.shard(shard).lock();
        if matches!(sender, Sender::Http2(_)) {
            // One connection carries all streams; the one before finishes its own.
            idle.clear();
        }
        if idle.len() < MAX_IDLE {
            let now = Instant::now();
            idle.push(Idle {
                sender,
                opened: now,
                since: now,
            });
        }
    }

    /// An HTTP/2 connection that was opened after a moment.
    pub(crate) fn opened_after(&self, shard: usize, moment: Instant) -> Option<Sender> {
        let idle = self.shard(shard).lock();
        let newest = idle.last().filter(|idle| idle.opened > moment)?;
        match &newest.sender {
            Sender::Http2(shared) if !shared.is_closed() => Some(Sender::Http2(shared.clone())),
            _ => None,
        }
    }

    /// Closes connections that nobody used for long.
    pub(crate) fn sweep(&self, keepalive: Duration) {
        for shard in &self.idle {
            shard
                .lock()
                .retain_mut(|idle| idle.since.elapsed() <= keepalive && !idle.sender.is_closed());
        }
    }

    /// How many connections are idle.
    pub(crate) fn idle_count(&self) -> usize {
        self.idle.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// Counts a request in flight while it lives.
pub(crate) struct InFlight(pub(crate) Arc<Endpoint>);

impl InFlight {
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(endpoint)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A circuit breaker: closed, open after consecutive failures, then half-open for one probe.
#[derive(Debug)]
pub(crate) struct Breaker {
    start: Instant,
    failures: AtomicU32,
    /// Milliseconds after `start`; 0: closed.
    open_until: AtomicU64,
    probing: AtomicBool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
            probing: AtomicBool::new(false),
        }
    }
}

impl Breaker {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether requests may be sent, without taking the probe.
    pub(crate) fn is_closed(&self) -> bool {
        self.open_until.load(Ordering::Relaxed) == 0
    }

    /// Whether this request may be sent; when half-open, the first caller gets the one probe.
    pub(crate) fn admit(&self) -> bool {
        match self.open_until.load(Ordering::Relaxed) {
            0 => true,
            until if self.now() < until => false,
            _ => !self.probing.swap(true, Ordering::AcqRel),
        }
    }

    pub(crate) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 || !self.is_closed() {
            self.failures.store(0, Ordering::Relaxed);
            self.open_until.store(0, Ordering::Relaxed);
            self.probing.store(false, Ordering::Release);
        }
    }

    /// A request was given up without an answer: a probe that it was is free again.
    pub(crate) fn abandoned(&self) {
        if self.probing.load(Ordering::Relaxed) {
            self.probing.store(false, Ordering::Release);
        }
    }

    pub(crate) fn failed(&self, config: &BreakerConfig) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= config.failures.max(1) {
            let open_for = u64::try_from(config.open_for.0.as_millis()).unwrap_or(u64::MAX);
            self.open_until.store(
                self.now().saturating_add(open_for).max(1),
                Ordering::Relaxed,
            );
        }
        self.probing.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use bunbun_core::config::{HumanDuration, gateway::BreakerConfig};

    use super::Breaker;

    fn config(open_for: &str) -> BreakerConfig {
        BreakerConfig {
            failures: 3,
            open_for: open_for.parse().unwrap(),
        }
    }

    #[test]
    fn it_opens_after_consecutive_failures_only() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            breaker.failed(&config("1h"));
            breaker.failed(&config("1h"));
            breaker.succeeded();
        }
        assert!(breaker.admit());
        for _ in 0..3 {
            breaker.failed(&config("1h"));
        }
        assert!(!breaker.admit());
    }

    #[test]
    fn half_open_lets_exactly_one_probe_through() {
        let breaker = Breaker::default();
        let instant = BreakerConfig {
            failures: 1,
            open_for: HumanDuration(std::time::Duration::ZERO),
        };
        breaker.failed(&instant);
        while !breaker.admit() {} // opens within the clock's resolution
        assert!(!breaker.admit(), "a second probe");
        breaker.abandoned();
        assert!(breaker.admit(), "an abandoned probe is free again");
        breaker.succeeded();
        assert!(breaker.admit() && breaker.admit());
    }
}
