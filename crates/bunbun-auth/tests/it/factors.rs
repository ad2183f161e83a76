//! `/factors`: an authenticator app, and what it protects.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha1::Sha1;

use crate::app::{Answer, App, PASSWORD, START, address};

/// What an app shows at a moment (RFC 6238), computed here once more.
pub(crate) fn code(secret: &Value, at: i64) -> String {
    let key = BASE32_NOPAD
        .decode(secret.as_str().expect("a text").as_bytes())
        .expect("well-formed");
    let mut mac = Hmac::<Sha1>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(&(at / 30).to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let at = usize::from(hash[19] & 15);
    let number = u32::from_be_bytes([hash[at] & 127, hash[at + 1], hash[at + 2], hash[at + 3]]);
    format!("{:06}", number % 1_000_000)
}

pub(crate) async fn enroll(app: &App, session: &Value, name: &str) -> Value {
    let body = json!({ "factor_type": "totp", "friendly_name": name });
    app.post("/factors", &body).by(session).send().await.ok()
}

async fn challenge(app: &App, session: &Value, factor: &Value) -> Value {
    let path = format!(
        "/factors/{}/challenge",
        factor["id"].as_str().expect("a text")
    );
    app.post(path, &json!({})).by(session).send().await.ok()["id"].clone()
}

async fn answer(
    app: &App,
    session: &Value,
    factor: &Value,
    challenge: &Value,
    code: &str,
) -> Answer {
    let path = format!("/factors/{}/verify", factor["id"].as_str().expect("a text"));
    let body = json!({ "challenge_id": challenge, "code": code });
    app.post(path, &body).by(session).send().await
}

pub(crate) async fn verify(app: &App, session: &Value, factor: &Value, at: i64) -> Answer {
    let challenge = challenge(app, session, factor).await;
    let code = code(&factor["totp"]["secret"], at);
    answer(app, session, factor, &challenge, &code).await
}

#[tokio::test]
async fn a_code_raises_the_session() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let session = app.sign_up(&email).await;
    let other = app.sign_in(&email, PASSWORD).await.ok();
    let factor = enroll(&app, &session, "phone").await;
    assert!(factor["totp"]["qr_code"].as_str().unwrap().contains("<svg"));
    assert!(
        factor["totp"]["uri"]
            .as_str()
            .unwrap()
            .starts_with("otpauth://totp/app.example:")
    );
    let raised = verify(&app, &session, &factor, START).await.ok();
    let claims = app.claims(&raised);
    assert_eq!(claims["aal"], "aal2");
    let methods: Vec<&str> = claims["amr"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["method"].as_str().unwrap())
        .collect();
    assert!(
        methods.contains(&"totp") && methods.contains(&"password"),
        "{methods:?}"
    );
    assert_eq!(claims["session_id"], app.claims(&session)["session_id"]);
    assert_eq!(raised["user"]["factors"][0]["status"], "verified");
    // The user's sessions of level 1 have ended, and a refresh stays at level 2.
    app.get("/user")
        .by(&other)
        .send()
        .await
        .refused(403, "session_not_found");
    let refreshed = app.refresh(&raised["refresh_token"]).await.ok();
    assert_eq!(app.claims(&refreshed)["aal"], "aal2");
    // The next sign-in begins at level 1 again.
    let next = app.sign_in(&email, PASSWORD).await.ok();
    assert_eq!(app.claims(&next)["aal"], "aal1");
    assert!(
        !next["user"]
            .to_string()
            .contains(factor["totp"]["secret"].as_str().unwrap())
    );
}

#[tokio::test]
async fn level_one_may_not_what_needs_level_two() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let session = app.sign_up(&email).await;
    let factor = enroll(&app, &session, "phone").await;
    let raised = verify(&app, &session, &factor, START).await.ok();
    let low = app.sign_in(&email, PASSWORD).await.ok();
    for body in [
        json!({ "password": "a new long password" }),
        json!({ "email": address() }),
    ] {
        app.put("/user", &body)
            .by(&low)
            .send()
            .await
            .refused(401, "insufficient_aal");
    }
    let body = json!({ "factor_type": "totp", "friendly_name": "second" });
    app.post("/factors", &body)
        .by(&low)
        .send()
        .await
        .refused(403, "insufficient_aal");
    let path = format!("/factors/{}", factor["id"].as_str().unwrap());
    app.delete(&path)
        .by(&low)
        .send()
        .await
        .refused(422, "insufficient_aal");
    app.put("/user", &json!({ "data": { "x": 1 } }))
        .by(&low)
        .send()
        .await
        .ok();
    // `low` is raised; the first raised session stays.
    let both = verify(&app, &low, &factor, START + 30).await.ok();
    app.delete(&path).by(&both).send().await.ok();
    app.get("/user").by(&raised).send().await.ok();
    let next = app.refresh(&both["refresh_token"]).await.ok();
    assert_eq!(
        app.claims(&next)["aal"],
        "aal1",
        "without the factor there is no level 2"
    );
}

