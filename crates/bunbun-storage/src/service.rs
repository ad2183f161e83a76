//! The service: what all requests share, and how it fills its slot.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::Router;
use bunbun_core::{clock::Clock, id::ProjectRef, project::Project};
use bunbun_http::{Body, RequestContext, RequestId, body::Embedded};
use bunbun_postgres::{Pool, ProjectDatabases};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::sync::OnceCell;
use tower::ServiceExt as _;

use crate::{
    blobs::Blobs,
    error::{Result, StorageError},
    image::Renderer,
    routes,
};

/// What can be set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The project's JWT secret: signs URLs.
    pub signing_secret: SecretString,
    /// Largest object in bytes.
    pub file_size_limit: u64,
    /// How long a signed upload URL holds.
    pub upload_url_ttl: Duration,
    /// How long a resumable upload may take.
    pub resumable_ttl: Duration,
    /// Whether images are rendered.
    pub image_rendering: bool,
    /// Most pixels of an image that is rendered.
    pub image_max_pixels: u64,
    /// The S3 protocol's access key, with the rights of `service_role`.
    pub s3_access_key: Option<(String, SecretString)>,
    /// The region that S3 clients are told.
    pub s3_region: String,
    /// How old bytes without a row must be before they are removed.
    pub sweep_grace: Duration,
    /// How long a multipart upload by the S3 protocol may take.
    pub multipart_ttl: Duration,
}

impl Settings {
    /// The defaults.
    #[must_use]
    pub fn new(signing_secret: SecretString) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            signing_secret,
            file_size_limit: 50 * 1024 * 1024,
            upload_url_ttl: Duration::from_secs(2 * 3600),
            resumable_ttl: DAY,
            image_rendering: true,
            image_max_pixels: 50_000_000,
            s3_access_key: None,
            s3_region: "us-east-1".to_owned(),
            sweep_grace: DAY,
            multipart_ttl: 7 * DAY,
        }
    }
}

/// What a service is made of.
pub struct StorageParts {
    /// Finds a project's database.
    pub databases: Arc<dyn ProjectDatabases>,
    /// Where the bytes lie.
    pub blobs: Blobs,
    /// What can be set.
    pub settings: Settings,
    /// Decides what has expired.
    pub clock: Arc<dyn Clock>,
}

/// The service. Clones share everything.
#[derive(Clone)]
pub struct StorageService(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    databases: Arc<dyn ProjectDatabases>,
    pub(crate) blobs: Blobs,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) renderer: Renderer,
    /// Resumable uploads that somebody is writing to in this process.
    pub(crate) writing: Mutex<std::collections::HashSet<String>>,
    migrated: Mutex<HashMap<ProjectRef, Arc<OnceCell<()>>>>,
}

impl StorageService {
    /// A service.
    #[must_use]
    pub fn new(parts: StorageParts) -> Self {
        Self(Arc::new(Inner {
            databases: parts.databases,
            blobs: parts.blobs,
            renderer: Renderer::new(parts.settings.image_max_pixels),
            settings: parts.settings,
            clock: parts.clock,
            writing: Mutex::default(),
            migrated: Mutex::default(),
        }))
    }

    /// The service as the filling of a slot.
    #[must_use]
    pub fn embedded(&self) -> Arc<dyn Embedded> {
        Arc::new(Slot(routes::router(self.clone())))
    }

    /// A project's database, brought up to date at its first use.
    pub(crate) async fn database(&self, project: &Project) -> Result<Pool> {
        let pool = self.0.databases.pool(&project.reference)?;
        let cell = {
            let mut migrated = self.0.migrated.lock();
            Arc::clone(migrated.entry(project.reference.clone()).or_default())
        };
        // A failure is tried again by the next request.
        cell.get_or_try_init(|| async { crate::migrate(&pool).await.map(drop) })
            .await?;
        Ok(pool)
    }
}

/// The router in its slot: errors are logged where the request's id is known.
struct Slot(Router);

impl Embedded for Slot {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let router = self.0.clone();
        Box::pin(async move {
            let context = request.extensions().get::<RequestContext>();
            let request_id = context.map_or_else(RequestId::generate, |c| c.request_id.clone());
            let Ok(response) = router.oneshot(request.map(axum::body::Body::new)).await;
            if let Some(error) = response.extensions().get::<StorageError>() {
                error.log(&request_id);
            }
            response.map(|body| body.map_err(Into::into).boxed_unsync())
        })
    }
}
