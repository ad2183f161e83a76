//! Delivers mails to a mail server (RFC 5321), over TLS unless the configuration says otherwise.

use std::time::Duration;

use bunbun_core::config::auth::SmtpConfig;
use futures_util::future::BoxFuture;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{PoolConfig, authentication::Credentials},
};
use secrecy::ExposeSecret as _;

use super::{Mail, MailError, Mailer};

/// Longest wait for each command.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Connections to the server.
const CONNECTIONS: u32 = 4;
/// The port of SMTP over TLS from the start (RFC 8314).
const IMPLICIT_TLS: u16 = 465;

/// A mail server.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp")
            .field("from", &self.from.email)
            .finish_non_exhaustive()
    }
}

impl Smtp {
    /// Nothing connects yet.
    ///
    /// # Errors
    /// When the host or the sender's address cannot be used.
    pub fn new(config: &SmtpConfig) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        type Transport = AsyncSmtpTransport<Tokio1Executor>;
        let mut builder = match (config.tls, config.port) {
            (false, _) => Transport::builder_dangerous(&config.host),
            (true, IMPLICIT_TLS) => Transport::relay(&config.host)?,
            (true, _) => Transport::starttls_relay(&config.host)?,
        };
        builder = builder
            .port(config.port)
            .timeout(Some(TIMEOUT))
            .pool_config(PoolConfig::new().max_size(CONNECTIONS));
        if let Some((user, pass)) = &config.credentials {
            let pass = pass.expose_secret().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), pass));
        }
        let address: Address = config.admin_email.parse()?;
        Ok(Self {
            transport: builder.build(),
            from: Mailbox::new(config.sender_name.clone(), address),
        })
    }

    fn message(&self, mail: &Mail) -> Result<Message, Box<dyn std::error::Error + Send + Sync>> {
        let to: Address = mail.to.parse()?;
        Ok(Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject.clone())
            .header(ContentType::TEXT_HTML)
            .body(mail.html.clone())?)
    }
}

impl Mailer for Smtp {
    fn deliver<'a>(&'a self, mail: &'a Mail) -> BoxFuture<'a, Result<(), MailError>> {
        Box::pin(async move {
            let message = self.message(mail).map_err(|source| MailError {
                may_retry: false,
                source,
            })?;
            self.transport
                .send(message)
                .await
                .map(drop)
                .map_err(|error| MailError {
                    may_retry: !error.is_permanent(),
                    source: error.into(),
                })
        })
    }
}
