//! What is kept for a while, in this node's memory: one caller makes a value, the others wait for
//! it. Entries belong to a project, and to a version of a connection where they are about one.

use std::{any::Any, future::Future, sync::Arc};

use bunbun_core::{
    Code,
    id::{ConnectionId, ProjectRef},
};
use bunbun_http::ApiError;
use futures_util::future::BoxFuture;
use moka::{Expiry, sync::Cache as Moka};
use tokio::sync::OnceCell;

use super::Cacheable;

/// Most entries, of all projects.
const CAPACITY: u64 = 10_000;

/// A connection and its version; the id is `None` for a project's own database.
pub(super) type Place = Option<(Option<ConnectionId>, i64)>;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) project: ProjectRef,
    pub(super) place: Place,
    pub(super) what: Cacheable,
    pub(super) key: Box<str>,
}

/// Empty until somebody has made the value.
type Cell = Arc<OnceCell<Arc<dyn Any + Send + Sync>>>;

pub(super) struct Cache(Moka<Key, Cell>);

/// Each sort has its own time.
struct ByKind;

impl Expiry<Key, Cell> for ByKind {
    fn expire_after_create(
        &self,
        key: &Key,
        _: &Cell,
        _: std::time::Instant,
    ) -> Option<std::time::Duration> {
        Some(key.what.ttl())
    }

    fn expire_after_update(
        &self,
        key: &Key,
        _: &Cell,
        _: std::time::Instant,
        _: Option<std::time::Duration>,
    ) -> Option<std::time::Duration> {
        Some(key.what.ttl())
    }
}

impl Cache {
    pub(super) fn new() -> Self {
        Self(
            Moka::builder()
                .max_capacity(CAPACITY)
                .expire_after(ByKind)
                .support_invalidation_closures()
                .build(),
        )
    }

    /// Boxed: what makes a value is large, and most callers find one.
    pub(super) fn get<'a, T: Send + Sync + 'static>(
        &'a self,
        key: Key,
        fresh: bool,
        make: impl Future<Output = Result<T, ApiError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<Arc<T>, ApiError>> {
        Box::pin(async move {
            if fresh {
                // Those who wait for the old one get the old one; later ones get this.
                self.0.insert(key.clone(), Cell::default());
            }
            let cell = self.0.get_with(key.clone(), Cell::default);
            let outcome = match (fresh, cell.initialized()) {
                (true, _) => "bypass",
                (false, true) => "hit",
                (false, false) => "miss",
            };
            let kind = key.what.as_str();
            metrics::counter!("bunbun_database_cache_total", "kind" => kind, "outcome" => outcome)
                .increment(1);
            let made = cell
                .get_or_try_init(|| async {
                    let value: Arc<dyn Any + Send + Sync> = Arc::new(make.await?);
                    Ok(value)
                })
                .await;
            let value = match made {
                Ok(value) => Arc::clone(value),
                Err(error) => {
                    // Nothing is kept of it, also no empty place.
                    if !cell.initialized() {
                        self.0.invalidate(&key);
                    }
                    return Err(error);
                }
            };
            value.downcast::<T>().map_err(|_| {
                let message = "One key of the cache has values of two types.";
                ApiError::new(Code::Internal, message)
            })
        })
    }

    /// Forgets everything of a sort.
    pub(super) fn forget(&self, project: &ProjectRef, place: Place, what: Cacheable) {
        let project = project.clone();
        let of = move |key: &Key, _: &Cell| {
            key.what == what && key.place == place && key.project == project
        };
        // Fails only where closures are not supported.
        let _ = self.0.invalidate_entries_if(of);
    }

    /// Forgets every stored connection, whosever it is.
    pub(super) fn forget_stored(&self) {
        let of = |key: &Key, _: &Cell| key.what == Cacheable::Connection;
        let _ = self.0.invalidate_entries_if(of);
    }

    /// Forgets everything of a connection.
    pub(super) fn forget_connection(&self, project: &ProjectRef, id: ConnectionId) {
        let project = project.clone();
        let of = move |key: &Key, _: &Cell| {
            let is_row = key.place.is_none() && key.what == Cacheable::Connection;
            let is_its = key.place.is_some_and(|(of, _)| of == Some(id));
            key.project == project && (is_row || is_its)
        };
        let _ = self.0.invalidate_entries_if(of);
    }
}
