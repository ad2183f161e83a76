//! Codes and links that go out by mail. First a code is stored, in the caller's transaction; its
//! letter is posted after the commit, so that no mail speaks of what never happened.

use bunbun_core::task;
use bunbun_postgres::{Error, Session};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    error::Result,
    mail::{Content, Values},
    request::Origin,
    service::Inner,
    store::{
        one_time_tokens::{self, Kind},
        users::{Changes, User},
    },
    token::otp,
};

/// A letter that waits for its transaction.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) content: Content,
    pub(crate) values: Values,
}

impl Inner {
    /// Whether this user got such a mail too recently. What is kept in the database counts for all
    /// nodes; it is not told to strangers, who would learn from it that the address is known.
    pub(crate) fn sent_recently(&self, sent_at: Option<OffsetDateTime>) -> bool {
        let interval = self.config.smtp_max_frequency;
        sent_at.is_some_and(|sent_at| sent_at + interval > self.now())
    }

    /// Stores a code that confirms the user's address.
    pub(crate) async fn confirmation(
        &self,
        session: &Session,
        origin: &Origin,
        user: &User,
        is_pkce: bool,
    ) -> Result<Letter, Error> {
        let (code, hash) = self.new_code(user.email(), is_pkce);
        self.store_confirmation(session, user, &hash, false).await?;
        Ok(self.letter(
            origin,
            Content::Confirmation,
            user,
            user.email(),
            code,
            hash,
        ))
    }

    /// Stores a code that accepts an invitation.
    pub(crate) async fn invitation(
        &self,
        session: &Session,
        origin: &Origin,
        user: &User,
    ) -> Result<Letter, Error> {
        let (code, hash) = self.new_code(user.email(), false);
        self.store_confirmation(session, user, &hash, true).await?;
        Ok(self.letter(origin, Content::Invite, user, user.email(), code, hash))
    }

    /// Stores a code that signs in, to reset a password or as a magic link.
    pub(crate) async fn recovery(
        &self,
        session: &Session,
        origin: &Origin,
        user: &User,
        content: Content,
        is_pkce: bool,
    ) -> Result<Letter, Error> {
        let (code, hash) = self.new_code(user.email(), is_pkce);
        self.store_recovery(session, user, &hash).await?;
        Ok(self.letter(origin, content, user, user.email(), code, hash))
    }

    /// Stores a code with which a user proves to be there.
    pub(crate) async fn reauthentication(
        &self,
        session: &Session,
        origin: &Origin,
        user: &User,
    ) -> Result<Letter, Error> {
        let now = self.now();
        let (code, hash) = self.new_code(user.email(), false);
        Changes::default()
            .set("reauthentication_token", hash.clone())
            .set("reauthentication_sent_at", now)
            .save(session, user.id, now)
            .await?;
        one_time_tokens::replace(
            session,
            user.id,
            Kind::Reauthentication,
            &hash,
            user.email(),
            now,
        )
        .await?;
        let content = Content::Reauthentication;
        Ok(self.letter(origin, content, user, user.email(), code, hash))
    }

    /// Stores codes that confirm a change of address: one for the new address and, where changes
    /// need both, one for the old.
    pub(crate) async fn email_change(
        &self,
        session: &Session,
        origin: &Origin,
        user: &User,
        new_email: &str,
        is_pkce: bool,
    ) -> Result<Vec<Letter>, Error> {
        let now = self.now();
        let (new_code, new_hash) = self.new_code(new_email, is_pkce);
        let current = (self.config.secure_email_change && user.email.is_some())
            .then(|| self.new_code(user.email(), is_pkce));
        let current_hash = current.as_ref().map(|(_, hash)| hash.clone());
        Changes::default()
            .set("email_change", new_email)
            .set("email_change_token_new", new_hash.clone())
            .set(
                "email_change_token_current",
                current_hash.unwrap_or_default(),
            )
            .set("email_change_sent_at", now)
            .set("email_change_confirm_status", 0_i16)
            .save(session, user.id, now)
            .await?;
        one_time_tokens::clear(session, user.id, Kind::EmailChangeCurrent).await?;
        one_time_tokens::replace(
            session,
            user.id,
            Kind::EmailChangeNew,
            &new_hash,
            new_email,
            now,
        )
        .await?;
        let mut user = user.clone();
        new_email.clone_into(&mut user.email_change);
        let content = Content::EmailChange;
        let mut letters = vec![self.letter(origin, content, &user, new_email, new_code, new_hash)];
        if let Some((code, hash)) = current {
            let kind = Kind::EmailChangeCurrent;
            one_time_tokens::replace(session, user.id, kind, &hash, user.email(), now).await?;
            letters.push(self.letter(origin, content, &user, user.email(), code, hash));
        }
        Ok(letters)
    }

