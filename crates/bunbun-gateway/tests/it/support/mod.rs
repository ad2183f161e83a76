//! What the tests of the data plane share: a whole gateway in this process on a free port, origins
//! that record what reaches them, and a client that speaks raw bytes.
//!
//! Everything here blocks: tests are plain `#[test]` functions with threads and sockets, so that
//! nothing of the runtime under test helps them by accident.

mod certificates;
mod client;
pub(crate) mod frames;
mod gate;
mod gateway;
pub(crate) mod http2;
mod keys;
mod origin;
mod redis;
mod upstreams;

use std::time::Duration;

pub(crate) use certificates::{Authority, client_config};
pub(crate) use client::{Answer, Client, answers};
pub(crate) use gate::Gate;
pub(crate) use gateway::{BASIC, Gateway};
pub(crate) use http2::{Http2Client, HyperOrigin};
pub(crate) use keys::Keys;
pub(crate) use origin::{Origin, Peer, Seen};
pub(crate) use redis::Redis;
pub(crate) use upstreams::{ClosedPort, Names, full_listener, one_route};

/// Longest wait for anything: reached only when a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a condition holds.
///
/// # Panics
/// When it does not hold within [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
