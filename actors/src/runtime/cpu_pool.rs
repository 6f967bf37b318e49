//! The bounded pool for verification, with a panic boundary around every job.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

/// Runs jobs that are too long for an arbiter.
#[derive(Debug, Clone)]
pub struct CpuPool {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Threads { pool: Arc<rayon::ThreadPool>, queue: Arc<Semaphore> },
    Inline,
}

/// A job panicked; the text is the panic's message. Neither a pass nor a failure of anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("job panicked: {0}")]
pub struct JobPanicked(pub String);

impl CpuPool {
    /// A pool of `threads` threads with at most `queue` jobs submitted at a time.
    ///
    /// # Errors
    /// The operating system refuses the threads.
    pub fn with_threads(threads: usize, queue: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|n| format!("keylime-cpu-{n}"))
            .build()?;
        Ok(Self { kind: Kind::Threads { pool: Arc::new(pool), queue: Arc::new(Semaphore::new(queue.max(1))) } })
    }

    /// A pool that runs each job at once on the calling thread: for tests with paused time, which would run ahead while
    /// other threads work.
    #[must_use]
    pub fn inline() -> Self {
        Self { kind: Kind::Inline }
    }

    /// Runs a job; waits while the queue is full.
    ///
    /// # Errors
    /// The job panicked.
    pub async fn run<T, F>(&self, job: F) -> Result<T, JobPanicked>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        match &self.kind {
            Kind::Inline => guarded(job),
            Kind::Threads { pool, queue } => {
                let Ok(permit) = Arc::clone(queue).acquire_owned().await else {
                    return Err(JobPanicked("the pool is closed".to_owned()));
                };
                let (reply, result) = oneshot::channel();
                pool.spawn(move || {
                    let outcome = guarded(job);
                    drop(permit);
                    // Nobody waits for a job whose agent was removed meanwhile.
                    let _ = reply.send(outcome);
                });
                result.await.unwrap_or_else(|_| Err(JobPanicked("the job was dropped".to_owned())))
            }
        }
    }
}

/// Runs a job and turns a panic into an error.
///
/// # Errors
/// The job panicked.
pub fn guarded<T>(job: impl FnOnce() -> T) -> Result<T, JobPanicked> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        JobPanicked(text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_pool_goes_on() {
        for pool in [CpuPool::with_threads(2, 4).unwrap(), CpuPool::inline()] {
            assert_eq!(pool.run(|| -> u8 { panic!("boom {}", 1) }).await, Err(JobPanicked("boom 1".to_owned())));
            assert_eq!(pool.run(|| 7).await, Ok(7));
        }
    }

    #[tokio::test]
    async fn more_jobs_than_the_queue_holds_all_run() {
        let pool = CpuPool::with_threads(1, 2).unwrap();
        let jobs = (0..50).map(|n| pool.run(move || n));
        let sum: i32 = futures_util::future::join_all(jobs).await.into_iter().map(Result::unwrap).sum();
        assert_eq!(sum, 1225);
    }
}
