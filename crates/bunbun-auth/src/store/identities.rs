//! `auth.identities`: by which providers a user is known.

use bunbun_postgres::{Error, Session, types::Json};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Object;
use crate::timestamp::Timestamp;

/// An identity, as clients see it. What is called `identity_id` outside is the row's id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) identity_id: Uuid,
    #[serde(rename = "id")]
    pub(crate) provider_id: String,
    pub(crate) user_id: Uuid,
    #[serde(default)]
    pub(crate) identity_data: Object,
    pub(crate) provider: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_sign_in_at: Option<Timestamp>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) updated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<String>,
}

/// Creates an identity. Its `sub` is the provider's id of the user.
pub(crate) async fn insert(
    session: &Session,
    user_id: Uuid,
    provider: &str,
    provider_id: &str,
    data: &Object,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "insert into auth.identities (
               provider_id, user_id, identity_data, provider, last_sign_in_at, created_at,
               updated_at
             ) values ($1, $2, $3, $4, $5, $5, $5)",
            &[&provider_id, &user_id, &Json(data), &provider, &now],
        )
        .await
        .map(drop)
}

/// Creates the identity of a user's own address, or brings it up to date.
pub(crate) async fn upsert_email(
    session: &Session,
    user_id: Uuid,
    email: &str,
    is_verified: bool,
    now: OffsetDateTime,
) -> Result<(), Error> {
    upsert_own(session, user_id, "email", email, is_verified, now).await
}

/// The same for a phone number.
pub(crate) async fn upsert_phone(
    session: &Session,
    user_id: Uuid,
    phone: &str,
    is_verified: bool,
    now: OffsetDateTime,
) -> Result<(), Error> {
    upsert_own(session, user_id, "phone", phone, is_verified, now).await
}

async fn upsert_own(
    session: &Session,
    user_id: Uuid,
    provider: &'static str,
    value: &str,
    is_verified: bool,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let mut data = own_data(user_id, provider, value);
    data.insert(format!("{provider}_verified"), is_verified.into());
    session
        .execute_cached(
            "insert into auth.identities as i (
               provider_id, user_id, identity_data, provider, last_sign_in_at, created_at,
               updated_at
             ) values ($1, $2, $3, $4, $5, $5, $5)
             on conflict (provider_id, provider) do update
               set identity_data = i.identity_data || jsonb_build_object(
                     $4 || '', $6::text, $4 || '_verified', $7::boolean),
                   updated_at = excluded.updated_at",
            &[
                &user_id.to_string(),
                &user_id,
                &Json(&data),
                &provider,
                &now,
                &value,
                &is_verified,
            ],
        )
        .await
        .map(drop)
}

/// The data of an identity by address or phone number.
pub(crate) fn own_data(user_id: Uuid, provider: &str, value: &str) -> Object {
    let mut data = Object::new();
    data.insert("sub".to_owned(), user_id.to_string().into());
    data.insert(provider.to_owned(), value.into());
    data.insert("email_verified".to_owned(), false.into());
    data.insert("phone_verified".to_owned(), false.into());
    data
}

/// Whose identity it is.
pub(crate) async fn find_owner(
    session: &Session,
    provider: &str,
    provider_id: &str,
) -> Result<Option<Uuid>, Error> {
    let row = session
        .query_opt_cached(
            "select user_id from auth.identities where provider_id = $1 and provider = $2",
            &[&provider_id, &provider],
        )
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// The users who have identities with one of these addresses, which their provider has verified:
/// anybody can claim any other.
pub(crate) async fn find_owners_by_emails(
    session: &Session,
    emails: &[String],
) -> Result<Vec<Uuid>, Error> {
    let rows = session
        .query_cached(
            "select distinct user_id from auth.identities
             where email = any($1) and provider not like 'sso:%'
               and identity_data ->> 'email_verified' = 'true'",
            &[&emails],
        )
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// What the provider said this time.
pub(crate) async fn update_data(
    session: &Session,
    provider: &str,
    provider_id: &str,
    data: &Object,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "update auth.identities
             set identity_data = $3, last_sign_in_at = $4, updated_at = $4
             where provider = $1 and provider_id = $2",
            &[&provider, &provider_id, &Json(data), &now],
        )
        .await
        .map(drop)
}

/// The identities of a user's address are confirmed.
pub(crate) async fn confirm_email(
    session: &Session,
    user_id: Uuid,
    email: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "update auth.identities
             set identity_data = identity_data || '{\"email_verified\": true}', updated_at = $3
             where user_id = $1 and email = $2",
            &[&user_id, &email, &now],
        )
        .await
        .map(drop)
}

/// Forgets whose identity it was, as the user is deleted but its row stays.
pub(crate) async fn hide(
    session: &Session,
    identity_id: Uuid,
    provider_id: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "update auth.identities
             set provider_id = $2, identity_data = '{}', updated_at = $3 where id = $1",
            &[&identity_id, &provider_id, &now],
        )
        .await
        .map(drop)
}

pub(crate) async fn delete(session: &Session, identity_id: Uuid) -> Result<(), Error> {
    session
        .execute_cached("delete from auth.identities where id = $1", &[&identity_id])
        .await
        .map(drop)
}

/// Removes identities of providers that have not verified what they claim.
pub(crate) async fn delete_unverified(session: &Session, user_id: Uuid) -> Result<(), Error> {
    session
        .execute_cached(
            "delete from auth.identities
             where user_id = $1 and provider not in ('email', 'phone')
               and provider not like 'sso:%'
               and identity_data ->> 'email_verified' is distinct from 'true'",
            &[&user_id],
        )
        .await
        .map(drop)
}

/// Removes every identity of a user but one.
pub(crate) async fn delete_others(
    session: &Session,
    user_id: Uuid,
    provider: &str,
    provider_id: &str,
) -> Result<(), Error> {
    session
        .execute_cached(
            "delete from auth.identities
             where user_id = $1 and not (provider = $2 and provider_id = $3)",
            &[&user_id, &provider, &provider_id],
        )
        .await
        .map(drop)
}

/// Writes the providers of a user into its `app_metadata`.
pub(crate) async fn sync_providers(session: &Session, user_id: Uuid) -> Result<(), Error> {
    session
        .execute_cached(
            "update auth.users u
             set raw_app_meta_data = coalesce(u.raw_app_meta_data, '{}') || p.data
             from (
               select jsonb_build_object('provider', (array_agg(provider order by first))[1],
                        'providers', jsonb_agg(provider order by first)) as data
               from (select provider, min(created_at) as first from auth.identities
                     where user_id = $1 group by provider) as known
               having count(*) > 0
             ) as p
             where u.id = $1",
            &[&user_id],
        )
        .await
        .map(drop)
}
