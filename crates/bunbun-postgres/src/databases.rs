//! Which database a project has.

use bunbun_core::id::ProjectRef;

use crate::{Error, Pool};

/// Finds the database of a project. Answers from memory: it stands on the path of every request.
pub trait ProjectDatabases: Send + Sync + 'static {
    /// The project's pool. Nothing connects yet.
    ///
    /// # Errors
    /// [`Error::NoDatabase`].
    fn pool(&self, project: &ProjectRef) -> Result<Pool, Error>;
}

/// The one database of an installation with one project.
#[derive(Debug, Clone)]
pub struct SingleDatabase {
    project: ProjectRef,
    pool: Option<Pool>,
}

impl SingleDatabase {
    /// The database of this project; `None` where no `DATABASE_URL` is set.
    #[must_use]
    pub const fn new(project: ProjectRef, pool: Option<Pool>) -> Self {
        Self { project, pool }
    }
}

impl ProjectDatabases for SingleDatabase {
    fn pool(&self, project: &ProjectRef) -> Result<Pool, Error> {
        let own = self.pool.as_ref().filter(|_| *project == self.project);
        own.cloned().ok_or(Error::NoDatabase)
    }
}
