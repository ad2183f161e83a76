//! Tests of `project`: what a project's database lacks is made, what it has stays.

use std::time::Duration;

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::cluster::Cluster;
use bunbun_postgres::{
    Error, Pool, Session,
    migrate::{self, Migration, Service},
    project,
    scope::{self, Scope},
};
use bunbun_test::TestDb;
use secrecy::ExposeSecret;

use crate::{STOP, pool, pool_of, server};

const ANON: Scope<'_> = Scope {
    role: "anon",
    claims: r#"{"role":"anon"}"#,
    subject: None,
    settings: &[],
    statement_timeout: Duration::from_secs(10),
};

/// A pool of another database of the server, as one of its roles with the password `pw`, or as
/// its superuser.
fn reach(cluster: &Cluster, role: Option<&str>, database: &str) -> Pool {
    match role {
        Some(role) => pool_of(cluster.url_for(database, role, "pw"), 3),
        None => {
            let url = cluster.superuser_url();
            let (server, rest) = url.expose_secret().rsplit_once("/postgres").expect("a URL");
            pool_of(format!("{server}/{database}{rest}"), 3)
        }
    }
}

async fn run(pool: &Pool, sql: &str) {
    let client = pool.get().await.expect("a connection");
    client.batch_execute(sql).await.expect(sql);
}

async fn flags(session: &Session, sql: &str) -> Vec<bool> {
    let row = session.query_one(sql, &[]).await.expect("an answer");
    (0..row.len()).map(|at| row.get(at)).collect()
}

/// The caller's transaction works, which is what all of it is for.
async fn assert_serves(pool: &Pool) {
    let mut client = pool.get().await.expect("a connection");
    for role in ["anon", "authenticated", "service_role"] {
        let transaction = scope::begin(&mut client, &Scope { role, ..ANON })
            .await
            .expect("it begins");
        let row = transaction
            .query_one("select current_user::text, auth.role() is not null", &[])
            .await
            .expect("an answer");
        assert_eq!((row.get(0), row.get(1)), (role, true));
    }
}

#[tokio::test]
async fn an_owner_who_is_no_superuser_prepares_twice() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = pool(&database, 2);
    project::prepare(&pool).await.expect("it is prepared");
    assert_serves(&pool).await;
    let client = pool.get().await.expect("a connection");
    // An owner's own choices stay.
    client
        .batch_execute(
            "alter default privileges in schema public revoke all on tables from anon;
             create or replace function auth.email() returns text language sql stable
               return 'mine';",
        )
        .await
        .expect("the owner may");
    project::prepare(&pool).await.expect("it is prepared");
    client
        .batch_execute("create table t (n int)")
        .await
        .expect("made");
    let rights = flags(
        &client,
        "select auth.email() = 'mine',
                has_table_privilege('anon', 't', 'select'),
                has_table_privilege('authenticated', 't', 'delete'),
                has_schema_privilege('anon', 'auth', 'usage'),
                has_schema_privilege('anon', 'auth', 'create'),
                has_schema_privilege('anon', 'storage', 'usage'),
                has_schema_privilege('anon', 'extensions', 'usage')",
    )
    .await;
    assert_eq!(rights, [true, false, true, true, false, true, true]);
}

