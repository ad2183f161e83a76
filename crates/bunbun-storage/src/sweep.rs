//! Removes what broken-off work left behind: bytes without a row, uploads that nobody will finish,
//! temporary files. A row never goes: it is the truth.

use std::time::{Duration, SystemTime};

use bunbun_core::{id::ProjectRef, project::Project};
use bunbun_postgres::Pool;
use futures_util::StreamExt as _;

use crate::{
    blobs::{BlobKey, Found},
    database::{Database, RequestFacts, objects, uploads},
    error::Result,
    service::StorageService,
};

/// Contents that are asked about at once.
const BATCH: usize = 500;

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Contents that were looked at.
    pub seen: u64,
    /// Contents without a row that were removed.
    pub removed: u64,
    /// Uploads that had expired.
    pub expired_uploads: u64,
    /// Temporary files that were removed.
    pub temporary: u64,
}

impl StorageService {
    /// Sweeps a project's storage once.
    ///
    /// # Errors
    /// When the database or the place of the bytes fails; what was removed stays removed, and
    /// nothing is removed of which the database did not say that it has no row.
    pub async fn sweep(&self, project: &Project) -> Result<SweepReport> {
        let pool = self.database(project).await?;
        let mut report = SweepReport::default();
        self.expire_uploads(&project.reference, &pool, &mut report)
            .await?;
        let older_than = self.moment(self.0.settings.sweep_grace);
        let mut contents = self
            .0
            .blobs
            .list(project.reference.as_str(), older_than)
            .chunks(BATCH);
        while let Some(batch) = contents.next().await {
            let batch: Vec<Found> = batch.into_iter().collect::<Result<_, _>>()?;
            report.seen += batch.len() as u64;
            let orphans = self.orphans(&pool, batch).await?;
            report.removed += orphans.len() as u64;
            for key in &orphans {
                tracing::info!(
                    bucket = key.bucket,
                    version = key.version,
                    "removing bytes without a row"
                );
            }
            self.0.blobs.delete(orphans).await?;
        }
        report.temporary = self.0.blobs.sweep_temporary(older_than).await?;
        Ok(report)
    }

    /// Sweeps again and again, until the task is dropped.
    pub async fn sweep_forever(&self, project: std::sync::Arc<Project>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            match self.sweep(&project).await {
                Ok(report)
                    if report
                        == SweepReport {
                            seen: report.seen,
                            ..SweepReport::default()
                        } => {}
                Ok(report) => tracing::info!(?report, "storage swept"),
                Err(error) => {
                    let error = error
                        .cause()
                        .map_or_else(|| error.to_string(), |c| bunbun_core::error::chain(c));
                    tracing::warn!(error, "storage could not be swept; trying again later");
                }
            }
        }
    }

    /// The wall clock of the file system, minus a time.
    fn moment(&self, ago: Duration) -> SystemTime {
        let now = u64::try_from(self.0.clock.unix_seconds()).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_secs(now).saturating_sub(ago)
    }

    async fn orphans(&self, pool: &Pool, batch: Vec<Found>) -> Result<Vec<BlobKey>> {
        let database = service_database(pool);
        let mut client = database.client().await?;
        let transaction = database.begin_service(&mut client).await?;
        let (parts, contents): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|f| f.key).partition(BlobKey::is_part);
        let mut orphans = Vec::new();
        // A content without a version is older than versions: it stays.
        let contents: Vec<_> = contents
            .into_iter()
            .filter(|key| key.version.is_some())
            .collect();
        if !contents.is_empty() {
            let buckets: Vec<&str> = contents.iter().map(|key| key.bucket.as_str()).collect();
            let names: Vec<&str> = contents.iter().map(|key| key.name.as_str()).collect();
            let versions: Vec<&str> = contents
                .iter()
                .filter_map(|key| key.version.as_deref())
                .collect();
            for at in objects::orphans(&transaction, &buckets, &names, &versions).await? {
                orphans.extend(contents.get(at).cloned());
            }
        }
        if !parts.is_empty() {
            let ids: Vec<&str> = parts.iter().map(|key| key.name.as_str()).collect();
            let versions: Vec<&str> = parts
                .iter()
                .map(|key| key.version.as_deref().unwrap_or_default())
                .collect();
            for at in uploads::orphans(&transaction, &ids, &versions).await? {
                orphans.extend(parts.get(at).cloned());
            }
        }
        Ok(orphans)
    }

    async fn expire_uploads(
        &self,
        project: &ProjectRef,
        pool: &Pool,
        report: &mut SweepReport,
    ) -> Result<()> {
        let database = service_database(pool);
        loop {
            let mut client = database.client().await?;
            let transaction = database.begin_service(&mut client).await?;
            let now = self.0.clock.unix_seconds();
            let oldest = self.0.clock.now() - self.0.settings.multipart_ttl;
            let expired = uploads::expired(&transaction, now, oldest, 100).await?;
            if expired.is_empty() {
                return Ok(());
            }
            let mut keys = Vec::new();
            for upload in &expired {
                for part in uploads::parts(&transaction, &upload.id, 0, 10_001).await? {
                    keys.push(BlobKey::part(project.as_str(), &upload.id, &part.version));
                }
                uploads::delete(&transaction, &upload.id).await?;
                report.expired_uploads += 1;
            }
            transaction.commit().await?;
            self.0.blobs.delete(keys).await?;
        }
    }
}

fn service_database(pool: &Pool) -> Database {
    Database {
        pool: pool.clone(),
        facts: RequestFacts {
            headers: "{}".to_owned(),
            operation: "storage.sweep",
            ..RequestFacts::default()
        },
    }
}
