//! `GET /authorize` and `/callback`, with a provider on a socket.

use serde_json::{Value, json};

use crate::{
    app::{App, EXTERNAL_URL, Location, PASSWORD, SITE, START, address},
    provider::{CLIENT_ID, CLIENT_SECRET, Key, Provider},
    token::pkce::{VERIFIER, challenge, exchange},
};

/// A service that knows a provider.
pub(crate) async fn with_provider(key: Key, more: &[(&str, &str)]) -> Option<(App, Provider)> {
    let provider = Provider::start(key, START).await;
    let settings = provider.settings();
    let mut all: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    all.extend_from_slice(more);
    Some((App::start(&all).await?, provider))
}

/// Goes to the provider and comes back with a code.
pub(crate) async fn come_back(app: &App, provider: &Provider, location: &Location) -> Location {
    let nonce = location.query.get("nonce").cloned().unwrap_or_default();
    provider.says.lock().nonce = nonce;
    let state = &location.query["state"];
    app.get(format!("/callback?code=a-code&state={state}"))
        .send()
        .await
        .location()
}

async fn sign_in(app: &App, provider: &Provider, query: &str) -> Location {
    let location = app
        .get(format!("/authorize?{query}"))
        .send()
        .await
        .location();
    come_back(app, provider, &location).await
}

fn someone(subject: &str, email: &str) -> Value {
    json!({ "sub": subject, "email": email, "email_verified": true, "name": "Ada" })
}

#[tokio::test]
async fn the_implicit_flow_ends_with_a_session_in_the_fragment() {
    let Some((app, provider)) = with_provider(Key::es256("one"), &[]).await else {
        return;
    };
    let email = address();
    provider.says.lock().claims = someone("s1", &email);
    let path =
        format!("/authorize?provider=acme&scopes=calendar&prompt=login&redirect_to={SITE}/in?x=1");
    let location = app.get(path).send().await.location();
    assert!(
        location
            .url
            .as_str()
            .starts_with(&format!("{}/authorize?", provider.issuer))
    );
    let query = &location.query;
    assert_eq!(query["client_id"], CLIENT_ID);
    assert_eq!(query["redirect_uri"], format!("{EXTERNAL_URL}/callback"));
    assert_eq!(query["response_type"], "code");
    assert_eq!(query["prompt"], "login");
    assert!(query["scope"].contains("openid") && query["scope"].contains("calendar"));
    assert_eq!(query["code_challenge_method"], "S256");
    assert!(!query.contains_key("redirect_to"));

    let back = come_back(&app, &provider, &location).await;
    assert!(
        back.url.as_str().starts_with("http://app.example/in?x=1#"),
        "{}",
        back.url
    );
    assert_eq!(back.fragment["provider_token"], "provider-access");
    assert_eq!(back.fragment["provider_refresh_token"], "provider-refresh");
    let form = provider.says.lock().exchanged[0].clone();
    assert_eq!(form["client_id"], CLIENT_ID);
    assert_eq!(form["client_secret"], CLIENT_SECRET);
    assert_eq!(form["code"], "a-code");
    use base64::Engine as _;
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(form["code_verifier"].as_bytes());
    let expected = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(hash);
    assert_eq!(
        expected, query["code_challenge"],
        "the verifier fits the challenge"
    );

    let user = app
        .get("/user")
        .bearer(&back.fragment["access_token"])
        .send()
        .await
        .ok();
    assert_eq!(user["email"], email.as_str());
    assert_eq!(
        user["app_metadata"],
        json!({ "provider": "acme", "providers": ["acme"] })
    );
    assert_eq!(user["user_metadata"]["name"], "Ada");
    assert_eq!(user["identities"][0]["identity_data"]["sub"], "s1");
    // Again: the same user.
    let again = sign_in(&app, &provider, "provider=acme").await;
    let same = app
        .get("/user")
        .bearer(&again.fragment["access_token"])
        .send()
        .await
        .ok();
    assert_eq!(same["id"], user["id"]);
}

#[tokio::test]
async fn with_pkce_a_code_is_exchanged() {
    let Some((app, provider)) = with_provider(Key::rs256("one"), &[]).await else {
        return;
    };
    provider.says.lock().claims = someone("s1", &address());
    let query = format!(
        "provider=acme&code_challenge={}&code_challenge_method=s256",
        challenge()
    );
    let back = sign_in(&app, &provider, &query).await;
    assert!(back.fragment.is_empty());
    let code = &back.query["code"];
    exchange(
        &app,
        code,
        "another-verifier-that-has-at-least-43-characters",
    )
    .await
    .refused(400, "bad_code_verifier");
    let session = exchange(&app, code, VERIFIER).await.ok();
    assert_eq!(session["provider_token"], "provider-access");
    assert_eq!(session["provider_refresh_token"], "provider-refresh");
    assert_eq!(app.claims(&session)["amr"][0]["method"], "oauth");
    exchange(&app, code, VERIFIER)
        .await
        .refused(404, "flow_state_not_found");
}

