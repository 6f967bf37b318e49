//! The TLS configuration of a listener, replaceable while it listens.

use parking_lot::RwLock;
use rustls::ServerConfig;
use std::sync::Arc;

/// Hands the current TLS configuration to each new connection.
pub struct TlsSource {
    current: RwLock<Arc<ServerConfig>>,
}

impl TlsSource {
    /// A source that hands out this configuration.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self { current: RwLock::new(Arc::new(config)) }
    }

    /// The configuration for a new connection.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read())
    }

    /// Uses another configuration for the connections to come.
    pub fn replace(&self, config: ServerConfig) {
        *self.current.write() = Arc::new(config);
    }
}
