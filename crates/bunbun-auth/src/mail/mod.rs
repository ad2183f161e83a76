//! Mails: what is said, who delivers it, and what happens while they wait.

pub mod mailbox;
pub(crate) mod outbox;
pub mod smtp;
pub(crate) mod template;
mod texts;

use futures_util::future::BoxFuture;
use serde::Serialize;

pub(crate) use texts::{Content, Texts, Values};

/// One mail, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// The address it goes to.
    pub to: String,
    /// Its subject, one line.
    pub subject: String,
    /// Its body, HTML.
    pub html: String,
    /// What it is for: `signup`, `invite`, `recovery`, `magiclink`, `email_change` or
    /// `reauthentication`.
    pub kind: &'static str,
    /// The link in it; empty for a reauthentication code.
    pub link: String,
    /// The code in it.
    pub token: String,
    /// The hash in its link.
    pub token_hash: String,
}

/// A mail could not be delivered.
#[derive(Debug, thiserror::Error)]
#[error("the mail could not be delivered")]
pub struct MailError {
    /// Whether another attempt may succeed.
    pub may_retry: bool,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Delivers mails.
pub trait Mailer: Send + Sync + 'static {
    /// Hands one mail over; `Ok` means that it was accepted.
    fn deliver<'a>(&'a self, mail: &'a Mail) -> BoxFuture<'a, Result<(), MailError>>;

    /// Whether delivery takes no time, so that nobody need wait in a queue for it.
    fn is_instant(&self) -> bool {
        false
    }
}

/// Where there is no mail server: every mail is an error that says what to set.
#[derive(Debug, Clone, Copy)]
pub struct NoMailer;

impl Mailer for NoMailer {
    fn deliver<'a>(&'a self, _mail: &'a Mail) -> BoxFuture<'a, Result<(), MailError>> {
        Box::pin(async {
            Err(MailError {
                may_retry: false,
                source: "no mail server is configured: set SMTP_HOST and SMTP_ADMIN_EMAIL".into(),
            })
        })
    }

    fn is_instant(&self) -> bool {
        true
    }
}
