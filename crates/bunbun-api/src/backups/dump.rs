//! The task that makes a backup.

use std::sync::atomic::Ordering;

use bunbun_core::{
    Classify,
    id::{BackupId, ProjectRef},
};
use bunbun_databases::postgres::dump::{Dump, Tools};
use bunbun_store::backups as rows;
use secrecy::SecretString;

use super::{
    Backups,
    error::Error,
    lease::{Progress, Work},
    objects::Upload,
};

/// A backup to make.
pub(super) struct Job {
    pub(super) project: ProjectRef,
    pub(super) id: BackupId,
    pub(super) key: String,
    pub(super) url: SecretString,
    pub(super) tools: Tools,
    pub(super) estimated_bytes: u64,
}

/// Makes the backup and notes how it ended.
pub(super) async fn run(backups: &Backups, job: Job) {
    let inner = &backups.0;
    let lease = backups.lease(&job.project, job.id, Work::Backup);
    let progress = Progress::default();
    let outcome = tokio::select! {
        biased;
        () = inner.shutdown.begun() => Err(Error::Stopping),
        lost = lease.keep(&progress) => Err(lost),
        outcome = copy(backups, &job, &progress) => outcome,
    };
    let (store, node, id) = (&inner.store, inner.node.name(), job.id);
    match outcome {
        Ok((bytes, sha256)) => {
            let noted = lease
                .settle(|| async {
                    let client = store.client().await?;
                    let note =
                        rows::update_succeeded(&client, &job.project, id, node, bytes, sha256);
                    Ok(note.await?)
                })
                .await;
            if matches!(noted, Ok(Some(_))) {
                tracing::info!(backup = %id, project = %job.project, bytes, "backup complete");
                return;
            }
            // Nobody would know of it. Should the note have arrived all the same, the row says
            // succeeded and a download says that the object is gone: no worse than the truth.
            tracing::warn!(backup = %id, project = %job.project, "backup given up: lease lost");
        }
        Err(error) => {
            let cause = bunbun_core::error::chain(&error);
            tracing::error!(backup = %id, project = %job.project, error = cause, "backup failed");
            let message = error
                .public_message()
                .unwrap_or("A fault of ours; see the log.".into());
            let noted = lease
                .settle(|| async {
                    let client = store.client().await?;
                    let note = rows::update_failed(&client, &job.project, id, node, &message);
                    Ok(note.await?)
                })
                .await;
            if let Err(error) = noted {
                let error = bunbun_core::error::chain(&error);
                tracing::error!(backup = %id, error, "the failure of a backup was not noted");
            }
        }
    }
    if let Err(error) = inner.objects.delete(&job.key).await {
        let error = bunbun_core::error::chain(&error);
        tracing::warn!(backup = %id, error, "the object of a failed backup was not deleted");
    } else if let Ok(client) = store.client().await {
        // Where this fails, the next look at what failed work left behind does it.
        let _ = rows::update_object_gone(&client, &job.project, id).await;
    }
}

/// Copies what `pg_dump` writes into the object store. Only a dump that ended well is completed.
async fn copy(backups: &Backups, job: &Job, progress: &Progress) -> Result<(u64, [u8; 32]), Error> {
    let mut upload = backups
        .0
        .objects
        .create(&job.key, job.estimated_bytes)
        .await?;
    match pump(&mut upload, job, progress).await {
        Ok(()) => upload.finish().await,
        Err(error) => {
            upload.abort().await;
            Err(error)
        }
    }
}

async fn pump(upload: &mut Upload, job: &Job, progress: &Progress) -> Result<(), Error> {
    let mut dump = Dump::start(&job.tools, &job.url)?;
    while let Some(chunk) = dump.next().await? {
        upload.write(chunk).await?;
        progress.bytes.store(upload.bytes(), Ordering::Relaxed);
        // The last one begun is still being written.
        let done = dump.tables_begun().saturating_sub(1);
        progress.tables.store(done, Ordering::Relaxed);
    }
    Ok(dump.finish().await?)
}
