//! Applying, applying again, and the history.

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::migrate::{Error, list};
use bunbun_test::TestDb;

use super::{applied, exists, keyed, outcome, refused, request};

const USERS: &str =
    "create table users (\n id int primary key);\ninsert into users values (1), (2);\n";

#[tokio::test]
async fn a_migration_is_applied_and_stands_in_the_history() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    assert!(list(&pool).await.unwrap().is_empty());
    let outside = database.superuser().await;
    assert!(!exists(&outside, "supabase_migrations.schema_migrations").await);

    let first = applied(&pool, request("create_users", USERS)).await;
    let second = applied(
        &pool,
        request("add_name", "alter table users add name text"),
    )
    .await;

    assert!(exists(&outside, "public.users").await);
    assert_eq!(first.version.len(), 14);
    assert!(second.version > first.version, "{first:?} {second:?}");
    assert_eq!(first.checksum.len(), 64);
    assert!(first.applied_at.is_some() && first.duration_ms.is_some());
    assert_eq!(list(&pool).await.unwrap(), [second, first.clone()]);
    // What the Supabase CLI reads, in its own words.
    let sql = "SELECT version, coalesce(name, '') as name, statements \
               FROM supabase_migrations.schema_migrations ORDER BY version";
    let rows = outside.query(sql, &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, String>(0), first.version);
    assert_eq!(rows[0].get::<_, String>(1), "create_users");
    assert_eq!(
        rows[0].get::<_, Vec<String>>(2),
        [
            "create table users (\n id int primary key)",
            "insert into users values (1), (2)"
        ]
    );
    assert_eq!(pool.status().in_use, 0);
}

#[tokio::test]
async fn the_same_migration_again_is_already_applied() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let first = applied(&pool, request("users", USERS)).await;
    for again in [
        USERS.to_owned(),
        USERS.replace('\n', "\r\n"),
        format!("\n{USERS}\n ; -- end"),
    ] {
        let outcome = outcome(&pool, request("users", &again)).await;
        assert!(outcome.already_applied && !outcome.replayed);
        assert_eq!(outcome.migration.as_ref(), Some(&first));
    }
    assert_eq!(list(&pool).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_used_name_with_other_sql_is_a_conflict() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let first = applied(&pool, request("users", USERS)).await;
    let error = refused(&pool, request("users", "select 1")).await;
    assert_eq!(error.code(), Code::MigrationConflict);
    let Error::Conflict {
        version,
        applied_checksum,
        checksum,
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        (version, applied_checksum),
        (&first.version, &first.checksum)
    );
    assert_ne!(applied_checksum, checksum);
}

#[tokio::test]
async fn a_migration_of_the_supabase_cli_counts() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    // As the CLI does: its own table, its own pieces (which keep a closing comment).
    pool.get()
        .await
        .unwrap()
        .batch_execute(
            "create schema if not exists supabase_migrations; \
             create table if not exists supabase_migrations.schema_migrations \
               (version text not null primary key); \
             alter table supabase_migrations.schema_migrations \
               add column if not exists statements text[]; \
             alter table supabase_migrations.schema_migrations add column if not exists name text; \
             insert into supabase_migrations.schema_migrations (version, name, statements) \
             values ('20240102030405', 'users', \
                     array[E'create table users (\\n id int primary key)', \
                           'insert into users values (1), (2)', '-- end']), \
                    ('20990102030405', null, null)",
        )
        .await
        .unwrap();

    let history = list(&pool).await.unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(
        (history[0].name.as_str(), history[0].checksum.as_str()),
        ("", "")
    );
    assert_eq!(
        (history[1].applied_at, history[1].duration_ms),
        (None, None)
    );

    let again = outcome(&pool, request("users", USERS)).await;
    assert!(again.already_applied);
    assert_eq!(again.migration.as_ref(), Some(&history[1]));
    let error = refused(&pool, request("users", "select 2")).await;
    assert_eq!(error.code(), Code::MigrationConflict);
    // Later than everything that is there.
    let next = applied(&pool, request("next", "select 1")).await;
    assert_eq!(next.version, "20990102030406");
    // And the CLI can go on.
    let inserted = pool
        .get()
        .await
        .unwrap()
        .execute(
            "INSERT INTO supabase_migrations.schema_migrations(version, name, statements) \
             VALUES($1, $2, $3)",
            &[&"20990102030407", &"more", &vec!["select 3"]],
        )
        .await;
    assert_eq!(inserted.unwrap(), 1);
    assert!(
        outcome(&pool, request("more", "select 3;"))
            .await
            .already_applied
    );
}

