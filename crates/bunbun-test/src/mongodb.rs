//! Servers that speak MongoDB's protocol. No `mongod` is packaged anywhere we may take it from, so
//! there are two others, each with a part of what MongoDB can:
//!
//! - FerretDB 1 (`tests/support/ferretdb`): documents, cursors, indexes, statistics, explain.
//! - mongo-java-server (`tests/support/mongo-java-server`): aggregation, `$expr`.
//!
//! `MONGODB_TEST_URI` names a real one instead, for both. A server is built or fetched once, into
//! the target directory, and ends with the test process.

use std::{
    env,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;

const SUPPORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/support");
const MAVEN: &str = "https://repo1.maven.org/maven2/";
const START_LIMIT: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MongodbKind {
    /// FerretDB 1.24 with SQLite.
    Ferretdb,
    /// mongo-java-server 1.47 in memory.
    Java,
    /// What `MONGODB_TEST_URI` names.
    Given,
}

/// A running server.
#[derive(Debug)]
pub struct MongodbServer {
    kind: MongodbKind,
    uri: String,
    port: u16,
    process: Option<Child>,
    directory: Option<PathBuf>,
}

static FERRETDB: OnceCell<Option<MongodbServer>> = OnceCell::const_new();
static JAVA: OnceCell<Option<MongodbServer>> = OnceCell::const_new();

impl MongodbServer {
    /// The FerretDB that all tests of this process share, or what `MONGODB_TEST_URI` names.
    ///
    /// # Panics
    /// When it does not start; in CI also when it cannot be built.
    pub async fn ferretdb() -> Option<&'static Self> {
        FERRETDB
            .get_or_init(|| Self::start(MongodbKind::Ferretdb))
            .await
            .as_ref()
    }

    /// The mongo-java-server that all tests of this process share, or what `MONGODB_TEST_URI` names.
    ///
    /// # Panics
    /// When it does not start; in CI also when it cannot be fetched.
    pub async fn java() -> Option<&'static Self> {
        JAVA.get_or_init(|| Self::start(MongodbKind::Java))
            .await
            .as_ref()
    }

    async fn start(kind: MongodbKind) -> Option<Self> {
        if let Some(uri) = env::var_os("MONGODB_TEST_URI") {
            let uri = uri.to_string_lossy().into_owned();
            return Some(Self {
                kind: MongodbKind::Given,
                uri,
                port: 0,
                process: None,
                directory: None,
            });
        }
        Self::start_own(kind).await
    }

    /// A server of the test's own, which it may kill; never the one of `MONGODB_TEST_URI`.
    ///
    /// # Panics
    /// When it does not start; in CI also when it cannot be built or fetched.
    pub async fn start_own(kind: MongodbKind) -> Option<Self> {
        let built = tokio::task::spawn_blocking(move || build(kind))
            .await
            .expect("building does not panic");
        if let Err(reason) = built {
            super::skip(&reason);
            return None;
        }
        let port = free_port();
        let mut server = Self {
            kind,
            uri: format!("mongodb://127.0.0.1:{port}/"),
            port,
            process: None,
            directory: (kind == MongodbKind::Ferretdb).then(|| data_directory(port)),
        };
        server.run().await;
        Some(server)
    }

    /// Which server it is.
    #[must_use]
    pub const fn kind(&self) -> MongodbKind {
        self.kind
    }

    /// Its connection string.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Its port on 127.0.0.1; 0 where it was given.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once, as a power cut does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may be gone already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again after [`Self::kill`], with its old data where it keeps them.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn run(&mut self) {
        let (program, arguments): (PathBuf, Vec<String>) = match (self.kind, &self.directory) {
            (MongodbKind::Ferretdb, Some(directory)) => (
                place().join("ferretdb"),
                vec![
                    "-listen".to_owned(),
                    format!("127.0.0.1:{}", self.port),
                    "-data".to_owned(),
                    directory.to_string_lossy().into_owned(),
                ],
            ),
            _ => (
                "java".into(),
                vec![
                    "-Xmx256m".to_owned(),
                    "-cp".to_owned(),
                    format!("{0}/*:{0}", place().join("java").display()),
                    "Launcher".to_owned(),
                    self.port.to_string(),
                ],
            ),
        };
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server can be started");
        let deadline = Instant::now() + START_LIMIT;
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port))
            .await
            .is_err()
        {
            let ended = process.try_wait().expect("a child can be asked");
            assert!(
                ended.is_none(),
                "the {:?} server ended: {ended:?}",
                self.kind
            );
            assert!(
                Instant::now() < deadline,
                "the {:?} server does not answer",
                self.kind
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.process = Some(process);
    }
}

