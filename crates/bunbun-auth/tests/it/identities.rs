//! `/user/identities`.

use serde_json::json;

use crate::{
    app::{Location, PASSWORD, address},
    authorize::{come_back, with_provider},
    provider::Key,
};

#[tokio::test]
async fn an_identity_is_linked_and_unlinked() {
    let settings = [("SECURITY_MANUAL_LINKING_ENABLED", "true")];
    let Some((app, provider)) = with_provider(Key::es256("one"), &settings).await else {
        return;
    };
    let email = address();
    let session = app.sign_up(&email).await;
    provider.says.lock().claims =
        json!({ "sub": "s9", "email": "work@example.com", "email_verified": true });
    let path = "/user/identities/authorize?provider=acme&skip_http_redirect=true";
    app.get(path).send().await.refused(401, "no_authorization");
    let url = app.get(path).by(&session).send().await.ok()["url"].clone();
    let back = come_back(&app, &provider, &Location::read(url.as_str().unwrap())).await;
    let user = app
        .get("/user")
        .bearer(&back.fragment["access_token"])
        .send()
        .await
        .ok();
    assert_eq!(user["id"], session["user"]["id"]);
    assert_eq!(user["email"], email.as_str(), "the address stays");
    assert_eq!(user["identities"].as_array().unwrap().len(), 2);

    // Whoever has it already gets no second one, and nobody else either.
    let url = app.get(path).by(&session).send().await.ok()["url"].clone();
    let again = come_back(&app, &provider, &Location::read(url.as_str().unwrap())).await;
    assert_eq!(again.query["error_code"], "identity_already_exists");
    let other = app.sign_up(&address()).await;
    let url = app.get(path).by(&other).send().await.ok()["url"].clone();
    let theirs = come_back(&app, &provider, &Location::read(url.as_str().unwrap())).await;
    assert_eq!(theirs.query["error_code"], "identity_already_exists");

    let id = user["identities"]
        .as_array()
        .unwrap()
        .iter()
        .find(|identity| identity["provider"] == "acme")
        .unwrap()["identity_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/user/identities/{id}");
    app.delete(&path)
        .by(&other)
        .send()
        .await
        .refused(422, "single_identity_not_deletable");
    app.delete(&path).by(&session).send().await.ok();
    let user = app.get("/user").by(&session).send().await.ok();
    assert_eq!(user["app_metadata"]["providers"], json!(["email"]));
    let last = user["identities"][0]["identity_id"].as_str().unwrap();
    let path = format!("/user/identities/{last}");
    app.delete(path)
        .by(&session)
        .send()
        .await
        .refused(422, "single_identity_not_deletable");
    app.sign_in(&email, PASSWORD).await.ok();
}

#[tokio::test]
async fn unlinking_takes_no_address_that_nobody_verified() {
    let settings = [("SECURITY_MANUAL_LINKING_ENABLED", "true")];
    let Some((app, provider)) = with_provider(Key::es256("one"), &settings).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    provider.says.lock().claims =
        json!({ "sub": "s9", "email": "boss@example.com", "email_verified": false });
    let path = "/user/identities/authorize?provider=acme&skip_http_redirect=true";
    let url = app.get(path).by(&session).send().await.ok()["url"].clone();
    come_back(&app, &provider, &Location::read(url.as_str().unwrap())).await;
    let id = session["user"]["identities"][0]["identity_id"]
        .as_str()
        .unwrap();
    app.delete(format!("/user/identities/{id}"))
        .by(&session)
        .send()
        .await
        .ok();
    let user = app.get("/user").by(&session).send().await.ok();
    assert_eq!(user["email"], "", "nobody has shown to be the boss");
}

#[tokio::test]
async fn linking_is_off_unless_turned_on() {
    let Some((app, _provider)) = with_provider(Key::es256("one"), &[]).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    let path = "/user/identities/authorize?provider=acme";
    app.get(path)
        .by(&session)
        .send()
        .await
        .refused(404, "manual_linking_disabled");
    let path = "/user/identities/c9b1a3b0-0000-4000-8000-000000000000";
    app.delete(path)
        .by(&session)
        .send()
        .await
        .refused(404, "manual_linking_disabled");
}

#[tokio::test]
async fn an_identity_is_linked_by_its_token() {
    let settings = [("SECURITY_MANUAL_LINKING_ENABLED", "true")];
    let Some((app, provider)) = with_provider(Key::es256("one"), &settings).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    let claims = json!({ "sub": "s9", "email": "work@example.com", "email_verified": true });
    let body = json!({
        "provider": "acme", "id_token": provider.id_token(&claims), "link_identity": true,
    });
    let path = "/token?grant_type=id_token";
    app.post(path, &body)
        .send()
        .await
        .refused(401, "no_authorization");
    let linked = app.post(path, &body).by(&session).send().await.ok();
    assert_eq!(linked["user"]["id"], session["user"]["id"]);
    assert_eq!(linked["user"]["identities"].as_array().unwrap().len(), 2);
    app.post(path, &body)
        .by(&session)
        .send()
        .await
        .refused(422, "identity_already_exists");
}
