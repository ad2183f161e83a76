//! A value that is made at most once per period, whoever asks how often.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

/// The last value and its age. One caller makes a new one, the others wait for it.
pub(crate) struct Cached<T> {
    period: Duration,
    last: Mutex<Option<(Instant, Arc<T>)>>,
}

impl<T> Cached<T> {
    pub(crate) fn new(period: Duration) -> Self {
        Self {
            period,
            last: Mutex::new(None),
        }
    }

    pub(crate) async fn get(&self, make: impl Future<Output = T>) -> Arc<T> {
        let mut last = self.last.lock().await;
        if let Some((made_at, value)) = last.as_ref()
            && made_at.elapsed() < self.period
        {
            return Arc::clone(value);
        }
        let value = Arc::new(make.await);
        *last = Some((Instant::now(), Arc::clone(&value)));
        value
    }
}
