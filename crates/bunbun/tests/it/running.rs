//! A server that runs: talked to over its socket, stopped by a signal.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

/// A running server.
pub(crate) struct Running {
    child: Child,
    /// What it printed when it was ready.
    pub(crate) banner: Value,
    /// Where it listens.
    pub(crate) address: String,
}

impl Running {
    /// Starts a command that has `--json` and waits until it is ready.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let banner: Value =
            serde_json::from_str(&line).expect("`--json` prints one object when ready");
        let place = banner["url"]
            .as_str()
            .or(banner["address"].as_str())
            .expect("where it is");
        let address = place.trim_start_matches("http://").to_owned();
        Self {
            child,
            banner,
            address,
        }
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.banner[name].as_str().expect("a text")
    }

    /// Status and body.
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &str,
    ) -> (u16, Value) {
        let address = &self.address;
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

    /// What the metrics' page says.
    pub(crate) fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.address);
        let authorization = format!("Authorization: Bearer {}", self.text("service_role_key"));
        let output = Command::new("curl")
            .args(["-sSf", "-H", &authorization, &url])
            .output()
            .expect("curl");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The rows of a statement.
    pub(crate) fn query(&self, sql: &str) -> Value {
        let body = json!({ "sql": sql }).to_string();
        let key = self.text("service_role_key");
        let (status, answer) = self.call("POST", "/api/db/query", Some(key), &body);
        assert_eq!(status, 200, "{answer}");
        answer["rows"].clone()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .expect("kill");
        assert!(sent.success());
    }

    /// Memory that the process takes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a line");
        let kilobytes = line.trim().trim_end_matches(" kB");
        1024 * kilobytes.parse::<u64>().expect("a number")
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "SIGTERM drains and ends well");
    }

    /// Kills it, so that it has no time for anything.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a failed test; the private PostgreSQL is stopped by the signal's handler.
        if let Ok(None) = self.child.try_wait() {
            let _ = Command::new("kill")
                .arg(self.child.id().to_string())
                .status();
            let _ = self.child.wait();
        }
    }
}
