//! `bunbun dev`: started, used, stopped and started again.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bunbun_databases::postgres::cluster::Binaries;
use serde_json::json;

use crate::{binary::command, running::Running};

fn start(folder: &Path) -> Running {
    let env = [("LOG", "error"), ("ACCESS_LOG", "false")];
    Running::start(command(folder, &["dev", "--port", "0", "--json"], &env))
}

#[test]
fn a_bare_machine_gets_a_working_backend_that_keeps_its_data() {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let dev = start(folder.path());
    assert_eq!(dev.call("GET", "/health", None, "").1["status"], "ok");
    assert_eq!(dev.call("POST", "/api/db/query", None, "{}").0, 401);
    let service_key = dev.text("service_role_key").to_owned();
    dev.query("create table kept (id int primary key)");
    dev.query("insert into kept values (1), (2)");
    assert_eq!(
        dev.call("GET", "/api/db/tables", Some(&service_key), "").0,
        200
    );

    let env_file = Path::new(dev.text("secrets_file")).to_owned();
    let mode = fs::metadata(&env_file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let secrets = fs::read_to_string(&env_file).expect("readable");
    for name in [
        "JWT_SECRET",
        "ANON_KEY",
        "SERVICE_ROLE_KEY",
        "DATABASE_URL",
        "DASHBOARD_PASSWORD",
    ] {
        assert!(secrets.contains(&format!("\n{name}=")), "{name} is missing");
    }
    dev.stop();

    let dev = start(folder.path());
    assert_eq!(dev.text("service_role_key"), service_key);
    assert_eq!(dev.query("select count(*) as n from kept")[0]["n"], 2);
    dev.stop();
    assert_eq!(fs::read_to_string(&env_file).expect("readable"), secrets);
}

#[test]
fn a_killed_process_leaves_nothing_that_stops_the_next() {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let dev = start(folder.path());
    dev.query("create table kept (id int)");
    dev.kill();
    let dev = start(folder.path());
    assert_eq!(dev.query("select count(*) as n from kept")[0]["n"], 0);
    dev.stop();
}

/// Kills the private PostgreSQL and gives the number that its process had.
fn kill_postgres(folder: &Path) -> String {
    let process = postgres_process(folder).expect("it runs");
    let killed = Command::new("kill").args(["-9", &process]).status();
    assert!(killed.expect("kill runs").success());
    process
}

fn postgres_process(folder: &Path) -> Option<String> {
    let file = folder.join(".bunbun/postgres/data/postmaster.pid");
    Some(fs::read_to_string(file).ok()?.lines().next()?.to_owned())
}

/// Waits until statements work again, in another server.
fn wait_until_healed(dev: &Running, folder: &Path, dead: &str) {
    let key = dev.text("service_role_key");
    let body = json!({ "sql": "select count(*) as n from kept" }).to_string();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (status, answer) = dev.call("POST", "/api/db/query", Some(key), &body);
        let is_new = postgres_process(folder).is_some_and(|process| process != dead);
        if status == 200 && is_new {
            return;
        }
        assert!(Instant::now() < deadline, "it does not heal: {answer}");
    }
}

#[test]
fn a_postgresql_that_dies_is_started_again() {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let dev = start(folder.path());
    dev.query("create table kept (id int)");
    let dead = kill_postgres(folder.path());
    wait_until_healed(&dev, folder.path(), &dead);
    dev.kill();

    // One that was adopted is no child of ours.
    let dev = start(folder.path());
    let dead = kill_postgres(folder.path());
    wait_until_healed(&dev, folder.path(), &dead);

    // And a stop right after a death is no matter of timeouts.
    kill_postgres(folder.path());
    let begun = Instant::now();
    dev.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited");
}

#[test]
fn the_projects_owner_is_no_superuser_and_reaches_no_other_database() {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let dev = start(folder.path());
    let me = &dev.query(
        "select rolsuper, rolcreaterole, rolreplication, rolbypassrls from pg_roles \
         where rolname = current_user",
    )[0];
    assert!(
        me.as_object()
            .expect("a row")
            .values()
            .all(|value| *value == json!(false)),
        "{me}"
    );
    let open = dev.query(
        "select datname from pg_database where datname <> current_database() \
         and datname <> 'template0' and has_database_privilege(datname, 'connect')",
    );
    assert_eq!(open, json!([]));
    let key = dev.text("service_role_key").to_owned();
    for sql in [
        "copy (select 1) to program 'id'",
        "select pg_read_file('/etc/passwd')",
    ] {
        let body = json!({ "sql": sql }).to_string();
        let (status, answer) = dev.call("POST", "/api/db/query", Some(&key), &body);
        assert_eq!(
            (status, &answer["error"]["details"]["sqlstate"]),
            (400, &json!("42501")),
            "{sql}"
        );
    }
    // Rows are written through the roles that PostgREST uses.
    dev.query("create table notes (id int)");
    let anon = "select has_table_privilege('anon', 'notes', 'select') as may";
    assert_eq!(dev.query(anon)[0]["may"], true);
    dev.stop();
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener
        .local_addr()
        .expect("an address")
        .port()
        .to_string();
    let outcome = crate::binary::run_in(folder.path(), &["dev", "--port", &port], &[]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains(&port) && outcome.stderr.contains("hint:"),
        "{}",
        outcome.stderr
    );
    assert!(!folder.path().join(".bunbun/postgres").exists());
}