#[tokio::test]
async fn only_an_address_that_both_sides_verified_joins_accounts() {
    let Some((app, provider)) = with_provider(Key::es256("one"), &[]).await else {
        return;
    };
    let email = address();
    let known = app.sign_up(&email).await;
    app.clock.advance(1);
    provider.says.lock().claims = someone("s1", &email);
    let back = sign_in(&app, &provider, "provider=acme").await;
    let user = app
        .get("/user")
        .bearer(&back.fragment["access_token"])
        .send()
        .await
        .ok();
    assert_eq!(user["id"], known["user"]["id"]);
    assert_eq!(user["app_metadata"]["providers"], json!(["email", "acme"]));

    // An address that the provider did not verify is nobody's proof.
    let victim = address();
    let known = app.sign_up(&victim).await;
    provider.says.lock().claims =
        json!({ "sub": "thief", "email": victim, "email_verified": false });
    let back = sign_in(&app, &provider, "provider=acme").await;
    if let Some(token) = back.fragment.get("access_token") {
        let user = app.get("/user").bearer(token).send().await.ok();
        assert_ne!(user["id"], known["user"]["id"]);
        assert_ne!(user["email"], victim.as_str());
    }
    app.sign_in(&victim, PASSWORD).await.ok();
}

#[tokio::test]
async fn whoever_prepared_an_account_for_a_stranger_loses_it() {
    let Some((app, provider)) =
        with_provider(Key::es256("one"), &[("MAILER_AUTOCONFIRM", "false")]).await
    else {
        return;
    };
    // The thief signs up with the victim's address, and waits.
    let victim = address();
    app.sign_up(&victim).await;
    provider.says.lock().claims = someone("s1", &victim);
    let back = sign_in(&app, &provider, "provider=acme").await;
    let user = app
        .get("/user")
        .bearer(&back.fragment["access_token"])
        .send()
        .await
        .ok();
    assert_eq!(user["email"], victim.as_str());
    assert_eq!(
        user["identities"].as_array().unwrap().len(),
        1,
        "only the provider's"
    );
    app.sign_in(&victim, PASSWORD)
        .await
        .refused(400, "invalid_credentials");
}

#[tokio::test]
async fn an_unverified_address_has_to_be_confirmed_first() {
    let Some((app, provider)) =
        with_provider(Key::es256("one"), &[("MAILER_AUTOCONFIRM", "false")]).await
    else {
        return;
    };
    let email = address();
    provider.says.lock().claims = json!({ "sub": "s1", "email": email, "email_verified": false });
    let back = sign_in(&app, &provider, "provider=acme").await;
    assert_eq!(
        back.query["error_code"],
        "provider_email_needs_verification"
    );
    let link = app.mail(&email).link;
    let location = app.get(App::path_of(&link)).send().await.location();
    assert!(location.fragment.contains_key("access_token"));
    let back = sign_in(&app, &provider, "provider=acme").await;
    assert!(back.fragment.contains_key("access_token"), "{back:?}");
}

#[tokio::test]
async fn tokens_that_are_not_for_us_sign_nobody_in() {
    let Some((app, provider)) = with_provider(Key::es256("one"), &[]).await else {
        return;
    };
    let stranger = Key::es256("one");
    let issuer = provider.issuer.clone();
    let good = json!({ "sub": "s1", "email": "a@b.co", "email_verified": true });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    for (what, claims) in [
        ("another audience", with("aud", json!("someone-else"))),
        (
            "several audiences",
            with("aud", json!([CLIENT_ID, "someone-else"])),
        ),
        ("another issuer", with("iss", json!("http://127.0.0.1:1"))),
        ("expired", with("exp", json!(START - 120))),
        ("from the future", with("iat", json!(START + 600))),
        ("another nonce", with("nonce", json!("another"))),
        (
            "another access token",
            with("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
        ),
    ] {
        provider.says.lock().claims = claims;
        let back = sign_in(&app, &provider, "provider=acme").await;
        assert!(back.query.contains_key("error"), "{what}: {back:?}");
        assert!(!back.fragment.contains_key("access_token"), "{what}");
    }
    // Signed by someone else, not at all, and with the public key as a secret.
    let mut claims = good.clone();
    claims["iss"] = issuer.into();
    claims["aud"] = CLIENT_ID.into();
    claims["exp"] = (START + 600).into();
    let none = format!(
        "eyJhbGciOiJub25lIiwia2lkIjoib25lIn0.{}.",
        base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims.to_string())
    );
    for token in [
        stranger.sign(&claims),
        none,
        "x.y.z".to_owned(),
        String::new(),
    ] {
        let location = app.get("/authorize?provider=acme").send().await.location();
        claims["nonce"] = location.query["nonce"].clone().into();
        provider.says.lock().id_token = Some(token);
        let back = come_back(&app, &provider, &location).await;
        assert!(back.query.contains_key("error"), "{back:?}");
    }
    assert_eq!(app.sql("select count(*) from auth.users").await, "0");
}

