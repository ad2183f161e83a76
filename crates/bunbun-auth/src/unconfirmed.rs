//! Accounts that nobody has confirmed: whoever made one has not shown that the address is theirs,
//! and the next who asks need not be the same person. A mail confirms the request that it was sent
//! for; what others left on the account is no way into it afterwards.

use bunbun_postgres::{Error, Session, types::Json};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    accounts::provider_metadata,
    error::{AuthError, Code, Result},
    request::Origin,
    service::Inner,
    store::{
        Object, identities, one_time_tokens,
        users::{self, Changes, NewUser, User},
    },
};

/// Whether an administrator made this account: by an invitation, or without a mail. What is on it
/// is theirs, and strangers' requests leave it as it is.
pub(crate) fn is_appointed(user: &User) -> bool {
    user.invited_at.is_some() || user.confirmation_sent_at.is_none()
}

/// Whether there is something on the account that a confirmation by somebody else must not make
/// valid.
pub(crate) fn has_claims(user: &User) -> bool {
    is_appointed(user)
        || user.encrypted_password.is_some()
        || user
            .identities
            .iter()
            .any(|known| known.provider != "email")
}

/// The account's address is somebody else's than whoever left a password, or an identity that no
/// provider has verified: they go.
pub(crate) async fn drop_claims(
    session: &Session,
    user: &User,
    now: OffsetDateTime,
) -> Result<(), Error> {
    Changes::default()
        .set("encrypted_password", "")
        .save(session, user.id, now)
        .await?;
    identities::delete_unverified(session, user.id).await?;
    identities::upsert_email(session, user.id, user.email(), user.is_confirmed(), now).await?;
    identities::sync_providers(session, user.id).await
}

/// The account begins anew, with another password and other data.
pub(crate) async fn begin_anew(
    session: &Session,
    user: &User,
    password_hash: Option<&str>,
    data: &Object,
    now: OffsetDateTime,
) -> Result<(), Error> {
    drop_claims(session, user, now).await?;
    let mut metadata = data.clone();
    metadata.extend(identities::own_data(user.id, "email", user.email()));
    Changes::default()
        .set("encrypted_password", password_hash.unwrap_or_default())
        .set("raw_user_meta_data", Json(Value::Object(metadata)))
        .set("confirmation_token", "")
        .set("recovery_token", "")
        .save(session, user.id, now)
        .await?;
    one_time_tokens::clear_all(session, user.id).await
}

impl Inner {
    /// Whether the mail that may confirm this account is still good.
    pub(crate) fn awaits_confirmation(&self, user: &User) -> bool {
        user.confirmation_sent_at
            .is_some_and(|sent_at| sent_at + self.config.otp_expiry > self.now())
    }

    /// The unconfirmed account of an address, for an administrator: a new one where there is none,
    /// and one that a stranger began begins anew.
    ///
    /// # Errors
    /// 422 `email_exists` where the account is confirmed.
    pub(crate) async fn unconfirmed(
        &self,
        session: &Session,
        origin: &Origin,
        email: &str,
        data: &Object,
        password_hash: Option<&str>,
    ) -> Result<User> {
        let aud = origin.audience();
        let now = self.now();
        let gone = || AuthError::internal("Database error loading user", "the user is gone");
        if let Some(known) = users::find_duplicate(session, email, aud, None).await? {
            let user = users::lock(session, known.id).await?.ok_or_else(gone)?;
            if user.is_confirmed() || user.email() != email {
                return Err(AuthError::unprocessable(
                    Code::EmailExists,
                    "A user with this email address has already been registered",
                ));
            }
            if !is_appointed(&user) {
                begin_anew(session, &user, password_hash, data, now).await?;
            } else if let Some(hash) = password_hash {
                Changes::default()
                    .set("encrypted_password", hash)
                    .save(session, user.id, now)
                    .await?;
            }
            return users::find(session, user.id).await?.ok_or_else(gone);
        }
        let new = NewUser {
            id: Uuid::new_v4(),
            aud: aud.to_owned(),
            role: "authenticated".to_owned(),
            email: Some(email.to_owned()),
            encrypted_password: password_hash.map(str::to_owned),
            app_metadata: provider_metadata(&["email"]),
            user_metadata: data.clone(),
            ..NewUser::default()
        };
        self.insert_user(session, origin, &new).await?;
        identities::upsert_email(session, new.id, email, false, now).await?;
        users::find(session, new.id).await?.ok_or_else(gone)
    }
}
