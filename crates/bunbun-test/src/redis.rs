//! Redis servers for tests: each starts its own, so that it may kill, stop and fill it.
//!
//! They listen on loopback, keep nothing on disk, and end with the value that stands for them.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Longer than any start takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `redis-server`.
#[derive(Debug)]
pub struct TestRedis {
    child: Child,
    directory: TempDir,
    port: u16,
    arguments: Vec<String>,
    password: Option<String>,
}

/// A free port, at least until someone else finds it.
fn free_port() -> u16 {
    // A cluster's nodes talk to one another 10000 ports higher, so these have to be low.
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let port = listener.local_addr().expect("it is bound").port();
        if port < 55_000 {
            return port;
        }
    }
}

impl TestRedis {
    /// Starts a server without a password; `None`, said aloud, where Redis is not installed.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// Starts a server with a password.
    #[must_use]
    pub fn with_password(password: &str) -> Option<Self> {
        let mut server = Self::prepare(&["--requirepass", password])?;
        server.password = Some(password.to_owned());
        server.wait_ready();
        Some(server)
    }

    /// Starts a server that speaks TLS only, with this certificate and key (PEM).
    #[must_use]
    pub fn with_tls(certificate: &str, key: &str) -> Option<Self> {
        let files = TempDir::new().expect("the temporary directory is writable");
        let write = |name: &str, text: &str| {
            let path = files.path().join(name);
            fs::write(&path, text).expect("it is ours");
            path.to_string_lossy().into_owned()
        };
        let certificate = write("certificate.pem", certificate);
        let key = write("key.pem", key);
        let port = free_port();
        let server = Self::prepare(&[
            "--port",
            "0",
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &certificate,
            "--tls-auth-clients",
            "no",
        ]);
        let mut server = server?;
        server.port = port;
        server.wait(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        drop(files);
        Some(server)
    }

    /// Starts a server with more arguments.
    #[must_use]
    pub fn with(arguments: &[&str]) -> Option<Self> {
        let server = Self::prepare(arguments)?;
        server.wait_ready();
        Some(server)
    }

    fn prepare(arguments: &[&str]) -> Option<Self> {
        let version = Command::new("redis-server").arg("--version").output();
        if version.is_err() {
            super::skip("no redis-server");
            return None;
        }
        let directory = TempDir::new().expect("the temporary directory is writable");
        let port = free_port();
        let mut all: Vec<String> = [
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--daemonize",
            "no",
            "--port",
            &port.to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let child = spawn(directory.path(), &all);
        Some(Self {
            child,
            directory,
            port,
            arguments: all,
            password: None,
        })
    }

    fn wait_ready(&self) {
        self.wait(|| {
            self.try_command(&["PING"])
                .is_some_and(|answer| answer == "+PONG")
        });
    }

    fn wait(&self, mut ready: impl FnMut() -> bool) {
        let started = Instant::now();
        while !ready() {
            assert!(
                started.elapsed() < PATIENCE,
                "redis-server is not ready: {}",
                fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The port on loopback.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `redis://…`, with the password if there is one.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port, empty.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.directory.path(), &self.arguments);
        self.wait_ready();
    }

    /// Lets the process stand still: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// The opposite of [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
    }

    /// Sends one command past whatever is tested and returns the answer's first line.
    ///
    /// # Panics
    /// When the server does not answer.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> String {
        self.try_command(arguments).expect("the server answers")
    }

    fn try_command(&self, arguments: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        if let Some(password) = &self.password {
            stream.write_all(&encoded(&["AUTH", password])).ok()?;
            reader.read_line(&mut line).ok()?;
            line.clear();
        }
        stream.write_all(&encoded(arguments)).ok()?;
        reader.read_line(&mut line).ok()?;
        if line.starts_with('$') && line.trim_end() != "$-1" {
            line.clear();
            reader.read_line(&mut line).ok()?;
        }
        Some(line.trim_end().to_owned())
    }

    /// Fills it with `count` keys `{prefix}{number}` that hold their number, quickly.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn fill(&self, prefix: &str, count: usize) {
        let mut at = 0;
        while at < count {
            let end = count.min(at + 500);
            let pairs: Vec<String> = (at..end)
                .flat_map(|number| [format!("{prefix}{number}"), number.to_string()])
                .collect();
            let mut command = vec!["MSET"];
            command.extend(pairs.iter().map(String::as_str));
            assert_eq!(self.command(&command), "+OK");
            at = end;
        }
    }
}

fn encoded(arguments: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n{argument}\r\n", argument.len()).as_bytes());
    }
    bytes
}

fn spawn(directory: &Path, arguments: &[String]) -> Child {
    let log = fs::File::create(directory.join("log")).expect("the directory is ours");
    Command::new("redis-server")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server starts")
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three nodes that share the slots.
#[derive(Debug)]
pub struct TestRedisCluster {
    /// The nodes.
    pub nodes: Vec<TestRedis>,
}

impl TestRedisCluster {
    /// Starts the nodes and joins them.
    ///
    /// # Panics
    /// When the cluster does not come about.
    #[must_use]
    pub fn start() -> Option<Self> {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let bus = free_port().to_string();
            nodes.push(TestRedis::with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "2000",
            ])?);
        }
        for (index, node) in nodes.iter().enumerate() {
            let (from, to) = (index * 16384 / 3, (index + 1) * 16384 / 3 - 1);
            let answer = node.command(&[
                "CLUSTER",
                "ADDSLOTSRANGE",
                &from.to_string(),
                &to.to_string(),
            ]);
            assert_eq!(answer, "+OK");
        }
        for node in &nodes[1..] {
            let bus = &node.arguments[node.arguments.len() - 3];
            let port = node.port.to_string();
            let answer = nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
            assert_eq!(answer, "+OK");
        }
        for node in &nodes {
            node.wait(|| {
                let info = node.cluster_info();
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            });
        }
        Some(Self { nodes })
    }

    /// `redis+cluster://…` with the first node only: the others are to be found.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{}", self.nodes[0].port)
    }
}

impl TestRedis {
    fn cluster_info(&self) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "CLUSTER", "INFO"])
            .output();
        output.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    /// Starts a sentinel that watches `primary` under a name.
    #[must_use]
    pub fn sentinel(primary: &Self, name: &str) -> Option<Self> {
        let directory = TempDir::new().expect("the temporary directory is writable");
        let port = free_port();
        let file = directory.path().join("sentinel.conf");
        let text = format!(
            "bind 127.0.0.1\nport {port}\nsentinel monitor {name} 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 1000\n",
            primary.port
        );
        fs::write(&file, text).expect("the directory is ours");
        let arguments = vec![file.to_string_lossy().into_owned(), "--sentinel".to_owned()];
        let child = spawn(directory.path(), &arguments);
        let server = Self {
            child,
            directory,
            port,
            arguments,
            password: None,
        };
        server.wait_ready();
        Some(server)
    }
}
