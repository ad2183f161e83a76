//! `POST /api/auth/signout`

use serde_json::json;

use crate::services::{PASSWORD, Stack, WAYS, address};

#[tokio::test]
async fn the_sessions_of_the_scope_end() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        let first = stack.user("ada").await;
        let sign_in = async || {
            let body = json!({ "email": address("ada"), "password": PASSWORD });
            let call = stack.api.post("/api/auth/signin").json(&body);
            let session = call.send().await.json()["session"].clone();
            session["access_token"]
                .as_str()
                .expect("a token")
                .to_owned()
        };
        let (second, third) = (sign_in().await, sign_in().await);
        let status = async |token: &str| stack.get(token, "/api/auth/user").await.status.as_u16();
        let sign_out = async |token: &str, query: &str| {
            let call = stack.api.post(&format!("/api/auth/signout{query}"));
            call.bearer(token).send().await
        };
        let reply = sign_out(&first.token, "?scope=local").await;
        assert_eq!(reply.json(), json!({ "success": true }), "{way:?}");
        assert_eq!(status(&first.token).await, 401);
        assert_eq!(status(&second).await, 200);
        assert_eq!(sign_out(&second, "?scope=others").await.status, 200);
        assert_eq!([status(&second).await, status(&third).await], [200, 401]);
        assert_eq!(sign_out(&second, "").await.status, 200);
        let gone = stack.get(&second, "/api/auth/user").await;
        assert_eq!(gone.error(), (401, "SESSION_NOT_FOUND".to_owned()));
        for query in ["?scope=all", "?scope=local&scope=global", "?x=1"] {
            assert_eq!(sign_out(&third, query).await.status, 400, "{query}");
        }
    }
}