#[tokio::test]
async fn claims_are_read_in_both_manners() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = pool(&database, 1);
    project::prepare(&pool).await.expect("it is prepared");
    let mut client = pool.get().await.expect("a connection");
    let ask = "select concat_ws(' ', coalesce(auth.uid()::text, '-'), coalesce(auth.role(), '-'),
                 coalesce(auth.email(), '-'), coalesce(auth.jwt() ->> 'sub', '-'))";
    let (old, new) = (
        "00000000-0000-4000-8000-00000000000a",
        "00000000-0000-4000-8000-00000000000b",
    );
    let claims = format!(r#"{{"sub": "{new}", "role": "new", "email": "e@x"}}"#);
    let legacy = [
        ("request.jwt.claim.sub", old),
        ("request.jwt.claim.role", "old"),
        ("request.jwt.claim.email", "old@x"),
        ("request.jwt.claim", r#"{"sub": "whole"}"#),
        ("request.jwt.claims", &claims),
    ];
    for (settings, expected) in [
        (&[][..], "- - - -".to_owned()),
        (&legacy[4..], format!("{new} new e@x {new}")),
        (&legacy, format!("{old} old old@x whole")),
        // What a transaction has set is empty, not null, after its end.
        (&[], "- - - -".to_owned()),
    ] {
        let transaction = client.transaction().await.expect("it begins");
        for (name, value) in settings {
            let set = "select set_config($1, $2, true)";
            transaction.query(set, &[name, value]).await.expect("set");
        }
        let row = transaction.query_one(ask, &[]).await.expect("an answer");
        assert_eq!(row.get::<_, &str>(0), expected);
    }
}

#[tokio::test]
async fn a_superuser_makes_the_roles_and_databases_are_prepared_at_once() {
    let Some((_directory, _, cluster)) = server().await else {
        return;
    };
    let superuser = reach(&cluster, None, "postgres");
    let mut pools = Vec::new();
    for database in ["a", "b", "c"] {
        run(&superuser, &format!("create database {database}")).await;
        // Two nodes each.
        pools.extend([
            reach(&cluster, None, database),
            reach(&cluster, None, database),
        ]);
    }
    let prepared = futures_util::future::join_all(pools.iter().map(project::prepare)).await;
    for outcome in prepared {
        outcome.expect("it is prepared");
    }
    for pool in &pools {
        assert_serves(pool).await;
        project::prepare(pool).await.expect("twice");
    }
    let client = superuser.get().await.expect("a connection");
    let row = client
        .query_one(
            "select string_agg(concat_ws(' ', rolname, rolcanlogin, rolinherit, rolbypassrls,
                      rolsuper or rolcreaterole or rolcreatedb or rolreplication), ', '
                      order by rolname collate \"C\")
             from pg_roles where rolname not like 'pg\\_%' and rolname <> 'postgres'",
            &[],
        )
        .await
        .expect("an answer");
    assert_eq!(
        row.get::<_, &str>(0),
        "anon f f f f, authenticated f f f f, authenticator t f f f, service_role f f t f, \
         supabase_auth_admin f f f f, supabase_storage_admin f f f f"
    );
    drop(client);
    cluster.stop(STOP).await.expect("it stops");
}

#[tokio::test]
async fn a_role_that_may_not_is_told_what_a_superuser_has_to_run() {
    let Some((_directory, _, cluster)) = server().await else {
        return;
    };
    let superuser = reach(&cluster, None, "postgres");
    run(
        &superuser,
        "create role \"Weak\" login createrole password 'pw'",
    )
    .await;
    run(&superuser, "create database shop").await;
    let inside = reach(&cluster, None, "shop");
    let pool = reach(&cluster, Some("Weak"), "shop");
    let refused = async || {
        let error = project::prepare(&pool).await.expect_err("it may not");
        assert_eq!(error.code(), Code::ServiceUnavailable);
        assert!(!error.public_message().expect("one").contains("create"));
        let Error::NeedsSuperuser { sql } = error else {
            panic!("{error:?}")
        };
        sql
    };
    let sql = refused().await;
    assert_eq!(
        sql,
        "create role anon nologin noinherit;\n\
         create role authenticated nologin noinherit;\n\
         create role service_role nologin noinherit bypassrls;\n\
         create role authenticator login noinherit;\n\
         create role supabase_auth_admin nologin noinherit;\n\
         create role supabase_storage_admin nologin noinherit;\n\
         grant anon, authenticated, service_role to authenticator;\n\
         grant anon, authenticated, service_role, supabase_auth_admin, supabase_storage_admin \
         to \"Weak\";\n\
         grant create on database shop to \"Weak\";"
    );
    let client = superuser.get().await.expect("a connection");
    let row = client
        .query_one("select to_regrole('anon') is null", &[])
        .await
        .expect("an answer");
    assert!(row.get::<_, bool>(0), "nothing is half done");
    run(&inside, &sql).await;
    project::prepare(&pool).await.expect("now it can");
    assert_serves(&pool).await;

    // Somebody's schema, closed to us.
    run(&inside, "drop schema auth cascade; create schema auth").await;
    let sql = refused().await;
    assert_eq!(
        sql,
        "grant usage on schema auth to \"Weak\";\ngrant create on schema auth to \"Weak\";"
    );
    run(&inside, &sql).await;
    project::prepare(&pool).await.expect("now it can");

    // A membership that does not let us become the role.
    run(
        &inside,
        "revoke anon from \"Weak\"; alter role \"Weak\" nocreaterole",
    )
    .await;
    let sql = refused().await;
    assert_eq!(sql, "grant anon to \"Weak\";");
    if flags(
        &client,
        "select current_setting('server_version_num')::int >= 160000",
    )
    .await[0]
    {
        run(&inside, "grant anon to \"Weak\" with set false").await;
        assert_eq!(refused().await, sql);
        run(&inside, "revoke anon from \"Weak\"").await;
    }
    run(&inside, &sql).await;
    project::prepare(&pool).await.expect("now it can");
    drop(client);
    cluster.stop(STOP).await.expect("it stops");
}

