//! `auth.users`.

use bunbun_postgres::{
    Error, Session,
    tokio_postgres::Row,
    types::{Json, ToSql},
};
use serde::{Serialize, ser::SerializeMap as _};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{INSTANCE, Object, factors::Factor, identities::Identity};
use crate::timestamp::Timestamp;

/// A user with identities and factors.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: Uuid,
    pub(crate) aud: String,
    pub(crate) role: String,
    pub(crate) email: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) encrypted_password: Option<String>,
    pub(crate) email_confirmed_at: Option<OffsetDateTime>,
    pub(crate) phone_confirmed_at: Option<OffsetDateTime>,
    pub(crate) invited_at: Option<OffsetDateTime>,
    pub(crate) confirmation_token: String,
    pub(crate) confirmation_sent_at: Option<OffsetDateTime>,
    pub(crate) recovery_token: String,
    pub(crate) recovery_sent_at: Option<OffsetDateTime>,
    pub(crate) email_change: String,
    pub(crate) email_change_token_new: String,
    pub(crate) email_change_token_current: String,
    pub(crate) email_change_sent_at: Option<OffsetDateTime>,
    pub(crate) email_change_confirm_status: i16,
    pub(crate) phone_change: String,
    pub(crate) phone_change_sent_at: Option<OffsetDateTime>,
    pub(crate) reauthentication_token: String,
    pub(crate) reauthentication_sent_at: Option<OffsetDateTime>,
    pub(crate) last_sign_in_at: Option<OffsetDateTime>,
    pub(crate) app_metadata: Object,
    pub(crate) user_metadata: Object,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) updated_at: OffsetDateTime,
    pub(crate) banned_until: Option<OffsetDateTime>,
    pub(crate) deleted_at: Option<OffsetDateTime>,
    pub(crate) is_sso_user: bool,
    pub(crate) is_anonymous: bool,
    pub(crate) identities: Vec<Identity>,
    pub(crate) factors: Vec<Factor>,
}

/// The columns of [`User::read`], of the alias `u`.
macro_rules! user_columns {
    () => {
        "u.id, u.aud, u.role, u.email, u.phone, u.encrypted_password, u.email_confirmed_at,
         u.phone_confirmed_at, u.invited_at, u.confirmation_token, u.confirmation_sent_at,
         u.recovery_token, u.recovery_sent_at, u.email_change, u.email_change_token_new,
         u.email_change_token_current, u.email_change_sent_at, u.email_change_confirm_status,
         u.phone_change, u.phone_change_sent_at, u.reauthentication_token,
         u.reauthentication_sent_at, u.last_sign_in_at, u.raw_app_meta_data, u.raw_user_meta_data,
         u.created_at, u.updated_at, u.banned_until, u.deleted_at, u.is_sso_user, u.is_anonymous,
         (select json_agg(json_build_object(
            'identity_id', i.id, 'id', i.provider_id, 'user_id', i.user_id,
            'identity_data', i.identity_data, 'provider', i.provider,
            'last_sign_in_at', i.last_sign_in_at, 'created_at', i.created_at,
            'updated_at', i.updated_at, 'email', i.email) order by i.created_at, i.id)
          from auth.identities i where i.user_id = u.id) as identities,
         (select json_agg(json_build_object(
            'id', f.id, 'created_at', f.created_at, 'updated_at', f.updated_at,
            'status', f.status, 'friendly_name', f.friendly_name, 'factor_type', f.factor_type,
            'last_challenged_at', f.last_challenged_at, 'phone', f.phone)
            order by f.created_at, f.id)
          from auth.mfa_factors f where f.user_id = u.id) as factors"
    };
}
pub(crate) use user_columns;

/// How many columns [`user_columns`] has.
pub(crate) const COLUMN_COUNT: usize = 33;

