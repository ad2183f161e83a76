//! The server process of a private cluster: made, started, adopted, stopped.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use tokio::{
    process::{Child, Command as AsyncCommand},
    time::{Instant, sleep, timeout},
};
use tokio_postgres::{Config, NoTls, error::SqlState};

use super::{
    Binaries, Cluster, ClusterConfig, ClusterError,
    account::{self, Account},
    layout::{self, Layout},
};

/// How often a starting or stopping server is looked at.
const POLL: Duration = Duration::from_millis(25);

/// How often an adopted server is looked at, whose end the kernel does not tell us.
const WATCH: Duration = Duration::from_millis(500);

/// How often a start is tried again while the children of a killed server still hold its memory.
const ORPHAN_POLL: Duration = Duration::from_millis(250);

/// Longest wait of a stop for the `postmaster.pid` of a server that was started a moment ago.
const PID_FILE_LIMIT: Duration = Duration::from_secs(2);

/// How often another port is tried when someone takes ours first.
const PORT_ATTEMPTS: usize = 5;

/// A log larger than this is begun anew at the next start.
const LOG_LIMIT_BYTES: u64 = 8 * 1024 * 1024;

/// A server that answers.
#[derive(Debug)]
pub(super) struct Server {
    child: Option<Child>,
    process_id: u32,
    port: u16,
}

impl Server {
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) const fn process_id(&self) -> u32 {
        self.process_id
    }

    pub(super) const fn is_adopted(&self) -> bool {
        self.child.is_none()
    }

    /// Forgets the server, which goes on.
    pub(super) fn detach(self) {
        drop(self.child);
    }

    /// Waits until the process has ended; the status where it was our child. May be dropped and
    /// called again.
    pub(super) async fn exited(&mut self, layout: &Layout) -> Option<ExitStatus> {
        if let Some(child) = &mut self.child {
            return child.wait().await.ok();
        }
        while is_server(self.process_id, &layout.data()) {
            sleep(WATCH).await;
        }
        None
    }

    /// Whether the process still runs. Collects the exit status, so that nobody waits for a zombie.
    fn is_alive(&mut self, layout: &Layout) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => is_server(self.process_id, &layout.data()),
        }
    }

    /// Waits until `pg_ctl` can find the server; false when it has ended.
    async fn can_be_told(&mut self, layout: &Layout) -> bool {
        let deadline = Instant::now() + PID_FILE_LIMIT;
        while self.is_alive(layout) {
            let file = read_pid_file(&layout.data());
            let is_found = file.is_some_and(|file| file.process_id == self.process_id);
            if is_found || Instant::now() >= deadline {
                return true;
            }
            sleep(POLL).await;
        }
        false
    }

    pub(super) async fn stop(
        &mut self,
        layout: &Layout,
        binaries: &Binaries,
        account: Option<&Account>,
        limit: Duration,
    ) -> Result<(), ClusterError> {
        let stop = |mode: &'static str, seconds: u64| {
            let mut command = account::command(&binaries.path("pg_ctl"), account);
            command.args([
                "stop",
                "-s",
                "-w",
                "-m",
                mode,
                "-t",
                &seconds.to_string(),
                "-D",
            ]);
            command.arg(layout.data());
            command
        };
        // A server that has ended has nothing to stop, and `pg_ctl` would wait for it.
        if !self.can_be_told(layout).await {
            return Ok(());
        }
        let stopped = tokio::select! {
            stopped = run(stop("fast", limit.as_secs().max(1)), "pg_ctl") => stopped,
            // Killed meanwhile.
            _ = self.exited(layout) => Ok(()),
        };
        if stopped.is_err() && self.is_alive(layout) {
            run(stop("immediate", 10), "pg_ctl").await?;
        }
        if let Some(child) = &mut self.child {
            // Collects the exit status; the process has ended already.
            let _ = timeout(Duration::from_secs(5), child.wait()).await;
        }
        Ok(())
    }
}

