//! A database of its own for one test.

use std::{
    fmt,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use bunbun_databases::postgres::pool::{Pool, PoolConfig};
use tokio_postgres::{Client, Config, NoTls, error::SqlState};

use crate::TestServer;

/// The role that owns every test database: no superuser, as in production.
const OWNER: &str = "bunbun_test_owner";
const OWNER_PASSWORD: &str = "bunbun_test_owner";

/// Serialises what PostgreSQL does not like to see twice at once.
const ADVISORY_LOCK: i64 = 0x62_75_6e_62_75_6e;

/// A database of its own, dropped with this value.
pub struct TestDb {
    name: String,
    url: String,
    superuser_url: String,
    server_url: String,
}

impl fmt::Debug for TestDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDb")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl TestDb {
    /// An empty database; `None`, said aloud, where there is no PostgreSQL:
    /// `let Some(database) = TestDb::create().await else { return };`
    ///
    /// # Panics
    /// When the database cannot be made, and in CI when there is no PostgreSQL.
    pub async fn create() -> Option<Self> {
        Self::clone_of("template1").await
    }

    /// A copy of a template database that is filled once per process and key: for tests that
    /// need migrations. `fill` gets the template's URL as its owner.
    ///
    /// # Panics
    /// As [`TestDb::create`], and when `fill` does.
    pub async fn from_template<F, Fut>(key: &str, fill: F) -> Option<Self>
    where
        F: FnOnce(String) -> Fut,
        Fut: Future<Output = ()>,
    {
        let server = TestServer::get().await?;
        let name = format!("bunbun_test_{}_template_{key}", std::process::id());
        let admin = connect(server.superuser_url()).await;
        admin
            .execute("select pg_advisory_lock($1)", &[&ADVISORY_LOCK])
            .await
            .expect("an advisory lock");
        if !exists(&admin, &name).await {
            let template = Self::clone_of_locked(&admin, server, &name, "template1").await;
            fill(template.url.clone()).await;
            // It must outlive this test.
            std::mem::forget(template);
        }
        let database = Self::clone_of_locked(&admin, server, &next_name(), &name).await;
        Some(database)
    }

    /// The URL as the database's owner, who is no superuser.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL as a superuser, of this database.
    #[must_use]
    pub fn superuser_url(&self) -> &str {
        &self.superuser_url
    }

    /// The database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A pool of five connections as the owner.
    ///
    /// # Panics
    /// Never: the URL is ours.
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.pool_of(5)
    }

    /// A pool of some connections as the owner.
    ///
    /// # Panics
    /// Never: the URL is ours.
    #[must_use]
    pub fn pool_of(&self, size: usize) -> Pool {
        let mut config = PoolConfig::new(self.url.clone().into());
        config.size = size;
        Pool::new(&config).expect("the URL is ours")
    }

    /// A connection of its own as a superuser, to look from outside.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn superuser(&self) -> Client {
        connect(&self.superuser_url).await
    }

    async fn clone_of(template: &str) -> Option<Self> {
        let server = TestServer::get().await?;
        let admin = connect(server.superuser_url()).await;
        Some(Self::clone_of_locked(&admin, server, &next_name(), template).await)
    }

    async fn clone_of_locked(
        admin: &Client,
        server: &TestServer,
        name: &str,
        template: &str,
    ) -> Self {
        prepare_server(admin).await;
        admin
            .batch_execute(&format!(
                "create database \"{name}\" template \"{template}\" owner {OWNER}"
            ))
            .await
            .expect("the test database can be made");
        let superuser_url = with_database(server.superuser_url(), name);
        let inside = connect(&superuser_url).await;
        inside
            .batch_execute(&format!("grant all on schema public to {OWNER}"))
            .await
            .expect("the owner may use its schema");
        Self {
            name: name.to_owned(),
            url: with_user(&superuser_url),
            superuser_url,
            server_url: server.superuser_url().to_owned(),
        }
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let url = std::mem::take(&mut self.server_url);
        let statement = format!("drop database if exists \"{}\" with (force)", self.name);
        // A runtime of its own, because this one may be at its end.
        let dropping = std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            {
                runtime.block_on(async move {
                    let _ = connect(&url).await.batch_execute(&statement).await;
                });
            }
        });
        let _ = dropping.join();
    }
}

/// Makes the owner role and drops what earlier, killed test processes left behind; once a process.
async fn prepare_server(admin: &Client) {
    static DONE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    DONE.get_or_init(|| async {
        let made = admin
            .batch_execute(&format!(
                "create role {OWNER} login createdb createrole password '{OWNER_PASSWORD}'"
            ))
            .await;
        if let Err(error) = made {
            let known = [SqlState::DUPLICATE_OBJECT, SqlState::UNIQUE_VIOLATION];
            assert!(
                error.code().is_some_and(|code| known.contains(code)),
                "the owner role cannot be made: {error}"
            );
        }
        // The owner may act as the callers of a project, as the owner of a project may.
        admin
            .batch_execute(&format!(
                "begin; select pg_advisory_xact_lock({ADVISORY_LOCK} + 1); {} commit;",
                bunbun_postgres::project::superuser_sql(OWNER)
            ))
            .await
            .expect("the roles can be made");
        let rows = admin
            .query(
                "select datname from pg_database where datname like 'bunbun\\_test\\_%'",
                &[],
            )
            .await
            .expect("the catalogue can be read");
        for row in rows {
            let name: String = row.get(0);
            let process = name.split('_').nth(2).unwrap_or_default();
            if !Path::new("/proc").join(process).exists() {
                let _ = admin
                    .batch_execute(&format!("drop database if exists \"{name}\" with (force)"))
                    .await;
            }
        }
    })
    .await;
}

fn next_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("bunbun_test_{}_{number}", std::process::id())
}

async fn exists(admin: &Client, name: &str) -> bool {
    admin
        .query_opt("select 1 from pg_database where datname = $1", &[&name])
        .await
        .expect("the catalogue can be read")
        .is_some()
}

async fn connect(url: &str) -> Client {
    let config: Config = url.parse().expect("the server's URL is understood");
    let (client, connection) = config
        .connect(NoTls)
        .await
        .expect("the test server answers");
    bunbun_core::task::spawn("test-database", async move {
        let _ = connection.await;
    });
    client
}

/// The same server and user, another database.
fn with_database(url: &str, database: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let authority_at = base.find("://").map_or(0, |at| at + 3);
    let path_at = base[authority_at..]
        .find('/')
        .map_or(base.len(), |at| authority_at + at);
    let query = if query.is_empty() {
        String::new()
    } else {
        format!("?{query}")
    };
    format!("{}/{database}{query}", &base[..path_at])
}

/// The same server and database, as the owner.
fn with_user(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    let host = url[start..end]
        .rfind('@')
        .map_or(start, |at| start + at + 1);
    format!("{}{OWNER}:{OWNER_PASSWORD}@{}", &url[..start], &url[host..])
}

#[cfg(test)]
mod tests {
    use super::{with_database, with_user};

    #[test]
    fn urls_keep_what_is_not_replaced() {
        let url = "postgres://postgres:secret@127.0.0.1:5432/postgres?sslmode=disable";
        let other = with_database(url, "x");
        assert_eq!(
            other,
            "postgres://postgres:secret@127.0.0.1:5432/x?sslmode=disable"
        );
        assert_eq!(
            with_user(&other),
            "postgres://bunbun_test_owner:bunbun_test_owner@127.0.0.1:5432/x?sslmode=disable"
        );
    }
}
