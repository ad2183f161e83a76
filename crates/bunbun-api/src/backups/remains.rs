//! What nodes that died, or work that failed, have left behind.

use std::sync::Arc;

use bunbun_core::id::{BackupId, ProjectRef};
use bunbun_databases::postgres::dump::databases::Server;
use bunbun_store::{
    Client,
    backups::{self as rows, Status},
};

use super::{Backups, SILENCE, error::Error};

impl Backups {
    /// Marks as failed what dead nodes were at, and clears away what is left of failed work:
    /// objects, incomplete files, databases that were being restored to. What cannot be cleared
    /// away now is left for the next time.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Directory`].
    pub async fn tidy(&self, project: &ProjectRef) -> Result<(), Error> {
        self.recover(project).await?;
        let client = self.0.store.client().await?;
        self.mark_silent(&client, project).await?;
        let remains = rows::list_remains(&client, project).await?;
        drop(client);
        for backup in remains {
            if backup.status == Status::Failed
                && let Some(key) = &backup.object_key
            {
                report(backup.id, self.delete_object(project, backup.id, key).await);
            }
            let restore = backup
                .restore
                .filter(|restore| restore.status == Status::Failed);
            if let Some(name) = restore.and_then(|restore| restore.working_database) {
                report(
                    backup.id,
                    self.drop_working(project, backup.id, &name).await,
                );
            }
        }
        self.delete_partial_files(project).await
    }

    /// Marks, once per project and before anything else is done for it, what this node was at when
    /// it was killed.
    pub(super) async fn recover(&self, project: &ProjectRef) -> Result<(), Error> {
        let cell = Arc::clone(self.0.recovered.lock().entry(project.clone()).or_default());
        cell.get_or_try_init(|| async {
            let client = self.0.store.client().await?;
            let node = Some(self.0.node.name());
            let marked = rows::mark_interrupted(&client, project, node, SILENCE).await?;
            for backup in marked {
                tracing::warn!(backup = %backup.id, %project, "a backup or restore was interrupted");
            }
            Ok(())
        })
        .await
        .copied()
    }

    /// Marks what nodes were at that have not been heard of for a while.
    pub(super) async fn mark_silent(
        &self,
        client: &Client,
        project: &ProjectRef,
    ) -> Result<(), Error> {
        for backup in rows::mark_interrupted(client, project, None, SILENCE).await? {
            tracing::warn!(backup = %backup.id, %project, "a backup or restore was interrupted");
        }
        Ok(())
    }

    async fn delete_object(
        &self,
        project: &ProjectRef,
        id: BackupId,
        key: &str,
    ) -> Result<(), Error> {
        self.0.objects.delete(key).await?;
        let client = self.0.store.client().await?;
        rows::update_object_gone(&client, project, id).await?;
        Ok(())
    }

    pub(super) async fn drop_working(
        &self,
        project: &ProjectRef,
        id: BackupId,
        name: &str,
    ) -> Result<(), Error> {
        let pool = self.pool(project)?;
        Server::new(&pool.config().url)?.drop_working(name).await?;
        let client = self.0.store.client().await?;
        rows::update_working_database_gone(&client, project, id).await?;
        Ok(())
    }

    async fn delete_partial_files(&self, project: &ProjectRef) -> Result<(), Error> {
        for (id, path) in self.0.objects.partial_files(project).await? {
            let client = self.0.store.client().await?;
            let backup = rows::find(&client, project, id).await?;
            let is_running = backup.is_some_and(|backup| backup.status == Status::Running);
            if !is_running && let Err(error) = tokio::fs::remove_file(&path).await {
                tracing::debug!(backup = %id, %error, "an incomplete file was not deleted");
            }
        }
        Ok(())
    }
}

fn report(id: BackupId, cleared: Result<(), Error>) {
    if let Err(error) = cleared {
        let error = bunbun_core::error::chain(&error);
        tracing::warn!(backup = %id, error, "remains of failed work were not cleared away");
    }
}