/// Asks the server to stop and does not wait: all that a `Drop` can do.
pub(super) fn ask_to_stop(layout: &Layout, binaries: &Binaries, account: Option<&Account>) {
    let _ = account::command(&binaries.path("pg_ctl"), account)
        .args(["stop", "-s", "-W", "-m", "fast", "-D"])
        .arg(layout.data())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Runs `initdb` beside the final place and moves the result there, so that a directory that looks
/// finished is finished.
pub(super) async fn initialise(
    layout: &Layout,
    binaries: &Binaries,
    account: Option<&Account>,
    password: &SecretString,
    config: &ClusterConfig,
) -> Result<(), ClusterError> {
    let unfinished = layout.unfinished_data();
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)
            .map_err(|error| ClusterError::io("remove an unfinished data directory", error))?;
    }
    account::private_directory(&unfinished, account)
        .map_err(|error| ClusterError::io("make the data directory", error))?;
    // `initdb` reads it as the server's account, therefore not the file that we keep.
    let password_file = layout.socket().join("initial-password");
    layout::write_private(&password_file, password.expose_secret())
        .and_then(|()| account::give(&password_file, account))
        .map_err(|error| ClusterError::io("hand the password to initdb", error))?;
    let initdb = |locale: &str| {
        let mut command = account::command(&binaries.path("initdb"), account);
        command
            .arg("-D")
            .arg(&unfinished)
            .arg("--pwfile")
            .arg(&password_file)
            .args([
                "-U",
                Cluster::SUPERUSER,
                "-E",
                "UTF8",
                "-A",
                "scram-sha-256",
            ])
            .arg(format!("--locale={locale}"));
        if !config.durable {
            command.arg("--no-sync");
        }
        command
    };
    // Not every system has C.UTF-8; C differs in upper- and lower-casing beyond ASCII only.
    let mut result = run(initdb("C.UTF-8"), "initdb").await;
    if matches!(&result, Err(ClusterError::Program { output, .. }) if output.contains("locale")) {
        result = run(initdb("C"), "initdb").await;
    }
    let _ = fs::remove_file(&password_file);
    result?;
    fs::rename(&unfinished, layout.data())
        .map_err(|error| ClusterError::io("put the data directory in its place", error))
}

/// What it takes to start the server of a cluster.
pub(super) struct Launcher<'c> {
    pub(super) layout: &'c Layout,
    pub(super) binaries: &'c Binaries,
    pub(super) account: Option<&'c Account>,
    pub(super) password: &'c SecretString,
    pub(super) config: &'c ClusterConfig,
}

