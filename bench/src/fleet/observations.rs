//! What the agents see of their verifier.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters of a whole fleet.
#[derive(Debug, Default)]
pub struct Observations {
    quotes: AtomicU64,
    handshakes: AtomicU64,
    failed_handshakes: AtomicU64,
    refused_requests: AtomicU64,
    open_connections: AtomicUsize,
    recording: AtomicBool,
    gaps: Mutex<Vec<f64>>,
}

/// Values of the counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Quotes answered.
    pub quotes: u64,
    /// TLS handshakes done.
    pub handshakes: u64,
    /// TLS handshakes not done.
    pub failed_handshakes: u64,
    /// Requests no agent answers with 200.
    pub refused_requests: u64,
}

/// An open connection; dropping it closes the books on it.
#[derive(Debug)]
pub struct OpenConnection<'o>(&'o Observations);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.open_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Observations {
    /// A handshake was done.
    pub fn connected(&self) -> OpenConnection<'_> {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        self.open_connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self)
    }

    /// A handshake was not done.
    pub fn handshake_failed(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was refused.
    pub fn refused(&self) {
        self.refused_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A quote was answered, `gap` seconds after the agent's quote before.
    pub fn quoted(&self, gap: Option<f64>) {
        self.quotes.fetch_add(1, Ordering::Relaxed);
        if let (Some(gap), true) = (gap, self.recording.load(Ordering::Relaxed)) {
            self.gaps.lock().unwrap_or_else(PoisonError::into_inner).push(gap);
        }
    }

    /// Starts to record gaps.
    pub fn start_recording(&self) {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.recording.store(true, Ordering::Relaxed);
    }

    /// Ends recording; answers the gaps in seconds.
    pub fn stop_recording(&self) -> Vec<f64> {
        self.recording.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.gaps.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Open connections.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.open_connections.load(Ordering::Relaxed)
    }

    /// The counters.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            quotes: self.quotes.load(Ordering::Relaxed),
            handshakes: self.handshakes.load(Ordering::Relaxed),
            failed_handshakes: self.failed_handshakes.load(Ordering::Relaxed),
            refused_requests: self.refused_requests.load(Ordering::Relaxed),
        }
    }
}