impl User {
    /// Reads the columns that begin at `at`.
    pub(crate) fn read(row: &Row, at: usize) -> Result<Self, Error> {
        let text = |index: usize| -> Result<Option<String>, Error> { Ok(row.try_get(at + index)?) };
        let moment = |index: usize| -> Result<Option<OffsetDateTime>, Error> {
            Ok(row.try_get(at + index)?)
        };
        let object = |index: usize| -> Result<Object, Error> {
            let value: Option<Json<Value>> = row.try_get(at + index)?;
            Ok(match value {
                Some(Json(Value::Object(object))) => object,
                _ => Object::new(),
            })
        };
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let identities: Option<Json<Vec<Identity>>> = row.try_get(at + 31)?;
        let factors: Option<Json<Vec<Factor>>> = row.try_get(at + 32)?;
        Ok(Self {
            id: row.try_get(at)?,
            aud: text(1)?.unwrap_or_default(),
            role: text(2)?.unwrap_or_default(),
            email: filled(text(3)?),
            phone: filled(text(4)?),
            encrypted_password: filled(text(5)?),
            email_confirmed_at: moment(6)?,
            phone_confirmed_at: moment(7)?,
            invited_at: moment(8)?,
            confirmation_token: text(9)?.unwrap_or_default(),
            confirmation_sent_at: moment(10)?,
            recovery_token: text(11)?.unwrap_or_default(),
            recovery_sent_at: moment(12)?,
            email_change: text(13)?.unwrap_or_default(),
            email_change_token_new: text(14)?.unwrap_or_default(),
            email_change_token_current: text(15)?.unwrap_or_default(),
            email_change_sent_at: moment(16)?,
            email_change_confirm_status: row.try_get::<_, Option<i16>>(at + 17)?.unwrap_or(0),
            phone_change: text(18)?.unwrap_or_default(),
            phone_change_sent_at: moment(19)?,
            reauthentication_token: text(20)?.unwrap_or_default(),
            reauthentication_sent_at: moment(21)?,
            last_sign_in_at: moment(22)?,
            app_metadata: object(23)?,
            user_metadata: object(24)?,
            created_at: moment(25)?.unwrap_or(OffsetDateTime::UNIX_EPOCH),
            updated_at: moment(26)?.unwrap_or(OffsetDateTime::UNIX_EPOCH),
            banned_until: moment(27)?,
            deleted_at: moment(28)?,
            is_sso_user: row.try_get::<_, Option<bool>>(at + 29)?.unwrap_or(false),
            is_anonymous: row.try_get::<_, Option<bool>>(at + 30)?.unwrap_or(false),
            identities: identities.map(|list| list.0).unwrap_or_default(),
            factors: factors.map(|list| list.0).unwrap_or_default(),
        })
    }

    /// A user who does not exist yet.
    pub(crate) fn preview(user: &NewUser, now: OffsetDateTime) -> Self {
        Self {
            id: user.id,
            aud: user.aud.clone(),
            role: user.role.clone(),
            email: user.email.clone(),
            phone: user.phone.clone(),
            encrypted_password: None,
            email_confirmed_at: None,
            phone_confirmed_at: None,
            invited_at: None,
            confirmation_token: String::new(),
            confirmation_sent_at: None,
            recovery_token: String::new(),
            recovery_sent_at: None,
            email_change: String::new(),
            email_change_token_new: String::new(),
            email_change_token_current: String::new(),
            email_change_sent_at: None,
            email_change_confirm_status: 0,
            phone_change: String::new(),
            phone_change_sent_at: None,
            reauthentication_token: String::new(),
            reauthentication_sent_at: None,
            last_sign_in_at: None,
            app_metadata: user.app_metadata.clone(),
            user_metadata: user.user_metadata.clone(),
            created_at: now,
            updated_at: now,
            banned_until: None,
            deleted_at: None,
            is_sso_user: false,
            is_anonymous: user.is_anonymous,
            identities: Vec::new(),
            factors: Vec::new(),
        }
    }

    pub(crate) fn email(&self) -> &str {
        self.email.as_deref().unwrap_or_default()
    }

    pub(crate) fn phone(&self) -> &str {
        self.phone.as_deref().unwrap_or_default()
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.email_confirmed_at.is_some()
    }

    pub(crate) fn is_banned(&self, now: OffsetDateTime) -> bool {
        self.banned_until.is_some_and(|until| until > now)
    }

    pub(crate) fn has_verified_factor(&self) -> bool {
        self.factors.iter().any(Factor::is_verified)
    }
}

