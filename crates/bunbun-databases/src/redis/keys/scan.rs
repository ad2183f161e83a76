//! SCAN over every server, in small steps: <https://redis.io/docs/latest/commands/scan/>.

use std::sync::Arc;

use redis::{Pipeline, Value};

use super::position::{Position, name_of};
use crate::{
    Error,
    redis::{
        error::{bad_cursor, checked, unexpected},
        node::{Node, Own},
        reply,
        router::Router,
    },
};

/// Keys that one call may examine, so that no call holds the server up.
pub(super) const MAX_COUNT: u16 = 1000;

/// Which keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) pattern: Option<Vec<u8>>,
    pub(super) value_type: Option<String>,
}

impl Filter {
    /// A filter that lets everything pass is none.
    pub(super) fn new(pattern: Option<Vec<u8>>, value_type: Option<String>) -> Self {
        Self {
            pattern: pattern.filter(|pattern| pattern.iter().any(|byte| *byte != b'*')),
            value_type,
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.pattern.is_none() && self.value_type.is_none()
    }

    fn name(&self, purpose: &str) -> u64 {
        let pattern = self.pattern.as_deref().unwrap_or(b"*");
        let value_type = self.value_type.as_deref().unwrap_or("");
        name_of(&[purpose.as_bytes(), pattern, value_type.as_bytes()])
    }
}

/// A walk over all keys. Dropped in the middle, its position continues it.
pub(super) struct Scanner {
    filter: Filter,
    listing: u64,
    /// In the order of their names, which a cursor can refer to.
    nodes: Vec<(u64, Arc<Node>)>,
    /// The index of the server whose turn it is.
    turn: usize,
    position: Position,
    /// The position before the last answer.
    before: Position,
    own: Option<Own>,
}

/// What one call answered.
pub(super) struct Batch {
    pub(super) keys: Vec<Vec<u8>>,
    /// Keys that the server looked at, about.
    pub(super) examined: u64,
}

impl Scanner {
    /// Starts, or continues at a cursor of a scanner with the same purpose and filter.
    pub(super) fn new(
        router: &Router,
        purpose: &str,
        filter: Filter,
        cursor: Option<&str>,
    ) -> Result<Self, Error> {
        let mut nodes: Vec<_> = router
            .nodes()
            .into_iter()
            .map(|node| (name_of(&[node.address.to_string().as_bytes()]), node))
            .collect();
        nodes.sort_by_key(|(name, _)| *name);
        let listing = filter.name(purpose);
        let mut turn = 0;
        let mut position = Position {
            listing,
            node: nodes.first().map_or(0, |(name, _)| *name),
            ..Position::default()
        };
        if let Some(cursor) = cursor {
            let wanted = Position::read(cursor, listing)?;
            // Redis' cursors mean nothing to another server.
            turn = nodes
                .iter()
                .position(|(name, _)| *name == wanted.node)
                .ok_or_else(bad_cursor)?;
            position = wanted;
        }
        Ok(Self {
            filter,
            listing,
            nodes,
            turn,
            before: position,
            position,
            own: None,
        })
    }

    /// Whether every key has been seen.
    pub(super) fn is_finished(&self) -> bool {
        self.turn >= self.nodes.len()
    }

    /// What continues here; `None` at the end.
    pub(super) fn cursor(&self) -> Option<String> {
        (!self.is_finished()).then(|| self.position.write())
    }

    /// The connection to the server that the last batch came from.
    pub(super) async fn own(&mut self) -> Result<&mut Own, Error> {
        if self.own.is_none() {
            let (_, node) = self.nodes.get(self.turn).ok_or_else(bad_cursor)?;
            self.own = Some(node.own().await?);
        }
        self.own.as_mut().ok_or_else(bad_cursor)
    }

    /// Lets others use the connection while nothing is asked.
    pub(super) fn rest(&mut self) {
        self.own = None;
    }

    /// Asks for about `count` keys more. When the server has no more, the batch is its last one
    /// and [`Self::next_server`] goes on.
    pub(super) async fn batch(&mut self, count: u16) -> Result<Batch, Error> {
        let repeated = self.position;
        let count = if repeated.skip > 0 {
            repeated.count
        } else {
            count
        };
        let count = count.clamp(1, MAX_COUNT);
        let mut command = redis::cmd("SCAN");
        command.arg(repeated.cursor);
        if let Some(pattern) = &self.filter.pattern {
            command.arg("MATCH").arg(pattern.as_slice());
        }
        command.arg("COUNT").arg(count);
        if let Some(value_type) = &self.filter.value_type {
            command.arg("TYPE").arg(value_type);
        }
        let answer = reply::list(self.own().await?.send(&command).await?);
        let [cursor, keys] = <[Value; 2]>::try_from(answer).map_err(|_| unexpected("SCAN"))?;
        let cursor = reply::text(&cursor)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| unexpected("SCAN"))?;
        let mut keys: Vec<_> = reply::list(keys)
            .into_iter()
            .filter_map(reply::bytes)
            .collect();
        let examined = if self.filter.is_open() {
            keys.len() as u64
        } else {
            count.into()
        };
        let listed = repeated.listed(keys.iter().map(Vec::as_slice));
        keys.drain(..listed);
        self.before = Position {
            count,
            skip: u32::try_from(listed).unwrap_or(u32::MAX),
            ..repeated
        };
        self.position = Position {
            cursor,
            count: 0,
            skip: 0,
            last: 0,
            ..repeated
        };
        Ok(Batch { keys, examined })
    }

    /// Only the first `taken` keys of the last batch count as seen; `last` is the last of them.
    pub(super) fn keep_only(&mut self, taken: usize, last: Option<&[u8]>) {
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        self.position = Position {
            skip: self.before.skip.saturating_add(taken),
            last: last.map_or(self.before.last, |name| name_of(&[name])),
            ..self.before
        };
    }

    /// Whether the server of the last batch has been gone through.
    pub(super) const fn server_done(&self) -> bool {
        self.position.cursor == 0 && self.position.skip == 0
    }

    /// Goes on to the next server, if there is one.
    pub(super) fn next_server(&mut self) {
        self.own = None;
        self.turn += 1;
        self.position = Position {
            listing: self.listing,
            node: self.nodes.get(self.turn).map_or(0, |(name, _)| *name),
            ..Position::default()
        };
    }
}

/// The number of keys of all servers.
pub(super) async fn total(router: &Router) -> Result<u64, Error> {
    let mut sum = 0;
    let mut ask = Pipeline::with_capacity(1);
    ask.cmd("DBSIZE");
    for node in router.nodes() {
        let answers = node.lane().await?.send_all(&ask).await?;
        for answer in answers {
            sum += reply::count(&checked(answer)?);
        }
    }
    Ok(sum)
}
