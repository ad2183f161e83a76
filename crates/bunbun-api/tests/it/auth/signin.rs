//! `POST /api/auth/signin`

use serde_json::json;

use crate::services::{PASSWORD, Stack, WAYS, address};

#[tokio::test]
async fn a_password_gets_a_session_and_a_wrong_one_never_says_why() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        let ada = stack.user("ada").await;
        let post = async |email: String, password: &str| {
            let body = json!({ "email": email, "password": password });
            let call = stack.api.post("/api/auth/signin").json(&body);
            call.send().await
        };
        let reply = post(address("ada"), PASSWORD).await;
        assert_eq!(reply.status, 200, "{way:?}: {}", reply.text());
        assert_eq!(reply.json()["user"]["id"], ada.id);
        let token = reply.json()["session"]["access_token"].clone();
        let me = stack.get(token.as_str().expect("a token"), "/api/auth/user");
        assert_eq!(me.await.json()["user"]["id"], ada.id);

        let wrong = post(address("ada"), "wrong").await;
        let unknown = post(address("nobody"), PASSWORD).await;
        let expected = (401, "INVALID_CREDENTIALS".to_owned());
        assert_eq!(wrong.error(), expected, "{way:?}");
        assert_eq!(wrong.text(), unknown.text());
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_503() {
    let api = crate::api::Api::without_database();
    let body = json!({ "email": address("ada"), "password": PASSWORD });
    let reply = api.post("/api/auth/signin").json(&body).send().await;
    assert_eq!(reply.error(), (503, "SERVICE_UNAVAILABLE".to_owned()));
    assert!(!reply.header("retry-after").is_empty());
}
