//! Tests of `postgres::dump` on a real PostgreSQL, as a role that is no superuser.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::{
    cluster::{Binaries, Cluster, ClusterConfig},
    dump::{
        self, Dump, Error, Tools,
        databases::{Server, WORKING_PREFIX},
    },
};
use bunbun_test::TestDb;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Client, NoTls};

const TABLES: &str = "create table notes (id int primary key, text text);
    insert into notes select i, 'note ' || i from generate_series(1, 1000) i;
    create table tags (name text); insert into tags values ('a;b'), (null);
    create view newest as select max(id) from notes;";

fn url_of(database: &TestDb) -> SecretString {
    database.url().into()
}

async fn tools(database: &TestDb) -> Tools {
    let client = database.pool().get().await.expect("a connection");
    let description = dump::describe(&client).await.expect("a description");
    Tools::find(description.major).await.expect("tools")
}

async fn dump_whole(tools: &Tools, url: &SecretString) -> Result<(Vec<Bytes>, u32), Error> {
    let mut dump = Dump::start(tools, url)?;
    let mut chunks = Vec::new();
    while let Some(chunk) = dump.next().await? {
        chunks.push(chunk);
    }
    let tables = dump.tables_begun();
    dump.finish().await.map(|()| (chunks, tables))
}

fn input(chunks: &[Bytes]) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    stream::iter(chunks.to_vec()).map(Ok)
}

async fn connect(database: &TestDb, name: &str) -> Client {
    let url = database
        .superuser_url()
        .replace(database.name(), "template1");
    driver(&url, name).await
}

async fn driver(url: &str, name: &str) -> Client {
    let mut config: tokio_postgres::Config = url.parse().expect("a URL");
    config.dbname(name);
    let (client, connection) = config.connect(NoTls).await.expect("a connection");
    bunbun_core::task::spawn("test", async move { drop(connection.await) });
    client
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.expect("an answer").get(0)
}

/// Names with everything that could break out of SQL or a connection string.
fn hostile(database: &TestDb) -> String {
    format!(
        r#"{}"; drop table a; -' host=e \ =postgres://"#,
        database.name()
    )
}

async fn drop_database(database: &TestDb, name: &str) {
    let name = name.replace('"', "\"\"");
    let statement = format!("drop database \"{name}\" with (force)");
    database
        .superuser()
        .await
        .batch_execute(&statement)
        .await
        .expect("it can be dropped");
}

#[tokio::test]
async fn a_database_is_described() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let client = database.pool().get().await.expect("a connection");
    client.batch_execute(TABLES).await.expect("tables");
    let description = dump::describe(&client).await.expect("a description");
    assert_eq!(description.name, database.name());
    assert_eq!(description.tables, 2);
    assert!(description.bytes > 1_000_000);
    assert!(
        description
            .version
            .starts_with(&description.major.to_string())
    );
    let server = Server::new(&url_of(&database)).expect("a server");
    assert_eq!(
        server.describe(database.name()).await.expect("the same"),
        description
    );
    let other = server.describe("template1").await.expect("another");
    assert_ne!(other.identity, description.identity);
}

#[tokio::test]
async fn a_dump_makes_the_same_database_again_under_any_name() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let client = database.pool().get().await.expect("a connection");
    client.batch_execute(TABLES).await.expect("tables");
    let (tools, url) = (tools(&database).await, url_of(&database));
    let (chunks, tables) = dump_whole(&tools, &url).await.expect("a dump");
    assert_eq!(tables, 2);
    assert!(chunks[0].starts_with(b"PGDMP"));

    let server = Server::new(&url).expect("a server");
    let (working, target) = (
        format!("{WORKING_PREFIX}{}", database.name()),
        hostile(&database),
    );
    assert!(!server.exists(&target).await.expect("an answer"));
    server
        .create(&working, database.name(), false)
        .await
        .expect("created");
    dump::restore(&tools, &url, &working, input(&chunks))
        .await
        .expect("restored");
    server.analyze(&working).await.expect("analysed");
    server.rename(&working, &target).await.expect("renamed");
    assert!(server.exists(&target).await.expect("an answer"));
    let restored = connect(&database, &target).await;
    assert_eq!(count(&restored, "select count(*) from notes").await, 1000);
    assert_eq!(
        count(&restored, "select count(*) from tags where name is null").await,
        1
    );
    let planned = "select reltuples::bigint from pg_class where relname = 'notes'";
    assert_eq!(count(&restored, planned).await, 1000);
    let taken = server
        .create(&target, database.name(), false)
        .await
        .expect_err("it exists");
    assert_eq!(taken.code(), Code::DatabaseExists);
    drop(restored);
    drop_database(&database, &target).await;
}

