//! Accounts of people who come from a provider: found, linked or created.

use bunbun_postgres::{Session, types::Json};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    accounts::{self, check_metadata, merge, provider_metadata},
    error::{AuthError, Code, Result},
    grant::{provider_trait, refuse_banned},
    letters::Letter,
    oauth::Profile,
    request::Origin,
    service::Inner,
    store::{
        Object,
        audit::{Action, Actor},
        identities, one_time_tokens,
        users::{self, Changes, NewUser, User},
    },
};

/// Who is signed in, or why nobody is yet.
pub(crate) enum External {
    /// The account.
    User(Box<User>),
    /// The address has to be confirmed first; a letter is on its way.
    Unverified(Option<Box<Letter>>, AuthError),
}

impl Inner {
    /// The account of a profile. An identity that is known is its user. Else an address that the
    /// provider has verified leads to the account that has it; an account is made otherwise.
    pub(crate) async fn account_of(
        &self,
        session: &Session,
        origin: &Origin,
        provider: &str,
        profile: &Profile,
    ) -> Result<External> {
        let now = self.now();
        let data = profile.identity_data();
        let known = identities::find_owner(session, provider, &profile.subject).await?;
        let user_id = match known {
            Some(user_id) => {
                identities::update_data(session, provider, &profile.subject, &data, now).await?;
                user_id
            }
            None => match self.similar(session, profile).await? {
                Some(user_id) => {
                    identities::insert(session, user_id, provider, &profile.subject, &data, now)
                        .await?;
                    user_id
                }
                None => {
                    self.create(session, origin, provider, profile, &data)
                        .await?
                }
            },
        };
        let user = locked(session, user_id).await?;
        refuse_banned(&user, now)?;
        self.remember(session, &user, &data).await?;
        self.admit(session, origin, provider, profile, user_id)
            .await
    }

    /// The one account that has an address which the provider has verified.
    async fn similar(&self, session: &Session, profile: &Profile) -> Result<Option<Uuid>> {
        let verified: Vec<String> = profile
            .addresses
            .iter()
            .filter(|address| address.is_verified)
            .map(|address| address.email.clone())
            .collect();
        if verified.is_empty() {
            return Ok(None);
        }
        let users = users::find_by_emails(session, &verified).await?;
        let ids = |are_confirmed: bool| -> Vec<Uuid> {
            let fits = users
                .iter()
                .filter(|user| user.is_confirmed() == are_confirmed);
            fits.map(|user| user.id).collect()
        };
        // Whose own address it is comes before those to whom a provider gives it as well.
        let mut owners = ids(true);
        if owners.is_empty() {
            owners = identities::find_owners_by_emails(session, &verified).await?;
        }
        if owners.is_empty() {
            owners = ids(false);
        }
        match owners.as_slice() {
            [] => Ok(None),
            [owner] => Ok(Some(*owner)),
            _ => Err(AuthError::internal(
                "Multiple accounts with the same email address in the same linking domain detected",
                "several users have verified addresses of one profile",
            )),
        }
    }

    async fn create(
        &self,
        session: &Session,
        origin: &Origin,
        provider: &str,
        profile: &Profile,
        data: &Object,
    ) -> Result<Uuid> {
        let mut email = profile.address().map(|address| address.email.clone());
        // An address that is not verified gives no right to one that someone has.
        if let Some(address) = &email
            && users::find_duplicate(session, address, origin.audience(), None)
                .await?
                .is_some()
        {
            email = None;
        }
        let new = NewUser {
            id: Uuid::new_v4(),
            aud: origin.audience().to_owned(),
            role: "authenticated".to_owned(),
            email,
            app_metadata: provider_metadata(&[provider]),
            user_metadata: data.clone(),
            ..NewUser::default()
        };
        self.create_user(session, origin, &new).await?;
        let subject = &profile.subject;
        identities::insert(session, new.id, provider, subject, data, self.now()).await?;
        Ok(new.id)
    }

    /// What the provider says becomes the user's own data.
    async fn remember(&self, session: &Session, user: &User, data: &Object) -> Result<()> {
        let mut metadata = user.user_metadata.clone();
        merge(&mut metadata, data);
        check_metadata(&user.app_metadata, &metadata)?;
        Changes::default()
            .set("raw_user_meta_data", Json(Value::Object(metadata)))
            .save(session, user.id, self.now())
            .await?;
        Ok(identities::sync_providers(session, user.id).await?)
    }

