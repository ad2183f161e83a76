//! `bunbun migrate`: brings the control plane's database and the project's up to date.

use bunbun_core::config::Config;
use bunbun_store::Store;

use crate::{cli::Global, failure::Failure, printer::Printer, sources};

/// Migrates and says what was done.
pub(crate) fn run(global: &Global, printer: &Printer) -> Result<(), Failure> {
    let config = Config::load(&sources::without_keys(sources::read(global, None)?))?;
    if config.database.url.is_none() && config.database.platform_url.is_none() {
        return Err(Failure::new(
            "no database is configured",
            "set DATABASE_URL or PLATFORM_DATABASE_URL",
        ));
    }
    let report = super::small_runtime()?.block_on(async {
        let report = migrate(&config).await?;
        project(&config).await?;
        Ok::<_, Failure>(report)
    })?;
    printer.result(&report, || {
        let mut text = String::new();
        for migration in &report.applied {
            text.push_str(&format!(
                "applied {} {}\n",
                migration.version, migration.name
            ));
        }
        text.push_str(&format!(
            "{} of {0} migrations are in place\n",
            report.total
        ));
        text
    });
    Ok(())
}

/// Migrates the control plane's database.
pub(crate) async fn migrate(config: &Config) -> Result<bunbun_store::MigrationReport, Failure> {
    let hint = "PLATFORM_DATABASE_URL must name a database that its user owns or may create";
    let failed = |error: bunbun_store::Error| {
        Failure::because(
            "the control plane's database cannot be migrated",
            &error,
            hint,
        )
    };
    let store = Store::new(&config.database).map_err(failed)?;
    bunbun_store::migrate(&store).await.map_err(failed)
}

/// Migrates the embedded services' tables in the project's database.
pub(crate) async fn project(config: &Config) -> Result<(), Failure> {
    let Some(url) = &config.database.url else {
        return Ok(());
    };
    let failed = |error: bunbun_postgres::Error| {
        let hint = "DATABASE_URL's user must own its database or be given what is missing";
        Failure::because("the project's database cannot be migrated", &error, hint)
    };
    let mut pool = bunbun_postgres::PoolConfig::new(url.clone(), "migrate");
    pool.size = 1;
    let pool = bunbun_postgres::Pool::new(&pool).map_err(failed)?;
    bunbun_auth::migrate(&pool).await.map_err(failed)?;
    bunbun_storage::migrate(&pool).await.map_err(failed)?;
    Ok(())
}
