//! `bunbun dev`: a complete backend on this machine, in one process beside a private PostgreSQL.
//! A restart keeps all data and keys.

mod banner;
mod provision;
mod secrets;
mod supervise;

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use bunbun_core::{
    config::{Config, Sources},
    shutdown::Shutdown,
};
use bunbun_databases::postgres::cluster::{Cluster, ClusterConfig, ClusterError};
use bunbun_http::slots::SlotMode;

use self::{banner::Banner, secrets::Secrets};
use crate::{
    cli::{DevArguments, Global},
    failure::Failure,
    printer::Printer,
    server::{self, Start},
    sources, telemetry,
};

/// Longest wait for PostgreSQL to stop in order.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Settings that differ from production's, unless someone sets them: nobody waits for mails, and
/// tests may be as many as they like.
const FOR_DEVELOPERS: &[(&str, &str)] = &[
    ("auth.mailer_autoconfirm", "true"),
    ("auth.rate_limit_email_sent", "0"),
    ("auth.rate_limit_token_refresh", "0"),
    ("auth.rate_limit_verify", "0"),
    ("auth.rate_limit_otp", "0"),
    ("auth.rate_limit_anonymous", "0"),
    ("auth.rate_limit_mfa", "0"),
];

/// Serves until a signal ends it.
pub(crate) fn run(
    global: &Global,
    arguments: &DevArguments,
    printer: &Printer,
) -> Result<(), Failure> {
    let mut sources = sources::read(global, Some(&arguments.listen))?;
    let data_dir = data_directory(&arguments.data_dir)?;
    if !is_host_chosen(&sources) {
        // Generated keys lie in a file here: no other machine should reach this by default.
        sources.flags.insert("server.host", "127.0.0.1".to_owned());
    }
    for (path, value) in FOR_DEVELOPERS {
        if !sources.is_set(path) {
            sources.flags.insert(path, (*value).to_owned());
        }
    }
    let secrets = Secrets::load(&data_dir.join(secrets::FILE))?;
    let own_cluster = sources.get("database.url").is_none();
    let secrets = secrets.complete(&mut sources, own_cluster)?;
    // A first look, so that faults show before anything is started.
    let config = Config::load(&sources)?;
    check_port(&config)?;
    let _telemetry = telemetry::start(&config.telemetry)?;
    let runtime = super::server_runtime(config.server.workers)?;
    let session = Session {
        sources,
        config_file: sources::file(global),
        data_dir,
        secrets,
        own_cluster,
        printer,
    };
    runtime.block_on(session.run())
}

/// One run of `dev`.
struct Session<'p> {
    sources: Sources,
    config_file: PathBuf,
    data_dir: PathBuf,
    secrets: Secrets,
    own_cluster: bool,
    printer: &'p Printer,
}

impl Session<'_> {
    async fn run(mut self) -> Result<(), Failure> {
        let shutdown = Shutdown::new();
        server::stop_on_signals(&shutdown)?;
        if !self.own_cluster {
            return self.serve(shutdown, SlotMode::Remote).await;
        }
        let mut cluster = tokio::select! {
            started = self.start_cluster() => started?,
            // A server that is half started is adopted next time.
            () = shutdown.begun() => return Ok(()),
        };
        let outcome = match self.prepare(&cluster).await {
            Ok(()) => self.serve_beside(&mut cluster, shutdown).await,
            Err(failure) => Err(failure),
        };
        let stopped = cluster.stop(STOP_TIMEOUT).await.map_err(|error| {
            let hint = "its log is postgres.log in the data directory";
            Failure::because("PostgreSQL could not be stopped", &error, hint)
        });
        outcome.and(stopped)
    }

    async fn start_cluster(&self) -> Result<Cluster, Failure> {
        let directory = self.data_dir.join("postgres");
        if !directory.exists() {
            let place = directory.display();
            self.printer
                .say(&format!("Making a PostgreSQL cluster in {place} …"));
        }
        Cluster::start(ClusterConfig::new(directory))
            .await
            .map_err(|error| {
                let hint = hint(&error, &self.data_dir);
                Failure::because("PostgreSQL cannot be started", &error, hint)
            })
    }

    /// Serves and keeps PostgreSQL running; each ends the other.
    async fn serve_beside(self, cluster: &mut Cluster, shutdown: Shutdown) -> Result<(), Failure> {
        let (served, kept) = tokio::join!(
            async {
                let served = self.serve(shutdown.clone(), SlotMode::Embedded).await;
                shutdown.begin();
                served
            },
            async {
                let kept = supervise::keep_running(cluster, &shutdown).await;
                shutdown.begin();
                kept
            }
        );
        kept.and(served)
    }

    /// Makes roles and databases, and remembers how they are reached.
    async fn prepare(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let urls = provision::databases(cluster, &self.secrets).await?;
        self.secrets.remember("DATABASE_URL", &urls.project);
        self.secrets
            .remember("PLATFORM_DATABASE_URL", &urls.platform);
        self.secrets.save()?;
        let env = &mut self.sources.env;
        env.insert("DATABASE_URL".to_owned(), urls.project);
        env.entry("PLATFORM_DATABASE_URL".to_owned())
            .or_insert(urls.platform);
        let config = Config::load(&self.sources)?;
        super::migrate::migrate(&config).await?;
        super::migrate::project(&config).await?;
        Ok(())
    }

    async fn serve(self, shutdown: Shutdown, postgres_mode: SlotMode) -> Result<(), Failure> {
        let config = Config::load(&self.sources)?;
        let banner = Banner::new(&config, &self.data_dir, self.own_cluster);
        let printer = self.printer;
        server::run(Start {
            config,
            sources: self.sources,
            config_file: self.config_file,
            data_dir: self.data_dir,
            postgres_mode,
            is_dev: true,
            shutdown,
            ready: Box::new(move |address: SocketAddr| banner.print(address, printer)),
        })
        .await
    }
}

/// What to do when PostgreSQL does not start.
fn hint(error: &ClusterError, place: &Path) -> String {
    if error.is_disk_full() {
        let place = place.display();
        return format!(
            "the disk of {place} is full: free some space, or --data-dir names another place"
        );
    }
    "DATABASE_URL makes `bunbun dev` use a PostgreSQL that runs already".to_owned()
}

/// Whether any layer says where to listen.
fn is_host_chosen(sources: &Sources) -> bool {
    let in_file = sources
        .file
        .get("server")
        .and_then(|section| section.get("host"));
    let in_env = sources.env.get("HOST").filter(|value| !value.is_empty());
    in_file.is_some() || in_env.is_some() || sources.flags.contains_key("server.host")
}

/// Makes the directory, for us only, and gives its absolute path: PostgreSQL runs elsewhere.
fn data_directory(path: &Path) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let cannot = |error: &std::io::Error| {
        let problem = format!("the data directory {} cannot be used", path.display());
        Failure::because(
            problem,
            error,
            "--data-dir names a directory that you may write to",
        )
    };
    let absolute = std::path::absolute(path).map_err(|error| cannot(&error))?;
    std::fs::DirBuilder::new()
        .recursive(true)
        // The account of the server has to pass through; the files inside are private themselves.
        .mode(0o711)
        .create(&absolute)
        .map_err(|error| cannot(&error))?;
    Ok(absolute)
}

/// Says that the port is taken before anything is started.
fn check_port(config: &Config) -> Result<(), Failure> {
    let address = SocketAddr::new(config.server.host, config.server.port);
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::because(
            format!("port {} of {} cannot be used", address.port(), address.ip()),
            &error,
            "`--port 3001` takes another, `--port 0` a free one",
        )),
    }
}
