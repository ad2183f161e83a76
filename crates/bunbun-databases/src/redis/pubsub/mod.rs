//! Channels, publishing, and subscriptions.
//!
//! However many callers subscribe to however many channels, one connection to the server does.
//! Its messages go to each subscriber's inbox, which has an end: who does not read loses the
//! oldest messages and is told how many.

mod hub;
mod inbox;

use redis::Pipeline;

pub(super) use hub::Hub;
pub use hub::Subscription;
pub use inbox::{Event, Message};

use super::{Redis, error::checked, reply, router::Repeat};
use crate::Error;

/// A channel and who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its bytes.
    pub name: Vec<u8>,
    /// Connections that are subscribed to it by name.
    pub subscribers: u64,
}

impl Redis {
    /// The channels that someone is subscribed to by name, in the order of their names, behind
    /// `after`.
    ///
    /// # Errors
    /// No server.
    pub async fn list_channels(
        &self,
        pattern: Option<&[u8]>,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Vec<Channel>, bool), Error> {
        let mut command = redis::cmd("PUBSUB");
        command.arg("CHANNELS");
        if let Some(pattern) = pattern {
            command.arg(pattern);
        }
        let nodes = self.router.nodes();
        let mut names = std::collections::BTreeSet::new();
        for node in &nodes {
            let answer = node.own().await?.send(&command).await?;
            names.extend(reply::list(answer).into_iter().filter_map(reply::bytes));
        }
        let mut behind = names
            .into_iter()
            .filter(|name| after.is_none_or(|after| name.as_slice() > after));
        let mut channels: Vec<_> = behind
            .by_ref()
            .take(limit)
            .map(|name| Channel {
                name,
                subscribers: 0,
            })
            .collect();
        let more = behind.next().is_some();
        if channels.is_empty() {
            return Ok((channels, false));
        }
        let mut ask = Pipeline::with_capacity(1);
        let command = ask.cmd("PUBSUB").arg("NUMSUB");
        for channel in &channels {
            command.arg(channel.name.as_slice());
        }
        for node in &nodes {
            let mut own = node.own().await?;
            for answer in own.send_all(&ask).await? {
                let counts = reply::pairs(checked(answer)?);
                for (channel, (_, count)) in channels.iter_mut().zip(counts) {
                    channel.subscribers += reply::count(&count);
                }
            }
        }
        Ok((channels, more))
    }

    /// Publishes and returns how many connections got it. In a cluster that counts those of one
    /// server only, though all servers pass the message on.
    ///
    /// # Errors
    /// No server.
    pub async fn publish(&self, channel: &[u8], data: &[u8]) -> Result<u64, Error> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(data);
        let answer = self.router.command(channel, command, Repeat::Never).await?;
        Ok(reply::count(&answer))
    }

    /// A subscription without channels yet.
    ///
    /// # Errors
    /// `PoolExhausted` when there are too many.
    pub fn subscribe(&self) -> Result<Subscription, Error> {
        Hub::join(&self.hub)
    }
}
