//! `/admin/*` and `/invite`.

mod audit;
mod generate_link;
mod invite;
mod users;

use serde_json::json;

use crate::app::{App, address};

#[tokio::test]
async fn only_the_owner_may() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    let id = session["user"]["id"].as_str().unwrap();
    let empty = json!({});
    for (method, path) in [
        ("GET", "/admin/users".to_owned()),
        ("POST", "/admin/users".to_owned()),
        ("GET", format!("/admin/users/{id}")),
        ("PUT", format!("/admin/users/{id}")),
        ("DELETE", format!("/admin/users/{id}")),
        ("GET", format!("/admin/users/{id}/factors")),
        ("GET", "/admin/audit".to_owned()),
        ("POST", "/admin/generate_link".to_owned()),
        ("POST", "/invite".to_owned()),
    ] {
        let call = || app.call(method.parse().unwrap(), &path).json(&empty);
        call().send().await.refused(401, "no_authorization");
        call().by_anon().send().await.refused(403, "not_admin");
        call().by(&session).send().await.refused(403, "not_admin");
        call()
            .bearer("nonsense")
            .send()
            .await
            .refused(403, "bad_jwt");
    }
    app.get("/user").by(&session).send().await.ok();
}
