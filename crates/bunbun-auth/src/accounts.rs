//! What happens to accounts, whichever endpoint it comes from. Every function runs in the caller's
//! transaction.

use bunbun_postgres::{Error, Session, tokio_postgres::error::SqlState, types::Json};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    error::{AuthError, Code, Result},
    hooks,
    request::Origin,
    service::Inner,
    store::{
        Object, flow_states, identities, one_time_tokens, sessions,
        sessions::End,
        users::{self, Changes, NewUser, User},
    },
};

/// The most of a user's and an application's data about a user, in bytes of JSON: it travels in
/// every access token, and tokens that are too long are refused everywhere.
const MAX_METADATA_BYTES: usize = 4_500;

/// Checks what is to be stored about a user.
///
/// # Errors
/// 400 `validation_failed`.
pub(crate) fn check_metadata(app: &Object, user: &Object) -> Result<()> {
    let size = |object: &Object| serde_json::to_vec(object).map_or(usize::MAX, |json| json.len());
    if size(app).saturating_add(size(user)) > MAX_METADATA_BYTES {
        return Err(AuthError::invalid(format!(
            "app_metadata and user_metadata are larger than {MAX_METADATA_BYTES} bytes together; \
             they travel in every token"
        )));
    }
    Ok(())
}

/// Merges changes into an object; `null` removes a member.
pub(crate) fn merge(into: &mut Object, changes: &Object) {
    for (name, value) in changes {
        if value.is_null() {
            into.shift_remove(name);
        } else {
            into.insert(name.clone(), value.clone());
        }
    }
}

/// The application's data about a user who comes from a provider.
pub(crate) fn provider_metadata(providers: &[&str]) -> Object {
    let mut data = Object::new();
    if let Some(first) = providers.first() {
        data.insert("provider".to_owned(), (*first).into());
        data.insert("providers".to_owned(), json!(providers));
    }
    data
}

impl Inner {
    /// Creates a user whom the hook and the settings allow.
    ///
    /// # Errors
    /// 422 `signup_disabled`, the hook's refusal, and what [`users::insert`] gives.
    pub(crate) async fn create_user(
        &self,
        session: &Session,
        origin: &Origin,
        new: &NewUser,
    ) -> Result<()> {
        if self.config.disable_signup {
            return Err(AuthError::unprocessable(
                Code::SignupDisabled,
                "Signups not allowed for this instance",
            ));
        }
        self.insert_user(session, origin, new).await
    }

    /// Creates a user whom an administrator wants.
    pub(crate) async fn insert_user(
        &self,
        session: &Session,
        origin: &Origin,
        new: &NewUser,
    ) -> Result<()> {
        check_metadata(&new.app_metadata, &new.user_metadata)?;
        let now = self.now();
        if self.hooks.has_before_user_created() {
            let preview = hooks::preview(new, now);
            self.hooks
                .before_user_created(session, origin, &preview)
                .await?;
        }
        Ok(users::insert(session, new, now).await?)
    }
}

/// Whether PostgreSQL refused because the address exists.
pub(crate) fn is_taken(error: &AuthError) -> bool {
    error.database_cause().is_some_and(|cause| {
        cause.sqlstate() == Some(&SqlState::UNIQUE_VIOLATION)
            && cause.constraint() == Some("users_email_partial_key")
    })
}

/// The address is confirmed.
pub(crate) async fn confirm_email(
    session: &Session,
    user: &User,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let mut metadata = user.user_metadata.clone();
    metadata.insert("email_verified".to_owned(), true.into());
    Changes::default()
        .set("email_confirmed_at", user.email_confirmed_at.unwrap_or(now))
        .set("confirmation_token", "")
        .set("recovery_token", "")
        .set("raw_user_meta_data", Json(Value::Object(metadata)))
        .set("is_anonymous", false)
        .save(session, user.id, now)
        .await?;
    one_time_tokens::clear_all(session, user.id).await?;
    identities::confirm_email(session, user.id, user.email(), now).await
}

