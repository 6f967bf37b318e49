//! Starts, supervises and stops the queues of all notifiers, on a thread of their own: publishing ten thousand notices
//! must not take a turn from attestation.

use super::back_off::BackOff;
use super::delivery_queue::DeliveryQueue;
use super::notifier::Notifier;
use crate::ports::VerifierStore;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Times of the publisher.
#[derive(Debug, Clone, Copy)]
pub struct PublisherOptions {
    /// Longest time between two looks into the outbox; a poke makes it look at once.
    pub period: Duration,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self { period: Duration::from_secs(5) }
    }
}

/// Whether a notifier takes notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifierState {
    /// Nothing speaks against it.
    Up,
    /// The last attempt failed as a whole, for this reason; it is tried again.
    Away(String),
    /// Its queue ended with a fault and is being restarted.
    Restarting,
    /// It was stopped.
    Stopped,
}

/// How a notifier is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifierHealth {
    /// Its name.
    pub name: &'static str,
    /// Whether it takes notices.
    pub state: NotifierState,
    /// Notices under way.
    pub in_flight: usize,
    /// Notices that were refused (a RabbitMQ exchange without a matching queue, for instance) and are tried again: an alarm.
    pub parked: usize,
    /// Age of the oldest notice that waits for it.
    pub oldest: Duration,
}

/// Publishes the outbox.
pub struct RevocationPublisher;

impl RevocationPublisher {
    /// Starts a queue for each notifier.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be started.
    pub fn start(
        store: Arc<dyn VerifierStore>,
        notifiers: Vec<Arc<dyn Notifier>>,
        options: PublisherOptions,
    ) -> io::Result<RevocationHandle> {
        let (stop, stopped) = watch::channel(false);
        let queues: Vec<DeliveryQueue> = notifiers
            .into_iter()
            .map(|notifier| DeliveryQueue {
                health: Arc::new(Mutex::new(NotifierHealth {
                    name: notifier.name(),
                    state: NotifierState::Up,
                    in_flight: 0,
                    parked: 0,
                    oldest: Duration::ZERO,
                })),
                store: Arc::clone(&store),
                notifier,
                poke: Arc::new(Notify::new()),
                stop: stopped.clone(),
                period: options.period,
            })
            .collect();
        let pokes = queues.iter().map(|queue| Arc::clone(&queue.poke)).collect();
        let health = queues.iter().map(|queue| Arc::clone(&queue.health)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ended, end) = watch::channel(false);
        std::thread::Builder::new().name("revocation".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let supervised: Vec<_> = queues.into_iter().map(|queue| tokio::spawn(supervise(queue))).collect();
                for queue in supervised {
                    let _ = queue.await;
                }
            });
            let _ = ended.send(true);
        })?;
        Ok(RevocationHandle(Arc::new(Inner { pokes, health, stop, end })))
    }
}

/// Runs a queue again, with back-off, when it ends by a panic. What was under way is delivered again: rows are marked only
/// after their confirmation.
async fn supervise(queue: DeliveryQueue) {
    let mut panics = 0_u32;
    loop {
        let outcome = tokio::spawn(queue.clone().run()).await;
        if outcome.is_ok() {
            queue.health.lock().state = NotifierState::Stopped;
            return;
        }
        panics = panics.saturating_add(1);
        queue.health.lock().state = NotifierState::Restarting;
        metrics::counter!("revocation_queue_restarts_total", "notifier" => queue.notifier.name()).increment(1);
        tracing::error!(
            target: "keylime.revocation", notifier = queue.notifier.name(), panics,
            "queue ended with a fault and is restarted"
        );
        tokio::time::sleep(RESTART.after(panics)).await;
    }
}

/// The running publisher; cheap to clone. Dropping all handles stops it.
#[derive(Clone)]
pub struct RevocationHandle(Arc<Inner>);

struct Inner {
    pokes: Vec<Arc<Notify>>,
    health: Vec<Arc<Mutex<NotifierHealth>>>,
    stop: watch::Sender<bool>,
    end: watch::Receiver<bool>,
}

impl RevocationHandle {
    /// Says that rows were committed. Only a hint: without it they are found within the period.
    pub fn poke(&self) {
        for poke in &self.0.pokes {
            poke.notify_one();
        }
    }

    /// How the notifiers are doing.
    #[must_use]
    pub fn health(&self) -> Vec<NotifierHealth> {
        self.0.health.iter().map(|health| health.lock().clone()).collect()
    }

    /// Starts nothing any more and waits, at most `drain`, until what is under way is confirmed and marked. What is not stays
    /// in the outbox.
    pub async fn shutdown(&self, drain: Duration) {
        let _ = self.0.stop.send(true);
        let mut end = self.0.end.clone();
        if tokio::time::timeout(drain, end.wait_for(|ended| *ended)).await.is_err() {
            tracing::warn!(target: "keylime.revocation", "notices under way are left to the next start");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

const RESTART: BackOff = BackOff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };
