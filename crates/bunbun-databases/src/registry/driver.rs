//! [`Database`] with its type forgotten, so that the registry keeps pools of all kinds.

use std::{any::Any, marker::PhantomData, sync::Arc, time::Duration};

use bunbun_core::egress::Egress;
use futures_util::future::BoxFuture;

use crate::{Database, Error, Limits, PoolStatus, ServerInfo, Settings};

/// Opens pools of one kind.
pub(super) trait Driver: Send + Sync + 'static {
    fn connect<'a>(
        &'a self,
        settings: &'a Settings,
        egress: &'a Egress,
        limits: &'a Limits,
    ) -> BoxFuture<'a, Result<Pooled, Error>>;
}

/// A pool of some kind.
pub(super) trait Handle: Send + Sync + 'static {
    fn ping(&self) -> BoxFuture<'_, Result<(), Error>>;
    fn info(&self) -> BoxFuture<'_, Result<ServerInfo, Error>>;
    fn disconnect(&self) -> BoxFuture<'_, ()>;
    fn close_idle(&self, longer_than: Duration) -> BoxFuture<'_, ()>;
    fn status(&self) -> PoolStatus;
}

/// One pool, seen in two ways.
#[derive(Clone)]
pub(super) struct Pooled {
    pub(super) database: Arc<dyn Any + Send + Sync>,
    pub(super) handle: Arc<dyn Handle>,
}

impl Pooled {
    /// How many shares of the pool one of these holds.
    pub(super) const SHARES: usize = 2;
}

/// The driver of an engine.
pub(super) struct Engine<D>(PhantomData<fn() -> D>);

impl<D> Engine<D> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<D: Database> Driver for Engine<D> {
    fn connect<'a>(
        &'a self,
        settings: &'a Settings,
        egress: &'a Egress,
        limits: &'a Limits,
    ) -> BoxFuture<'a, Result<Pooled, Error>> {
        Box::pin(async move {
            let database = Arc::new(D::connect(settings, egress, limits).await?);
            Ok(Pooled {
                handle: Arc::<D>::clone(&database),
                database,
            })
        })
    }
}

impl<D: Database> Handle for D {
    fn ping(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(Database::ping(self))
    }

    fn info(&self) -> BoxFuture<'_, Result<ServerInfo, Error>> {
        Box::pin(Database::info(self))
    }

    fn disconnect(&self) -> BoxFuture<'_, ()> {
        Box::pin(Database::disconnect(self))
    }

    fn close_idle(&self, longer_than: Duration) -> BoxFuture<'_, ()> {
        Box::pin(Database::close_idle(self, longer_than))
    }

    fn status(&self) -> PoolStatus {
        Database::status(self)
    }
}
