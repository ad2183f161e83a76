//! A connection that speaks PostgreSQL's protocol itself, for statements of callers.
//!
//! `tokio-postgres` asks for every value in binary form, hides command tags and the transaction
//! status, and hands each message between two tasks. A query endpoint for *any* statement needs
//! the text form (of types that have no binary form, or one that only the server understands),
//! needs the status to know what a statement left behind, and should be as fast as the server. So
//! this connection is used by one caller at a time, without a task of its own, and writes several
//! messages in one go.

mod cancel;
mod connect;
mod frame;
mod stream;

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use tokio::runtime::{Handle, Id};

pub(crate) use cancel::CancelKey;
pub(crate) use frame::{Described, Field, Reader, command, fields, parameters};
use stream::Stream;

use super::error::{Error, SqlError};

/// Buffers larger than this are given back after use.
const BUFFER_KEPT_BYTES: usize = 256 * 1024;

/// The largest message that is read: a caller must not fill our memory with one value.
const LARGEST_MESSAGE_BYTES: usize = 256 * 1024 * 1024;

/// Room for one read.
const READ_BYTES: usize = 16 * 1024;

/// A timeout as PostgreSQL takes it: ms, at least 1, because 0 means none.
pub(crate) fn timeout_millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis())
        .unwrap_or(i32::MAX)
        .max(1)
}

/// What `ReadyForQuery` says of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// No transaction.
    Idle,
    /// In a transaction.
    InTransaction,
    /// In a transaction that failed.
    Failed,
}

/// The kind of a message from the server, as far as a caller cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    ParseComplete,
    BindComplete,
    CloseComplete,
    CommandComplete,
    CopyData,
    CopyDone,
    CopyIn,
    CopyOut,
    CopyBoth,
    DataRow,
    EmptyQuery,
    Error,
    NoData,
    ParameterDescription,
    PortalSuspended,
    Ready,
    RowDescription,
}

/// A connection in the hands of one caller.
pub(crate) struct Connection {
    stream: Stream,
    incoming: BytesMut,
    /// Length of the message at the start of `incoming`, of which the last `peek` told.
    current: usize,
    /// That message is whole and has not been handed out.
    is_fresh: bool,
    /// Messages to send with the next `flush`.
    pub(crate) outgoing: BytesMut,
    /// Answers of the server that are still to come: one per `Sync` and per simple query.
    pub(crate) awaited: usize,
    /// A batch has been begun whose `Sync` has not been sent.
    unsynced: bool,
    /// A write has begun and not ended: when its caller goes away, half a message was sent.
    is_writing: bool,
    /// It cannot be used any more.
    is_broken: bool,
    session: Session,
    /// What the session's `statement_timeout` is when nobody changed it.
    statement_timeout_millis: i32,
    cancel_key: CancelKey,
    /// The runtime whose reactor watches the socket.
    runtime: Id,
    /// When it was put to rest.
    pub(crate) rested_at: Instant,
    /// Its pool's count of open connections.
    pub(crate) counted: Option<super::pool::Opened>,
    /// Statements that the server has prepared, by their text.
    pub(crate) statements: super::query::Statements,
    /// Types that are not built in, by their object id.
    pub(crate) types: HashMap<u32, Arc<super::query::DataType>>,
}

impl Connection {
    /// The runtime that watches the socket: a request has a thread and runtime of its own, and what
    /// belongs to it should not be woken by another.
    pub(crate) const fn home(&self) -> Id {
        self.runtime
    }

    /// Has the current runtime watch the socket. Where that fails the connection is of no more use.
    pub(crate) fn move_here(&mut self) -> Result<(), Error> {
        self.stream.move_here().map_err(Error::unavailable)?;
        self.runtime = Handle::current().id();
        Ok(())
    }

    /// Gives large buffers back, before a rest.
    pub(crate) fn shrink(&mut self) {
        if self.incoming.capacity() > BUFFER_KEPT_BYTES {
            self.incoming = BytesMut::from(self.incoming.get(self.current..).unwrap_or_default());
            self.current = 0;
        }
    }

    /// Whether nothing was read that nobody asked for, as it must be between statements.
    pub(crate) fn is_silent(&self) -> bool {
        self.incoming.len() == self.current
    }

    /// Whether the server still holds the other end, and has sent nothing. One system call, no
    /// waiting.
    pub(crate) fn is_alive(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        matches!(
            self.stream.peek(&mut byte),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock
        )
    }

