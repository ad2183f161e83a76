//! What a link or code proves, and what follows from it.

use bunbun_postgres::{Session, tokio_postgres::error::SqlState};
use time::OffsetDateTime;

use crate::{
    accounts,
    error::{AuthError, Code, Result},
    grant::refuse_banned,
    request::Origin,
    service::Inner,
    store::{
        audit::{Action, Actor},
        identities,
        one_time_tokens::{self, Kind},
        users::{self, Changes, User},
    },
    token::otp::{self, PKCE_PREFIX},
    unconfirmed,
};

/// What a link or code is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Signup,
    Invite,
    Recovery,
    MagicLink,
    EmailChange,
    /// Whichever of signup and magic link was sent.
    Email,
}

impl Purpose {
    pub(super) fn read(kind: &str) -> Result<Self> {
        Ok(match kind {
            "signup" => Self::Signup,
            "invite" => Self::Invite,
            "recovery" => Self::Recovery,
            "magiclink" => Self::MagicLink,
            "email_change" => Self::EmailChange,
            "email" => Self::Email,
            _ => return Err(AuthError::invalid("Invalid email verification type")),
        })
    }

    /// The method of a PKCE flow.
    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Signup => "email/signup",
            Self::Invite => "invite",
            Self::Recovery => "recovery",
            Self::MagicLink | Self::Email => "magiclink",
            Self::EmailChange => "email_change",
        }
    }

    const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Signup | Self::Invite => &[Kind::Confirmation],
            Self::Recovery | Self::MagicLink => &[Kind::Recovery],
            Self::EmailChange => &[Kind::EmailChangeCurrent, Kind::EmailChangeNew],
            Self::Email => &[Kind::Confirmation, Kind::Recovery],
        }
    }
}

/// What someone shows.
#[derive(Debug)]
pub(super) enum Proof {
    /// The hash of a link.
    Link { hash: String },
    /// A code, hashed with the address it was sent to.
    Code { hash: String, email: String },
}

/// What became of it.
pub(super) enum Confirmed {
    /// The user may be signed in. The purpose is never [`Purpose::Email`].
    Done(Box<User>, Purpose),
    /// The other address has to confirm as well.
    Half,
}

pub(super) fn invalid_link() -> AuthError {
    AuthError::forbidden(Code::OtpExpired, "Email link is invalid or has expired")
}

pub(super) fn invalid_code() -> AuthError {
    AuthError::forbidden(Code::OtpExpired, "Token has expired or is invalid")
}

/// Checks a proof and does what it is for.
pub(super) async fn confirm(
    service: &Inner,
    session: &Session,
    origin: &Origin,
    purpose: Purpose,
    proof: &Proof,
) -> Result<Confirmed> {
    let (user, kind) = match proof {
        Proof::Link { hash } => by_link(service, session, purpose, hash).await?,
        Proof::Code { hash, email } => {
            by_code(service, session, origin, purpose, hash, email).await?
        }
    };
    let purpose = match (purpose, kind) {
        (Purpose::Email, Kind::Confirmation) => Purpose::Signup,
        (Purpose::Email | Purpose::Signup | Purpose::Invite, _) if kind == Kind::Recovery => {
            Purpose::MagicLink
        }
        (purpose, _) => purpose,
    };
    let now = service.now();
    let actor = Actor::user(&user);
    match purpose {
        Purpose::Signup | Purpose::Invite | Purpose::Email => {
            service
                .audit(session, origin, &actor, Action::UserSignedUp, None)
                .await?;
            accounts::confirm_email(session, &user, now).await?;
        }
        Purpose::Recovery | Purpose::MagicLink => {
            accounts::recover(session, &user, now).await?;
            let action = if user.is_confirmed() {
                Action::Login
            } else {
                // This mail was not sent for what somebody left on the account.
                if !unconfirmed::is_appointed(&user) {
                    unconfirmed::drop_claims(session, &user, now).await?;
                }
                accounts::confirm_email(session, &user, now).await?;
                Action::UserSignedUp
            };
            service.audit(session, origin, &actor, action, None).await?;
        }
        Purpose::EmailChange => {
            // With autoconfirmation one is enough: the one that shows whose the new address is.
            let needs_both = service.config.secure_email_change
                && user.email.is_some()
                && (!service.config.mailer_autoconfirm || kind == Kind::EmailChangeCurrent);
            if needs_both && user.email_change_confirm_status == 0 {
                half_confirm(session, &user, kind, now).await?;
                return Ok(Confirmed::Half);
            }
            change_email(session, &user, now).await?;
            service
                .audit(session, origin, &actor, Action::UserModified, None)
                .await?;
        }
    }
    identities::sync_providers(session, user.id).await?;
    let user = users::find(session, user.id)
        .await?
        .ok_or_else(invalid_link)?;
    Ok(Confirmed::Done(Box::new(user), purpose))
}

