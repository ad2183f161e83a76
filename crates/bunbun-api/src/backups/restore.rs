//! Restores, and the task that does them.
//!
//! A dump is always loaded into a database of its own with a working name, and that gets its
//! final name only when it is complete, was what had been written, and is analysed. So a database
//! under its own name is never half restored, whenever we are killed. To replace a database, the
//! two are renamed in one transaction, and the old one is kept.
//!
//! The other way, `pg_restore --clean --single-transaction` into the living database, needs no
//! right to create databases, but it removes only what the dump knows (a table made since then
//! stays, and if it refers to an older one, makes the restore impossible), locks every table for
//! as long as the data takes, and leaves nothing to go back to.

use bunbun_core::{
    Classify,
    clock::{Clock, SystemClock},
    id::{BackupId, ProjectRef},
};
use bunbun_databases::postgres::dump::{
    self, Tools,
    databases::{Server, WORKING_PREFIX},
    describe,
};
use bunbun_store::backups::{self as rows, Backup, NewRestore};
use futures_util::StreamExt;
use parking_lot::Mutex;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::{
    Backups, complete,
    error::Error,
    lease::{Lease, Progress, Work},
};

/// Longest name in PostgreSQL, in bytes.
const NAME_BYTES: usize = 63;

/// Where to restore to.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// The name of a new database; without it, the database that the backup is of.
    pub database: Option<String>,
    /// The name of the database that is replaced.
    pub confirm: Option<String>,
}

struct Job {
    project: ProjectRef,
    backup: Backup,
    key: String,
    url: SecretString,
    tools: Tools,
    target: String,
    working: String,
    replace: bool,
}

impl Backups {
    /// Begins a restore and answers with the backup's row: into a new database, or in place of the
    /// one that the backup is of, which is then kept under another name.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::NotReady`]; [`Error::InvalidName`]; [`Error::Dump`], also where
    /// the new database exists; [`Error::ConfirmationRequired`]; [`Error::ControlPlane`];
    /// [`Error::Database`]; [`Error::Stopping`].
    pub async fn restore(
        &self,
        project: &ProjectRef,
        id: BackupId,
        request: RestoreRequest,
    ) -> Result<Backup, Error> {
        let (backups, project) = (self.clone(), project.clone());
        // A task, so that a client that goes away cannot leave a row without its work.
        self.spawn("begin restore", async move {
            backups.begin_restore(project, id, request).await
        })
        .await?
    }

    async fn begin_restore(
        &self,
        project: ProjectRef,
        id: BackupId,
        request: RestoreRequest,
    ) -> Result<Backup, Error> {
        let inner = &self.0;
        if inner.shutdown.has_begun() {
            return Err(Error::Stopping);
        }
        let backup = self.get(&project, id).await?;
        let key = complete(&backup)?.to_owned();
        let pool = self.pool(&project)?;
        let server = Server::new(&pool.config().url)?;
        let (target, replace) = self.target(&server, &backup, request).await?;
        let description = describe(&*pool.get().await?).await?;
        let tools = Tools::find(description.major).await?;
        // Not the backup's id: of one backup there may be several restores, one after another.
        let working = format!("{WORKING_PREFIX}{}", BackupId::generate().0.simple());
        let new = NewRestore {
            database: &target,
            working_database: &working,
            node: inner.node.name(),
        };
        let client = inner.store.client().await?;
        self.mark_silent(&client, &project).await?;
        let begun = rows::update_restore_started(&client, &project, id, new).await?;
        drop(client);
        let begun = begun.ok_or(Error::NotReady(
            "Another restore from this backup is running.",
        ))?;
        let job = Job {
            project,
            backup: begun.clone(),
            key,
            url: pool.config().url.clone(),
            tools,
            target,
            working,
            replace,
        };
        let backups = self.clone();
        self.spawn("restore", async move { run(&backups, job).await });
        Ok(begun)
    }

    /// The name to restore to, and whether that replaces a database.
    async fn target(
        &self,
        server: &Server,
        backup: &Backup,
        request: RestoreRequest,
    ) -> Result<(String, bool), Error> {
        let target = request.database.unwrap_or_else(|| backup.database.clone());
        let is_old = target == backup.database;
        if !is_old && !is_new_name(&target) {
            return Err(Error::InvalidName);
        }
        if !server.exists(&target).await? {
            return Ok((target, false));
        }
        if !is_old {
            return Err(dump::Error::DatabaseExists(target).into());
        }
        if request.confirm.as_deref() != Some(&target) {
            return Err(Error::ConfirmationRequired(target));
        }
        // It would be gone in the middle of noting that it is.
        let ours = describe(&*self.0.store.client().await?).await?;
        if server.describe(&target).await?.identity == ours.identity {
            return Err(Error::ControlPlane);
        }
        Ok((target, true))
    }
}

