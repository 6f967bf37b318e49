//! The one thread that owns the TPM, and the handle everybody else asks it through.

use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::tpm::{Tpm, TpmError};

/// Jobs that may wait for the TPM; a sender beyond that waits, so a flood of requests costs no memory here.
const QUEUE_LENGTH: usize = 16;

type Job = Box<dyn FnOnce(&mut dyn Tpm) + Send>;

enum Request {
    Run(Job),
    Stop,
}

/// The owner thread itself.
pub struct TpmOwner {
    handle: TpmHandle,
    thread: thread::JoinHandle<()>,
}

/// Asks the owner thread; cheap to clone. The thread also ends when the last handle is dropped.
#[derive(Clone)]
pub struct TpmHandle {
    jobs: mpsc::Sender<Request>,
}

impl TpmOwner {
    /// Starts the owner thread; `open` runs on it, so the TPM never changes threads.
    ///
    /// # Errors
    /// What `open` returned, or [`TpmError::Gone`] when the thread could not start.
    pub fn start<T, F>(open: F) -> Result<Self, TpmError>
    where
        T: Tpm + 'static,
        F: FnOnce() -> Result<T, TpmError> + Send + 'static,
    {
        let (jobs, mut queue) = mpsc::channel::<Request>(QUEUE_LENGTH);
        let (opened, outcome) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("tpm".to_owned())
            .spawn(move || {
                let mut tpm = match open() {
                    Ok(tpm) => tpm,
                    Err(error) => {
                        let _ = opened.send(Err(error));
                        return;
                    }
                };
                let _ = opened.send(Ok(()));
                while let Some(Request::Run(job)) = queue.blocking_recv() {
                    job(&mut tpm);
                }
            })
            .map_err(|_| TpmError::Gone)?;
        outcome.recv().map_err(|_| TpmError::Gone)??;
        Ok(Self { handle: TpmHandle { jobs }, thread })
    }

    /// A handle to the thread.
    #[must_use]
    pub fn handle(&self) -> TpmHandle {
        self.handle.clone()
    }

    /// Waits until the TPM is closed, which frees the keys loaded in it; jobs asked for later fail. Blocks, so it must not
    /// be called on a runtime's thread.
    pub fn close(self) {
        let _ = self.handle.jobs.blocking_send(Request::Stop);
        // A panic there was reported when it happened.
        let _ = self.thread.join();
    }
}

impl TpmHandle {
    /// Runs `work` on the owner thread and waits for its result.
    ///
    /// # Errors
    /// What `work` returned, or [`TpmError::Gone`] when the thread ended.
    pub async fn run<R, F>(&self, work: F) -> Result<R, TpmError>
    where
        R: Send + 'static,
        F: FnOnce(&mut dyn Tpm) -> Result<R, TpmError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |tpm| {
            // The asker may have given up, for instance when its connection broke.
            let _ = answer.send(work(tpm));
        });
        self.jobs.send(Request::Run(job)).await.map_err(|_| TpmError::Gone)?;
        result.await.map_err(|_| TpmError::Gone)?
    }
}
