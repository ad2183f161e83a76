//! Mails on their way. Answers do not wait for the mail server: how long it takes would tell
//! whether an address is known. The queue is bounded; a delivery that fails is tried again, and
//! its end is in the log.

use std::{sync::Arc, time::Duration};

use bunbun_core::task;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Mail, Mailer};
use crate::error::{AuthError, Code, Result};

/// Mails that may be under way at once.
const LIMIT: usize = 1_000;
/// Pauses before the second, third and fourth attempt.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// Sends mails in the background.
#[derive(Clone)]
pub(crate) struct Outbox {
    mailer: Arc<dyn Mailer>,
    room: Arc<Semaphore>,
}

impl Outbox {
    pub(crate) fn new(mailer: Arc<dyn Mailer>) -> Self {
        Self {
            mailer,
            room: Arc::new(Semaphore::new(LIMIT)),
        }
    }

    /// Room for some mails, to be asked for before anything is written.
    ///
    /// # Errors
    /// 429 `over_email_send_rate_limit` when too many are under way.
    pub(crate) fn reserve(&self, count: u32) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.room)
            .try_acquire_many_owned(count)
            .map_err(|_| {
                AuthError::too_many(
                    Code::OverEmailSendRateLimit,
                    "Too many mails are waiting to be sent; try again",
                    10,
                )
            })
    }

    /// Whether mails are there at once, and so is what belongs to them.
    pub(crate) fn is_instant(&self) -> bool {
        self.mailer.is_instant()
    }

    /// Delivers mails, at once where that takes no time, else in the background.
    pub(crate) async fn send(&self, mails: Vec<Mail>, room: OwnedSemaphorePermit) {
        if self.mailer.is_instant() {
            for mail in &mails {
                if let Err(error) = self.mailer.deliver(mail).await {
                    report(mail, &error);
                }
            }
            return;
        }
        let mailer = Arc::clone(&self.mailer);
        task::spawn("mail", async move {
            for mail in &mails {
                deliver(&*mailer, mail).await;
            }
            drop(room);
        });
    }
}

async fn deliver(mailer: &dyn Mailer, mail: &Mail) {
    let mut pauses = PAUSES.into_iter();
    loop {
        let Err(error) = mailer.deliver(mail).await else {
            return;
        };
        match pauses.next().filter(|_| error.may_retry) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return report(mail, &error),
        }
    }
}

fn report(mail: &Mail, error: &super::MailError) {
    let reason = bunbun_core::error::chain(error);
    tracing::error!(kind = mail.kind, %reason, "a mail was not delivered");
}