/// The user as clients see it: the original's names, in its order.
impl Serialize for User {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let moment = |at: &Option<OffsetDateTime>| at.map(Timestamp);
        macro_rules! optional {
            ($($name:literal: $value:expr,)+) => {
                $(if let Some(value) = $value { map.serialize_entry($name, &value)?; })+
            };
        }
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("aud", &self.aud)?;
        map.serialize_entry("role", &self.role)?;
        map.serialize_entry("email", self.email())?;
        optional! {
            "email_confirmed_at": moment(&self.email_confirmed_at),
            "invited_at": moment(&self.invited_at),
        }
        map.serialize_entry("phone", self.phone())?;
        let confirmed_at = match (self.email_confirmed_at, self.phone_confirmed_at) {
            (Some(email), Some(phone)) => Some(email.min(phone)),
            (email, phone) => email.or(phone),
        };
        optional! {
            "phone_confirmed_at": moment(&self.phone_confirmed_at),
            "confirmation_sent_at": moment(&self.confirmation_sent_at),
            "confirmed_at": moment(&confirmed_at),
            "recovery_sent_at": moment(&self.recovery_sent_at),
            "new_email": (!self.email_change.is_empty()).then_some(&self.email_change),
            "email_change_sent_at": moment(&self.email_change_sent_at),
            "new_phone": (!self.phone_change.is_empty()).then_some(&self.phone_change),
            "phone_change_sent_at": moment(&self.phone_change_sent_at),
            "reauthentication_sent_at": moment(&self.reauthentication_sent_at),
            "last_sign_in_at": moment(&self.last_sign_in_at),
        }
        map.serialize_entry("app_metadata", &self.app_metadata)?;
        map.serialize_entry("user_metadata", &self.user_metadata)?;
        if !self.factors.is_empty() {
            map.serialize_entry("factors", &self.factors)?;
        }
        map.serialize_entry("identities", &self.identities)?;
        map.serialize_entry("created_at", &Timestamp(self.created_at))?;
        map.serialize_entry("updated_at", &Timestamp(self.updated_at))?;
        optional! {
            "banned_until": moment(&self.banned_until),
            "deleted_at": moment(&self.deleted_at),
        }
        map.serialize_entry("is_anonymous", &self.is_anonymous)?;
        map.end()
    }
}

/// A user to be created.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewUser {
    pub(crate) id: Uuid,
    pub(crate) aud: String,
    pub(crate) role: String,
    pub(crate) email: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) encrypted_password: Option<String>,
    pub(crate) app_metadata: Object,
    pub(crate) user_metadata: Object,
    pub(crate) is_anonymous: bool,
}

pub(crate) async fn insert(
    session: &Session,
    user: &NewUser,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "insert into auth.users (
               instance_id, id, aud, role, email, phone, encrypted_password, raw_app_meta_data,
               raw_user_meta_data, is_anonymous, confirmation_token, recovery_token, email_change,
               email_change_token_new, created_at, updated_at
             ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', '', '', '', $11, $11)",
            &[
                &INSTANCE,
                &user.id,
                &user.aud,
                &user.role,
                &user.email,
                &user.phone,
                &user.encrypted_password.as_deref().unwrap_or_default(),
                &Json(&user.app_metadata),
                &Json(&user.user_metadata),
                &user.is_anonymous,
                &now,
            ],
        )
        .await
        .map(drop)
}

pub(crate) async fn find(session: &Session, id: Uuid) -> Result<Option<User>, Error> {
    one(
        session,
        concat!(
            "select ",
            user_columns!(),
            " from auth.users u where u.id = $1"
        ),
        &[&id],
    )
    .await
}

/// The user and the rest of the transaction alone may touch the row.
pub(crate) async fn lock(session: &Session, id: Uuid) -> Result<Option<User>, Error> {
    session
        .execute_cached(
            "select from auth.users u where u.id = $1 for no key update",
            &[&id],
        )
        .await?;
    find(session, id).await
}

pub(crate) async fn find_by_email(
    session: &Session,
    email: &str,
    aud: &str,
) -> Result<Option<User>, Error> {
    one(
        session,
        concat!(
            "select ",
            user_columns!(),
            " from auth.users u where u.instance_id = $3 and lower(u.email::text) = $1
              and u.aud = $2 and u.is_sso_user = false order by u.created_at limit 1"
        ),
        &[&email, &aud, &INSTANCE],
    )
    .await
}

pub(crate) async fn find_by_phone(
    session: &Session,
    phone: &str,
    aud: &str,
) -> Result<Option<User>, Error> {
    one(
        session,
        concat!(
            "select ",
            user_columns!(),
            " from auth.users u where u.phone = $1 and u.aud = $2 and u.is_sso_user = false"
        ),
        &[&phone, &aud],
    )
    .await
}

