//! `bunbun dev`: started, used, stopped and started again.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bunbun_databases::postgres::cluster::Binaries;
use serde_json::{Value, json};

use crate::binary::command;

/// A running `bunbun dev`.
struct Dev {
    child: Child,
    banner: Value,
}

impl Dev {
    fn start(folder: &Path) -> Self {
        let mut child = command(
            folder,
            &["dev", "--port", "0", "--json"],
            &[("LOG", "warn"), ("ACCESS_LOG", "false")],
        )
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let banner = serde_json::from_str(&line).expect("`--json` prints one object when ready");
        Self { child, banner }
    }

    fn text(&self, name: &str) -> &str {
        self.banner[name].as_str().expect("a text")
    }

    /// Status and body.
    fn call(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> (u16, Value) {
        let address = self.text("url").trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        let authorization = key
            .map(|key| format!("Authorization: Bearer {key}\r\n"))
            .unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .expect("a status");
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn query(&self, sql: &str) -> Value {
        let body = json!({ "sql": sql }).to_string();
        let (status, answer) = self.call(
            "POST",
            "/api/db/query",
            Some(self.text("service_role_key")),
            &body,
        );
        assert_eq!(status, 200, "{answer}");
        answer["rows"].clone()
    }

    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .expect("kill")
                .success()
        );
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "SIGTERM drains and ends well");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // After a failed test; its PostgreSQL is stopped by the signal's handler.
        if let Ok(None) = self.child.try_wait() {
            let _ = Command::new("kill")
                .arg(self.child.id().to_string())
                .status();
            let _ = self.child.wait();
        }
    }
}

#[test]
fn a_bare_machine_gets_a_working_backend_that_keeps_its_data() {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(folder.path());
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
    let mode = std::fs::metadata(&env_file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let secrets = std::fs::read_to_string(&env_file).expect("readable");
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

    let dev = Dev::start(folder.path());
    assert_eq!(dev.text("service_role_key"), service_key);
    assert_eq!(dev.query("select count(*) as n from kept")[0]["n"], 2);
    dev.stop();
    assert_eq!(
        std::fs::read_to_string(&env_file).expect("readable"),
        secrets
    );
}

#[test]
fn the_projects_owner_is_no_superuser_and_reaches_no_other_database() {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(folder.path());
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
