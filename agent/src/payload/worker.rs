//! Runs payloads one after the other, and tells the revocation worker when one has brought its certificate.

use std::path::PathBuf;
use std::sync::Arc;

use keylime_engine::algorithm::HashAlgorithm;
use tokio::sync::mpsc;

use crate::configuration::settings::PayloadSettings;
use crate::key_derivation::Derived;
use crate::payload::{PayloadError, run};
use crate::revocation::worker::RevocationQueue;
use crate::tpm::TpmHandle;

/// Payloads that may wait while one runs.
const QUEUE_LENGTH: usize = 2;

/// Takes payloads.
#[derive(Clone)]
pub struct PayloadQueue {
    sender: mpsc::Sender<Derived>,
}

/// The worker does not take the payload: too many wait, or it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("payload worker takes no further payload")]
pub struct PayloadRefused;

impl PayloadQueue {
    /// Hands a payload over.
    ///
    /// # Errors
    /// [`PayloadRefused`].
    pub fn submit(&self, derived: Derived) -> Result<(), PayloadRefused> {
        self.sender.try_send(derived).map_err(|_| PayloadRefused)
    }
}

/// The worker's surroundings.
pub struct PayloadWorker {
    /// The secure mount.
    pub secure: PathBuf,
    /// Names and switches.
    pub settings: PayloadSettings,
    /// Who loads the certificate.
    pub revocations: RevocationQueue,
    /// Where payloads are measured, if they are.
    pub tpm: TpmHandle,
    /// The PCR bank they are measured into.
    pub bank: HashAlgorithm,
}

impl PayloadWorker {
    /// Starts the worker; it ends when the last queue is dropped.
    #[must_use]
    pub fn start(self) -> PayloadQueue {
        let (sender, mut queue) = mpsc::channel::<Derived>(QUEUE_LENGTH);
        let worker = Arc::new(self);
        tokio::spawn(async move {
            while let Some(derived) = queue.recv().await {
                if let Err(error) = Arc::clone(&worker).process(derived).await {
                    tracing::error!(target: "keylime.agent", %error, "payload was not run");
                }
            }
        });
        PayloadQueue { sender }
    }

    async fn process(self: Arc<Self>, derived: Derived) -> Result<(), PayloadError> {
        let plaintext = run::decrypt(&derived)?;
        if let Some(pcr) = self.settings.measured_pcr {
            // Before anything of it is there to be run.
            let (bank, digest) = (self.bank, self.bank.digest(&[&plaintext]));
            self.tpm.run(move |tpm| tpm.extend(pcr, bank, &digest)).await?;
            tracing::info!(target: "keylime.agent", pcr, "payload measured");
        }
        let worker = Arc::clone(&self);
        let lay_out = move || run::lay_out(&worker.secure, &worker.settings, &derived.key, &plaintext);
        let script = tokio::task::spawn_blocking(lay_out).await.map_err(|_| PayloadError::Stopped)??;
        if let Some(script) = script {
            run::run_script(&script).await?;
        }
        self.revocations.payload_arrived().await;
        Ok(())
    }
}
