//! Tests of `scope`: role and claims are the caller's, and nobody's afterwards.

use std::time::Duration;

use bunbun_core::{Classify, Code};
use bunbun_postgres::{
    Client, Error, Pool, Session, project,
    scope::{self, Scope},
};
use bunbun_test::TestDb;

use crate::pool;

const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";
const BOB: &str = "b0b00000-0000-4000-8000-000000000002";

fn scope<'a>(role: &'a str, claims: &'a str) -> Scope<'a> {
    Scope {
        role,
        claims,
        subject: None,
        settings: &[],
        statement_timeout: Duration::from_secs(10),
    }
}

fn claims_of(user: &str) -> String {
    format!(r#"{{"sub":"{user}","role":"authenticated","email":"{user}@example.com"}}"#)
}

/// A prepared database and a pool of one connection, so that everyone gets the same.
async fn prepared() -> Option<(TestDb, Pool)> {
    let database = TestDb::create().await?;
    let pool = pool(&database, 1);
    project::prepare(&pool).await.expect("it is prepared");
    Some((database, pool))
}

async fn text(session: &Session, sql: &str) -> Option<String> {
    let row = session.query_one(sql, &[]).await.expect("an answer");
    row.get(0)
}

/// Role, claims, subject, header and timeout, as the session has them now.
async fn state(session: &Session) -> String {
    let sql = "select concat_ws('|', current_user, coalesce(current_setting('request.jwt.claims', true), ''),
                 coalesce(current_setting('request.jwt.claim.sub', true), ''),
                 coalesce(current_setting('request.path', true), ''),
                 current_setting('statement_timeout'))";
    text(session, sql).await.expect("a text")
}

async fn backend(client: &Client) -> i32 {
    let row = client.query_one("select pg_backend_pid()", &[]).await;
    row.expect("an answer").get(0)
}

#[tokio::test]
async fn role_claims_and_settings_are_set_and_forgotten() {
    let Some((_database, pool)) = prepared().await else {
        return;
    };
    let claims = claims_of(ALICE);
    let mut scope = scope("authenticated", &claims);
    scope.subject = Some(ALICE);
    scope.settings = &[("request.path", "/it's; drop table x --")];
    for ending in 0..3 {
        let mut client = pool.get().await.expect("a connection");
        assert_eq!(state(&client).await, "bunbun_test_owner||||30s");
        let transaction = scope::begin(&mut client, &scope).await.expect("it begins");
        assert_eq!(
            state(&transaction).await,
            format!("authenticated|{claims}|{ALICE}|/it's; drop table x --|10s")
        );
        for (function, expected) in [
            ("uid", ALICE),
            ("role", "authenticated"),
            ("email", &format!("{ALICE}@example.com")),
        ] {
            let sql = format!("select auth.{function}()::text");
            assert_eq!(text(&transaction, &sql).await.as_deref(), Some(expected));
        }
        let sub = text(&transaction, "select auth.jwt() ->> 'sub'").await;
        assert_eq!(sub.as_deref(), Some(ALICE));
        match ending {
            0 => transaction.commit().await.expect("it commits"),
            1 => transaction.rollback().await.expect("it rolls back"),
            _ => drop(transaction),
        }
    }
    let client = pool.get().await.expect("a connection");
    assert_eq!(state(&client).await, "bunbun_test_owner||||30s");
}