#[tokio::test]
async fn challenges_and_codes_are_good_once_and_for_a_time() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    let factor = enroll(&app, &session, "phone").await;
    let secret = &factor["totp"]["secret"];
    let id = challenge(&app, &session, &factor).await;
    let wrong = if code(secret, START) == "000000" {
        "000001"
    } else {
        "000000"
    };
    answer(&app, &session, &factor, &id, wrong)
        .await
        .refused(422, "mfa_verification_failed");
    answer(&app, &session, &factor, &id, "")
        .await
        .refused(400, "validation_failed");
    answer(&app, &session, &factor, &json!("x"), "000000")
        .await
        .refused(422, "mfa_factor_not_found");
    answer(&app, &session, &factor, &id, &code(secret, START - 90))
        .await
        .refused(422, "mfa_verification_failed");
    app.clock.advance(301);
    answer(&app, &session, &factor, &id, &code(secret, START + 301))
        .await
        .refused(422, "mfa_challenge_expired");
    let id = challenge(&app, &session, &factor).await;
    // One step earlier is late, but not too late.
    let raised = answer(&app, &session, &factor, &id, &code(secret, START + 271))
        .await
        .ok();
    let again = answer(&app, &raised, &factor, &id, &code(secret, START + 301)).await;
    again.refused(422, "mfa_ip_address_mismatch");
}

#[tokio::test]
async fn a_code_counts_once_in_whichever_session() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let session = app.sign_up(&email).await;
    let factor = enroll(&app, &session, "phone").await;
    verify(&app, &session, &factor, START).await.ok();
    let other = app.sign_in(&email, PASSWORD).await.ok();
    // The same once more, and one that is older.
    for at in [START, START - 30] {
        verify(&app, &other, &factor, at)
            .await
            .refused(422, "mfa_verification_failed");
    }
    app.clock.advance(30);
    // Two at the same moment: one of them.
    let (one, two) = tokio::join!(
        verify(&app, &other, &factor, START + 30),
        verify(&app, &other, &factor, START + 30)
    );
    let statuses = [one.status, two.status];
    assert!(
        statuses == [200, 422] || statuses == [422, 200],
        "{statuses:?}"
    );
}

#[tokio::test]
async fn guesses_of_a_code_end_before_they_succeed() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    let factor = enroll(&app, &session, "phone").await;
    let right: Vec<String> = [-30, 0, 30]
        .iter()
        .map(|s| code(&factor["totp"]["secret"], START + s))
        .collect();
    let id = challenge(&app, &session, &factor).await;
    let mut tried = 0;
    for guess in 0..200 {
        let guess = format!("{guess:06}");
        if right.contains(&guess) {
            continue;
        }
        let refused = answer(&app, &session, &factor, &id, &guess).await;
        if refused.status == 429 {
            break;
        }
        refused.refused(422, "mfa_verification_failed");
        tried += 1;
    }
    assert!(tried <= 30, "{tried} guesses of a million");
}

#[tokio::test]
async fn factors_are_their_owners_alone() {
    let Some(app) = App::start(&[("MFA_MAX_ENROLLED_FACTORS", "2")]).await else {
        return;
    };
    let (ours, theirs) = (app.sign_up(&address()).await, app.sign_up(&address()).await);
    let factor = enroll(&app, &ours, "phone").await;
    let path = format!("/factors/{}", factor["id"].as_str().unwrap());
    app.delete(&path)
        .by(&theirs)
        .send()
        .await
        .refused(404, "mfa_factor_not_found");
    let challenge = format!("{path}/challenge");
    app.post(&challenge, &json!({}))
        .by(&theirs)
        .send()
        .await
        .refused(404, "mfa_factor_not_found");
    app.delete("/factors/nonsense")
        .by(&ours)
        .send()
        .await
        .refused(404, "validation_failed");
    let enroll_as = |body: Value| app.post("/factors", &body).by(&ours).send();
    enroll_as(json!({ "factor_type": "totp", "friendly_name": "phone" }))
        .await
        .refused(422, "mfa_factor_name_conflict");
    enroll(&app, &ours, "tablet").await;
    enroll_as(json!({ "factor_type": "totp", "friendly_name": "third" }))
        .await
        .refused(422, "too_many_enrolled_mfa_factors");
    enroll_as(json!({ "factor_type": "phone", "phone": "1" }))
        .await
        .refused(422, "mfa_phone_enroll_not_enabled");
    enroll_as(json!({ "factor_type": "webauthn" }))
        .await
        .refused(422, "mfa_webauthn_enroll_not_enabled");
    enroll_as(json!({ "factor_type": "other" }))
        .await
        .refused(400, "validation_failed");
    // Factors that nobody finished make room.
    app.clock.advance(301);
    enroll(&app, &ours, "third").await;
}

#[tokio::test]
async fn administrators_see_rename_and_remove_factors() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    let factor = enroll(&app, &session, "phone").await;
    verify(&app, &session, &factor, START).await.ok();
    let base = format!(
        "/admin/users/{}/factors",
        session["user"]["id"].as_str().unwrap()
    );
    app.get(&base)
        .by(&session)
        .send()
        .await
        .refused(403, "not_admin");
    let list = app.get(&base).by_admin().send().await.ok();
    assert_eq!(
        (&list[0]["id"], &list[0]["status"]),
        (&factor["id"], &json!("verified"))
    );
    let path = format!("{base}/{}", factor["id"].as_str().unwrap());
    let renamed = app
        .put(&path, &json!({ "friendly_name": "old phone" }))
        .by_admin()
        .send()
        .await
        .ok();
    assert_eq!(renamed["friendly_name"], "old phone");
    app.delete(&path).by_admin().send().await.ok();
    assert_eq!(app.get(&base).by_admin().send().await.ok(), json!([]));
    app.delete(&path)
        .by_admin()
        .send()
        .await
        .refused(404, "mfa_factor_not_found");
}
