//! `POST /token`.

mod id_token;
mod password;
pub(crate) mod pkce;
mod refresh_token;

use serde_json::json;

use crate::app::App;

#[tokio::test]
async fn other_grants_are_refused() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    for (path, status, code) in [
        ("/token", 400, "invalid_credentials"),
        (
            "/token?grant_type=client_credentials",
            400,
            "invalid_credentials",
        ),
        ("/token?grant_type=web3", 422, "web3_provider_disabled"),
    ] {
        app.post(path, &json!({}))
            .send()
            .await
            .refused(status, code);
    }
    assert_eq!(
        app.get("/token?grant_type=password").send().await.status,
        405
    );
}