async fn by_link(
    service: &Inner,
    session: &Session,
    purpose: Purpose,
    hash: &str,
) -> Result<(User, Kind)> {
    let found = one_time_tokens::find(session, hash, purpose.kinds()).await?;
    let (user_id, _) = found.ok_or_else(invalid_link)?;
    // Only one of two uses at the same moment finds the token still there.
    let user = users::lock(session, user_id)
        .await?
        .ok_or_else(invalid_link)?;
    let found = one_time_tokens::find(session, hash, purpose.kinds()).await?;
    let (_, kind) = found.ok_or_else(invalid_link)?;
    refuse_banned(&user, service.now())?;
    let is_expired = sent_at(&user, kind)
        .is_none_or(|sent_at| otp::is_expired(sent_at, service.now(), service.config.otp_expiry));
    if is_expired {
        return Err(invalid_link());
    }
    Ok((user, kind))
}

async fn by_code(
    service: &Inner,
    session: &Session,
    origin: &Origin,
    purpose: Purpose,
    hash: &str,
    email: &str,
) -> Result<(User, Kind)> {
    let user_id = if purpose == Purpose::EmailChange {
        // The code came to the old or to the new address.
        let plain = one_time_tokens::find(session, hash, purpose.kinds()).await?;
        let found = match plain {
            Some(found) => Some(found),
            None => {
                let hash = format!("{PKCE_PREFIX}{hash}");
                one_time_tokens::find(session, &hash, purpose.kinds()).await?
            }
        };
        found.map(|(user_id, _)| user_id)
    } else {
        users::find_by_email(session, email, origin.audience())
            .await?
            .map(|user| user.id)
    };
    let user = match user_id {
        Some(id) => users::lock(session, id).await?,
        None => None,
    };
    let user = user.ok_or_else(invalid_code)?;
    let is_valid = |kind: &&Kind| {
        otp::is_valid(
            hash,
            stored(&user, **kind),
            sent_at(&user, **kind),
            service.now(),
            service.config.otp_expiry,
        )
    };
    // A signup for an account that an administrator made sends a code that signs in: the
    // invitation stays good beside it.
    let kinds = match purpose {
        Purpose::Signup | Purpose::Invite if !user.is_confirmed() => Purpose::Email.kinds(),
        _ => purpose.kinds(),
    };
    let kind = kinds.iter().find(is_valid).copied();
    let kind = kind.ok_or_else(invalid_code)?;
    refuse_banned(&user, service.now())?;
    Ok((user, kind))
}

fn stored(user: &User, kind: Kind) -> &str {
    match kind {
        Kind::Confirmation => &user.confirmation_token,
        Kind::Reauthentication => &user.reauthentication_token,
        Kind::Recovery => &user.recovery_token,
        Kind::EmailChangeNew => &user.email_change_token_new,
        Kind::EmailChangeCurrent => &user.email_change_token_current,
    }
}

fn sent_at(user: &User, kind: Kind) -> Option<OffsetDateTime> {
    match kind {
        Kind::Confirmation => user.confirmation_sent_at,
        Kind::Reauthentication => user.reauthentication_sent_at,
        Kind::Recovery => user.recovery_sent_at,
        Kind::EmailChangeNew | Kind::EmailChangeCurrent => user.email_change_sent_at,
    }
}

/// One of the two addresses has confirmed; its token is used up.
async fn half_confirm(
    session: &Session,
    user: &User,
    kind: Kind,
    now: OffsetDateTime,
) -> Result<()> {
    let column = match kind {
        Kind::EmailChangeCurrent => "email_change_token_current",
        _ => "email_change_token_new",
    };
    Changes::default()
        .set("email_change_confirm_status", 1_i16)
        .set(column, "")
        .save(session, user.id, now)
        .await?;
    Ok(one_time_tokens::clear(session, user.id, kind).await?)
}

async fn change_email(session: &Session, user: &User, now: OffsetDateTime) -> Result<()> {
    if user.email_change.is_empty() {
        return Err(invalid_link());
    }
    let changed = accounts::change_email(session, user, &user.email_change, now).await;
    changed.map_err(|error| {
        if error.sqlstate() == Some(&SqlState::UNIQUE_VIOLATION) {
            AuthError::unprocessable(
                Code::EmailExists,
                "A user with this email address has already been registered",
            )
        } else {
            error.into()
        }
    })
}
