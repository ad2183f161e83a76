//! Statements that run at this moment, by an id that their caller knows: `POST …/query/{id}/cancel`.
//!
//! Cancelling ends the work of this process on the statement; that ends the statement in
//! PostgreSQL the way a lost caller does, so that it can hit no other statement of the connection.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    error::Error,
    pool::Pool,
    query::{self, Answer, Request, RowFormat, RowStream},
};

/// The statements of one database that can be cancelled.
#[derive(Debug, Clone, Default)]
pub struct Running(Arc<Mutex<HashMap<String, CancellationToken>>>);

/// A statement that can be cancelled for as long as this lives.
#[derive(Debug)]
struct Entry {
    running: Running,
    id: String,
    token: CancellationToken,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.0.lock().remove(&self.id);
    }
}

impl Running {
    fn enter(&self, id: &str) -> Result<Entry, Error> {
        let mut running = self.0.lock();
        if running.contains_key(id) {
            return Err(Error::QueryExists(id.to_owned()));
        }
        let token = CancellationToken::new();
        running.insert(id.to_owned(), token.clone());
        Ok(Entry {
            running: self.clone(),
            id: id.to_owned(),
            token,
        })
    }

    /// Cancels a statement.
    ///
    /// # Errors
    /// [`Error::QueryNotFound`] when none of this id is running, any more or yet.
    pub fn cancel(&self, id: &str) -> Result<(), Error> {
        match self.0.lock().get(id) {
            Some(token) => {
                token.cancel();
                Ok(())
            }
            None => Err(Error::QueryNotFound(id.to_owned())),
        }
    }

    /// [`query::run`], until it is cancelled.
    ///
    /// # Errors
    /// [`Error::QueryExists`], [`Error::Cancelled`], and as [`query::run`].
    pub async fn run(&self, id: &str, pool: &Pool, request: &Request) -> Result<Answer, Error> {
        let entry = self.enter(id)?;
        tokio::select! {
            biased;
            () = entry.token.cancelled() => Err(Error::Cancelled),
            answer = query::run(pool, request) => answer,
        }
    }

    /// [`query::stream`], until it is cancelled, which ends the stream as a failure does.
    ///
    /// # Errors
    /// [`Error::QueryExists`], [`Error::Cancelled`], and as [`query::stream`].
    pub async fn stream(
        &self,
        id: &str,
        pool: &Pool,
        request: Request,
        format: RowFormat,
    ) -> Result<RowStream, Error> {
        let entry = self.enter(id)?;
        let rows = tokio::select! {
            biased;
            () = entry.token.cancelled() => return Err(Error::Cancelled),
            rows = query::stream_with(pool, request, format, describe) => rows?,
        };
        let state = Some((rows, entry));
        let rows = stream::unfold(state, move |state| async move {
            let (mut rows, entry) = state?;
            let next = tokio::select! {
                biased;
                () = entry.token.cancelled() => return Some((cancelled(format), None)),
                next = rows.next() => next?,
            };
            Some((next, Some((rows, entry))))
        });
        Ok(rows.boxed())
    }
}

/// Errors in mid-stream as all of a stored connection's are told.
pub(super) fn describe(error: Error) -> Value {
    query::described(&crate::Error::from(error))
}

/// What ends a stream that was cancelled.
fn cancelled(format: RowFormat) -> Result<Bytes, Error> {
    let error = Error::Cancelled;
    match format {
        RowFormat::Csv => Err(error),
        RowFormat::Ndjson => {
            let line = describe(error);
            Ok(Bytes::from(format!("{line}\n")))
        }
    }
}