    pub(crate) async fn store_confirmation(
        &self,
        session: &Session,
        user: &User,
        hash: &str,
        is_invitation: bool,
    ) -> Result<(), Error> {
        let now = self.now();
        let mut changes = Changes::default()
            .set("confirmation_token", hash.to_owned())
            .set("confirmation_sent_at", now);
        if is_invitation {
            changes = changes.set("invited_at", now);
        }
        changes.save(session, user.id, now).await?;
        one_time_tokens::replace(
            session,
            user.id,
            Kind::Confirmation,
            hash,
            user.email(),
            now,
        )
        .await
    }

    pub(crate) async fn store_recovery(
        &self,
        session: &Session,
        user: &User,
        hash: &str,
    ) -> Result<(), Error> {
        let now = self.now();
        Changes::default()
            .set("recovery_token", hash.to_owned())
            .set("recovery_sent_at", now)
            .save(session, user.id, now)
            .await?;
        one_time_tokens::replace(session, user.id, Kind::Recovery, hash, user.email(), now).await
    }

    /// Room for letters, to be asked for before the transaction.
    ///
    /// # Errors
    /// 429 `over_email_send_rate_limit`.
    pub(crate) fn room_for(&self, letters: u32) -> Result<OwnedSemaphorePermit> {
        self.outbox.reserve(letters)
    }

    /// Sends letters whose transaction is committed.
    pub(crate) async fn post(&self, letters: Vec<Letter>, room: OwnedSemaphorePermit) {
        let now = self.clock.unix_seconds();
        let mut mails = Vec::new();
        for letter in letters {
            self.limits.mail_sent();
            mails.push(self.texts.render(letter.content, letter.values, now).await);
        }
        self.outbox.send(mails, room).await;
    }

    /// Does what a known address needs and an unknown one does not, after the answer: the time that
    /// it takes would tell them apart. Where mails are there at once, so is this.
    ///
    /// # Errors
    /// Only then; otherwise they are in the log.
    pub(crate) async fn afterwards<F>(&self, origin: &Origin, work: F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        if self.outbox.is_instant() {
            return work.await;
        }
        let request_id = origin.context.request_id.clone();
        task::spawn("letters", async move {
            if let Err(error) = work.await {
                error.log(&request_id);
            }
        });
        Ok(())
    }

    /// The link that uses a hash up.
    pub(crate) fn action_link(&self, hash: &str, kind: &str, redirect_to: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("token", hash)
            .append_pair("type", kind)
            .append_pair("redirect_to", redirect_to);
        format!("{}/verify?{}", self.external_url(), query.finish())
    }

    /// A code and its stored form.
    pub(crate) fn new_code(&self, address: &str, is_pkce: bool) -> (String, String) {
        let code = otp::generate(self.config.otp_length);
        let hash = otp::for_flow(&otp::hash(address, &code), is_pkce);
        (code, hash)
    }

    fn letter(
        &self,
        origin: &Origin,
        content: Content,
        user: &User,
        to: &str,
        code: String,
        hash: String,
    ) -> Letter {
        let redirect_to = self.redirects.choose(origin.redirect_candidates());
        let link = match content {
            Content::Reauthentication => String::new(),
            _ => self.action_link(&hash, content.kind(), redirect_to),
        };
        Letter {
            content,
            values: Values {
                to: to.to_owned(),
                link,
                token: code,
                token_hash: hash,
                site_url: self.redirects.site().to_owned(),
                redirect_to: redirect_to.to_owned(),
                email: user.email().to_owned(),
                new_email: user.email_change.clone(),
                data: Value::Object(user.user_metadata.clone()),
            },
        }
    }
}
