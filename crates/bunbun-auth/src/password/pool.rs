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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Hash, decoy};
use crate::error::{AuthError, Code, Result};

/// Jobs per thread that may wait: at some 50 ms each, nobody waits longer than about 1.5 seconds.
const QUEUE_PER_THREAD: usize = 32;

/// A job with its place, which is free again when the job is done or thrown away.
struct Job {
    work: Work,
    password: String,
    _place: Place,
}

enum Work {
    Hash(oneshot::Sender<Option<Hash>>),
    Verify(Hash, oneshot::Sender<bool>),
}

impl Job {
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool {
        match &self.work {
            Work::Hash(done) => done.is_closed(),
            Work::Verify(_, done) => done.is_closed(),
        }
    }
}

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

struct Queue {
    jobs: Mutex<(VecDeque<Job>, bool)>,
    arrived: Condvar,
    /// Jobs that may wait or be worked on.
    places: Arc<Semaphore>,
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
            places: Arc::new(Semaphore::new(threads * (QUEUE_PER_THREAD + 1))),
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

    /// A place in the queue. Whoever needs one asks before anything else is done for them, so that
    /// being turned away costs nothing.
    ///
    /// # Errors
    /// 429 `over_request_rate_limit` when too many wait already.
    pub(crate) fn reserve(&self) -> Result<Place> {
        let queue = &self.0.0;
        let take = || Arc::clone(&queue.places).try_acquire_owned().ok();
        let place = take().or_else(|| {
            // Those who gave up while they waited take no place.
            queue.jobs.lock().0.retain(|job| !job.is_abandoned());
            take()
        });
        place.map(Place).ok_or_else(|| {
            AuthError::too_many(
                Code::OverRequestRateLimit,
                "Too many sign-ins at this moment; try again",
                1,
            )
        })
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub(crate) async fn hash(&self, password: &str) -> Result<Hash> {
        let place = self.reserve()?;
        self.hash_at(place, password).await
    }

    /// The same, with a place that is there.
    pub(crate) async fn hash_at(&self, place: Place, password: &str) -> Result<Hash> {
        let (done, outcome) = oneshot::channel();
        self.submit(place, password, Work::Hash(done));
        outcome
            .await
            .ok()
            .flatten()
            .ok_or_else(|| AuthError::internal("Error hashing the password", "no hash was made"))
    }

    /// Whether the password fits. Without a hash the same work is done for nothing.
    pub(crate) async fn verify(
        &self,
        place: Place,
        hash: Option<&Hash>,
        password: &str,
    ) -> Result<bool> {
        let (done, outcome) = oneshot::channel();
        let expected = hash.cloned().unwrap_or_else(decoy);
        self.submit(place, password, Work::Verify(expected, done));
        let fits = outcome
            .await
            .map_err(|_| AuthError::internal("Error comparing the password", "a thread ended"))?;
        Ok(fits && hash.is_some())
    }

    /// How many hashes were computed so far.
    pub(crate) fn computed(&self) -> usize {
        self.0.0.computed.load(Ordering::Relaxed)
    }

    fn submit(&self, place: Place, password: &str, work: Work) {
        let queue = &self.0.0;
        queue.jobs.lock().0.push_back(Job {
            work,
            password: password.to_owned(),
            _place: place,
        });
        queue.arrived.notify_one();
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
        if job.is_abandoned() {
            continue;
        }
        queue.computed.fetch_add(1, Ordering::Relaxed);
        match job.work {
            Work::Hash(done) => {
                let _ = done.send(Hash::new(&job.password));
            }
            Work::Verify(hash, done) => {
                let _ = done.send(hash.verify(&job.password));
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
    use crate::{error::Result, password::Hash};

    async fn verify(pool: &HashPool, hash: Option<&Hash>, password: &str) -> Result<bool> {
        pool.verify(pool.reserve()?, hash, password).await
    }

    #[tokio::test]
    async fn an_unknown_user_costs_the_same_work() {
        let pool = HashPool::start(1).unwrap();
        let hash = Hash::parse(&bcrypt::hash("secret", 4).unwrap()).unwrap();
        assert!(verify(&pool, Some(&hash), "secret").await.unwrap());
        assert_eq!(pool.computed(), 1);
        assert!(!verify(&pool, None, "secret").await.unwrap());
        assert_eq!(pool.computed(), 2);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_recovers() {
        let pool = Arc::new(HashPool::start(1).unwrap());
        let many: Vec<_> = (0..200)
            .map(|_| {
                let pool = Arc::clone(&pool);
                bunbun_core::task::spawn("test", async move { verify(&pool, None, "x").await })
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
        assert!(verify(&pool, None, "x").await.is_ok());
    }

    #[tokio::test]
    async fn whoever_gave_up_costs_nothing() {
        let pool = HashPool::start(1).unwrap();
        for _ in 0..20 {
            drop(futures_util::FutureExt::now_or_never(verify(
                &pool, None, "x",
            )));
        }
        assert!(verify(&pool, None, "x").await.is_ok());
        assert!(pool.computed() <= 2, "{}", pool.computed());
    }
}
