//! The mailbox of `bunbun dev`: mails stay in memory, where `GET /api/dev/mailbox` shows them.

use std::{collections::VecDeque, sync::Arc};

use bunbun_core::clock::Clock;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;

use super::{Mail, MailError, Mailer};

/// Mails that are kept; older ones make room.
const KEPT: usize = 200;

/// A mail in the mailbox.
#[derive(Debug, Clone, Serialize)]
pub struct ReceivedMail {
    /// Counts up from 1.
    pub id: u64,
    /// When it came, in seconds since the Unix epoch.
    pub received_at: i64,
    /// The mail.
    #[serde(flatten)]
    pub mail: Mail,
}

/// A mailbox in memory. Clones share it.
#[derive(Clone)]
pub struct Mailbox {
    clock: Arc<dyn Clock>,
    mails: Arc<Mutex<(u64, VecDeque<ReceivedMail>)>>,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox")
            .field("mails", &self.mails.lock().1.len())
            .finish_non_exhaustive()
    }
}

impl Mailbox {
    /// An empty mailbox.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            mails: Arc::default(),
        }
    }

    /// The mails, the latest first.
    #[must_use]
    pub fn mails(&self) -> Vec<ReceivedMail> {
        self.mails.lock().1.iter().rev().cloned().collect()
    }

    /// The latest mail to an address.
    #[must_use]
    pub fn latest_to(&self, address: &str) -> Option<ReceivedMail> {
        let mails = self.mails.lock();
        mails
            .1
            .iter()
            .rev()
            .find(|mail| mail.mail.to == address)
            .cloned()
    }
}

impl Mailer for Mailbox {
    fn deliver<'a>(&'a self, mail: &'a Mail) -> BoxFuture<'a, Result<(), MailError>> {
        let (to, subject, link) = (&mail.to, &mail.subject, &mail.link);
        tracing::info!(%to, %subject, %link, "a mail for the mailbox at /api/dev/mailbox");
        let received_at = self.clock.unix_seconds();
        let mut mails = self.mails.lock();
        mails.0 += 1;
        let id = mails.0;
        mails.1.push_back(ReceivedMail {
            id,
            received_at,
            mail: mail.clone(),
        });
        if mails.1.len() > KEPT {
            mails.1.pop_front();
        }
        Box::pin(async { Ok(()) })
    }

    fn is_instant(&self) -> bool {
        true
    }
}
