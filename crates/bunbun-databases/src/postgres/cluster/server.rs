//! The server process of a private cluster: made, started, adopted, stopped.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Stdio},
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
        if run(stop("fast", limit.as_secs().max(1)), "pg_ctl")
            .await
            .is_err()
            && read_pid_file(&layout.data()).is_some_and(|file| is_running(file.process_id))
        {
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

/// Starts `postgres` as our child and waits until it answers.
pub(super) async fn launch(
    layout: &Layout,
    binaries: &Binaries,
    account: Option<&Account>,
    password: &SecretString,
    config: &ClusterConfig,
) -> Result<Server, ClusterError> {
    let mut preferred = layout.last_port();
    for _ in 0..PORT_ATTEMPTS {
        let port = free_port(preferred.take())?;
        let child = spawn(layout, binaries, account, config, port)?;
        match ready(child, layout, password, port, config.start_timeout).await? {
            Some(server) => return Ok(server),
            None => tracing::debug!(port, "another process took the port first"),
        }
    }
    Err(ClusterError::Program {
        program: "postgres",
        output: log_tail(&layout.log()),
    })
}

fn spawn(
    layout: &Layout,
    binaries: &Binaries,
    account: Option<&Account>,
    config: &ClusterConfig,
    port: u16,
) -> Result<Child, ClusterError> {
    let log = open_log(&layout.log())?;
    let errors = log
        .try_clone()
        .map_err(|error| ClusterError::io("share the server's log file", error))?;
    let mut command = account::command(&binaries.path("postgres"), account);
    command
        .arg("-D")
        .arg(layout.data())
        .stdout(log)
        .stderr(errors);
    let socket = layout.socket().to_string_lossy();
    for (name, value) in settings(config, port, &socket) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    AsyncCommand::from(command)
        .spawn()
        .map_err(|error| ClusterError::io("start postgres", error))
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

/// Waits until the child answers; `None` when its port was taken.
async fn ready(
    mut child: Child,
    layout: &Layout,
    password: &SecretString,
    port: u16,
    limit: Duration,
) -> Result<Option<Server>, ClusterError> {
    let deadline = Instant::now() + limit;
    loop {
        let exited = child
            .try_wait()
            .map_err(|error| ClusterError::io("watch postgres", error))?
            .is_some();
        if exited {
            let output = log_tail(&layout.log());
            if output.contains("could not bind") || output.contains("already in use") {
                return Ok(None);
            }
            return Err(ClusterError::Program {
                program: "postgres",
                output,
            });
        }
        if is_ours(layout, password, port).await.is_ok() {
            let process_id = child.id().unwrap_or_default();
            return Ok(Some(Server {
                child: Some(child),
                process_id,
                port,
            }));
        }
        if Instant::now() >= deadline {
            let _ = child.kill().await;
            return Err(ClusterError::TooSlow {
                action: "start",
                log: layout.log(),
            });
        }
        sleep(POLL).await;
    }
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
        if !is_running(file.process_id) || !is_postgres_on(file.process_id, &layout.data()) {
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

fn open_log(path: &Path) -> Result<File, ClusterError> {
    let too_large = fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_LIMIT_BYTES);
    let mut options = File::options();
    if too_large {
        options.write(true).truncate(true);
    } else {
        options.append(true);
    }
    options
        .create(true)
        .open(path)
        .map_err(|error| ClusterError::io("open the server's log file", error))
}

/// The last lines of a log, where the reason of a failed start stands.
fn log_tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
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