/// Whether we make a database of this name. PostgreSQL would take any.
fn is_new_name(name: &str) -> bool {
    let mut characters = name.chars();
    name.len() <= NAME_BYTES
        && !name.starts_with(WORKING_PREFIX)
        && characters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// The name under which a replaced database is kept: `shop_before_restore_20260102030405`.
fn previous_name(name: &str) -> String {
    let now = SystemClock.now();
    let suffix = format!(
        "_before_restore_{:04}{:02}{:02}{:02}{:02}{:02}",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second()
    );
    let kept = name.floor_char_boundary(NAME_BYTES - suffix.len());
    format!("{}{suffix}", &name[..kept])
}

/// Restores and notes how it ended.
async fn run(backups: &Backups, job: Job) {
    let inner = &backups.0;
    let id = job.backup.id;
    let lease = backups.lease(&job.project, id, Work::Restore);
    let progress = Progress::default();
    let loaded = tokio::select! {
        biased;
        () = inner.shutdown.begun() => Err(Error::Stopping),
        lost = lease.keep(&progress) => Err(lost),
        loaded = load(backups, &job) => loaded,
    };
    let outcome = match loaded {
        Ok(server) => put_in_place(&lease, &server, &job).await,
        Err(error) => Err(error),
    };
    let (store, node, project) = (&inner.store, inner.node.name(), &job.project);
    let noted = match &outcome {
        Ok(previous) => {
            tracing::info!(backup = %id, %project, "restore complete");
            let settled = lease.settle(|| async {
                let client = store.client().await?;
                let previous = previous.as_deref();
                Ok(rows::update_restore_succeeded(&client, project, id, node, previous).await?)
            });
            settled.await
        }
        Err(error) => {
            let cause = bunbun_core::error::chain(error);
            tracing::error!(backup = %id, %project, error = cause, "restore failed");
            let message = error
                .public_message()
                .unwrap_or("A fault of ours; see the log.".into());
            let settled = lease.settle(|| async {
                let client = store.client().await?;
                Ok(rows::update_restore_failed(&client, project, id, node, &message).await?)
            });
            settled.await
        }
    };
    if let Err(error) = noted {
        let error = bunbun_core::error::chain(&error);
        tracing::error!(backup = %id, error, "the end of a restore was not noted");
    }
    if outcome.is_err()
        && let Err(error) = backups.drop_working(project, id, &job.working).await
    {
        let error = bunbun_core::error::chain(&error);
        tracing::warn!(backup = %id, error, "the working database of a restore was not dropped");
    }
}

/// Loads the dump into the working database. Until the end nothing else has changed.
async fn load(backups: &Backups, job: &Job) -> Result<Server, Error> {
    let server = Server::new(&job.url)?;
    let object = backups.0.objects.read(&job.key).await?;
    server
        .create(&job.working, &job.backup.database, job.replace)
        .await?;
    let read = Mutex::new((Sha256::new(), 0_u64));
    let content = object.content.inspect(|chunk| {
        if let Ok(chunk) = chunk {
            let mut read = read.lock();
            read.0.update(chunk);
            read.1 += chunk.len() as u64;
        }
    });
    // To the very end, also past what pg_restore needs: the digest is of the whole.
    let mut content = Box::pin(content);
    let restored = dump::restore(&job.tools, &job.url, &job.working, &mut content).await;
    while restored.is_ok()
        && content
            .next()
            .await
            .transpose()
            .map_err(unreadable)?
            .is_some()
    {}
    drop(content);
    let (digest, bytes) = read.into_inner();
    let digest: [u8; 32] = digest.finalize().into();
    let same = bytes == job.backup.bytes && job.backup.sha256 == Some(digest);
    match restored {
        Ok(()) if !same => return Err(Error::ObjectChanged),
        restored => restored?,
    }
    server.analyze(&job.working).await?;
    Ok(server)
}

fn unreadable(error: std::io::Error) -> Error {
    dump::Error::Input(error.into()).into()
}

/// Gives the working database its final name; answers with the name under which the database
/// that had it is kept.
async fn put_in_place(
    lease: &Lease<'_>,
    server: &Server,
    job: &Job,
) -> Result<Option<String>, Error> {
    // From here on it cannot be stopped half-way; so once more: is it still ours to do?
    lease.renew(&Progress::default()).await?;
    if job.replace {
        let previous = previous_name(&job.target);
        server.replace(&job.target, &job.working, &previous).await?;
        Ok(Some(previous))
    } else {
        server.rename(&job.working, &job.target).await?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::{NAME_BYTES, is_new_name, previous_name};

    #[test]
    fn new_databases_have_plain_names() {
        let longest = "a".repeat(NAME_BYTES);
        for good in ["shop", "Shop_2-test", longest.as_str()] {
            assert!(is_new_name(good), "{good}");
        }
        let too_long = "a".repeat(NAME_BYTES + 1);
        for bad in [
            "",
            "1st",
            "_x",
            "a b",
            "a\"; drop database b; --",
            "a' host=evil",
            "postgres://evil/d",
            "a/b",
            "a\0",
            "sch\u{f6}n",
            "bunbun_restore_x",
            too_long.as_str(),
        ] {
            assert!(!is_new_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_replaced_database_keeps_as_much_of_its_name_as_fits() {
        assert!(previous_name("shop").starts_with("shop_before_restore_2"));
        let long = previous_name(&"ä".repeat(31));
        assert!(
            long.len() <= NAME_BYTES && long.starts_with("ääää"),
            "{long}"
        );
    }
}