    /// Signs in whoever's address is confirmed, and confirms it where the provider vouches for it.
    async fn admit(
        &self,
        session: &Session,
        origin: &Origin,
        provider: &str,
        profile: &Profile,
        user_id: Uuid,
    ) -> Result<External> {
        let user = locked(session, user_id).await?;
        let actor = Actor::user(&user);
        let traits = provider_trait(provider);
        if user.is_confirmed() {
            self.audit(session, origin, &actor, Action::Login, traits)
                .await?;
            return Ok(External::User(Box::new(user)));
        }
        // Whoever made this account has not shown that the address is theirs. A password or
        // identity that they left behind would be a door into what is someone else's from now on.
        self.forget_unconfirmed(session, &user, provider, profile)
            .await?;
        let is_verified = profile
            .addresses
            .iter()
            .any(|address| address.is_verified && address.email == user.email());
        if is_verified || (self.config.mailer_autoconfirm && user.email.is_some()) {
            self.audit(session, origin, &actor, Action::UserSignedUp, traits)
                .await?;
            let user = locked(session, user_id).await?;
            accounts::confirm_email(session, &user, self.now()).await?;
            return Ok(External::User(Box::new(locked(session, user_id).await?)));
        }
        let shown = provider.to_owned();
        let (letter, message) = if user.email.is_none() {
            let message = format!(
                "Unverified email with {shown}. Verify the email with {shown} in order to sign in"
            );
            (None, message)
        } else {
            let message = format!(
                "Unverified email with {shown}. A confirmation email has been sent to your {shown} email"
            );
            let recently = self.sent_recently(user.confirmation_sent_at);
            let letter = if recently {
                None
            } else {
                Some(Box::new(
                    self.confirmation(session, origin, &user, false).await?,
                ))
            };
            (letter, message)
        };
        let error = AuthError::unprocessable(Code::ProviderEmailNeedsVerification, message);
        Ok(External::Unverified(letter, error))
    }

    async fn forget_unconfirmed(
        &self,
        session: &Session,
        user: &User,
        provider: &str,
        profile: &Profile,
    ) -> Result<()> {
        let now = self.now();
        let mut app = user.app_metadata.clone();
        merge(&mut app, &provider_metadata(&[provider]));
        Changes::default()
            .set("encrypted_password", "")
            .set(
                "raw_user_meta_data",
                Json(Value::Object(profile.identity_data())),
            )
            .set("raw_app_meta_data", Json(Value::Object(app)))
            .set("confirmation_token", "")
            .set("recovery_token", "")
            .save(session, user.id, now)
            .await?;
        one_time_tokens::clear_all(session, user.id).await?;
        identities::delete_others(session, user.id, provider, &profile.subject).await?;
        Ok(identities::sync_providers(session, user.id).await?)
    }

    /// Links an identity to the account of whoever asked for it.
    ///
    /// # Errors
    /// 422 `identity_already_exists`.
    pub(crate) async fn link_identity(
        &self,
        session: &Session,
        user_id: Uuid,
        provider: &str,
        profile: &Profile,
    ) -> Result<User> {
        let now = self.now();
        let user = users::lock(session, user_id)
            .await?
            .ok_or_else(|| AuthError::not_found(Code::UserNotFound, "User not found"))?;
        refuse_banned(&user, now)?;
        if let Some(owner) = identities::find_owner(session, provider, &profile.subject).await? {
            let message = if owner == user_id {
                "Identity is already linked"
            } else {
                "Identity is already linked to another user"
            };
            return Err(AuthError::unprocessable(
                Code::IdentityAlreadyExists,
                message,
            ));
        }
        let data = profile.identity_data();
        identities::insert(session, user_id, provider, &profile.subject, &data, now).await?;
        let user = locked(session, user_id).await?;
        if user.email.is_none()
            && let Some(address) = profile.address().filter(|address| address.is_verified)
        {
            Changes::default()
                .set("email", address.email.as_str())
                .save(session, user_id, now)
                .await?;
            let user = locked(session, user_id).await?;
            accounts::confirm_email(session, &user, now).await?;
        }
        identities::sync_providers(session, user_id).await?;
        locked(session, user_id).await
    }

    /// Accepts an invitation by way of a provider that knows the invited address.
    ///
    /// # Errors
    /// 404 `invite_not_found`; 400 where the addresses differ.
    pub(crate) async fn accept_invitation(
        &self,
        session: &Session,
        origin: &Origin,
        provider: &str,
        profile: &Profile,
        token: &str,
    ) -> Result<User> {
        let kinds = [one_time_tokens::Kind::Confirmation];
        let found = one_time_tokens::find(session, token, &kinds).await?;
        let (user_id, _) =
            found.ok_or_else(|| AuthError::not_found(Code::InviteNotFound, "Invite not found"))?;
        let user = locked(session, user_id).await?;
        let is_theirs = profile
            .addresses
            .iter()
            .any(|address| address.is_verified && address.email == user.email());
        if !is_theirs {
            return Err(AuthError::invalid(
                "Invited email does not match emails from external provider",
            ));
        }
        let (now, data) = (self.now(), profile.identity_data());
        identities::insert(session, user_id, provider, &profile.subject, &data, now).await?;
        self.forget_unconfirmed(session, &user, provider, profile)
            .await?;
        let actor = Actor::user(&user);
        let traits = provider_trait(provider);
        self.audit(session, origin, &actor, Action::InviteAccepted, traits)
            .await?;
        let user = locked(session, user_id).await?;
        accounts::confirm_email(session, &user, now).await?;
        locked(session, user_id).await
    }
}

async fn locked(session: &Session, user_id: Uuid) -> Result<User> {
    users::lock(session, user_id)
        .await?
        .ok_or_else(|| AuthError::unprocessable(Code::UserNotFound, "The user does not exist"))
}
