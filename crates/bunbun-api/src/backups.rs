//! Backups of projects' databases: `pg_dump` streamed into an object store, restores from there,
//! and what nodes that died at it have left behind. Rows are in `platform.backups`.
//!
//! A backup or restore is a task of this process that outlives the request that began it. It holds
//! a lease on the database, so that one node at a time is at work on it.

mod dump;
mod error;
mod lease;
mod node;
mod objects;
mod remains;
mod restore;

use std::{collections::HashMap, io, path::Path, sync::Arc, time::Duration};

use bunbun_core::{
    id::{BackupId, ProjectRef},
    shutdown::Shutdown,
};
use bunbun_databases::postgres::{
    dump::{Tools, describe},
    pool::Pool,
};
use bunbun_store::{
    Store,
    backups::{self as rows, Backup, NewBackup},
};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::OnceCell, time::sleep};
use tokio_util::task::TaskTracker;

pub use error::Error;
use lease::{Lease, SILENCE, Work};
use node::Node;
use objects::Objects;
pub use restore::RestoreRequest;

use crate::state::Databases;

/// How often what dead nodes left behind is looked for.
const TIDY_EVERY: Duration = Duration::from_secs(30);

/// What the composition root hands over.
pub struct BackupsParts<'a> {
    /// The control plane.
    pub store: Store,
    /// The projects' databases.
    pub databases: Arc<dyn Databases>,
    /// `BACKUPS_URL`.
    pub url: Option<&'a str>,
    /// Where this node keeps what it keeps.
    pub data_directory: &'a Path,
    /// Given when the process begins to drain: running backups then stop and count as failed.
    pub shutdown: Shutdown,
}

/// The backups of all projects. Clones are the same.
#[derive(Clone)]
pub struct Backups(Arc<Inner>);

struct Inner {
    store: Store,
    databases: Arc<dyn Databases>,
    objects: Objects,
    node: Node,
    shutdown: Shutdown,
    tasks: TaskTracker,
    /// Where the work is done: not on the thread of the request that began it, whose runtime ends
    /// with its requests and whose time belongs to them.
    runtime: Handle,
    /// The projects whose rows of this node's last life are marked.
    recovered: Mutex<HashMap<ProjectRef, Arc<OnceCell<()>>>>,
}

/// A complete backup that is read.
pub struct Download {
    /// Its row.
    pub backup: Backup,
    /// Its size.
    pub bytes: u64,
    /// Its content.
    pub content: BoxStream<'static, io::Result<Bytes>>,
}

