//! The tokens of the sessions that the verifier has made.

use super::{TokenCheck, TokenRefusal, Tokens};
use async_trait::async_trait;
use keylime_actors::sessions::{SessionHandle, TokenVerdict};

#[async_trait]
impl Tokens for SessionHandle {
    async fn check(&self, token: &str) -> TokenCheck {
        match Self::check(self, token).await {
            TokenVerdict::Agent(agent) => TokenCheck::Agent(agent),
            TokenVerdict::Unknown => TokenCheck::Refused(TokenRefusal::Unknown),
            TokenVerdict::Inactive => TokenCheck::Refused(TokenRefusal::Inactive),
            TokenVerdict::Expired => TokenCheck::Refused(TokenRefusal::Expired),
            TokenVerdict::Unavailable { retry_after_seconds } => TokenCheck::Unavailable { retry_after_seconds },
        }
    }
}