#[tokio::test]
async fn an_idempotency_key_gives_the_first_outcome_again() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let first = outcome(&pool, keyed("users", USERS, "key-1")).await;
    assert!(!first.replayed);
    let again = outcome(&pool, keyed("users", USERS, "key-1")).await;
    assert!(again.replayed && !again.already_applied);
    assert_eq!(again.migration, first.migration);

    let mut dry = keyed("users", USERS, "key-1");
    dry.dry_run = true;
    let mut other_mode = keyed("users", USERS, "key-1");
    other_mode.transactional = false;
    for other in [
        keyed("users", "select 1", "key-1"),
        keyed("others", USERS, "key-1"),
        dry,
        other_mode,
    ] {
        assert_eq!(
            refused(&pool, other).await.code(),
            Code::IdempotencyConflict
        );
    }
    // Another key, or none: the name decides.
    assert!(
        outcome(&pool, keyed("users", USERS, "key-2"))
            .await
            .already_applied
    );
    assert!(
        outcome(&pool, request("users", USERS))
            .await
            .already_applied
    );
}

#[tokio::test]
async fn a_failed_migration_leaves_nothing_and_its_key_may_be_used_again() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let error = refused(&pool, keyed("a", "create table a (); select 1/0", "k")).await;
    assert_eq!(error.code(), Code::SqlError);
    let outside = database.superuser().await;
    assert!(!exists(&outside, "public.a").await);
    assert!(list(&pool).await.unwrap().is_empty());
    applied(&pool, keyed("a", "create table a ()", "k")).await;
}

#[tokio::test]
async fn whatever_a_migration_does_to_its_session_stays_there() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    // As pg_dump begins, and worse.
    let sql = "set statement_timeout = '400ms'; set lock_timeout = 0; set search_path = pg_temp; \
               select pg_catalog.set_config('search_path', '', false); \
               set standard_conforming_strings = off; create temp table t (); \
               set role pg_monitor; set default_transaction_read_only = on; \
               select pg_catalog.pg_advisory_unlock_all()";
    let admin = database.superuser().await;
    admin
        .batch_execute("grant pg_monitor to bunbun_test_owner")
        .await
        .unwrap();
    applied(&pool, request("session", sql)).await;
    applied(
        &pool,
        request(
            "next",
            "create table public.made as select current_user::text",
        ),
    )
    .await;
    let client = pool.get().await.unwrap();
    let row = client
        .query_one(
            "select current_user::text, current_setting('search_path'), \
                    current_setting('statement_timeout'), made.* from made",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), row.get::<_, String>(3));
    assert!(row.get::<_, String>(1).contains("public"));
    assert_ne!(row.get::<_, String>(2), "400ms");
}

#[tokio::test]
async fn a_text_of_very_many_statements_is_applied() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let mut sql = "create table many (id int, text text);\n".to_owned();
    for id in 0..5_000 {
        sql.push_str(&format!("insert into many values ({id}, 'it''s; {id}');\n"));
    }
    applied(&pool, request("many", &sql)).await;
    let outside = database.superuser().await;
    let count: i64 = outside
        .query_one("select count(*) from many", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 5_000);
}

#[tokio::test]
async fn strings_are_read_as_the_standard_says_whatever_the_database_says() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let admin = database.superuser().await;
    let name = database.name();
    let sql = format!("alter database \"{name}\" set standard_conforming_strings = off");
    admin.batch_execute(&sql).await.unwrap();
    let pool = database.pool();
    applied(
        &pool,
        request("standard", r"select 'a\'; create table made ()"),
    )
    .await;
    let sql = r"select 'a\'; create table made_too ()";
    applied(&pool, super::untransacted("standard_too", sql)).await;
    assert!(exists(&admin, "public.made").await && exists(&admin, "public.made_too").await);
}