#[tokio::test]
async fn row_level_security_decides_for_every_caller() {
    let Some((_database, pool)) = prepared().await else {
        return;
    };
    let mut client = pool.get().await.expect("a connection");
    client
        .batch_execute(
            "create table note (author uuid not null default auth.uid(), body text not null);
             alter table note enable row level security;
             create policy own on note to authenticated
               using (author = auth.uid()) with check (author = auth.uid());",
        )
        .await
        .expect("it is made");
    let insert = "insert into note (body) values ($1)";
    for user in [ALICE, BOB] {
        let claims = claims_of(user);
        let transaction = scope::begin(&mut client, &scope("authenticated", &claims)).await;
        let transaction = transaction.expect("it begins");
        let inserted = transaction.execute_cached(insert, &[&user]).await;
        assert_eq!(inserted.expect("it may"), 1);
        transaction.commit().await.expect("it commits");
    }
    let claims = claims_of(ALICE);
    for (role, claims, expected) in [
        ("anon", "{}", 0_i64),
        ("authenticated", "{}", 0),
        ("authenticated", claims.as_str(), 1),
        ("service_role", "{}", 2),
    ] {
        let transaction = scope::begin(&mut client, &scope(role, claims)).await;
        let transaction = transaction.expect("it begins");
        let count = transaction
            .query_one_cached("select count(*) from note", &[])
            .await;
        assert_eq!(
            count.expect("an answer").get::<_, i64>(0),
            expected,
            "{role}"
        );
    }
    // Writing another's row is refused by the policy.
    let transaction = scope::begin(&mut client, &scope("authenticated", &claims)).await;
    let transaction = transaction.expect("it begins");
    let forged = format!("insert into note values ('{BOB}', 'forged')");
    let error = Error::from(
        transaction
            .execute(&forged, &[])
            .await
            .expect_err("refused"),
    );
    assert_eq!(error.sqlstate().expect("one").code(), "42501");
}

#[tokio::test]
async fn roles_that_are_none_of_callers_are_refused() {
    let Some((_database, pool)) = prepared().await else {
        return;
    };
    let mut client = pool.get().await.expect("a connection");
    let long = "x".repeat(64);
    for role in [
        "none",
        "",
        "postgres",
        "bunbun_test_owner",
        "supabase_auth_admin",
        "pg_read_all_data",
        "nobody",
        "anon\0",
        "ANON",
        "\"anon\"",
        &long,
    ] {
        let begun = scope::begin(&mut client, &scope(role, "{}")).await;
        let error = begun.expect_err("it is refused");
        assert_eq!(error.code(), Code::Forbidden, "{role}: {error:?}");
        assert_eq!(state(&client).await, "bunbun_test_owner||||30s", "{role}");
    }
}

#[tokio::test]
async fn a_dropped_scope_leaves_nothing_and_blocks_nobody() {
    let Some((database, pool)) = prepared().await else {
        return;
    };
    let mut client = pool.get().await.expect("a connection");
    client
        .batch_execute("create table t (n int)")
        .await
        .expect("it is made");
    let process = backend(&client).await;
    let mut transaction = scope::begin(&mut client, &scope("service_role", "{}"))
        .await
        .expect("it begins");
    let part = transaction.savepoint().await.expect("a savepoint");
    part.execute("insert into t values (1)", &[])
        .await
        .expect("it may");
    drop(part);
    transaction
        .execute("insert into t values (2)", &[])
        .await
        .expect("it may");
    drop(transaction);
    drop(client);
    let client = pool.get().await.expect("a connection");
    assert_eq!(backend(&client).await, process, "it is the same connection");
    assert_eq!(state(&client).await, "bunbun_test_owner||||30s");
    let idle = database.superuser().await;
    let row = idle
        .query_one(
            "select state, (select count(*) from t) from pg_stat_activity where pid = $1",
            &[&process],
        )
        .await
        .expect("an answer");
    assert_eq!((row.get(0), row.get(1)), ("idle", 0_i64));
}

