//! `DELETE /api/storage/delete/{bucket}/{path}`

use serde_json::json;

use crate::{
    api::service_key,
    services::{Stack, WAYS},
};

#[tokio::test]
async fn an_object_goes_once() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        stack.bucket("b").await;
        let owner = service_key();
        stack.put(&owner, "b", "folder/a", b"x").await;
        let path = "/api/storage/delete/b/folder/a";
        let reply = stack.delete(&owner, path).await;
        assert_eq!(reply.json(), json!({ "success": true }), "{way:?}");
        let again = stack.delete(&owner, path).await;
        let expected = (404, "OBJECT_NOT_FOUND".to_owned());
        assert_eq!(again.error(), expected, "{way:?}: {}", again.text());
    }
}
