//! How often a project may try connections: a window per project, in this node's memory.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use bunbun_core::{Code, id::ProjectRef};
use bunbun_http::ApiError;
use parking_lot::Mutex;

pub(super) struct Limiter {
    limit: usize,
    window: Duration,
    calls: Mutex<HashMap<ProjectRef, VecDeque<Instant>>>,
}

impl Limiter {
    pub(super) fn new(limit: usize, window: Duration) -> Self {
        Self {
            limit,
            window,
            calls: Mutex::default(),
        }
    }

    /// Counts one call.
    ///
    /// # Errors
    /// `RATE_LIMITED`.
    pub(super) fn count(&self, project: &ProjectRef) -> Result<(), ApiError> {
        let now = Instant::now();
        let mut calls = self.calls.lock();
        calls.retain(|_, times| {
            while times
                .front()
                .is_some_and(|first| now - *first >= self.window)
            {
                times.pop_front();
            }
            !times.is_empty()
        });
        let times = calls.entry(project.clone()).or_default();
        if times.len() >= self.limit {
            let oldest = times.front().map_or(Duration::ZERO, |first| now - *first);
            let message = format!(
                "A project may try {} connections in {} seconds.",
                self.limit,
                self.window.as_secs()
            );
            return Err(ApiError::new(Code::RateLimited, message)
                .with_retry_after(self.window.saturating_sub(oldest)));
        }
        times.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bunbun_core::{Code, id::ProjectRef};

    use super::Limiter;

    #[test]
    fn projects_are_counted_apart_and_the_window_moves() {
        let limiter = Limiter::new(2, Duration::from_millis(200));
        let (mine, other): (ProjectRef, ProjectRef) = ("a".parse().unwrap(), "b".parse().unwrap());
        for _ in 0..2 {
            assert!(limiter.count(&mine).is_ok());
        }
        assert_eq!(limiter.count(&mine).unwrap_err().code(), Code::RateLimited);
        assert!(limiter.count(&other).is_ok());
        std::thread::sleep(Duration::from_millis(250));
        assert!(limiter.count(&mine).is_ok());
    }
}
