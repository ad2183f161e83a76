//! The connection that a migration runs on: its own, thrown away afterwards, listened to.
//!
//! A pooled connection would not do: the user's SQL may change the session in any way, and only
//! who drives the connection sees the server's notices. It counts against the pool's size.

use std::{future::poll_fn, ops::Deref, sync::Arc};

use parking_lot::Mutex;
use serde::Serialize;
use tokio_postgres::{AsyncMessage, Client, error::DbError};

use crate::postgres::{
    Error,
    pool::{Permit, Pool},
};

/// Most notices that are kept of one migration.
const MAX_NOTICES: usize = 200;
/// Most characters that are kept of one notice.
const MAX_NOTICE_CHARACTERS: usize = 2_000;

/// What PostgreSQL told about a statement beside its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The number of the statement, from 1.
    pub statement_number: usize,
    /// `NOTICE`, `WARNING`, `INFO` …
    pub severity: String,
    /// The primary message.
    pub message: String,
    /// The secondary message.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What the driver hears, by statement.
#[derive(Debug, Default)]
struct Heard {
    /// The statement that runs now, from 1; 0 while the runner speaks for itself.
    statement_number: usize,
    notices: Vec<Notice>,
}

/// A connection for one migration.
pub(super) struct Session {
    client: Client,
    heard: Arc<Mutex<Heard>>,
    // Declared last: given back after the connection.
    _permit: Permit,
}

impl Session {
    /// Connects, as one of the pool's connections.
    pub(super) async fn open(pool: &Pool) -> Result<Self, Error> {
        let permit = pool.permit().await?;
        let target = pool.target().await?;
        let (client, mut connection) = target
            .config
            .connect(target.connector())
            .await
            .map_err(Error::unavailable)?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let ear = Arc::clone(&heard);
        bunbun_core::task::spawn("migration_connection", async move {
            // Ends when the client is dropped, or the connection is cut; the client reports that.
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notice(notice) = message {
                    ear.lock().add(&notice);
                }
            }
        });
        // PostgreSQL from 14 on then notices during a long statement that we are gone, and lets go
        // of the locks. Servers that cannot are none the worse.
        let _ = client
            .batch_execute(
                "select pg_catalog.set_config('client_connection_check_interval', '2s', false) \
                 where pg_catalog.current_setting('client_connection_check_interval', true) is not null",
            )
            .await;
        Ok(Self {
            client,
            heard,
            _permit: permit,
        })
    }

    /// Says which statement the next notices are about; 0 for statements of ours.
    pub(super) fn announce(&self, statement_number: usize) {
        self.heard.lock().statement_number = statement_number;
    }

    /// The notices so far about statements of the user.
    pub(super) fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.heard.lock().notices)
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Heard {
    fn add(&mut self, notice: &DbError) {
        if self.statement_number == 0 || self.notices.len() >= MAX_NOTICES {
            return;
        }
        let short = |text: &str| text.chars().take(MAX_NOTICE_CHARACTERS).collect::<String>();
        self.notices.push(Notice {
            statement_number: self.statement_number,
            severity: notice.severity().to_owned(),
            message: short(notice.message()),
            detail: notice.detail().map(short),
            hint: notice.hint().map(short),
        });
    }
}
