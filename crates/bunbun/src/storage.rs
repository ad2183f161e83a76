//! The embedded storage: made from the configuration, and its sweeper.

use std::{path::Path, sync::Arc};

use bunbun_core::{
    clock::SystemClock, config::Config, id::ProjectRef, project::Project, shutdown::Shutdown, task,
};
use bunbun_postgres::{Pool, PoolConfig, SingleDatabase};
use bunbun_storage::{Blobs, Settings, StorageParts, StorageService};

use crate::failure::Failure;

/// The service; `None`, said aloud, where the place of its files cannot be used: a dependency
/// takes its own endpoints with it, not the start.
///
/// # Errors
/// When `DATABASE_URL` cannot be used.
pub(crate) fn service(config: &Config, data_dir: &Path) -> Result<Option<StorageService>, Failure> {
    let storage = &config.storage;
    let blobs = match Blobs::open(storage.backend.as_deref(), data_dir, storage.fsync) {
        Ok(blobs) => blobs,
        Err(error) => {
            let error = bunbun_core::error::chain(&error);
            tracing::error!(error, "storage is not available: check STORAGE_BACKEND");
            return Ok(None);
        }
    };
    let settings = Settings {
        file_size_limit: storage.file_size_limit,
        upload_url_ttl: storage.upload_url_expiration,
        resumable_ttl: storage.resumable_expiration,
        image_rendering: storage.image_rendering,
        image_max_pixels: storage.image_max_pixels,
        s3_access_key: storage.s3_access_key.clone(),
        s3_region: storage.s3_region.clone(),
        sweep_grace: storage.sweep_grace,
        ..Settings::new(config.keys.jwt_secret.clone())
    };
    Ok(Some(StorageService::new(StorageParts {
        databases: Arc::new(SingleDatabase::new(
            ProjectRef::default_project(),
            pool(config)?,
        )),
        blobs,
        settings,
        clock: Arc::new(SystemClock),
    })))
}

fn pool(config: &Config) -> Result<Option<Pool>, Failure> {
    let Some(url) = &config.database.url else {
        return Ok(None);
    };
    let config = PoolConfig {
        size: config.database.pool_size,
        ..PoolConfig::new(url.clone(), "storage")
    };
    Pool::new(&config).map(Some).map_err(|error| {
        let hint = "postgres://user:password@host:5432/database";
        Failure::because("DATABASE_URL cannot be used", &error, hint)
    })
}

/// Sweeps until the shutdown begins.
pub(crate) fn start_sweeper(
    service: &StorageService,
    project: Arc<Project>,
    config: &Config,
    shutdown: &Shutdown,
) {
    let interval = config.storage.sweep_interval;
    if interval.is_zero() {
        return;
    }
    let (service, shutdown) = (service.clone(), shutdown.clone());
    task::spawn("storage sweeper", async move {
        tokio::select! {
            () = shutdown.begun() => {}
            () = service.sweep_forever(project, interval) => {}
        }
    });
}
