//! Accounts that others make: invitations, and the users of links that administrators ask for.

use bunbun_postgres::Session;
use uuid::Uuid;

use crate::{
    accounts::provider_metadata,
    error::{AuthError, Code, Result},
    request::Origin,
    service::Inner,
    store::{
        Object, identities,
        users::{self, NewUser, User},
    },
};

impl Inner {
    /// The unconfirmed account of an address, a new one where there is none.
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
        if let Some(user) = users::find_duplicate(session, email, aud, None).await? {
            if user.is_confirmed() || user.email() != email {
                return Err(AuthError::unprocessable(
                    Code::EmailExists,
                    "A user with this email address has already been registered",
                ));
            }
            return Ok(user);
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
        identities::upsert_email(session, new.id, email, false, self.now()).await?;
        users::find(session, new.id)
            .await?
            .ok_or_else(|| AuthError::internal("Database error loading user", "the user is gone"))
    }
}
