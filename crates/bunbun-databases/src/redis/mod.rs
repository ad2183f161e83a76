//! Users' Redis servers: one, behind sentinels, or a cluster. Redis 6 and later (RESP3).
//!
//! - `stream`, `connection`, `node`, `router`: from a checked address to the right server.
//! - `keys`, `value`: what is stored. `pubsub`: what passes by. `info`, `stats`: how it is doing.
//! - `command`: anything else, if allowed.
//!
//! Whatever is asked is bounded: what one call takes of a server's time, the bytes of an answer,
//! the connections, and the callers who wait for them.

mod command;
mod config;
mod connection;
mod error;
mod info;
mod json;
mod keys;
mod node;
mod pubsub;
mod reply;
mod router;
mod slot;
mod stats;
mod stream;
mod text;
mod value;

use std::{sync::Arc, time::Duration};

use bunbun_core::egress::Egress;

pub use self::{
    command::{Role, is_read_only},
    info::{ClientPage, NodeInfo, SlowCommand},
    json::score,
    keys::{
        BulkDelete, BulkProgress, Expiry, KeyDetails, KeyPage, KeyRow, KeyTree, ListKeys,
        TreeProgress,
    },
    pubsub::{Channel, Event, Message, Subscription},
    router::Mode,
    stats::Stats,
    text::TextEncoding,
    value::{
        Change, Changed, Content, End, NewValue, ReadValue, StreamEntry, Ttl, ValuePage, WriteMode,
    },
};
use self::{config::Config, pubsub::Hub, router::Router, stats::LastStats};
use crate::{
    Error,
    connection::{Database, DatabaseType, Limits, PoolStatus, ServerInfo, Settings},
};

/// One stored connection's servers.
pub struct Redis {
    router: Arc<Router>,
    hub: Arc<Hub>,
    last_stats: LastStats,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("mode", &self.router.mode)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// What kind of installation it is.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.router.mode
    }

    fn is_cluster(&self) -> bool {
        self.router.mode == Mode::Cluster
    }
}

impl Database for Redis {
    const TYPE: DatabaseType = DatabaseType::Redis;

    async fn connect(settings: &Settings, egress: &Egress, limits: &Limits) -> Result<Self, Error> {
        let config = Config::new(settings, egress, limits)?;
        let router = Arc::new(Router::connect(config, limits).await?);
        Ok(Self {
            hub: Arc::new(Hub::new(Arc::clone(&router))),
            router,
            last_stats: LastStats::default(),
        })
    }

    async fn ping(&self) -> Result<(), Error> {
        for node in self.router.nodes() {
            node.lane().await?.send(&redis::cmd("PING")).await?;
        }
        Ok(())
    }

    async fn info(&self) -> Result<ServerInfo, Error> {
        let role = if self.is_cluster() {
            "cluster".to_owned()
        } else {
            let lane = self.router.any()?;
            let answer = lane.lane().await?.send(&redis::cmd("ROLE")).await?;
            let role = reply::list(answer).first().and_then(reply::text);
            match role.as_deref() {
                Some("slave") => "replica".to_owned(),
                Some("master") | None => "primary".to_owned(),
                Some(other) => other.to_owned(),
            }
        };
        Ok(ServerInfo {
            version: self.router.version.lock().clone(),
            role,
            tls: self.router.dialer.tls.is_some(),
        })
    }

    async fn disconnect(&self) {
        self.hub.close();
        self.router.close();
    }

    async fn close_idle(&self, longer_than: Duration) {
        for node in self.router.nodes() {
            node.close_idle(longer_than);
        }
    }

    fn status(&self) -> PoolStatus {
        let mut status = PoolStatus::default();
        for node in self.router.nodes() {
            node.add_status(&mut status);
        }
        status
    }
}
