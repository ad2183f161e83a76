//! Row-level security with the claims of our tokens.

use std::time::Duration;

use bunbun_postgres::{
    Pool, PoolConfig,
    scope::{self, Scope},
};
use serde_json::Value;

use crate::app::{App, address};

async fn rows(app: &App, session: &Value) -> Vec<String> {
    let claims = app.claims(session);
    let pool =
        Pool::new(&PoolConfig::new(app.database.url().into(), "test")).expect("the URL is good");
    let mut client = pool.get().await.expect("it is there");
    let text = claims.to_string();
    let scope = Scope {
        role: claims["role"].as_str().expect("a text"),
        claims: &text,
        subject: claims["sub"].as_str(),
        settings: &[],
        statement_timeout: Duration::from_secs(5),
    };
    let transaction = scope::begin(&mut client, &scope)
        .await
        .expect("it is there");
    let rows = transaction
        .query("select body from public.notes order by body", &[])
        .await
        .expect("it is there");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn policies_see_who_is_signed_in_and_how() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let (ada, bob) = (app.sign_up(&address()).await, app.sign_up(&address()).await);
    let id = |session: &Value| session["user"]["id"].as_str().unwrap().to_owned();
    app.execute(&format!(
        "create table public.notes (owner uuid references auth.users, body text, aal text default 'aal1');
         alter table public.notes enable row level security;
         grant select on public.notes to anon, authenticated;
         create policy own on public.notes to authenticated
           using (owner = auth.uid() and aal <= coalesce(auth.jwt()->>'aal', ''));
         insert into public.notes (owner, body, aal) values
           ('{0}', 'of ada', 'aal1'), ('{1}', 'of bob', 'aal1'), ('{0}', 'secret of ada', 'aal2')",
        id(&ada), id(&bob),
    ))
    .await;
    assert_eq!(rows(&app, &ada).await, ["of ada"]);
    assert_eq!(rows(&app, &bob).await, ["of bob"]);
    let factor = crate::factors::enroll(&app, &ada, "phone").await;
    let raised = crate::factors::verify(&app, &ada, &factor, crate::app::START)
        .await
        .ok();
    assert_eq!(rows(&app, &raised).await, ["of ada", "secret of ada"]);
}

#[tokio::test]
async fn callers_of_the_database_cannot_read_the_schema() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    app.sign_up(&address()).await;
    let client = app.database.superuser().await;
    for role in ["anon", "authenticated"] {
        for table in [
            "users",
            "refresh_tokens",
            "sessions",
            "mfa_factors",
            "one_time_tokens",
            "flow_state",
            "identities",
            "audit_log_entries",
        ] {
            client
                .batch_execute(&format!("set role {role}"))
                .await
                .unwrap();
            let seen = client
                .query(&format!("select * from auth.{table}"), &[])
                .await;
            client.batch_execute("reset role").await.unwrap();
            assert!(seen.is_err(), "{role} reads auth.{table}");
        }
        client
            .batch_execute(&format!("set role {role}"))
            .await
            .unwrap();
        let called = client.query("select * from auth.bunbun_refresh_token('a','b','c',now(),1,true,null,null,null,null,null)", &[]).await;
        client.batch_execute("reset role").await.unwrap();
        assert!(called.is_err(), "{role} refreshes");
    }
}
