//! Keeps the private PostgreSQL running: one that dies is started again on its port, where the
//! pools find it.

use std::{
    process::ExitStatus,
    time::{Duration, Instant},
};

use bunbun_core::shutdown::Shutdown;
use bunbun_databases::postgres::cluster::{Cluster, ClusterError};

use crate::failure::Failure;

/// Failed restarts in a row after which another would not help.
const ATTEMPTS: u32 = 6;

/// The wait after the first failure; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// A server that lived shorter than this counts as a failed restart.
const SETTLED: Duration = Duration::from_secs(30);

/// Runs until the shutdown begins; a failure means that PostgreSQL is gone for good.
pub(super) async fn keep_running(
    cluster: &mut Cluster,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    tokio::select! {
        biased;
        () = shutdown.begun() => Ok(()),
        failure = restart_until_hopeless(cluster) => Err(failure),
    }
}

async fn restart_until_hopeless(cluster: &mut Cluster) -> Failure {
    // Restarts since PostgreSQL last ran for long, and why the last one failed.
    let mut restarts = 0;
    let mut problem = None;
    let mut started = Instant::now();
    loop {
        if problem.is_none() {
            let status = cluster.exited().await;
            if started.elapsed() >= SETTLED {
                restarts = 0;
            }
            report_end(cluster, status);
        }
        if restarts >= ATTEMPTS {
            return hopeless(cluster, problem.as_ref());
        }
        if restarts > 0 {
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(restarts - 1)).await;
        }
        restarts += 1;
        started = Instant::now();
        problem = cluster.restart().await.err();
        match &problem {
            None => tracing::info!(port = cluster.port(), "PostgreSQL answers again"),
            Some(error) => {
                let reason = bunbun_core::error::chain(error);
                tracing::error!(attempt = restarts, %reason, "PostgreSQL cannot be started again");
            }
        }
    }
}

fn report_end(cluster: &Cluster, status: Option<ExitStatus>) {
    // The kernel tells the status of our own children only.
    let cause = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
    let log = cluster.log_file();
    let (port, log) = (cluster.port(), log.display());
    tracing::error!(%cause, port, %log, "PostgreSQL ended unexpectedly; starting it again");
}

fn hopeless(cluster: &Cluster, error: Option<&ClusterError>) -> Failure {
    let log = cluster.log_file();
    let told = format!("PostgreSQL ended, and {ATTEMPTS} restarts in a row failed");
    let hint = match error {
        Some(error) if error.is_disk_full() => super::hint(error, cluster.directory()),
        _ => format!("its log {} tells why", log.display()),
    };
    match error {
        Some(error) => Failure::because(told, error, hint),
        None => Failure::new(format!("{told}: each time it ended again"), hint),
    }
}
