//! The threads that hash passwords. They are few, their queue is short, and they run at a lower
//! priority than everything else: a storm of logins waits, or is told to come back, while tokens
//! are refreshed and queries answered as before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use tokio::sync::oneshot;

use super::{Hash, decoy};
use crate::error::{AuthError, Code, Result};

/// Jobs per thread that may wait: at some 50 ms each, nobody waits longer than about 1.5 seconds.
const QUEUE_PER_THREAD: usize = 32;

enum Job {
    Hash {
        password: String,
        done: oneshot::Sender<Option<Hash>>,
    },
    Verify {
        hash: Hash,
        password: String,
        done: oneshot::Sender<bool>,
    },
}

struct Queue {
    jobs: Mutex<(VecDeque<Job>, bool)>,
    arrived: Condvar,
    limit: usize,
    /// How many computations of a hash were made; tests count equal work with it.
    computed: AtomicUsize,
}

/// The hashing threads. They end when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct HashPool(Arc<Handle>);

struct Handle(Arc<Queue>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.jobs.lock().1 = true;
        self.0.arrived.notify_all();
    }
}

impl HashPool {
    /// Starts the threads; 0: one per core.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads.min(64),
        };
        let queue = Arc::new(Queue {
            jobs: Mutex::default(),
            arrived: Condvar::new(),
            limit: threads * QUEUE_PER_THREAD,
            computed: AtomicUsize::new(0),
        });
        for number in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("auth-hash-{number}"))
                .spawn(move || {
                    yield_to_others();
                    work(&queue);
                })?;
        }
        Ok(Self(Arc::new(Handle(queue))))
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// 429 `over_request_rate_limit` when too many wait already.
    pub(crate) async fn hash(&self, password: &str) -> Result<Hash> {
        let (done, outcome) = oneshot::channel();
        self.submit(Job::Hash {
            password: password.to_owned(),
            done,
        })?;
        outcome
            .await
            .ok()
            .flatten()
            .ok_or_else(|| AuthError::internal("Error hashing the password", "no hash was made"))
    }

    /// Whether the password fits. Without a hash the same work is done for nothing.
    ///
    /// # Errors
    /// 429 `over_request_rate_limit` when too many wait already.
    pub(crate) async fn verify(&self, hash: Option<&Hash>, password: &str) -> Result<bool> {
        let (done, outcome) = oneshot::channel();
        self.submit(Job::Verify {
            hash: hash.cloned().unwrap_or_else(decoy),
            password: password.to_owned(),
            done,
        })?;
        let fits = outcome
            .await
            .map_err(|_| AuthError::internal("Error comparing the password", "a thread ended"))?;
        Ok(fits && hash.is_some())
    }

    /// How many hashes were computed so far.
    pub(crate) fn computed(&self) -> usize {
        self.0.0.computed.load(Ordering::Relaxed)
    }

    fn submit(&self, job: Job) -> Result<()> {
        let queue = &self.0.0;
        let mut jobs = queue.jobs.lock();
        // Those who gave up while they waited take no place.
        if jobs.0.len() >= queue.limit {
            jobs.0.retain(|job| !is_abandoned(job));
        }
        if jobs.0.len() >= queue.limit {
            return Err(AuthError::too_many(
                Code::OverRequestRateLimit,
                "Too many sign-ins at this moment; try again",
                1,
            ));
        }
        jobs.0.push_back(job);
        drop(jobs);
        queue.arrived.notify_one();
        Ok(())
    }
}

fn is_abandoned(job: &Job) -> bool {
    match job {
        Job::Hash { done, .. } => done.is_closed(),
        Job::Verify { done, .. } => done.is_closed(),
    }
}

fn work(queue: &Queue) {
    loop {
        let job = {
            let mut jobs = queue.jobs.lock();
            loop {
                if let Some(job) = jobs.0.pop_front() {
                    break job;
                }
                if jobs.1 {
                    return;
                }
                queue.arrived.wait(&mut jobs);
            }
        };
        if is_abandoned(&job) {
            continue;
        }
        queue.computed.fetch_add(1, Ordering::Relaxed);
        match job {
            Job::Hash { password, done } => {
                let _ = done.send(Hash::new(&password));
            }
            Job::Verify {
                hash,
                password,
                done,
            } => {
                let _ = done.send(hash.verify(&password));
            }
        }
    }
}

/// Lowers this thread's priority: on Linux it is the thread's own.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    {
        const NICENESS: i32 = 10;
        let thread = rustix::thread::gettid();
        if let Err(error) = rustix::process::setpriority_process(Some(thread), NICENESS) {
            tracing::debug!(%error, "the priority of a hashing thread stays as it is");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::HashPool;
    use crate::password::Hash;

    #[tokio::test]
    async fn an_unknown_user_costs_the_same_work() {
        let pool = HashPool::start(1).unwrap();
        let hash = Hash::parse(&bcrypt::hash("secret", 4).unwrap()).unwrap();
        assert!(pool.verify(Some(&hash), "secret").await.unwrap());
        assert_eq!(pool.computed(), 1);
        assert!(!pool.verify(None, "secret").await.unwrap());
        assert_eq!(pool.computed(), 2);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_recovers() {
        let pool = Arc::new(HashPool::start(1).unwrap());
        let many: Vec<_> = (0..200)
            .map(|_| {
                let pool = Arc::clone(&pool);
                bunbun_core::task::spawn("test", async move { pool.verify(None, "x").await })
            })
            .collect();
        let mut refused = 0;
        for task in many {
            if let Err(error) = task.await.unwrap() {
                assert_eq!(error.status(), 429);
                refused += 1;
            }
        }
        assert!(refused >= 200 - 33, "{refused}");
        assert!(pool.verify(None, "x").await.is_ok());
    }

    #[tokio::test]
    async fn whoever_gave_up_costs_nothing() {
        let pool = HashPool::start(1).unwrap();
        for _ in 0..20 {
            drop(futures_util::FutureExt::now_or_never(
                pool.verify(None, "x"),
            ));
        }
        assert!(pool.verify(None, "x").await.is_ok());
        assert!(pool.computed() <= 2, "{}", pool.computed());
    }
}
