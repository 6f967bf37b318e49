//! Counts the requests that are being answered, and closes the door when the server stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// The requests of one server.
#[derive(Default)]
pub struct Traffic {
    closed: AtomicBool,
    going_on: AtomicUsize,
    ended: Notify,
}

/// One request that is being answered.
pub struct Passage(Arc<Traffic>);

impl Traffic {
    /// Lets a request in, unless the server is stopping.
    pub fn enter(self: &Arc<Self>) -> Option<Passage> {
        self.going_on.fetch_add(1, Ordering::SeqCst);
        let passage = Passage(Arc::clone(self));
        // Looked at only after the request was counted, so that `drain` misses none.
        (!self.closed.load(Ordering::SeqCst)).then_some(passage)
    }

    /// Lets nobody in any more and waits until all requests are answered; at most for `patience`. Answers whether they are.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.closed.store(true, Ordering::SeqCst);
        let quiet = async {
            loop {
                let ended = self.ended.notified();
                if self.going_on.load(Ordering::SeqCst) == 0 {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(patience, quiet).await.is_ok()
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.0.going_on.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn drains_what_is_inside_and_lets_nobody_in() {
        let traffic = Arc::new(Traffic::default());
        let passage = traffic.enter().unwrap();
        assert!(!traffic.drain(Duration::from_millis(10)).await);
        assert!(traffic.enter().is_none());
        let draining = Arc::clone(&traffic);
        let drained = actix_rt::spawn(async move { draining.drain(Duration::from_secs(10)).await });
        actix_rt::task::yield_now().await;
        drop(passage);
        assert!(drained.await.unwrap());
    }
}
