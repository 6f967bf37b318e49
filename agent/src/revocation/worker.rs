//! Takes notices one after the other, checks them and runs the actions.

use std::path::PathBuf;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::private_file;
use crate::revocation::actions::ActionRunner;
use crate::revocation::signature::NoticeVerifier;
use crate::revocation::subscriber;

/// Notices that may wait while actions run.
const QUEUE_LENGTH: usize = 8;

/// A notice as it arrived.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct SignedNotice {
    /// JSON text.
    pub msg: String,
    /// Base64 of an RSA-PSS signature over the text.
    pub signature: String,
}

enum Event {
    PayloadArrived,
    Notice(SignedNotice),
}

/// Takes notices.
#[derive(Clone)]
pub struct RevocationQueue {
    sender: mpsc::Sender<Event>,
}

/// The worker does not take the notice: too many wait, or it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("revocation worker takes no further notice")]
pub struct NoticeRefused;

impl RevocationQueue {
    /// Hands a notice over.
    ///
    /// # Errors
    /// [`NoticeRefused`].
    pub fn submit(&self, notice: SignedNotice) -> Result<(), NoticeRefused> {
        self.sender.try_send(Event::Notice(notice)).map_err(|_| NoticeRefused)
    }

    /// Tells that a payload was laid out, which may hold a new certificate.
    pub async fn payload_arrived(&self) {
        // A worker that ended takes nothing any more; the agent is being stopped then.
        let _ = self.sender.send(Event::PayloadArrived).await;
    }
}

/// The worker's surroundings.
pub struct RevocationWorker {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// Runs the actions.
    pub actions: ActionRunner,
    /// The verifier's socket, `tcp://host:port`, if the agent subscribes to it.
    pub subscription: Option<String>,
}

impl RevocationWorker {
    /// Starts the worker; it ends when the last queue is dropped.
    #[must_use]
    pub fn start(self) -> RevocationQueue {
        let (sender, mut queue) = mpsc::channel(QUEUE_LENGTH);
        let own = sender.downgrade();
        tokio::spawn(async move {
            let mut verifier = None;
            let mut subscribed = false;
            while let Some(event) = queue.recv().await {
                match event {
                    Event::PayloadArrived => {
                        verifier = self.load_certificate();
                        if let (false, Some(address), Some(sender)) = (subscribed, &self.subscription, own.upgrade()) {
                            subscribed = true;
                            tokio::spawn(subscriber::listen(address.clone(), RevocationQueue { sender }));
                        }
                    }
                    Event::Notice(notice) => self.handle(verifier.as_ref(), &notice).await,
                }
            }
        });
        RevocationQueue { sender }
    }

    fn load_certificate(&self) -> Option<NoticeVerifier> {
        let path = self.certificate.display();
        let content = match private_file::read(&self.certificate) {
            Ok(Some(content)) => content,
            Ok(None) => {
                tracing::warn!(target: "keylime.agent", %path, "payload brought no revocation certificate");
                return None;
            }
            Err(error) => {
                tracing::error!(target: "keylime.agent", %path, %error, "cannot read the revocation certificate");
                return None;
            }
        };
        match NoticeVerifier::from_certificate(&content) {
            Ok(verifier) => {
                tracing::info!(target: "keylime.agent", %path, "loaded the revocation certificate");
                Some(verifier)
            }
            Err(error) => {
                tracing::error!(target: "keylime.agent", %path, %error, "cannot use the revocation certificate");
                None
            }
        }
    }

    async fn handle(&self, verifier: Option<&NoticeVerifier>, notice: &SignedNotice) {
        let Some(verifier) = verifier else {
            tracing::warn!(target: "keylime.agent", "no revocation certificate loaded, dropping the revocation notice");
            return;
        };
        if let Err(error) = verifier.verify(&notice.msg, &notice.signature) {
            tracing::error!(target: "keylime.agent", %error, "dropping the revocation notice");
            return;
        }
        let content: Value = match serde_json::from_str(&notice.msg) {
            Ok(content) => content,
            Err(error) => {
                tracing::error!(target: "keylime.agent", %error, "revocation notice is not json");
                return;
            }
        };
        if let Err(error) = self.actions.run_all(&content).await {
            tracing::error!(target: "keylime.agent", %error, "revocation actions ended early");
        }
    }
}