#[tokio::test]
async fn a_statement_whose_caller_vanished_is_cancelled() {
    let Some((database, pool)) = prepared().await else {
        return;
    };
    let outside = database.superuser().await;
    let process = backend(&pool.get().await.expect("a connection")).await;
    let sleeping = async {
        let mut client = pool.get().await.expect("a connection");
        let scope = Scope {
            statement_timeout: Duration::from_secs(600),
            ..scope("anon", "{}")
        };
        let transaction = scope::begin(&mut client, &scope).await.expect("it begins");
        transaction.query("select pg_sleep(600)", &[]).await
    };
    let is_sleeping = async {
        loop {
            let row = outside
                .query_one(
                    "select state = 'active' and query like '%pg_sleep%' from pg_stat_activity where pid = $1",
                    &[&process],
                )
                .await
                .expect("an answer");
            if row.get(0) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = sleeping => panic!("nobody sleeps that short"),
        () = is_sleeping => {}
    }
    // The one connection comes back without waiting for the statement.
    let comes_back = async {
        let client = pool.get().await.expect("a connection");
        assert_eq!(backend(&client).await, process, "it is the same connection");
        assert_eq!(state(&client).await, "bunbun_test_owner||||30s");
    };
    tokio::time::timeout(Duration::from_secs(20), comes_back)
        .await
        .expect("no wait");
}

#[tokio::test]
async fn a_role_that_a_trigger_sets_for_the_session_goes_no_further() {
    let Some((_database, pool)) = prepared().await else {
        return;
    };
    let mut client = pool.get().await.expect("a connection");
    for ending in 0..2 {
        let transaction = scope::begin(&mut client, &scope("anon", "{}"))
            .await
            .expect("it begins");
        transaction
            .query("select set_config('role', 'service_role', false)", &[])
            .await
            .expect("it may");
        if ending == 0 {
            transaction.commit().await.expect("it commits");
        } else {
            drop(transaction);
        }
        let user = text(&client, "select current_user::text").await;
        assert_eq!(user.as_deref(), Some("bunbun_test_owner"));
    }
}

#[tokio::test]
async fn a_commit_after_a_failed_statement_is_an_error() {
    let Some((_database, pool)) = prepared().await else {
        return;
    };
    let mut client = pool.get().await.expect("a connection");
    client
        .batch_execute("create table t (n int unique)")
        .await
        .expect("made");
    let mut transaction = client.transaction().await.expect("it begins");
    transaction
        .execute("insert into t values (1)", &[])
        .await
        .expect("it may");
    // A part that fails alone does not spoil the whole.
    let part = transaction.savepoint().await.expect("a savepoint");
    let error = part
        .execute("insert into t values (1)", &[])
        .await
        .expect_err("a duplicate");
    let error = Error::from(error);
    assert_eq!(error.constraint(), Some("t_n_key"));
    assert!(
        !bunbun_core::error::chain(&error).contains("(n)=(1)"),
        "no values in logs"
    );
    assert!(
        !format!("{error:?}").contains("(n)=(1)"),
        "no values in logs"
    );
    part.rollback().await.expect("undone");
    transaction.commit().await.expect("it commits");
    let transaction = client.transaction().await.expect("it begins");
    transaction
        .execute("insert into t values (2)", &[])
        .await
        .expect("it may");
    let _ = transaction
        .execute("insert into t values (1)", &[])
        .await
        .expect_err("a duplicate");
    let error = transaction
        .commit()
        .await
        .expect_err("PostgreSQL rolled back");
    assert_eq!(error.sqlstate().expect("one").code(), "25P02");
    let row = client
        .query_one("select count(*) from t", &[])
        .await
        .expect("an answer");
    assert_eq!(row.get::<_, i64>(0), 1);
}

#[tokio::test]
async fn a_savepoint_can_be_anothers_until_it_is_rolled_back() {
    let Some((_database, pool)) = prepared().await else {
        return;
    };
    let mut client = pool.get().await.expect("a connection");
    let service = scope("service_role", r#"{"role":"service_role"}"#);
    let mut transaction = scope::begin(&mut client, &service).await.expect("begun");
    let before = state(&transaction).await;
    let claims = claims_of(ALICE);
    let alice = scope("authenticated", &claims);
    let savepoint = transaction.savepoint().await.expect("a savepoint");
    scope::assume(&savepoint, &alice).await.expect("assumed");
    let within = state(&savepoint).await;
    assert!(
        within.starts_with("authenticated|") && within.contains(ALICE),
        "{within}"
    );
    savepoint.rollback().await.expect("rolled back");
    assert_eq!(state(&transaction).await, before);
    // Dropped, after a failure.
    let savepoint = transaction.savepoint().await.expect("a savepoint");
    scope::assume(&savepoint, &alice).await.expect("assumed");
    let refused = savepoint.batch_execute("select * from pg_authid").await;
    assert!(refused.is_err());
    drop(savepoint);
    assert_eq!(state(&transaction).await, before);
    for role in ["postgres", "none", "a\0b"] {
        let savepoint = transaction.savepoint().await.expect("a savepoint");
        let refused = scope::assume(&savepoint, &scope(role, "{}")).await;
        assert!(matches!(refused, Err(Error::RoleNotAllowed(_))), "{role}");
        drop(savepoint);
        assert_eq!(state(&transaction).await, before);
    }
}
