//! `/admin/users`.

use serde_json::{Value, json};

use crate::app::{App, PASSWORD, START, address};

async fn create(app: &App, body: &Value) -> Value {
    app.post("/admin/users", body).by_admin().send().await.ok()
}

#[tokio::test]
async fn a_user_is_created_read_changed_and_deleted() {
    let Some(app) = App::start(&[("MAILER_AUTOCONFIRM", "false")]).await else {
        return;
    };
    let email = address();
    let user = create(&app, &json!({
        "email": email.to_uppercase(), "password": PASSWORD, "email_confirm": true,
        "user_metadata": { "name": "Ada" }, "app_metadata": { "plan": "pro" }, "role": "authenticated",
    }))
    .await;
    assert_eq!(user["email"], email.as_str());
    assert_eq!(
        user["app_metadata"],
        json!({ "plan": "pro", "provider": "email", "providers": ["email"] })
    );
    assert!(app.mailbox.mails().is_empty());
    let session = app.sign_in(&email, PASSWORD).await.ok();
    assert_eq!(app.claims(&session)["app_metadata"]["plan"], "pro");
    let path = format!("/admin/users/{}", user["id"].as_str().unwrap());
    assert_eq!(
        app.get(&path).by_admin().send().await.ok()["email"],
        email.as_str()
    );
    let new = address();
    let changed = app
        .put(
            &path,
            &json!({
                "email": new, "email_confirm": true, "password": "a new long password",
                "app_metadata": { "plan": null, "seats": 3 }, "user_metadata": { "name": "Bea" },
            }),
        )
        .by_admin()
        .send()
        .await
        .ok();
    assert_eq!(changed["email"], new.as_str());
    assert_eq!(
        changed["app_metadata"],
        json!({ "seats": 3, "provider": "email", "providers": ["email"] })
    );
    assert_eq!(changed["user_metadata"]["name"], "Bea");
    assert_eq!(
        changed["identities"][0]["identity_data"]["email"],
        new.as_str()
    );
    app.sign_in(&email, PASSWORD)
        .await
        .refused(400, "invalid_credentials");
    app.sign_in(&new, "a new long password").await.ok();
    app.delete(&path).by_admin().send().await.ok();
    app.get(&path)
        .by_admin()
        .send()
        .await
        .refused(404, "user_not_found");
    app.get("/user")
        .by(&session)
        .send()
        .await
        .refused(403, "user_not_found");
    assert_eq!(app.sql("select count(*) from auth.sessions").await, "0");
}

#[tokio::test]
async fn a_soft_deletion_keeps_the_id_and_no_person() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let session = app.sign_up(&email).await;
    let id = session["user"]["id"].as_str().unwrap();
    let path = format!("/admin/users/{id}");
    app.delete(&path)
        .json(&json!({ "should_soft_delete": true }))
        .by_admin()
        .send()
        .await
        .ok();
    assert_eq!(
        app.sql(&format!(
            "select count(*) from auth.users where id = '{id}' and deleted_at is not null"
        ))
        .await,
        "1"
    );
    let left = app.sql("select (select json_agg(u) from auth.users u)::text || (select json_agg(i) from auth.identities i)::text").await;
    assert!(!left.contains(&email), "{left}");
    app.sign_in(&email, PASSWORD)
        .await
        .refused(400, "invalid_credentials");
    app.get("/user")
        .by(&session)
        .send()
        .await
        .refused(403, "session_not_found");
    // The address is free again.
    app.sign_up(&email).await;
}

