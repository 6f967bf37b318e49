//! Reads request bodies within bounds of size and time.

use actix_web::web;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use std::time::Duration;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Longer than allowed.
    TooLarge,
    /// Not complete in time.
    Late,
    /// The connection or the framing broke.
    Broken,
}

/// Reads a whole body.
pub(crate) async fn read_body(payload: web::Payload, limit: u64, deadline: Duration) -> Result<Bytes, BodyError> {
    tokio::time::timeout(deadline, collect(payload, limit)).await.unwrap_or(Err(BodyError::Late))
}

async fn collect(mut payload: web::Payload, limit: u64) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Reads and forgets what a refused client is sending, so that it gets to read the answer; not for long.
pub(crate) async fn discard_body(mut payload: web::Payload, limit: u64, deadline: Duration) {
    let discard = async {
        let mut seen = 0;
        while let Some(Ok(chunk)) = payload.next().await {
            seen += chunk.len() as u64;
            if seen > limit {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(deadline, discard).await;
}
