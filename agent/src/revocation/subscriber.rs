//! Listens on the verifier's ZeroMQ socket for notices.

use std::time::Duration;

use zeromq::{Socket as _, SocketRecv as _, SubSocket, ZmqError};

use crate::revocation::worker::{RevocationQueue, SignedNotice};

/// Longest notice read, in bytes.
const MAX_NOTICE_BYTES: usize = 2 << 20;
/// Wait before connecting again after a failure.
const RECONNECT_DELAY: Duration = Duration::from_secs(5);

/// Receives until the queue's worker has ended; connects again when the verifier goes away.
pub async fn listen(address: String, queue: RevocationQueue) {
    loop {
        if let Err(error) = receive(&address, &queue).await {
            tracing::warn!(target: "keylime.agent", %error, address, "lost the revocation socket, connecting again");
        }
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}

async fn receive(address: &str, queue: &RevocationQueue) -> Result<(), ZmqError> {
    let mut socket = SubSocket::new();
    socket.connect(address).await?;
    socket.subscribe("").await?;
    tracing::info!(target: "keylime.agent", address, "waiting for revocation notices");
    loop {
        let message = socket.recv().await?;
        let Some(notice) = message.get(0).and_then(|frame| read_notice(frame)) else {
            tracing::warn!(target: "keylime.agent", "ignoring a malformed revocation notice");
            continue;
        };
        if let Err(error) = queue.submit(notice) {
            tracing::error!(target: "keylime.agent", %error, "dropping a revocation notice");
        }
    }
}

fn read_notice(frame: &[u8]) -> Option<SignedNotice> {
    if frame.len() > MAX_NOTICE_BYTES {
        return None;
    }
    serde_json::from_slice(frame).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_notices_are_read() {
        assert!(read_notice(br#"{"msg": "{}", "signature": ""}"#).is_some());
        assert!(read_notice(br#"{"msg": {}}"#).is_none());
        assert!(read_notice(&[0xFF; 3]).is_none());
    }
}
