//! `POST /api/auth/refresh`

use serde_json::json;

use crate::services::{Stack, WAYS};

#[tokio::test]
async fn a_refresh_token_gets_the_next_one() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        let ada = stack.user("ada").await;
        let post = async |token: &str| {
            let call = stack.api.post("/api/auth/refresh");
            call.json(&json!({ "refresh_token": token })).send().await
        };
        let reply = post(&ada.refresh_token).await;
        assert_eq!(reply.status, 200, "{way:?}: {}", reply.text());
        let session = &reply.json()["session"];
        assert_ne!(session["refresh_token"], ada.refresh_token);
        let token = session["access_token"].as_str().expect("a token");
        let me = stack.get(token, "/api/auth/user").await;
        assert_eq!(me.json()["user"]["id"], ada.id);

        for token in ["unknown", "' or 1=1 --", &ada.token] {
            let reply = post(token).await;
            let expected = (401, "INVALID_REFRESH_TOKEN".to_owned());
            assert_eq!(reply.error(), expected, "{way:?}: {}", reply.text());
        }
    }
}
