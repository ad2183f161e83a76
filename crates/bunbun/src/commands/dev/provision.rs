//! Roles and databases of the private cluster. The project's owner is no superuser and can reach
//! no other database; every statement may run again.

use bunbun_core::secret;
use bunbun_databases::postgres::{
    cluster::Cluster,
    pool::{Client, Pool, PoolConfig},
};
use bunbun_postgres::project;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::secrets::Secrets;
use crate::failure::Failure;

const PROJECT: &str = "project_default";
const PLATFORM: &str = "bunbun";

/// How the databases are reached.
pub(super) struct Urls {
    /// The project's, as its owner.
    pub(super) project: String,
    /// The control plane's, as its owner.
    pub(super) platform: String,
}

/// Makes what is missing.
pub(super) async fn databases(cluster: &Cluster, secrets: &Secrets) -> Result<Urls, Failure> {
    let superuser = connect(&cluster.superuser_url()).await?;
    let mut urls = Vec::new();
    for (name, variable) in [
        (PROJECT, "DATABASE_URL"),
        (PLATFORM, "PLATFORM_DATABASE_URL"),
    ] {
        let password = password(secrets, variable);
        make(&superuser, name, &password).await?;
        urls.push(
            cluster
                .url_for(name, name, &password)
                .expose_secret()
                .to_owned(),
        );
    }
    execute(&superuser, &project::superuser_sql(PROJECT)).await?;
    execute(&superuser, LOCK_OUT).await?;
    let inside = database_url(cluster, PROJECT)?;
    execute(&connect(&inside).await?, INSIDE_PROJECT).await?;
    let platform = urls.pop().unwrap_or_default();
    let project = urls.pop().unwrap_or_default();
    prepare(&project).await?;
    Ok(Urls { project, platform })
}

/// Makes, as its owner, what every project's database has.
async fn prepare(url: &str) -> Result<(), Failure> {
    let mut config = bunbun_postgres::PoolConfig::new(url.into(), "dev");
    config.size = 1;
    let pool = bunbun_postgres::Pool::new(&config).map_err(|error| failed(&error))?;
    project::prepare(&pool)
        .await
        .map_err(|error| failed(&error))
}

/// Databases let everyone in unless told otherwise.
const LOCK_OUT: &str = "
revoke connect, temporary on database postgres from public;
revoke connect, temporary on database template1 from public;
revoke connect, temporary on database project_default from public;
revoke connect, temporary on database bunbun from public;
grant connect on database project_default to authenticator;
-- A backup is restored into a new database.
alter role project_default createdb;
";

/// The schema `public` is the owner's; callers see what is in it.
const INSIDE_PROJECT: &str = "
alter schema public owner to project_default;
grant usage on schema public to anon, authenticated, service_role;
";

/// Makes a database and the role that owns it. Name and password are of letters, digits and `_`.
async fn make(superuser: &Client, name: &str, password: &str) -> Result<(), Failure> {
    let role = format!(
        "do $$ begin
           if to_regrole('{name}') is null then create role {name}; end if;
         end $$;
         alter role {name} login nosuperuser nocreaterole noreplication nobypassrls password '{password}'"
    );
    execute(superuser, &role).await?;
    let known = superuser
        .query_opt("select 1 from pg_database where datname = $1", &[&name])
        .await
        .map_err(|error| failed(&error))?;
    if known.is_none() {
        execute(superuser, &format!("create database {name} owner {name}")).await?;
    }
    Ok(())
}

/// The password that the file has, so that a copied URL stays good; else a new one.
fn password(secrets: &Secrets, variable: &str) -> String {
    let stored = secrets.get(variable).and_then(|url| {
        let url = Url::parse(&url).ok()?;
        url.password().map(str::to_owned)
    });
    stored
        .filter(|text| text.len() >= 24 && text.bytes().all(|b| b.is_ascii_alphanumeric()))
        .unwrap_or_else(|| secret::random_text(32))
}

fn database_url(cluster: &Cluster, database: &str) -> Result<SecretString, Failure> {
    let mut url =
        Url::parse(cluster.superuser_url().expose_secret()).map_err(|error| failed(&error))?;
    url.set_path(database);
    Ok(String::from(url).into())
}

async fn connect(url: &SecretString) -> Result<Client, Failure> {
    let mut config = PoolConfig::new(url.clone());
    config.size = 1;
    let pool = Pool::new(&config).map_err(|error| failed(&error))?;
    pool.get().await.map_err(|error| failed(&error))
}

async fn execute(client: &Client, sql: &str) -> Result<(), Failure> {
    client
        .batch_execute(sql)
        .await
        .map_err(|error| failed(&error))
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    let hint = "if the data may go, `make clean-data` begins anew; else see postgres.log";
    Failure::because("the project's database cannot be prepared", error, hint)
}
