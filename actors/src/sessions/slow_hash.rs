//! Hashes of tokens that Keylime has stored: 600,000 rounds, a tenth of a second each.
//!
//! One is computed at a time, whatever many clients ask; a session gets few attempts, so that somebody who knows its id and
//! not its token cannot keep a processor busy.

use aws_lc_rs::pbkdf2;
use keylime_engine::identity::session_token::SessionId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::num::NonZeroU32;
use tokio::sync::Semaphore;

const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("is not zero");
/// Wrong tokens after which a session with such a hash is not looked at any more, until the next start.
const MAX_WRONG: u32 = 5;
/// Most sessions whose wrong tokens are counted; when there are more, the counts begin anew.
const MAX_COUNTED: usize = 4096;

/// Checks slow hashes.
pub(super) struct SlowHashes {
    turn: Semaphore,
    wrong: Mutex<HashMap<SessionId, u32>>,
}

impl SlowHashes {
    pub(super) fn new() -> Self {
        Self { turn: Semaphore::new(1), wrong: Mutex::default() }
    }

    /// Whether this is the token of the session.
    pub(super) async fn matches(&self, id: SessionId, token: &str, salt: [u8; 16], hash: [u8; 32]) -> bool {
        let exhausted = || self.wrong.lock().get(&id).is_some_and(|wrong| *wrong >= MAX_WRONG);
        if exhausted() {
            return false;
        }
        let Ok(_turn) = self.turn.acquire().await else { return false };
        if exhausted() {
            return false;
        }
        let token = token.to_owned();
        let check = move || pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, token.as_bytes(), &hash).is_ok();
        let matches = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        let mut wrong = self.wrong.lock();
        if matches {
            wrong.remove(&id);
        } else {
            if wrong.len() >= MAX_COUNTED {
                wrong.clear();
            }
            *wrong.entry(id).or_default() += 1;
        }
        matches
    }
}
