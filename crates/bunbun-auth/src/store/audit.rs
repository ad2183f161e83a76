//! `auth.audit_log_entries`.

use bunbun_postgres::{Error, Session, types::Json};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{INSTANCE, Object, users::User};
use crate::timestamp::Timestamp;

/// What happened, under the original's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    ChallengeCreated,
    FactorDeleted,
    FactorInProgress,
    FactorUnenrolled,
    FactorUpdated,
    IdentityUnlinked,
    InviteAccepted,
    Login,
    Logout,
    UserConfirmationRequested,
    UserDeleted,
    UserInvited,
    UserModified,
    UserReauthenticateRequested,
    UserRecoveryRequested,
    UserRepeatedSignup,
    UserSignedUp,
    UserUpdatedPassword,
    VerificationAttempted,
}

impl Action {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::ChallengeCreated => ("challenge_created", "factor"),
            Self::FactorDeleted => ("factor_deleted", "factor"),
            Self::FactorInProgress => ("factor_in_progress", "factor"),
            Self::FactorUnenrolled => ("factor_unenrolled", "factor"),
            Self::FactorUpdated => ("factor_updated", "factor"),
            Self::IdentityUnlinked => ("identity_unlinked", "user"),
            Self::InviteAccepted => ("invite_accepted", "account"),
            Self::Login => ("login", "account"),
            Self::Logout => ("logout", "account"),
            Self::UserConfirmationRequested => ("user_confirmation_requested", "user"),
            Self::UserDeleted => ("user_deleted", "team"),
            Self::UserInvited => ("user_invited", "team"),
            Self::UserModified => ("user_modified", "user"),
            Self::UserReauthenticateRequested => ("user_reauthenticate_requested", "user"),
            Self::UserRecoveryRequested => ("user_recovery_requested", "user"),
            Self::UserRepeatedSignup => ("user_repeated_signup", "user"),
            Self::UserSignedUp => ("user_signedup", "team"),
            Self::UserUpdatedPassword => ("user_updated_password", "user"),
            Self::VerificationAttempted => ("verification_attempted", "factor"),
        }
    }
}

/// Who did it.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    id: Uuid,
    name: String,
    full_name: Option<Value>,
    via_sso: bool,
}

impl Actor {
    /// A user.
    pub(crate) fn user(user: &User) -> Self {
        let name = user.phone.as_deref().unwrap_or_else(|| user.email());
        Self {
            id: user.id,
            name: name.to_owned(),
            full_name: user.user_metadata.get("full_name").cloned(),
            via_sso: user.is_sso_user,
        }
    }

    /// The bearer of an administrator's token.
    pub(crate) fn admin(role: &str) -> Self {
        Self {
            id: Uuid::nil(),
            name: role.to_owned(),
            full_name: None,
            via_sso: false,
        }
    }
}

/// One entry to be written.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) actor: &'a Actor,
    pub(crate) action: Action,
    pub(crate) ip: String,
    pub(crate) traits: Option<Value>,
}

pub(crate) async fn insert(
    session: &Session,
    entry: &Entry<'_>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let (action, log_type) = entry.action.names();
    let mut payload = json!({
        "actor_id": entry.actor.id,
        "actor_via_sso": entry.actor.via_sso,
        "actor_username": entry.actor.name,
        "action": action,
        "log_type": log_type,
    });
    if let Some(object) = payload.as_object_mut() {
        if let Some(name) = &entry.actor.full_name {
            object.insert("actor_name".to_owned(), name.clone());
        }
        if let Some(traits) = &entry.traits {
            object.insert("traits".to_owned(), traits.clone());
        }
    }
    session
        .execute_cached(
            "insert into auth.audit_log_entries (
               instance_id, id, payload, created_at, ip_address
             ) values ($1, $2, $3, $4, $5)",
            &[&INSTANCE, &Uuid::now_v7(), &Json(&payload), &now, &entry.ip],
        )
        .await
        .map(drop)
}

/// An entry as the administrator sees it.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    id: Uuid,
    payload: Object,
    created_at: Option<Timestamp>,
    ip_address: String,
}

/// A page of entries, the latest first, and how many there are. `columns` are members of the
/// payload of which one must contain the text.
pub(crate) async fn list(
    session: &Session,
    columns: &[&str],
    text: &str,
    page: i64,
    per_page: i64,
) -> Result<(Vec<Record>, i64), Error> {
    let pattern = format!(
        "%{}%",
        text.replace('\\', "\\\\")
            .replace('%', "\\%")
            .replace('_', "\\_")
    );
    let condition = "instance_id = $1 and (cardinality($2::text[]) = 0 or exists (
        select from unnest($2::text[]) as name where payload ->> name ilike $3))";
    let count = session
        .query_one_cached(
            &format!("select count(*) from auth.audit_log_entries where {condition}"),
            &[&INSTANCE, &columns, &pattern],
        )
        .await?;
    let offset = page.saturating_sub(1).saturating_mul(per_page);
    let rows = session
        .query_cached(
            &format!(
                "select id, payload, created_at, ip_address from auth.audit_log_entries
                 where {condition} order by created_at desc, id desc limit $4 offset $5"
            ),
            &[&INSTANCE, &columns, &pattern, &per_page, &offset],
        )
        .await?;
    let records = rows
        .iter()
        .map(|row| {
            let payload: Option<Json<Object>> = row.try_get(1)?;
            Ok(Record {
                id: row.try_get(0)?,
                payload: payload.map(|json| json.0).unwrap_or_default(),
                created_at: row.try_get::<_, Option<OffsetDateTime>>(2)?.map(Timestamp),
                ip_address: row.try_get(3)?,
            })
        })
        .collect::<Result<_, Error>>()?;
    Ok((records, count.try_get(0)?))
}