#[tokio::test]
async fn a_failed_dump_says_why_without_host_or_password() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let tools = tools(&database).await;
    let wrong: SecretString = database
        .url()
        .replace(":bunbun_test_owner@", ":hunter2@")
        .into();
    let error = dump_whole(&tools, &wrong)
        .await
        .expect_err("the password is wrong");
    let public = error.public_message().expect("a message").into_owned();
    assert!(
        public.contains("password authentication failed"),
        "{public}"
    );
    for text in [public, format!("{error:?}")] {
        assert!(
            !text.contains("hunter2") && !text.contains("127.0.0.1"),
            "{text}"
        );
    }
    let superuser = database.superuser().await;
    superuser
        .batch_execute("create table forbidden ()")
        .await
        .expect("a table of another");
    let error = dump_whole(&tools, &url_of(&database))
        .await
        .expect_err("it may not be read");
    let public = error.public_message().expect("a message").into_owned();
    assert!(
        public.contains("permission denied for table forbidden"),
        "{public}"
    );
    assert!(
        !public.contains("LOCK TABLE public.forbidden IN"),
        "{public}"
    );
}

#[tokio::test]
async fn pg_dump_ends_with_its_owner() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let mut client = database.pool().get().await.expect("a connection");
    client.batch_execute(TABLES).await.expect("tables");
    let transaction = client.transaction().await.expect("a transaction");
    transaction
        .batch_execute("lock table notes")
        .await
        .expect("a lock");
    let dump = Dump::start(&tools(&database).await, &url_of(&database)).expect("it starts");
    let superuser = database.superuser().await;
    let sql = format!(
        "select count(*) from pg_stat_activity where application_name = 'bunbun backups' \
         and wait_event_type = 'Lock' and datname = '{}'",
        database.name()
    );
    until(&superuser, &sql, 1).await;
    drop(dump);
    transaction.rollback().await.expect("a rollback");
    let sql = sql.replace("and wait_event_type = 'Lock' ", "");
    until(&superuser, &sql, 0).await;
}

async fn until(client: &Client, sql: &str, wanted: i64) {
    let reached = async {
        while count(client, sql).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached)
        .await
        .expect("in time");
}

#[tokio::test]
async fn what_is_no_dump_or_breaks_off_is_refused() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let (tools, url) = (tools(&database).await, url_of(&database));
    let garbage = vec![Bytes::from(vec![b'x'; 300_000]); 10];
    let error = dump::restore(&tools, &url, database.name(), input(&garbage)).await;
    assert!(
        matches!(
            error,
            Err(Error::Tool {
                tool: "pg_restore",
                ..
            })
        ),
        "{error:?}"
    );
    let broken = stream::iter([Ok(Bytes::from("PGDMP")), Err(std::io::Error::other("cut"))]);
    let error = dump::restore(&tools, &url, database.name(), broken).await;
    assert!(matches!(error, Err(Error::Input(_))), "{error:?}");
}

#[tokio::test]
async fn a_database_in_use_is_replaced_with_its_privileges_and_settings() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let (name, url) = (database.name(), url_of(&database));
    let pool = database.pool();
    pool.get()
        .await
        .expect("a connection")
        .batch_execute("create table old ()")
        .await
        .expect("ok");
    let superuser = database.superuser().await;
    superuser
        .batch_execute(&format!(
            r#"revoke all on database "{name}" from public;
               alter database "{name}" set search_path = "$user", public, "a b";
               alter database "{name}" set app.settings.secret = 'it''s; \ a "secret"';
               grant set on parameter app.settings.secret to bunbun_test_owner;
               alter role bunbun_test_owner in database "{name}" set work_mem = '5MB';
               alter database "{name}" connection limit 77"#
        ))
        .await
        .expect("settings");
    drop(superuser);

    let server = Server::new(&url).expect("a server");
    let (working, previous) = (format!("{WORKING_PREFIX}{name}"), format!("{name}_before"));
    server.create(&working, name, true).await.expect("created");
    let busy = pool.get().await.expect("a connection");
    server
        .replace(name, &working, &previous)
        .await
        .expect("replaced");
    busy.query("select 1", &[])
        .await
        .expect_err("its session was ended");
    drop(busy);

    let settings = "select count(*) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
         where (datname, setrole, setconfig) in (select $$X$$, setrole, setconfig from pg_db_role_setting s
         join pg_database d on d.oid = s.setdatabase where datname = $$Y$$)"
        .replace('X', name)
        .replace('Y', &previous);
    let outside = connect(&database, "template1").await;
    assert_eq!(count(&outside, &settings).await, 2);
    let rest = format!(
        "select count(distinct (datdba, (select array_agg(a::text order by a::text) from unnest(datacl) a), datconnlimit, datcollate)) from pg_database \
         where datname in ('{name}', '{previous}')"
    );
    assert_eq!(count(&outside, &rest).await, 1);
    // The pool finds the new database under the old name.
    let client = pool.get().await.expect("a connection");
    let secret: String = client
        .query_one("show app.settings.secret", &[])
        .await
        .expect("it")
        .get(0);
    assert_eq!(secret, r#"it's; \ a "secret""#);
    client
        .query("select from old", &[])
        .await
        .expect_err("the table was in the old one");
    let old = connect(&database, &previous).await;
    old.query("select from old", &[])
        .await
        .expect("nothing is lost");
    drop((client, old));
    drop_database(&database, &previous).await;
}

