//! `POST /api/auth/admin/users`

use serde_json::{Value, json};

use crate::services::{PASSWORD, Stack, WAYS, address};

#[tokio::test]
async fn the_owner_makes_finds_changes_and_deletes_users() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        let post = async |body: Value| {
            let call = stack.api.post("/api/auth/admin/users").owner();
            call.json(&body).send().await
        };
        let data = json!({ "email": address("made"), "password": PASSWORD, "email_confirm": true,
            "app_metadata": { "plan": "pro" } });
        let made = post(json!({ "action": "create", "data": data })).await;
        assert_eq!(made.status, 200, "{way:?}: {}", made.text());
        let id = made.json()["user"]["id"].clone();
        let again = post(json!({ "action": "create", "data": data })).await;
        assert_eq!(again.error(), (409, "USER_EXISTS".to_owned()), "{way:?}");

        let found = post(json!({ "action": "get", "data": { "id": id } })).await;
        assert_eq!(found.json()["user"]["app_metadata"]["plan"], "pro");
        let change = json!({ "id": id, "user_metadata": { "name": "Ada" } });
        let changed = post(json!({ "action": "update", "data": change })).await;
        assert_eq!(changed.json()["user"]["user_metadata"]["name"], "Ada");

        stack.user("other").await;
        let page = post(json!({ "action": "list", "page": 1, "per_page": 1 })).await;
        assert_eq!(page.json()["users"].as_array().map(Vec::len), Some(1));
        assert_eq!(page.json()["total"], 2, "{way:?}");

        let deleted = post(json!({ "action": "delete", "data": { "id": id } })).await;
        assert_eq!(deleted.json()["user"]["id"], id, "{way:?}");
        for action in ["get", "update", "delete"] {
            let reply = post(json!({ "action": action, "data": { "id": id } })).await;
            let expected = (404, "USER_NOT_FOUND".to_owned());
            assert_eq!(reply.error(), expected, "{way:?} {action}");
        }
    }
}

#[tokio::test]
async fn actions_that_make_no_sense_are_refused() {
    let Some(stack) = Stack::start(WAYS[0]).await else {
        return;
    };
    for (body, code) in [
        (json!({ "action": "get" }), "VALIDATION_FAILED"),
        (
            json!({ "action": "delete", "data": {} }),
            "VALIDATION_FAILED",
        ),
        (
            json!({ "action": "list", "per_page": 0 }),
            "VALIDATION_FAILED",
        ),
        (json!({ "action": "list", "page": 0 }), "VALIDATION_FAILED"),
        (
            json!({ "action": "list", "per_page": 1001 }),
            "VALIDATION_FAILED",
        ),
        (
            json!({ "action": "get", "data": { "id": "../users" } }),
            "INVALID_REQUEST",
        ),
        (json!({ "action": "drop" }), "INVALID_REQUEST"),
        (
            json!({ "action": "get", "data": { "is_super_admin": true } }),
            "INVALID_REQUEST",
        ),
        (json!({}), "INVALID_REQUEST"),
    ] {
        let call = stack.api.post("/api/auth/admin/users").owner();
        let reply = call.json(&body).send().await;
        assert_eq!(reply.error(), (400, code.to_owned()), "{body}");
    }
    let ada = stack.user("ada").await;
    let call = stack.api.post("/api/auth/admin/users").bearer(&ada.token);
    let reply = call.json(&json!({ "action": "list" })).send().await;
    assert_eq!(reply.error(), (403, "FORBIDDEN".to_owned()));
}