impl Launcher<'_> {
    /// Starts `postgres` as our child and waits until it answers.
    pub(super) async fn launch(&self) -> Result<Server, ClusterError> {
        let mut preferred = self.layout.last_port();
        for _ in 0..PORT_ATTEMPTS {
            let mut server = Server {
                child: None,
                process_id: 0,
                port: free_port(preferred.take())?,
            };
            if self.start(&mut server).await? {
                return Ok(server);
            }
            tracing::debug!(server.port, "another process took the port first");
        }
        Err(port_taken())
    }

    /// Starts an ended server again, on its port, which its clients know.
    pub(super) async fn relaunch(&self, server: &mut Server) -> Result<(), ClusterError> {
        // Someone may have restarted it by hand.
        let limit = self.config.start_timeout;
        if let Some(found) = adopt(self.layout, self.password, limit).await? {
            let same_port = found.port == server.port;
            let (pid, port) = (found.process_id, found.port);
            if same_port {
                *server = found;
                return Ok(());
            }
            return Err(ClusterError::Foreign {
                pid,
                data_dir: self.layout.data(),
                reason: format!("it listens on port {port} instead of {}", server.port),
            });
        }
        if self.start(server).await? {
            Ok(())
        } else {
            Err(port_taken())
        }
    }

    /// Starts the server on its port and waits until it answers; false when the port is taken.
    /// `server` has the process from its first moment, so that a caller who gives up can stop it.
    async fn start(&self, server: &mut Server) -> Result<bool, ClusterError> {
        let deadline = Instant::now() + self.config.start_timeout;
        loop {
            let log_begin = fs::metadata(self.layout.log()).map_or(0, |log| log.len());
            let child = self.spawn(server.port)?;
            server.process_id = child.id().unwrap_or_default();
            let child = server.child.insert(child);
            match self.ready(child, server.port, log_begin).await {
                Err(ClusterError::Program { output, .. })
                    if self.will_pass(&output) && Instant::now() < deadline =>
                {
                    sleep(ORPHAN_POLL).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Whether a start failed on what is left of a killed server, for the moment only.
    fn will_pass(&self, output: &str) -> bool {
        // Its own children have not noticed yet.
        let has_orphans = output.contains("shared memory block") && output.contains("still in use");
        // Nobody has collected it yet, so that PostgreSQL takes it for running.
        let is_zombie = output.contains("\"postmaster.pid\" already exists")
            && read_pid_file(&self.layout.data()).is_some_and(|file| !is_running(file.process_id));
        has_orphans || is_zombie
    }

    fn spawn(&self, port: u16) -> Result<Child, ClusterError> {
        let layout = self.layout;
        let log = open_log(&layout.log(), self.account)?;
        let errors = log
            .try_clone()
            .map_err(|error| ClusterError::io("share the server's log file", error))?;
        let mut command = account::command(&self.binaries.path("postgres"), self.account);
        command
            .arg("-D")
            .arg(layout.data())
            .stdout(log)
            .stderr(errors);
        let socket = layout.socket().to_string_lossy();
        for (name, value) in settings(self.config, port, &socket) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        AsyncCommand::from(command)
            .spawn()
            .map_err(|error| ClusterError::io("start postgres", error))
    }

    /// Waits until the child answers; false when its port was taken.
    async fn ready(
        &self,
        child: &mut Child,
        port: u16,
        log_begin: u64,
    ) -> Result<bool, ClusterError> {
        let deadline = Instant::now() + self.config.start_timeout;
        loop {
            let exited = child
                .try_wait()
                .map_err(|error| ClusterError::io("watch postgres", error))?
                .is_some();
            if exited {
                let output = log_tail(&self.layout.log(), log_begin);
                if output.contains("could not bind") || output.contains("already in use") {
                    return Ok(false);
                }
                return Err(ClusterError::Program {
                    program: "postgres",
                    output,
                });
            }
            if is_ours(self.layout, self.password, port).await.is_ok() {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                let _ = child.kill().await;
                return Err(ClusterError::TooSlow {
                    action: "start",
                    log: self.layout.log(),
                });
            }
            sleep(POLL).await;
        }
    }
}

/// Sized for a laptop or a small server.
fn settings(config: &ClusterConfig, port: u16, socket: &str) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("port", port.to_string()),
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("unix_socket_directories", socket.to_owned()),
        ("max_connections", config.max_connections.to_string()),
        ("shared_buffers", "64MB".to_owned()),
        ("max_wal_size", "512MB".to_owned()),
        ("min_wal_size", "64MB".to_owned()),
        // Realtime reads changes from the log.
        ("wal_level", "logical".to_owned()),
        ("jit", "off".to_owned()),
        ("password_encryption", "scram-sha-256".to_owned()),
        ("timezone", "UTC".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("logging_collector", "off".to_owned()),
    ];
    if !config.durable {
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            settings.push((name, "off".to_owned()));
        }
    }
    settings
}

/// Takes over the server that an earlier owner left running; `None` when none runs.
pub(super) async fn adopt(
    layout: &Layout,
    password: &SecretString,
    limit: Duration,
) -> Result<Option<Server>, ClusterError> {
    let deadline = Instant::now() + limit;
    loop {
        let Some(file) = read_pid_file(&layout.data()) else {
            return Ok(None);
        };
        if !is_server(file.process_id, &layout.data()) {
            // A number of a dead server, perhaps reused by another program; postgres replaces it.
            return Ok(None);
        }
        let reason = match file.port {
            None => "it is starting".to_owned(),
            Some(port) => match is_ours(layout, password, port).await {
                Ok(()) => {
                    return Ok(Some(Server {
                        child: None,
                        process_id: file.process_id,
                        port,
                    }));
                }
                Err(reason) => reason,
            },
        };
        if Instant::now() >= deadline {
            let (pid, data_dir) = (file.process_id, layout.data());
            return Err(ClusterError::Foreign {
                pid,
                data_dir,
                reason,
            });
        }
        sleep(POLL).await;
    }
}

/// Connects and compares the data directory: another cluster may listen on the port.
async fn is_ours(layout: &Layout, password: &SecretString, port: u16) -> Result<(), String> {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(port)
        .user(Cluster::SUPERUSER)
        .password(password.expose_secret())
        .dbname("postgres")
        .connect_timeout(Duration::from_secs(2));
    let (client, connection) = config.connect(NoTls).await.map_err(|error| {
        if error.code() == Some(&SqlState::INVALID_PASSWORD) {
            "it does not accept our password".to_owned()
        } else {
            error.to_string()
        }
    })?;
    let task = bunbun_core::task::spawn("cluster-probe", connection);
    let answer = client.query_one("show data_directory", &[]).await;
    drop(client);
    let _ = task.await;
    let directory: String = answer.map_err(|error| error.to_string())?.get(0);
    if Path::new(&directory) == layout.data() {
        Ok(())
    } else {
        Err("another cluster listens on its port".to_owned())
    }
}

/// What `postmaster.pid` says.
struct PidFile {
    process_id: u32,
    port: Option<u16>,
}

fn read_pid_file(data: &Path) -> Option<PidFile> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    // A negative number stands for a single-user backend.
    let process_id = lines.next()?.trim().trim_start_matches('-').parse().ok()?;
    let port = lines.nth(2).and_then(|line| line.trim().parse().ok());
    Some(PidFile { process_id, port })
}