/// As `bunbun dev` sets up its server: a project's role may enter its own database only.
#[tokio::test]
async fn a_role_that_may_enter_no_other_database_replaces_its_own() {
    if Binaries::find().is_err() {
        return bunbun_test::skip("no PostgreSQL server programs");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).expect("ours");
    let mut config = ClusterConfig::new(directory.path());
    config.durable = false;
    let cluster = Cluster::start(config).await.expect("it starts");
    let superuser = driver(cluster.superuser_url().expose_secret(), "postgres").await;
    for sql in [
        "create role alone login createdb password 'alone'",
        "create database theirs owner alone",
        "revoke all on database postgres, template1 from public",
    ] {
        superuser.batch_execute(sql).await.expect(sql);
    }
    let url = cluster.url_for("theirs", "alone", "alone");
    let server = Server::new(&url).expect("a server");
    assert!(server.exists("theirs").await.expect("an answer"));
    let working = format!("{WORKING_PREFIX}x");
    server
        .create(&working, "theirs", true)
        .await
        .expect("created");
    let sql =
        format!("select has_database_privilege('pg_monitor', '{working}', 'connect')::int::bigint");
    assert_eq!(count(&superuser, &sql).await, 0, "nobody else may enter it");
    server
        .replace("theirs", &working, "kept")
        .await
        .expect("replaced");
    let sql = sql.replace(&working, "theirs");
    assert_eq!(count(&superuser, &sql).await, 1, "as before");
    let left = "select count(*) from pg_database where datname like 'bunbun%'";
    assert_eq!(count(&superuser, left).await, 0);
    assert!(server.exists("kept").await.expect("an answer"));
    cluster
        .stop(Duration::from_secs(20))
        .await
        .expect("it stops");
}

#[tokio::test]
async fn a_setting_that_cannot_be_kept_keeps_the_database_as_it_is() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let name = database.name();
    let setting = format!("alter database \"{name}\" set superuser_only.setting = 'x'");
    database
        .superuser()
        .await
        .batch_execute(&setting)
        .await
        .expect("a setting");
    let server = Server::new(&url_of(&database)).expect("a server");
    let working = format!("{WORKING_PREFIX}{name}");
    server.create(&working, name, true).await.expect("created");
    let error = server
        .replace(name, &working, "never")
        .await
        .expect_err("it may not be set");
    let message = error.public_message().expect("a message").into_owned();
    assert!(
        message.contains("setting 'superuser_only.setting'"),
        "{message}"
    );
    assert!(server.exists(name).await.expect("an answer"));
    server.drop_working(&working).await.expect("dropped");
}

#[tokio::test]
async fn names_that_postgresql_would_cut_off_are_refused() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let server = Server::new(&url_of(&database)).expect("a server");
    for name in ["", "a\0b", "x".repeat(64).as_str()] {
        let error = server.exists(name).await.expect_err("no name");
        assert_eq!(error.code(), Code::InvalidRequest, "{name}");
    }
}

#[tokio::test]
async fn sessions_that_may_not_be_ended_keep_the_database_as_it_is() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let (name, url) = (database.name(), url_of(&database));
    let server = Server::new(&url).expect("a server");
    let working = format!("{WORKING_PREFIX}{name}");
    server.create(&working, name, true).await.expect("created");
    let superuser = database.superuser().await;
    let error = server
        .replace(name, &working, "never")
        .await
        .expect_err("a superuser is there");
    assert!(matches!(error, Error::InUse(_)), "{error:?}");
    assert_eq!(count(&superuser, "select 1::bigint").await, 1);
    assert!(server.exists(&working).await.expect("an answer"));
    assert!(!server.exists("never").await.expect("an answer"));
    server.drop_working(&working).await.expect("dropped");
    server
        .drop_working(&working)
        .await
        .expect("dropped already");
    server
        .drop_working(name)
        .await
        .expect_err("that is no working database");
    assert!(server.exists(name).await.expect("an answer"));
}

#[tokio::test]
async fn a_role_that_may_not_make_databases_is_told_so() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let role = format!("{}_poor", database.name());
    let superuser = database.superuser().await;
    let make = format!("create role {role} login password 'poor'");
    superuser.batch_execute(&make).await.expect("a role");
    let url = database.url().replace(
        "bunbun_test_owner:bunbun_test_owner",
        &format!("{role}:poor"),
    );
    let server = Server::new(&url.into()).expect("a server");
    let error = server
        .create("bunbun_restore_never", database.name(), false)
        .await;
    let error = error.expect_err("it has no CREATEDB");
    assert_eq!(error.code(), Code::Forbidden);
    assert!(
        error
            .public_message()
            .expect("a message")
            .contains("CREATEDB")
    );
    superuser
        .batch_execute(&format!("drop role {role}"))
        .await
        .expect("dropped");
}

#[tokio::test]
async fn a_dead_server_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let url = format!("postgres://u:hunter2@127.0.0.1:{port}/d");
    let server = Server::new(&url.into()).expect("a server");
    let error = server.exists("d").await.expect_err("nobody listens");
    assert_eq!(error.code(), Code::DatabaseUnavailable);
}
