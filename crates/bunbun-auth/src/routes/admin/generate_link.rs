//! `POST /admin/generate_link`: the link of a mail, for whoever sends mails themselves.

use axum::{extract::State, response::Response};
use bunbun_postgres::{Session, types::Json as SqlJson};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    accounts::{check_metadata, merge},
    email_address,
    error::{AuthError, Code, Result},
    hooks::room::Calls,
    request::{Admin, Json, Origin, text},
    service::{self, AuthService, Inner},
    store::{
        Object,
        audit::{Action, Actor},
        one_time_tokens::{self, Kind},
        users::{self, Changes, User},
    },
    token::otp,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GenerateLinkRequest {
    r#type: Option<String>,
    email: Option<String>,
    new_email: Option<String>,
    password: Option<String>,
    data: Option<Object>,
    redirect_to: Option<String>,
}

/// A link, its code and its hash.
struct Link {
    user: User,
    code: String,
    hash: String,
    /// As the answer names it.
    verification_type: &'static str,
    /// As `/verify` takes it.
    link_type: &'static str,
}

/// Makes a link without sending it. A magic link for an address without an account is a signup.
pub(super) async fn create_link(
    State(service): State<AuthService>,
    origin: Origin,
    admin: Admin,
    Json(body): Json<GenerateLinkRequest>,
) -> Result<Response> {
    let service = &*service.0;
    let email = email_address::validate(text(&body.email))?;
    let [header, query, referer] = origin.redirect_candidates();
    let candidates = [text(&body.redirect_to), header, query, referer];
    let redirect_to = service.redirects.choose(candidates);
    let password_hash = match text(&body.password) {
        "" => None,
        password => {
            service.password_rules.check(password)?;
            Some(service.passwords.hash(password).await?)
        }
    };
    let password_hash = password_hash.as_ref().map(crate::password::Hash::as_str);
    let database = service.database(origin.project()).await?;
    let mut client = database.hooked_client(&service.hooks, Calls::Users).await?;
    let transaction = client.transaction().await?;
    let known = users::find_by_email(&transaction, &email, origin.audience()).await?;
    let new_code = service.new_code(&email, false);
    let link = match (text(&body.r#type), known) {
        ("magiclink" | "recovery", Some(user)) => {
            let (code, hash) = new_code;
            let actor = Actor::user(&user);
            let requested = Action::UserRecoveryRequested;
            service
                .audit(&transaction, &origin, &actor, requested, None)
                .await?;
            service.store_recovery(&transaction, &user, &hash).await?;
            let kind = if text(&body.r#type) == "recovery" {
                "recovery"
            } else {
                "magiclink"
            };
            Link {
                user,
                code,
                hash,
                verification_type: kind,
                link_type: kind,
            }
        }
        ("signup" | "magiclink", _) => {
            if text(&body.r#type) == "signup" && password_hash.is_none() {
                return Err(AuthError::invalid("Signup requires a valid password"));
            }
            signup(
                service,
                &transaction,
                &origin,
                &body,
                &email,
                password_hash,
                new_code,
            )
            .await?
        }
        ("invite", _) => {
            invite(
                service,
                &transaction,
                &origin,
                &admin,
                &body,
                &email,
                new_code,
            )
            .await?
        }
        ("email_change_current" | "email_change_new", Some(user)) => {
            email_change(service, &transaction, &body, user, new_code).await?
        }
        ("recovery" | "email_change_current" | "email_change_new", None) => {
            return Err(AuthError::not_found(
                Code::UserNotFound,
                "User with this email not found",
            ));
        }
        (other, _) => {
            let shown: String = other.chars().take(40).collect();
            return Err(AuthError::invalid(format!(
                "Invalid email action link type requested: {shown}"
            )));
        }
    };
    let user = users::find(&transaction, link.user.id)
        .await?
        .ok_or_else(|| AuthError::internal("Database error loading user", "the user is gone"))?;
    transaction.commit().await?;
    answer(service, &user, &link, redirect_to)
}

/// The user with the link beside them.
fn answer(service: &Inner, user: &User, link: &Link, redirect_to: &str) -> Result<Response> {
    let mut answer = serde_json::to_value(user)
        .map_err(|error| AuthError::internal("The answer could not be written", error))?;
    let extra = json!({
        "action_link": service.action_link(&link.hash, link.link_type, redirect_to),
        "email_otp": link.code,
        "hashed_token": link.hash,
        "verification_type": link.verification_type,
        "redirect_to": redirect_to,
    });
    if let (Value::Object(answer), Value::Object(extra)) = (&mut answer, extra) {
        answer.extend(extra);
    }
    service::json(&answer)
}

async fn signup(
    service: &Inner,
    session: &Session,
    origin: &Origin,
    body: &GenerateLinkRequest,
    email: &str,
    password_hash: Option<&str>,
    (code, hash): (String, String),
) -> Result<Link> {
    let data = body.data.clone().unwrap_or_default();
    let user = service
        .unconfirmed(session, origin, email, &data, password_hash)
        .await?;
    let mut metadata = user.user_metadata.clone();
    merge(&mut metadata, &data);
    check_metadata(&user.app_metadata, &metadata)?;
    Changes::default()
        .set("raw_user_meta_data", SqlJson(Value::Object(metadata)))
        .save(session, user.id, service.now())
        .await?;
    service
        .store_confirmation(session, &user, &hash, false)
        .await?;
    Ok(Link {
        user,
        code,
        hash,
        verification_type: "signup",
        link_type: "signup",
    })
}

async fn invite(
    service: &Inner,
    session: &Session,
    origin: &Origin,
    admin: &Admin,
    body: &GenerateLinkRequest,
    email: &str,
    (code, hash): (String, String),
) -> Result<Link> {
    let data = body.data.clone().unwrap_or_default();
    let user = service
        .unconfirmed(session, origin, email, &data, None)
        .await?;
    let traits = Some(json!({ "user_id": user.id, "user_email": email }));
    let actor = admin.actor();
    service
        .audit(session, origin, &actor, Action::UserInvited, traits)
        .await?;
    service
        .store_confirmation(session, &user, &hash, true)
        .await?;
    Ok(Link {
        user,
        code,
        hash,
        verification_type: "invite",
        link_type: "invite",
    })
}

async fn email_change(
    service: &Inner,
    session: &Session,
    body: &GenerateLinkRequest,
    user: User,
    (code, current_hash): (String, String),
) -> Result<Link> {
    let is_current = text(&body.r#type) == "email_change_current";
    if is_current && !service.config.secure_email_change {
        return Err(AuthError::invalid(
            "Enable secure email change to generate link for current email",
        ));
    }
    let new_email = email_address::validate(text(&body.new_email))?;
    if users::find_duplicate(session, &new_email, &user.aud, Some(user.id))
        .await?
        .is_some()
    {
        return Err(AuthError::unprocessable(
            Code::EmailExists,
            "A user with this email address has already been registered",
        ));
    }
    let now = service.now();
    let (column, kind, hash, relates_to, name) = if is_current {
        let column = "email_change_token_current";
        let kind = Kind::EmailChangeCurrent;
        (
            column,
            kind,
            current_hash,
            user.email().to_owned(),
            "email_change_current",
        )
    } else {
        let hash = otp::hash(&new_email, &code);
        let kind = Kind::EmailChangeNew;
        (
            "email_change_token_new",
            kind,
            hash,
            new_email.clone(),
            "email_change_new",
        )
    };
    Changes::default()
        .set("email_change", new_email)
        .set("email_change_sent_at", now)
        .set("email_change_confirm_status", 0_i16)
        .set(column, hash.clone())
        .save(session, user.id, now)
        .await?;
    one_time_tokens::replace(session, user.id, kind, &hash, &relates_to, now).await?;
    Ok(Link {
        user,
        code,
        hash,
        verification_type: name,
        link_type: "email_change",
    })
}