    /// Sends what is in `outgoing`.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        self.is_writing = true;
        let result = self.stream.write_all(&self.outgoing).await;
        self.is_writing = false;
        self.is_broken |= result.is_err();
        if self.outgoing.len() > BUFFER_KEPT_BYTES {
            self.outgoing = BytesMut::new();
        } else {
            self.outgoing.clear();
        }
        result.map_err(Error::unavailable)
    }

    /// Waits for the next message and tells its kind; its content is [`Connection::body`] until
    /// the next call. Notices, notifications and parameter reports are passed over.
    pub(crate) async fn next(&mut self) -> Result<Tag, Error> {
        loop {
            self.fill().await?;
            self.is_fresh = false;
            if let Some(tag) = self.tag()? {
                return Ok(tag);
            }
        }
    }

    /// Waits until a message is there. Giving up loses nothing.
    pub(crate) async fn fill(&mut self) -> Result<(), Error> {
        if self.is_fresh {
            return Ok(());
        }
        self.incoming.advance(self.current);
        self.current = 0;
        while !self.complete()? {
            self.read().await?;
        }
        self.is_fresh = true;
        Ok(())
    }

    /// Whether the next message is there already.
    pub(crate) fn has_message(&self) -> bool {
        let rest = self.incoming.get(self.current..).unwrap_or_default();
        self.is_fresh
            || rest
                .first_chunk::<5>()
                .is_some_and(|[_, length @ ..]| rest.len() > u32::from_be_bytes(*length) as usize)
    }

    /// The content of the current message.
    pub(crate) fn body(&self) -> &[u8] {
        self.incoming.get(5..self.current).unwrap_or_default()
    }

    /// The error that the current message reports.
    pub(crate) fn error(&self) -> SqlError {
        frame::error(self.body())
    }

    /// The state of the session at the last `ReadyForQuery`.
    pub(crate) const fn session(&self) -> Session {
        self.session
    }

    /// The session's `statement_timeout` when nobody changed it, in ms.
    pub(crate) const fn statement_timeout_millis(&self) -> i32 {
        self.statement_timeout_millis
    }

    /// Whether the server has work of ours, or half of a message.
    pub(crate) const fn is_busy(&self) -> bool {
        self.awaited > 0 || self.unsynced || self.is_writing
    }

    /// Whether it is of no more use.
    pub(crate) const fn is_broken(&self) -> bool {
        self.is_broken || self.is_writing
    }

    /// Makes it of no more use: the protocol is in a state that is not worth mending.
    pub(crate) const fn give_up(&mut self) {
        self.is_broken = true;
    }

    /// Notes that a batch without `Sync` is being sent.
    pub(crate) const fn begin_unsynced(&mut self) {
        self.unsynced = true;
    }

    /// Whether a batch without `Sync` was sent.
    pub(crate) const fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// Adds the `Sync` of an open batch to the outgoing messages.
    pub(crate) fn add_end_of_batch(&mut self) {
        if self.unsynced {
            self.unsynced = false;
            self.add_sync();
        }
    }

    /// Ends an open batch.
    pub(crate) async fn end_unsynced(&mut self) -> Result<(), Error> {
        if self.unsynced {
            self.add_end_of_batch();
            self.flush().await?;
        }
        Ok(())
    }

    /// What cancels a statement of this connection.
    pub(crate) const fn cancel_key(&self) -> &CancelKey {
        &self.cancel_key
    }

    /// Passes over everything until no answer is awaited.
    pub(crate) async fn drain(&mut self) -> Result<(), Error> {
        while self.awaited > 0 {
            self.next().await?;
        }
        Ok(())
    }

    /// Runs statements of ours and passes over their results; the last failure counts.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), Error> {
        self.add_simple_query(sql)?;
        self.flush().await?;
        let mut failure = None;
        while self.awaited > 0 {
            if self.next().await? == Tag::Error {
                failure = Some(self.error());
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Adds a simple query to the outgoing messages.
    pub(crate) fn add_simple_query(&mut self, sql: &str) -> Result<(), Error> {
        postgres_protocol::message::frontend::query(sql, &mut self.outgoing)
            .map_err(|_| Error::invalid("The SQL contains a NUL character."))?;
        self.awaited += 1;
        Ok(())
    }

    /// Adds the end of an extended query to the outgoing messages.
    pub(crate) fn add_sync(&mut self) {
        postgres_protocol::message::frontend::sync(&mut self.outgoing);
        self.awaited += 1;
    }

    async fn read(&mut self) -> Result<(), Error> {
        self.incoming.reserve(READ_BYTES);
        let read = self.stream.read(&mut self.incoming).await;
        self.is_broken |= !matches!(read, Ok(1..));
        if read.map_err(Error::unavailable)? == 0 {
            return Err(Error::unavailable("PostgreSQL closed the connection"));
        }
        Ok(())
    }

    /// Whether `incoming` begins with a whole message; notes its length.
    fn complete(&mut self) -> Result<bool, Error> {
        let Some(head) = self.incoming.first_chunk::<5>() else {
            return Ok(false);
        };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length < 4 {
            self.is_broken = true;
            return Err(Error::internal(
                "a message of PostgreSQL has an impossible length",
            ));
        }
        if length > LARGEST_MESSAGE_BYTES {
            self.is_broken = true;
            return Err(Error::invalid(
                "A row of the answer is larger than 256 MiB.",
            ));
        }
        if self.incoming.len() > length {
            self.current = length + 1;
            return Ok(true);
        }
        // Large values arrive in fewer pieces.
        self.incoming.reserve(length + 1 - self.incoming.len());
        Ok(false)
    }

    /// The current message's kind; `None` for those that are passed over.
    fn tag(&mut self) -> Result<Option<Tag>, Error> {
        Ok(Some(match self.incoming[0] {
            b'1' => Tag::ParseComplete,
            b'2' => Tag::BindComplete,
            b'3' => Tag::CloseComplete,
            b'C' => Tag::CommandComplete,
            b'd' => Tag::CopyData,
            b'c' => Tag::CopyDone,
            b'G' => Tag::CopyIn,
            b'H' => Tag::CopyOut,
            b'W' => Tag::CopyBoth,
            b'D' => Tag::DataRow,
            b'I' => Tag::EmptyQuery,
            b'E' => Tag::Error,
            b'n' => Tag::NoData,
            b't' => Tag::ParameterDescription,
            b's' => Tag::PortalSuspended,
            b'T' => Tag::RowDescription,
            b'Z' => {
                self.session = match self.body() {
                    b"I" => Session::Idle,
                    b"T" => Session::InTransaction,
                    _ => Session::Failed,
                };
                self.awaited = self.awaited.saturating_sub(1);
                Tag::Ready
            }
            // Notice, notification, parameter status.
            b'N' | b'A' | b'S' => return Ok(None),
            _ => {
                self.is_broken = true;
                return Err(Error::internal("PostgreSQL sent an unknown message"));
            }
        }))
    }
}