/// Whether the process runs and is a postgres on this directory.
fn is_server(process_id: u32, data: &Path) -> bool {
    is_running(process_id) && is_postgres_on(process_id, data)
}

fn is_running(process_id: u32) -> bool {
    if Path::new("/proc/self").exists() {
        return fs::read_to_string(format!("/proc/{process_id}/stat"))
            // A zombie holds nothing any more.
            .is_ok_and(|stat| {
                !stat
                    .rsplit(')')
                    .next()
                    .unwrap_or("")
                    .trim()
                    .starts_with('Z')
            });
    }
    Command::new("ps")
        .args(["-p", &process_id.to_string()])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a process is a postgres on this directory; where the system does not tell, it may be.
fn is_postgres_on(process_id: u32, data: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    match fs::read(format!("/proc/{process_id}/cmdline")) {
        Ok(line) => line
            .split(|byte| *byte == 0)
            .any(|word| word == data.as_os_str().as_bytes()),
        Err(_) => true,
    }
}

/// The preferred port, or one that the system picks.
fn free_port(preferred: Option<u16>) -> Result<u16, ClusterError> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    preferred
        .map(bind)
        .and_then(Result::ok)
        .map_or_else(|| bind(0), Ok)
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| ClusterError::io("find a free port", error))
}

fn open_log(path: &Path, account: Option<&Account>) -> Result<File, ClusterError> {
    let open = || {
        let log = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        account::keep_private(&log, account)?;
        if log.metadata()?.len() > LOG_LIMIT_BYTES {
            log.set_len(0)?;
        }
        Ok(log)
    };
    open().map_err(|error| ClusterError::io("open the server's log file", error))
}

/// Hides a log that an older BunBun left readable: it has users' statements.
pub(super) fn protect_log(path: &Path, account: Option<&Account>) -> Result<(), ClusterError> {
    match File::open(path) {
        Ok(log) => account::keep_private(&log, account),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|error| ClusterError::io("protect the server's log file", error))
}

fn port_taken() -> ClusterError {
    ClusterError::Program {
        program: "postgres",
        output: "another process has taken its port".to_owned(),
    }
}

/// The last lines that were added to a log, where the reason of a failed start stands. What stood
/// there before may be users' statements.
fn log_tail(path: &Path, begin: u64) -> String {
    let text = fs::read(path).unwrap_or_default();
    // A log that was too large was begun anew.
    let begin = usize::try_from(begin).unwrap_or(0);
    let text = text.get(begin..).unwrap_or(&text);
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Runs a program to its end.
async fn run(command: Command, program: &'static str) -> Result<(), ClusterError> {
    let output = AsyncCommand::from(command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .await
        .map_err(|error| ClusterError::io(format!("run {program}"), error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(ClusterError::Program {
        program,
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
