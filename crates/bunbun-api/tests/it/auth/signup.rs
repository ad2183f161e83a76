//! `POST /api/auth/signup`

use serde_json::json;

use crate::services::{PASSWORD, Stack, WAYS, address};

#[tokio::test]
async fn a_new_user_gets_a_session_and_no_secret_is_told() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        let body =
            json!({ "email": address("ada"), "password": PASSWORD, "data": { "name": "Ada" } });
        let call = stack.api.post("/api/auth/signup").json(&body);
        let reply = call.send().await;
        assert_eq!(reply.status, 200, "{way:?}: {}", reply.text());
        let answer = reply.json();
        assert_eq!(answer["user"]["email"], "ada@example.com");
        assert_eq!(answer["user"]["role"], "authenticated");
        assert_eq!(answer["user"]["user_metadata"]["name"], "Ada");
        assert_eq!(answer["user"]["phone"], json!(null));
        assert_eq!(answer["session"]["token_type"], "bearer");
        assert!(answer["session"]["expires_at"].is_i64());
        for secret in [PASSWORD, "encrypted", &crate::api::service_key()] {
            assert!(!reply.text().contains(secret), "{way:?}: {secret}");
        }
    }
}

#[tokio::test]
async fn refusals_have_our_envelope_and_their_codes() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        let post = async |body| {
            let call = stack.api.post("/api/auth/signup").json(&body);
            call.send().await
        };
        stack.user("taken").await;
        let taken = json!({ "email": address("taken"), "password": PASSWORD });
        let reply = post(taken).await;
        assert_eq!(reply.error(), (409, "USER_EXISTS".to_owned()), "{way:?}");
        let reply = post(json!({ "email": address("weak"), "password": "1" })).await;
        assert_eq!(reply.error(), (400, "WEAK_PASSWORD".to_owned()), "{way:?}");
        let details = &reply.json()["error"]["details"];
        assert_eq!(details["reasons"], json!(["length"]));
        assert_eq!(details["service"], "auth");
        for body in [
            json!({ "email": "nonsense", "password": PASSWORD }),
            json!({ "email": "@", "password": PASSWORD }),
            json!({ "email": "a@b\r\nBcc: c@d", "password": PASSWORD }),
            json!({ "email": address("x"), "password": "" }),
            json!({ "email": address("x"), "password": "p".repeat(1025) }),
            json!({ "email": format!("{}@example.com", "x".repeat(300)), "password": PASSWORD }),
        ] {
            let reply = post(body.clone()).await;
            assert_eq!(reply.status, 400, "{way:?} {body}: {}", reply.text());
        }
        for body in [
            json!({ "email": address("x") }),
            json!({ "email": address("x"), "password": PASSWORD, "role": "service_role" }),
            json!({ "email": address("x"), "password": PASSWORD, "data": [] }),
        ] {
            let reply = post(body.clone()).await;
            assert_eq!(reply.error(), (400, "INVALID_REQUEST".to_owned()), "{body}");
        }
    }
}