/// What the original stack leaves behind, as far as it matters here: its superuser and its demoted
/// `postgres` (`dashboard` here), schemas and functions of its own, tables of its services.
const ORIGINAL: &str = r#"
create role supabase_admin login superuser createrole createdb replication bypassrls;
create role dashboard login createrole createdb replication bypassrls password 'pw';
set role supabase_admin;
create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
create role authenticator login noinherit;
create role supabase_auth_admin login noinherit createrole;
create role supabase_storage_admin login noinherit createrole;
grant anon, authenticated, service_role, supabase_admin to authenticator;
grant anon, authenticated, service_role to dashboard, supabase_storage_admin;
create schema extensions;
create schema auth;
create schema storage;
grant usage on schema auth, storage, extensions to anon, authenticated, service_role, dashboard;
grant all on schema auth to supabase_auth_admin;
grant all on schema storage to supabase_storage_admin;
set role supabase_auth_admin;
create table auth.users (id uuid primary key);
create table auth.schema_migrations (version varchar(255) primary key);
create function auth.uid() returns uuid language sql stable as
  $$ select nullif(current_setting('request.jwt.claim.sub', true), '')::uuid $$;
create function auth.role() returns text language sql stable as
  $$ select coalesce(current_setting('request.jwt.claim.role', true), '') $$;
create function auth.email() returns text language sql stable as $$ select 'theirs'::text $$;
create function auth.jwt() returns jsonb language sql stable as
  $$ select nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;
grant all on auth.users to dashboard;
set role supabase_storage_admin;
create table storage.migrations (id int primary key);
reset role;
"#;

/// Everything that could have been changed, as one text.
const CATALOGUE: &str = "
select concat_ws(e'\n',
  (select string_agg(concat_ws(' ', nspname, nspowner::regrole, nspacl), e'\n' order by nspname)
   from pg_namespace where nspname !~ '^pg_(toast|temp)'),
  (select string_agg(concat_ws(' ', oid::regprocedure, proowner::regrole, proacl, prosrc), e'\n'
                     order by oid)
   from pg_proc where pronamespace = 'auth'::regnamespace),
  (select string_agg(concat_ws(' ', oid::regclass, relowner::regrole, relacl), e'\n' order by oid)
   from pg_class where relnamespace in ('auth'::regnamespace, 'storage'::regnamespace)),
  (select string_agg(concat_ws(' ', roleid::regrole, member::regrole), e'\n'
                     order by roleid, member)
   from pg_auth_members),
  (select string_agg(pg_authid::text, e'\n' order by oid) from pg_authid),
  (select string_agg(pg_default_acl::text, e'\n' order by oid) from pg_default_acl))";

#[tokio::test]
async fn a_database_of_the_original_is_used_as_it_is() {
    let Some((_directory, _, cluster)) = server().await else {
        return;
    };
    let superuser = reach(&cluster, None, "postgres");
    run(&superuser, "create database original").await;
    let inside = reach(&cluster, None, "original");
    run(&inside, ORIGINAL).await;
    let outside = inside.get().await.expect("a connection");
    let catalogue = async || {
        let row = outside.query_one(CATALOGUE, &[]).await.expect("an answer");
        row.get::<_, String>(0)
    };
    let before = catalogue().await;
    let pool = reach(&cluster, Some("dashboard"), "original");
    project::prepare(&pool).await.expect("nothing is missing");
    assert_serves(&pool).await;
    // The superuser of which `authenticator` is a member is no role of callers.
    for pool in [&pool, &inside] {
        let mut client = pool.get().await.expect("a connection");
        let scope = Scope {
            role: "supabase_admin",
            ..ANON
        };
        let error = scope::begin(&mut client, &scope)
            .await
            .expect_err("refused");
        assert!(matches!(error, Error::RoleNotAllowed(_)), "{error:?}");
    }
    let service = Service {
        schema: "auth",
        history: "auth.bunbun_migrations",
        lock: 1,
        migrations: &[Migration {
            version: 1,
            name: "create_users",
            sql: "create table if not exists auth.users (id uuid primary key);
                  alter table auth.users add column if not exists email text;",
        }],
    };
    // Without the right to create in the schema, as of today.
    let report = migrate::run(&pool, &service).await.expect("it is adopted");
    assert!(report.adopted && report.applied.is_empty());
    assert_eq!(catalogue().await, before);
    // With it, as in older ones: still the tables are not ours.
    run(&inside, "grant create on schema auth to dashboard").await;
    let before = catalogue().await;
    let report = migrate::run(&pool, &service).await.expect("it is adopted");
    assert!(report.adopted && report.applied.is_empty());
    assert_eq!(catalogue().await, before);
    drop(outside);
    cluster.stop(STOP).await.expect("it stops");
}