impl Backups {
    /// Opens the place of backups. Needs neither the control plane nor a project's database. The
    /// work will be done on the runtime that this is called on.
    ///
    /// # Errors
    /// [`Error::InvalidPlace`], [`Error::Directory`], [`Error::Objects`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(parts: BackupsParts<'_>) -> Result<Self, Error> {
        Ok(Self(Arc::new(Inner {
            store: parts.store,
            databases: parts.databases,
            objects: Objects::open(parts.url, parts.data_directory)?,
            node: Node::claim(parts.data_directory),
            shutdown: parts.shutdown,
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            recovered: Mutex::default(),
        })))
    }

    /// Starts to look, now and then until the shutdown, for what dead nodes left behind: of the
    /// project `default`, and of every project that was asked about.
    pub fn start(&self) {
        let backups = self.clone();
        self.spawn("tidy backups", async move {
            let default = ProjectRef::default_project();
            backups.0.recovered.lock().entry(default).or_default();
            loop {
                let projects: Vec<_> = backups.0.recovered.lock().keys().cloned().collect();
                for project in projects {
                    if let Err(error) = backups.tidy(&project).await {
                        let error = bunbun_core::error::chain(&error);
                        tracing::debug!(%project, error, "cannot tidy backups now");
                    }
                }
                tokio::select! {
                    () = backups.0.shutdown.begun() => return,
                    () = sleep(TIDY_EVERY) => {}
                }
            }
        });
    }

    /// Waits until no task of ours is left, which after the shutdown's begin is soon.
    pub async fn stopped(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// The project's backups, newest first: at most `limit`, those older than `before`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list(
        &self,
        project: &ProjectRef,
        before: Option<BackupId>,
        limit: u32,
    ) -> Result<Vec<Backup>, Error> {
        self.recover(project).await?;
        let client = self.0.store.client().await?;
        Ok(rows::list(&client, project, before, limit).await?)
    }

    /// One backup.
    ///
    /// # Errors
    /// [`Error::Store`], also where there is none of this id.
    pub async fn get(&self, project: &ProjectRef, id: BackupId) -> Result<Backup, Error> {
        self.recover(project).await?;
        let client = self.0.store.client().await?;
        Ok(rows::get(&client, project, id).await?)
    }

    /// Begins a backup of the project's database and answers with its row.
    ///
    /// # Errors
    /// [`Error::Store`], also while another one is running; [`Error::Dump`] where `pg_dump` is
    /// missing or too old; [`Error::Database`]; [`Error::Stopping`].
    pub async fn create(&self, project: &ProjectRef) -> Result<Backup, Error> {
        let (backups, project) = (self.clone(), project.clone());
        // A task, so that a client that goes away cannot leave a row without its work.
        self.spawn("begin backup", async move { backups.begin(project).await })
            .await?
    }

    async fn begin(&self, project: ProjectRef) -> Result<Backup, Error> {
        let inner = &self.0;
        if inner.shutdown.has_begun() {
            return Err(Error::Stopping);
        }
        self.recover(&project).await?;
        let pool = self.pool(&project)?;
        let description = describe(&*pool.get().await?).await?;
        let tools = Tools::find(description.major).await?;
        let id = BackupId::generate();
        let key = Objects::key(&project, id);
        let new = NewBackup {
            id,
            database: &description.name,
            object_key: &key,
            database_version: &description.version,
            tables_total: Some(description.tables),
            node: inner.node.name(),
        };
        let client = inner.store.client().await?;
        self.mark_silent(&client, &project).await?;
        let backup = rows::insert(&client, &project, new).await?;
        drop(client);
        let job = dump::Job {
            project,
            id,
            key,
            url: pool.config().url.clone(),
            tools,
            estimated_bytes: description.bytes,
        };
        let backups = self.clone();
        self.spawn("backup", async move { dump::run(&backups, job).await });
        Ok(backup)
    }

    /// Opens a complete backup.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::NotReady`] for one that is running or failed;
    /// [`Error::ObjectMissing`], [`Error::Objects`].
    pub async fn download(&self, project: &ProjectRef, id: BackupId) -> Result<Download, Error> {
        let backup = self.get(project, id).await?;
        let key = complete(&backup)?;
        let object = self.0.objects.read(key).await?;
        Ok(Download {
            bytes: object.bytes,
            content: object.content,
            backup,
        })
    }

    /// Deletes a backup and its object.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::NotReady`] while it is running or restored from;
    /// [`Error::Objects`], in which case nothing is deleted.
    pub async fn delete(&self, project: &ProjectRef, id: BackupId) -> Result<(), Error> {
        self.recover(project).await?;
        let mut client = self.0.store.client().await?;
        rows::get(&client, project, id).await?;
        // The row goes first, so that nobody begins to restore from what is being deleted, and
        // comes back if the object cannot be deleted.
        let transaction = client
            .transaction()
            .await
            .map_err(bunbun_store::Error::from)?;
        let Some(deleted) = rows::delete(&transaction, project, id).await? else {
            return Err(Error::NotReady(
                "The backup is running or a restore from it is.",
            ));
        };
        if let Some(key) = &deleted.object_key {
            self.0.objects.delete(key).await?;
        }
        transaction
            .commit()
            .await
            .map_err(bunbun_store::Error::from)?;
        Ok(())
    }

    fn pool(&self, project: &ProjectRef) -> Result<Pool, Error> {
        let pool = self.0.databases.pool(project);
        pool.map_err(|error| Error::NoDatabase(error.code()))
    }

    fn lease<'a>(&'a self, project: &'a ProjectRef, id: BackupId, work: Work) -> Lease<'a> {
        Lease {
            store: &self.0.store,
            project,
            id,
            node: self.0.node.name(),
            work,
        }
    }

    fn spawn<F>(&self, name: &'static str, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let _entered = self.0.runtime.enter();
        bunbun_core::task::spawn(name, self.0.tasks.track_future(future))
    }
}

/// The key of a complete backup's object.
fn complete(backup: &Backup) -> Result<&str, Error> {
    match backup.status {
        rows::Status::Running => Err(Error::NotReady("The backup is still running.")),
        rows::Status::Failed => Err(Error::NotReady("The backup failed.")),
        rows::Status::Succeeded => backup.object_key.as_deref().ok_or(Error::ObjectMissing),
    }
}
