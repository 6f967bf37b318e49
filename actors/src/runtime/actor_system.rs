//! The threads that actors live on: one arbiter per shard, apart from the threads of HTTP and of verification.

use actix_rt::{Arbiter, ArbiterHandle, System};
use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A set of arbiters, or the arbiter of the calling thread.
pub struct ActorSystem {
    arbiters: Vec<ArbiterHandle>,
    system: Option<(System, JoinHandle<()>)>,
}

/// Why an actor system does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system refuses the thread.
    #[error("cannot start a thread for actors: {0}")]
    Thread(#[from] io::Error),
    /// The thread ended before its arbiters were there.
    #[error("the actor thread ended while starting")]
    Ended,
    /// The threads for verification are refused.
    #[error("cannot start the verification threads: {0}")]
    Pool(#[from] rayon::ThreadPoolBuildError),
}

impl ActorSystem {
    /// Starts `arbiters` arbiters, each a thread with its own runtime and timers.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn with_threads(arbiters: usize) -> Result<Self, StartError> {
        let (ready, handles) = mpsc::channel();
        let thread = std::thread::Builder::new().name("keylime-actors".to_owned()).spawn(move || {
            let runner = System::new();
            let threads: Vec<Arbiter> = runner.block_on(async { (0..arbiters).map(|_| Arbiter::new()).collect() });
            let handles: Vec<ArbiterHandle> = threads.iter().map(Arbiter::handle).collect();
            if ready.send((System::current(), handles)).is_err() {
                return;
            }
            if let Err(error) = runner.run() {
                tracing::error!(target: "keylime.verifier", %error, "the actor system ended with an error");
            }
            for arbiter in threads {
                arbiter.stop();
                // A thread that panicked has reported it already.
                let _ = arbiter.join();
            }
        })?;
        let (system, arbiters) = handles.recv().map_err(|_| StartError::Ended)?;
        Ok(Self { arbiters, system: Some((system, thread)) })
    }

    /// Uses the calling thread's arbiter for everything; for tests with paused time.
    ///
    /// # Panics
    /// Outside of an actix system.
    #[must_use]
    pub fn on_current_arbiter() -> Self {
        Self { arbiters: vec![Arbiter::current()], system: None }
    }

    /// Number of arbiters.
    #[must_use]
    pub fn arbiters(&self) -> usize {
        self.arbiters.len()
    }

    /// Runs `build` on an arbiter and gives back what it made.
    ///
    /// # Errors
    /// The arbiter has ended.
    pub fn build_on<T: Send + 'static>(
        &self,
        index: usize,
        build: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StartError> {
        let Some(arbiter) = self.system.as_ref().and_then(|_| self.arbiters.get(index % self.arbiters.len())) else {
            return Ok(build());
        };
        let (done, result) = mpsc::channel();
        arbiter.spawn_fn(move || {
            // The caller waits for exactly this value.
            let _ = done.send(build());
        });
        result.recv().map_err(|_| StartError::Ended)
    }

    /// Ends the arbiters' threads. What is still running on them is dropped.
    pub fn stop(&mut self) {
        if let Some((system, thread)) = self.system.take() {
            system.stop();
            // A thread that panicked has reported it already.
            let _ = thread.join();
        }
    }
}