impl Drop for MongodbServer {
    fn drop(&mut self) {
        self.kill();
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn data_directory(port: u16) -> PathBuf {
    let directory = env::temp_dir().join(format!(
        "bunbun-test-ferretdb-{}-{port}",
        std::process::id()
    ));
    fs::create_dir_all(&directory).expect("the temporary directory is writable");
    directory
}

/// `test-servers` in the target directory, beside `debug`.
fn place() -> PathBuf {
    // target/debug/deps/it-0123456789abcdef
    let this = env::current_exe().expect("the test's own path");
    let target = this
        .ancestors()
        .nth(3)
        .expect("tests run from the target directory");
    target.join("test-servers")
}

/// Makes sure that the server's program is there. One process at a time does it.
fn build(kind: MongodbKind) -> Result<(), String> {
    let place = place();
    fs::create_dir_all(&place).expect("the target directory is writable");
    let lock = File::create(place.join("lock")).expect("the lock file can be made");
    lock.lock().expect("the lock file can be locked");
    match kind {
        MongodbKind::Ferretdb => build_ferretdb(&place),
        _ => build_java(&place),
    }
}

fn build_ferretdb(place: &Path) -> Result<(), String> {
    let (source, binary) = (Path::new(SUPPORT).join("ferretdb"), place.join("ferretdb"));
    let sources = ["main.go", "go.mod", "go.sum"].map(|name| source.join(name));
    if is_newer(&binary, &sources) {
        return Ok(());
    }
    run(Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .arg(&binary)
        .arg(".")
        .current_dir(source))
    .map_err(|error| format!("FerretDB cannot be built with Go 1.24 or newer: {error}"))
}

fn build_java(place: &Path) -> Result<(), String> {
    let (source, directory) = (
        Path::new(SUPPORT).join("mongo-java-server"),
        place.join("java"),
    );
    fs::create_dir_all(&directory).expect("the target directory is writable");
    let list = source.join("jars.sha256");
    let launcher = source.join("Launcher.java");
    let class = directory.join("Launcher.class");
    if is_newer(&class, &[list.clone(), launcher.clone()]) {
        return Ok(());
    }
    let list = fs::read_to_string(list).expect("the list of jars is in the repository");
    for line in list.lines() {
        let (digest, path) = line.split_once("  ").expect("a digest and a path");
        let name = path.rsplit('/').next().unwrap_or(path);
        let partial = directory.join(format!("{name}.partial"));
        run(Command::new("curl")
            .args(["-sSf", "--retry", "3", "-o"])
            .arg(&partial)
            .arg(format!("{MAVEN}{path}")))
        .map_err(|error| format!("{name} cannot be fetched from Maven Central: {error}"))?;
        let bytes = fs::read(&partial).expect("what was fetched is there");
        let found = bunbun_core::secret::hex(&bunbun_core::secret::digest(&bytes));
        assert_eq!(
            found, digest,
            "{name} is not what it was when it was chosen"
        );
        fs::rename(partial, directory.join(name)).expect("the target directory is writable");
    }
    run(Command::new("javac")
        .arg("-cp")
        .arg(format!("{}/*", directory.display()))
        .arg("-d")
        .arg(&directory)
        .arg(launcher))
    .map_err(|error| {
        format!("mongo-java-server's launcher cannot be compiled with Java 17 or newer: {error}")
    })
}

fn is_newer(file: &Path, sources: &[PathBuf]) -> bool {
    let modified = |path: &Path| {
        fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    let Some(made) = modified(file) else {
        return false;
    };
    sources
        .iter()
        .all(|source| modified(source).is_some_and(|changed| changed <= made))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}
