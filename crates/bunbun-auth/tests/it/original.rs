//! A database of the original: used as it is.

use std::sync::Arc;

use bunbun_test::TestDb;
use serde_json::json;

use crate::app::{App, PASSWORD, address};

/// A database as the original leaves it: its history table, and what older versions lack.
async fn database(mark: &str) -> Option<Arc<TestDb>> {
    let app = App::start(&[]).await?;
    app.execute(&format!(
        "create table auth.schema_migrations (version varchar(14) primary key);
         insert into auth.schema_migrations values ('20260101000000');
         {mark}"
    ))
    .await;
    Some(Arc::clone(&app.database))
}

#[tokio::test]
async fn refresh_tokens_stay_as_the_original_keeps_them() {
    let Some(database) = database("").await else {
        return;
    };
    let app = App::on(database, &[]);
    let email = address();
    let session = app.sign_up(&email).await;
    let stored = app.sql("select token from auth.refresh_tokens").await;
    assert_eq!(session["refresh_token"], stored.as_str());
    let next = app.refresh(&session["refresh_token"]).await.ok();
    assert_eq!(
        app.sql("select token from auth.refresh_tokens where not revoked")
            .await,
        next["refresh_token"].as_str().unwrap()
    );
    assert_eq!(
        app.sql("select parent from auth.refresh_tokens where not revoked")
            .await,
        stored,
        "the original finds the parent as well"
    );
    // A token that the original made.
    app.execute(
        "update auth.refresh_tokens set token = 'Orig1naL_tok-en', parent = null where not revoked",
    )
    .await;
    let next = app.refresh(&json!("Orig1naL_tok-en")).await.ok();
    let again = app.refresh(&json!("Orig1naL_tok-en")).await.ok();
    assert_eq!(again["refresh_token"], next["refresh_token"]);
    app.clock.advance(11);
    let third = app.refresh(&next["refresh_token"]).await.ok();
    app.refresh(&json!("Orig1naL_tok-en"))
        .await
        .refused(400, "refresh_token_already_used");
    app.refresh(&third["refresh_token"])
        .await
        .refused(400, "refresh_token_already_used");
    app.sign_in(&email, PASSWORD).await.ok();
}

#[tokio::test]
async fn clear_tokens_that_came_into_our_own_database_are_accepted() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    app.sign_up(&address()).await;
    app.execute("update auth.refresh_tokens set token = 'fromBefore123'")
        .await;
    let next = app.refresh(&json!("fromBefore123")).await.ok();
    let again = app.refresh(&json!("fromBefore123")).await.ok();
    assert_eq!(again["refresh_token"], next["refresh_token"]);
    assert!(
        app.sql("select token from auth.refresh_tokens where not revoked")
            .await
            .starts_with("sha256:")
    );
}

#[tokio::test]
async fn a_schema_of_somebody_else_is_not_changed() {
    // The original's tables belong to its own role; ours may use them and no more.
    let Some(database) = database(
        "drop function if exists auth.bunbun_refresh_token;
         drop table auth.bunbun_migrations;
         do $$ declare t record; begin
           for t in select relname from pg_class where relnamespace = 'auth'::regnamespace and relkind = 'r' loop
             execute format('alter table auth.%I owner to supabase_auth_admin', t.relname);
           end loop; end $$;
         alter schema auth owner to supabase_auth_admin;
         grant supabase_auth_admin to bunbun_test_owner;",
    )
    .await
    else {
        return;
    };
    let app = App::on(database, &[]);
    let email = address();
    let session = app.sign_up(&email).await;
    let next = app.refresh(&session["refresh_token"]).await.ok();
    app.get("/user").by(&next).send().await.ok();
    app.post("/otp", &json!({ "email": email }))
        .send()
        .await
        .ok();
    let hash = app.mail(&email).token_hash;
    app.post("/verify", &json!({ "type": "email", "token_hash": hash }))
        .send()
        .await
        .ok();
    assert_eq!(
        app.sql("select count(*) from pg_class where relnamespace = 'auth'::regnamespace and relkind = 'r' and pg_get_userbyid(relowner) <> 'supabase_auth_admin' and relname not like 'bunbun%'").await,
        "0"
    );
}
