//! Negotiating an attestation and delivering its evidence (`verifier-v3-push.md` §4 and §5).

use std::time::Duration;

use keylime_engine::ids::AgentId;
use reqwest::{Method, Url};

use crate::push::capabilities::QuotingKey;
use crate::push::connection::{ConnectionError, Token, VerifierConnection};
use crate::push::evidence::{CollectionError, EvidencePlan, UnacceptableRequest, plan};
use crate::push::messages::{Answer, Capabilities, CollectedEvidence, Document, EvidenceItem, Negotiated, Receipt};
use crate::push::refused_reply::RefusedReply;
use crate::push::state_machine::Setback;

/// Why an attestation did not come about.
#[derive(Debug, thiserror::Error)]
pub enum AttestationError {
    /// No answer.
    #[error("verifier cannot be reached: {0}")]
    Connection(#[from] ConnectionError),
    /// A status other than the expected one.
    #[error(transparent)]
    Refused(#[from] RefusedReply),
    /// An answer that cannot be read.
    #[error("verifier sent an unexpected answer to capabilities: {0}")]
    Answer(String),
    /// A request this agent does not fulfil.
    #[error("{0}")]
    Request(#[from] UnacceptableRequest),
    /// The evidence is not there.
    #[error("cannot collect the evidence: {0}")]
    Collection(#[from] CollectionError),
    /// The request could not be written.
    #[error("cannot write a request: {0}")]
    Json(#[from] serde_json::Error),
}

impl AttestationError {
    /// What the state machine is told.
    #[must_use]
    pub const fn setback(&self) -> Setback {
        match self {
            Self::Connection(_) => Setback::Unreachable,
            Self::Refused(refused) => refused.setback,
            Self::Answer(_) | Self::Request(_) | Self::Collection(_) | Self::Json(_) => Setback::Refused,
        }
    }
}

/// An attestation the verifier waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAttestation {
    /// Where its evidence is delivered.
    pub location: Url,
    /// What to collect.
    pub plans: Vec<EvidencePlan>,
}

/// The verifier's attestations of one agent.
#[derive(Debug, Clone)]
pub struct AttestationClient {
    /// The verifier.
    pub verifier: VerifierConnection,
    /// The first segment of its paths, such as `v3.0`.
    pub api_version: String,
    /// The agent.
    pub agent_id: AgentId,
}

impl AttestationClient {
    /// Offers capabilities.
    ///
    /// # Errors
    /// See [`AttestationError`].
    pub async fn negotiate(
        &self,
        token: &Token,
        capabilities: Capabilities,
        key: &QuotingKey,
    ) -> Result<OpenAttestation, AttestationError> {
        let url = self.verifier.resource(&[&self.api_version, "agents", self.agent_id.as_str(), "attestations"]);
        let body = Document::new("attestation", None, capabilities).to_json()?;
        let reply = self.verifier.send(Method::POST, url.clone(), Some(token), body).await?;
        if reply.status != 201 {
            return Err(RefusedReply::new("capabilities", &reply).into());
        }
        let location = reply.location.as_deref().and_then(|location| self.verifier.follow(&url, location));
        let location = location.ok_or_else(|| AttestationError::Answer("no location at this verifier".to_owned()))?;
        let answer: Answer<Negotiated> =
            serde_json::from_slice(&reply.body).map_err(|error| AttestationError::Answer(error.to_string()))?;
        let plans = plan(&answer.data.attributes.evidence_requested, key)?;
        Ok(OpenAttestation { location, plans })
    }

    /// Delivers evidence; answers the wait the verifier asks for.
    ///
    /// # Errors
    /// See [`AttestationError`].
    pub async fn deliver(
        &self,
        token: &Token,
        location: Url,
        evidence_collected: Vec<EvidenceItem>,
    ) -> Result<Option<Duration>, AttestationError> {
        let body = Document::new("attestation", None, CollectedEvidence { evidence_collected }).to_json()?;
        let reply = self.verifier.send(Method::PATCH, location, Some(token), body).await?;
        if !(200..300).contains(&reply.status) {
            return Err(RefusedReply::new("evidence", &reply).into());
        }
        Ok(next_in(&reply.body))
    }
}

/// The wait in a receipt. Without a usable one the agent keeps its own rhythm.
fn next_in(body: &[u8]) -> Option<Duration> {
    let receipt: Receipt = serde_json::from_slice(body).ok()?;
    Duration::try_from_secs_f64(receipt.meta?.seconds_to_next_attestation?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_read_when_it_is_one() {
        assert_eq!(
            next_in(br#"{"data":{"x":[1]},"meta":{"seconds_to_next_attestation":3}}"#),
            Some(Duration::from_secs(3))
        );
        assert_eq!(next_in(br#"{"meta":{"seconds_to_next_attestation":1.5}}"#), Some(Duration::from_millis(1500)));
        for odd in [
            "",
            "{}",
            "[]",
            r#"{"meta":{}}"#,
            r#"{"meta":{"seconds_to_next_attestation":-1}}"#,
            r#"{"meta":{"seconds_to_next_attestation":1e300}}"#,
            r#"{"meta":{"seconds_to_next_attestation":"soon"}}"#,
        ] {
            assert_eq!(next_in(odd.as_bytes()), None, "{odd}");
        }
    }
}