/// A link or code that signs in was used.
pub(crate) async fn recover(
    session: &Session,
    user: &User,
    now: OffsetDateTime,
) -> Result<(), Error> {
    Changes::default()
        .set("recovery_token", "")
        .save(session, user.id, now)
        .await?;
    one_time_tokens::clear(session, user.id, one_time_tokens::Kind::Recovery).await
}

/// A new password: codes and links that were sent before lose their validity, and so do flows and
/// other sessions.
pub(crate) async fn set_password(
    session: &Session,
    user_id: Uuid,
    hash: &str,
    keep: Option<Uuid>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let none: Option<OffsetDateTime> = None;
    Changes::default()
        .set("encrypted_password", hash)
        .set("confirmation_token", "")
        .set("confirmation_sent_at", none)
        .set("recovery_token", "")
        .set("recovery_sent_at", none)
        .set("email_change_token_current", "")
        .set("email_change_token_new", "")
        .set("email_change_sent_at", none)
        .set("phone_change_token", "")
        .set("phone_change_sent_at", none)
        .set("reauthentication_token", "")
        .set("reauthentication_sent_at", none)
        .save(session, user_id, now)
        .await?;
    one_time_tokens::clear_all(session, user_id).await?;
    flow_states::delete_of_user(session, user_id).await?;
    let which = keep.map_or(End::All, End::Others);
    sessions::end(session, user_id, which).await.map(drop)
}

/// The address is another one: what was sent to the old one, or waits for a third, is void.
pub(crate) async fn forget_mails(
    session: &Session,
    user_id: Uuid,
    now: OffsetDateTime,
) -> Result<(), Error> {
    Changes::default()
        .set("confirmation_token", "")
        .set("recovery_token", "")
        .set("reauthentication_token", "")
        .set("email_change", "")
        .set("email_change_token_current", "")
        .set("email_change_token_new", "")
        .set("email_change_confirm_status", 0_i16)
        .save(session, user_id, now)
        .await?;
    one_time_tokens::clear_all(session, user_id).await?;
    flow_states::delete_of_user(session, user_id).await
}

/// The new address takes the old one's place.
pub(crate) async fn change_email(
    session: &Session,
    user: &User,
    email: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let mut metadata = user.user_metadata.clone();
    if metadata.contains_key("email") {
        metadata.insert("email".to_owned(), email.into());
    }
    metadata.insert("email_verified".to_owned(), true.into());
    Changes::default()
        .set("email", email)
        .set("email_change", "")
        .set("email_change_token_current", "")
        .set("email_change_token_new", "")
        .set("email_change_confirm_status", 0_i16)
        .set("email_confirmed_at", user.email_confirmed_at.unwrap_or(now))
        .set("confirmation_token", "")
        .set("raw_user_meta_data", Json(Value::Object(metadata)))
        .set("is_anonymous", false)
        .save(session, user.id, now)
        .await?;
    one_time_tokens::clear_all(session, user.id).await?;
    identities::upsert_email(session, user.id, email, true, now).await?;
    identities::sync_providers(session, user.id).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{check_metadata, merge};
    use crate::store::Object;

    #[test]
    fn null_removes_and_the_rest_is_merged() {
        let mut into: Object = serde_json::from_value(json!({ "a": 1, "b": 2 })).unwrap();
        let changes: Object = serde_json::from_value(json!({ "a": null, "c": 3 })).unwrap();
        merge(&mut into, &changes);
        assert_eq!(serde_json::Value::Object(into), json!({ "b": 2, "c": 3 }));
    }

    #[test]
    fn metadata_must_fit_into_a_token() {
        let large: Object = serde_json::from_value(json!({ "x": "y".repeat(4_500) })).unwrap();
        assert!(check_metadata(&Object::new(), &large).is_err());
        assert!(check_metadata(&Object::new(), &Object::new()).is_ok());
    }
}
