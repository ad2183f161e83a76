//! `GET /api/auth/user`

use bunbun_core::clock::{Clock as _, SystemClock};

use crate::{
    api::{SECRET, token},
    services::{Stack, WAYS},
};

#[tokio::test]
async fn a_user_is_who_the_auth_service_knows() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        let ada = stack.user("ada").await;
        let reply = stack.get(&ada.token, "/api/auth/user").await;
        assert_eq!(reply.status, 200, "{way:?}: {}", reply.text());
        assert_eq!(reply.json()["user"]["email"], "ada@example.com");
        // Signed by us, of a user that there is not.
        let later = SystemClock.unix_seconds() + 600;
        let nobody = token(SECRET, "authenticated", later);
        let reply = stack.get(&nobody, "/api/auth/user").await;
        assert!(
            matches!(reply.status.as_u16(), 401 | 404),
            "{way:?}: {}",
            reply.text()
        );
    }
}