#[tokio::test]
async fn pages_have_links_and_a_count() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    for n in 0..7 {
        create(&app, &json!({ "email": format!("page{n}@example.com") })).await;
        app.clock.advance(1);
    }
    let first = app
        .get("/admin/users?page=1&per_page=3")
        .by_admin()
        .send()
        .await;
    assert_eq!(first.header("x-total-count"), "7");
    assert_eq!(
        first.header("link"),
        "</admin/users?page=2&per_page=3>; rel=\"next\", </admin/users?page=3&per_page=3>; rel=\"last\""
    );
    let emails = |body: &Value| -> Vec<String> {
        let users = body["users"].as_array().unwrap();
        users
            .iter()
            .map(|user| user["email"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(first.body["aud"], "authenticated");
    assert_eq!(
        emails(&first.body),
        [
            "page6@example.com",
            "page5@example.com",
            "page4@example.com"
        ]
    );
    let last = app
        .get("/admin/users?page=3&per_page=3")
        .by_admin()
        .send()
        .await;
    assert_eq!(emails(&last.body), ["page0@example.com"]);
    assert_eq!(
        last.header("link"),
        "</admin/users?page=3&per_page=3>; rel=\"last\""
    );
    assert_eq!(
        emails(
            &app.get("/admin/users?page=9&per_page=3")
                .by_admin()
                .send()
                .await
                .ok()
        ),
        [""; 0]
    );
    assert_eq!(
        emails(&app.get("/admin/users").by_admin().send().await.ok()).len(),
        7
    );
    let found = app
        .get("/admin/users?filter=PAGE3")
        .by_admin()
        .send()
        .await
        .ok();
    assert_eq!(emails(&found), ["page3@example.com"]);
    assert_eq!(
        emails(
            &app.get("/admin/users?filter=%25")
                .by_admin()
                .send()
                .await
                .ok()
        ),
        [""; 0],
        "no wildcard of the user's"
    );
    for bad in ["page=x", "per_page=0", "per_page=-1", "sort=password"] {
        app.get(format!("/admin/users?{bad}"))
            .by_admin()
            .send()
            .await
            .refused(400, "validation_failed");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let taken = address();
    app.sign_up(&taken).await;
    for (body, status, code) in [
        (json!({}), 400, "validation_failed"),
        (json!({ "email": "nobody" }), 400, "validation_failed"),
        (json!({ "email": taken }), 422, "email_exists"),
        (
            json!({ "email": address(), "password": "x".repeat(73) }),
            400,
            "validation_failed",
        ),
        (
            json!({ "email": address(), "id": "nonsense" }),
            400,
            "validation_failed",
        ),
        (
            json!({ "email": address(), "ban_duration": "soon" }),
            400,
            "validation_failed",
        ),
        (
            json!({ "email": address(), "password_hash": "md5" }),
            400,
            "validation_failed",
        ),
        (
            json!({ "email": address(), "password": PASSWORD, "password_hash": "$2b$" }),
            400,
            "validation_failed",
        ),
    ] {
        let answer = app.post("/admin/users", &body).by_admin().send().await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{body}: {}",
            answer.text
        );
    }
    app.get("/admin/users/nonsense")
        .by_admin()
        .send()
        .await
        .refused(404, "validation_failed");
    let unknown = "/admin/users/c9b1a3b0-0000-4000-8000-000000000000";
    app.get(unknown)
        .by_admin()
        .send()
        .await
        .refused(404, "user_not_found");
    app.put(unknown, &json!({}))
        .by_admin()
        .send()
        .await
        .refused(404, "user_not_found");
    app.delete(unknown)
        .by_admin()
        .send()
        .await
        .refused(404, "user_not_found");
}

#[tokio::test]
async fn a_user_may_have_an_id_of_the_owners() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let id = "c9b1a3b0-0000-4000-8000-000000000001";
    let user = create(
        &app,
        &json!({ "id": id, "email": address(), "ban_duration": "10s" }),
    )
    .await;
    assert_eq!(user["id"], id);
    assert_eq!(user["banned_until"], "2027-01-15T08:00:10Z");
    assert_eq!(START, 1_800_000_000);
    let again = json!({ "id": id, "email": address() });
    let answer = app.post("/admin/users", &again).by_admin().send().await;
    assert!(matches!(answer.status, 400 | 422), "{}", answer.text);
}

#[tokio::test]
async fn what_was_sent_to_the_old_address_ends_with_it() {
    let Some(app) = App::start(&[("MAILER_AUTOCONFIRM", "false")]).await else {
        return;
    };
    let (old, wanted, new) = (address(), address(), address());
    let body = json!({ "email": old, "password": PASSWORD, "email_confirm": true });
    let user = create(&app, &body).await;
    let session = app.sign_in(&old, PASSWORD).await.ok();
    app.post("/recover", &json!({ "email": old }))
        .send()
        .await
        .ok();
    let recovery = app.mail(&old);
    let body = json!({ "email": wanted });
    app.put("/user", &body).by(&session).send().await.ok();
    let half = App::path_of(&app.mail(&old).link);
    app.get(half).send().await.location();

    let path = format!("/admin/users/{}", user["id"].as_str().unwrap());
    let body = json!({ "email": new, "email_confirm": true });
    app.put(&path, &body).by_admin().send().await.ok();
    let by_link = json!({ "type": "recovery", "token_hash": recovery.token_hash });
    let by_code = json!({ "type": "recovery", "email": new, "token": recovery.token });
    for body in [by_link, by_code] {
        app.post("/verify", &body)
            .send()
            .await
            .refused(403, "otp_expired");
    }
    let other = App::path_of(&app.mail(&wanted).link);
    let back = app.get(other).send().await.location();
    assert_eq!(back.fragment["error_code"], "otp_expired");
    let user = app.get(&path).by_admin().send().await.ok();
    assert_eq!(
        (&user["email"], &user["new_email"]),
        (&json!(new), &Value::Null)
    );
}