#[tokio::test]
async fn a_key_that_is_new_is_fetched_but_not_over_and_over() {
    let Some((app, provider)) = with_provider(Key::es256("one"), &[]).await else {
        return;
    };
    provider.says.lock().claims = someone("s1", &address());
    sign_in(&app, &provider, "provider=acme").await;
    assert_eq!(provider.says.lock().fetches, 1);
    let next = Key::es256("two");
    provider.publish(&next);
    provider.says.lock().key = next;
    app.clock.advance(31);
    let back = sign_in(&app, &provider, "provider=acme").await;
    assert!(back.fragment.contains_key("access_token"), "{back:?}");
    let fetches = provider.says.lock().fetches;
    provider.says.lock().key = Key::es256("three");
    for _ in 0..5 {
        let back = sign_in(&app, &provider, "provider=acme").await;
        assert!(back.query.contains_key("error"));
    }
    assert!(
        provider.says.lock().fetches <= fetches + 1,
        "unknown keys are no lever"
    );
}

#[tokio::test]
async fn states_are_ours_and_end() {
    let Some((app, provider)) = with_provider(Key::es256("one"), &[]).await else {
        return;
    };
    provider.says.lock().claims = someone("s1", &address());
    for query in ["code=x", "code=x&state=nonsense", "code=x&state=a.b.c"] {
        let back = app
            .get(format!("/callback?{query}"))
            .send()
            .await
            .location();
        assert!(matches!(
            back.query["error_code"].as_str(),
            "bad_oauth_state" | "bad_oauth_callback"
        ));
        assert_eq!(back.base(), "http://app.example/");
    }
    let location = app.get("/authorize?provider=acme").send().await.location();
    app.clock.advance(301);
    let back = come_back(&app, &provider, &location).await;
    assert_eq!(back.query["error_code"], "bad_oauth_state");
    // An access token of ours is no state.
    let session = app.sign_up(&address()).await;
    let token = session["access_token"].as_str().unwrap();
    let back = app
        .get(format!("/callback?code=x&state={token}"))
        .send()
        .await
        .location();
    assert_eq!(back.query["error_code"], "bad_oauth_state");
    // And a state no access token.
    let state = &app
        .get("/authorize?provider=acme")
        .send()
        .await
        .location()
        .query["state"]
        .clone();
    app.get("/user")
        .bearer(state)
        .send()
        .await
        .refused(403, "bad_jwt");
}

#[tokio::test]
async fn what_the_provider_refuses_is_passed_on_without_its_markup() {
    let Some((app, provider)) = with_provider(Key::es256("one"), &[]).await else {
        return;
    };
    let _ = &provider;
    let location = app.get("/authorize?provider=acme").send().await.location();
    let state = &location.query["state"];
    let path = format!(
        "/callback?state={state}&error=access_denied&error_description=No%20thanks%0d%0aX:y"
    );
    let answer = app.get(path).send().await;
    let back = answer.location();
    assert_eq!(back.query["error"], "access_denied");
    assert!(back.query["error_description"].starts_with("No thanks"));
    assert!(!answer.header("location").contains('\n'));
}

#[tokio::test]
async fn providers_have_to_be_known() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    for path in [
        "/authorize",
        "/authorize?provider=github",
        "/authorize?provider=nonsense",
    ] {
        let answer = app.get(path).send().await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "validation_failed"),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn github_tells_addresses_by_itself() {
    let Some((app, provider)) = with_provider(Key::es256("one"), &[]).await else {
        return;
    };
    let email = address();
    provider.says.lock().github = (
        json!({ "id": 77, "login": "ada", "name": "Ada", "avatar_url": "https://a.example/1" }),
        json!([
            { "email": "old@example.com", "primary": false, "verified": true },
            { "email": email.to_uppercase(), "primary": true, "verified": true },
            { "email": "unproven@example.com", "primary": false, "verified": false },
        ]),
    );
    let location = app
        .get("/authorize?provider=github")
        .send()
        .await
        .location();
    assert!(
        location
            .url
            .as_str()
            .starts_with(&format!("{}/login/oauth/authorize?", provider.issuer))
    );
    let back = come_back(&app, &provider, &location).await;
    let user = app
        .get("/user")
        .bearer(&back.fragment["access_token"])
        .send()
        .await
        .ok();
    assert_eq!(user["email"], email.as_str());
    assert_eq!(user["user_metadata"]["user_name"], "ada");
    assert_eq!(user["identities"][0]["id"], "77");
}