/// The user who has an address, as a user's or as a verified identity's: who may not have it twice.
pub(crate) async fn find_duplicate(
    session: &Session,
    email: &str,
    aud: &str,
    besides: Option<Uuid>,
) -> Result<Option<User>, Error> {
    one(
        session,
        concat!(
            "select ",
            user_columns!(),
            " from auth.users u where u.is_sso_user = false and u.id is distinct from $4
              and (
                (u.instance_id = $3 and lower(u.email::text) = $1 and u.aud = $2)
                or u.id in (select i.user_id from auth.identities i where i.email = $1
                            and i.provider not like 'sso:%'
                            and i.identity_data ->> 'email_verified' = 'true')
              )
              order by (lower(u.email::text) = $1) desc, u.created_at limit 1"
        ),
        &[&email, &aud, &INSTANCE, &besides],
    )
    .await
}

/// Users with one of these addresses.
pub(crate) async fn find_by_emails(
    session: &Session,
    emails: &[String],
) -> Result<Vec<User>, Error> {
    let rows = session
        .query_cached(
            concat!(
                "select ",
                user_columns!(),
                " from auth.users u where u.instance_id = $2 and lower(u.email::text) = any($1)
                  and u.is_sso_user = false"
            ),
            &[&emails, &INSTANCE],
        )
        .await?;
    rows.iter().map(|row| User::read(row, 0)).collect()
}

async fn one(
    session: &Session,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<User>, Error> {
    session
        .query_opt_cached(sql, parameters)
        .await?
        .map(|row| User::read(&row, 0))
        .transpose()
}

/// A page of users and how many there are.
pub(crate) async fn list(
    session: &Session,
    aud: &str,
    filter: &str,
    ascending: bool,
    page: i64,
    per_page: i64,
) -> Result<(Vec<User>, i64), Error> {
    let pattern = format!(
        "%{}%",
        filter
            .replace('\\', "\\\\")
            .replace('%', "\\%")
            .replace('_', "\\_")
    );
    let direction = if ascending { "asc" } else { "desc" };
    let condition = "u.instance_id = $1 and u.aud = $2 and ($3 = '%%' or u.email ilike $3
         or u.raw_user_meta_data ->> 'full_name' ilike $3 or u.phone ilike $3
         or u.id::text ilike $3)";
    let count = session
        .query_one_cached(
            &format!("select count(*) from auth.users u where {condition}"),
            &[&INSTANCE, &aud, &pattern],
        )
        .await?;
    let offset = page.saturating_sub(1).saturating_mul(per_page);
    let rows = session
        .query_cached(
            &format!(
                concat!(
                    "select ",
                    user_columns!(),
                    " from auth.users u where {} order by u.created_at {}, u.id {} limit $4 offset $5"
                ),
                condition, direction, direction
            ),
            &[&INSTANCE, &aud, &pattern, &per_page, &offset],
        )
        .await?;
    let users = rows
        .iter()
        .map(|row| User::read(row, 0))
        .collect::<Result<_, _>>()?;
    Ok((users, count.try_get(0)?))
}

/// Deletes a user and everything that belongs to it.
pub(crate) async fn delete(session: &Session, id: Uuid) -> Result<(), Error> {
    session
        .execute_cached(
            "with f as (delete from auth.flow_state where user_id = $1)
             delete from auth.users where id = $1",
            &[&id],
        )
        .await
        .map(drop)
}

/// What can be set on a user. `None` leaves a column as it is.
#[derive(Debug, Default)]
pub(crate) struct Changes<'a> {
    names: Vec<&'static str>,
    values: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
}

impl<'a> Changes<'a> {
    /// Sets a column; its name is a literal of ours.
    pub(crate) fn set(
        mut self,
        column: &'static str,
        value: impl ToSql + Sync + Send + 'a,
    ) -> Self {
        self.names.push(column);
        self.values.push(Box::new(value));
        self
    }

    /// Writes the changes and the time.
    pub(crate) async fn save(
        self,
        session: &Session,
        id: Uuid,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let assignments: Vec<String> = self
            .names
            .iter()
            .enumerate()
            .map(|(at, name)| format!("{name} = ${}", at + 3))
            .collect();
        let separator = if assignments.is_empty() { "" } else { ", " };
        let sql = format!(
            "update auth.users set updated_at = $2{separator}{} where id = $1",
            assignments.join(", ")
        );
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&id, &now];
        for value in &self.values {
            parameters.push(&**value);
        }
        session.execute_cached(&sql, &parameters).await.map(drop)
    }
}
