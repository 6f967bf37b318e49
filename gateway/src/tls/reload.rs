//! Takes changed TLS files into use while the server runs, so that a revocation needs no restart.

use super::ServerTlsFiles;
use crate::server::TlsSource;
use std::sync::Arc;
use std::time::Duration;

/// Looks at the files every `period` and replaces the configuration of `source` when one has changed; never ends.
pub async fn reload_when_changed(files: ServerTlsFiles, source: Arc<TlsSource>, period: Duration) {
    let mut seen = files.stamp();
    loop {
        tokio::time::sleep(period).await;
        let stamp = files.stamp();
        if stamp == seen {
            continue;
        }
        seen = stamp;
        match files.load() {
            Ok(config) => {
                source.replace(config);
                tracing::info!(target: "keylime.web", "certificates or revocation lists have changed and are in use");
            }
            Err(error) => {
                tracing::error!(target: "keylime.web", %error, "changed certificates cannot be used, keeping the old ones");
            }
        }
    }
}
