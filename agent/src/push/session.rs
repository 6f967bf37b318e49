//! Proving possession of the attestation key, and the token earned by it (`verifier-v3-push.md` §3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::ids::AgentId;
use reqwest::Method;

use crate::push::connection::{ConnectionError, Reply, Token, VerifierConnection};
use crate::push::messages::{
    Answer, AuthenticationKind, AuthenticationProof, Document, ProofData, SessionOffer, SessionProof, SessionRequest,
    SessionResult,
};
use crate::push::refused_reply::RefusedReply;
use crate::push::state_machine::Setback;
use crate::tpm::{TpmError, TpmHandle};

/// Longest challenge a TPM signs, in bytes: a digest of SHA-512.
pub const MAX_CHALLENGE_BYTES: usize = 64;
/// Longest session id taken, in bytes.
const MAX_ID_BYTES: usize = 128;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No answer.
    #[error("verifier cannot be reached: {0}")]
    Connection(#[from] ConnectionError),
    /// A status that offers no session.
    #[error(transparent)]
    Refused(#[from] RefusedReply),
    /// An answer that cannot be read.
    #[error("verifier sent an unexpected answer to {action}: {reason}")]
    Answer {
        /// What was asked.
        action: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The verifier does not know this agent, or with another attestation key.
    #[error("verifier did not accept the proof of possession: the agent is not enrolled there, or with another key")]
    ProofRejected,
    /// The TPM did not sign.
    #[error("{0}")]
    Tpm(#[from] TpmError),
    /// The request could not be written.
    #[error("cannot write a request: {0}")]
    Json(#[from] serde_json::Error),
}

impl SessionError {
    /// What the state machine is told.
    #[must_use]
    pub const fn setback(&self) -> Setback {
        match self {
            Self::Connection(_) => Setback::Unreachable,
            Self::Refused(refused) => refused.setback,
            Self::Answer { .. } | Self::Tpm(_) | Self::Json(_) => Setback::Refused,
            Self::ProofRejected => Setback::UnknownAgent,
        }
    }
}

/// Opens a session, proves possession of the attestation key, and answers the token.
///
/// # Errors
/// See [`SessionError`].
pub async fn authenticate(
    verifier: &VerifierConnection,
    api_version: &str,
    agent_id: &AgentId,
    tpm: &TpmHandle,
) -> Result<Token, SessionError> {
    let (id, challenge) = open_session(verifier, api_version, agent_id).await?;
    let proof = tpm.run(move |tpm| tpm.certify_attestation_key(&challenge)).await?;
    let data = ProofData { message: STANDARD.encode(&proof.attest), signature: STANDARD.encode(&proof.signature) };
    let attributes = SessionProof {
        agent_id: agent_id.as_str(),
        authentication_provided: [AuthenticationProof { kind: AuthenticationKind::TPM_POP, data }],
    };
    let body = Document::new("session", Some(&id), attributes).to_json()?;
    let url = verifier.resource(&[api_version, "sessions", &id]);
    let reply = verifier.send(Method::PATCH, url, None, body).await?;
    read_token(&reply)
}

async fn open_session(
    verifier: &VerifierConnection,
    api_version: &str,
    agent_id: &AgentId,
) -> Result<(String, Vec<u8>), SessionError> {
    let attributes =
        SessionRequest { agent_id: agent_id.as_str(), authentication_supported: [AuthenticationKind::TPM_POP] };
    let body = Document::new("session", None, attributes).to_json()?;
    let reply = verifier.send(Method::POST, verifier.resource(&[api_version, "sessions"]), None, body).await?;
    read_offer(&reply)
}

/// The session's id and its challenge.
fn read_offer(reply: &Reply) -> Result<(String, Vec<u8>), SessionError> {
    const ACTION: &str = "the opening of a session";
    let wrong = |reason: &str| SessionError::Answer { action: ACTION, reason: reason.to_owned() };
    if !(200..300).contains(&reply.status) {
        return Err(refused(ACTION, reply));
    }
    let answer: Answer<SessionOffer> =
        serde_json::from_slice(&reply.body).map_err(|error| wrong(&error.to_string()))?;
    let id = answer.data.id.ok_or_else(|| wrong("the session has no id"))?;
    let is_plain = !id.is_empty()
        && id.len() <= MAX_ID_BYTES
        && !id.starts_with('.')
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !is_plain {
        return Err(wrong("the session's id cannot be part of a path"));
    }
    let wanted = answer.data.attributes.authentication_requested.into_iter();
    let pop = wanted.into_iter().find(|wanted| wanted.authentication_type == "tpm_pop");
    let challenge = pop.ok_or_else(|| wrong("no proof of possession is asked for"))?.chosen_parameters.challenge;
    let challenge = read_challenge(&challenge).ok_or_else(|| wrong("the challenge cannot be signed by a tpm"))?;
    Ok((id, challenge))
}

/// The bytes of a challenge, if a TPM can sign them.
#[must_use]
pub fn read_challenge(text: &str) -> Option<Vec<u8>> {
    // Longer texts are not even decoded.
    let short = text.len() <= 2 * MAX_CHALLENGE_BYTES;
    let bytes = short.then(|| STANDARD.decode(text).ok()).flatten()?;
    (!bytes.is_empty() && bytes.len() <= MAX_CHALLENGE_BYTES).then_some(bytes)
}

fn read_token(reply: &Reply) -> Result<Token, SessionError> {
    const ACTION: &str = "the proof of possession";
    let wrong = |reason: &str| SessionError::Answer { action: ACTION, reason: reason.to_owned() };
    // A proof that is wrong is answered with 401 and the session's document.
    if reply.status == 401 {
        return Err(SessionError::ProofRejected);
    }
    if !(200..300).contains(&reply.status) {
        return Err(refused(ACTION, reply));
    }
    let answer: Answer<SessionResult> =
        serde_json::from_slice(&reply.body).map_err(|error| wrong(&error.to_string()))?;
    let SessionResult { evaluation, token } = answer.data.attributes;
    if evaluation != "pass" {
        return Err(SessionError::ProofRejected);
    }
    let token = token.ok_or_else(|| wrong("the proof passed but there is no token"))?;
    Token::new(&token).ok_or_else(|| wrong("the token cannot be sent in a header"))
}

fn refused(action: &'static str, reply: &Reply) -> SessionError {
    let refused = RefusedReply::new(action, reply);
    let setback = match refused.setback {
        // Nothing was sent that could be unauthorised.
        Setback::Unauthorized => Setback::Refused,
        // The session is gone, as after a restart of the verifier: another one is opened soon.
        Setback::UnknownAgent => Setback::Busy { retry_after: None },
        other => other,
    };
    SessionError::Refused(RefusedReply { setback, ..refused })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn reply(status: u16, body: &Value) -> Reply {
        Reply { status, retry_after: None, location: None, body: serde_json::to_vec(body).unwrap() }
    }

    fn exchanges() -> Vec<Value> {
        serde_json::from_str(include_str!("../../tests/data/v3_sessions.json")).unwrap()
    }

    fn captured(method: &str, status: u16, evaluation: Option<&str>) -> Reply {
        let found = exchanges().into_iter().find(|item| {
            let body: Value = serde_json::from_str(item["response"]["body"].as_str().unwrap()).unwrap_or_default();
            item["request"]["method"] == method
                && item["request"]["path"].as_str().unwrap().starts_with("/v3.0/sessions")
                && item["response"]["status"] == status
                && evaluation.is_none_or(|wanted| body["data"]["attributes"]["evaluation"] == wanted)
        });
        let text = found.unwrap()["response"]["body"].as_str().unwrap().to_owned();
        Reply { status, retry_after: None, location: None, body: text.into_bytes() }
    }

    #[test]
    fn requests_are_those_the_reference_takes() {
        let request =
            SessionRequest { agent_id: "never-enrolled", authentication_supported: [AuthenticationKind::TPM_POP] };
        let ours: Value = serde_json::from_slice(&Document::new("session", None, request).to_json().unwrap()).unwrap();
        let theirs = exchanges().into_iter().find(|item| item["note"] == "unenrolled agent").unwrap();
        assert_eq!(ours, serde_json::from_str::<Value>(theirs["request"]["body"].as_str().unwrap()).unwrap());
    }

    #[test]
    fn captured_answers_are_read() {
        let (id, challenge) = read_offer(&captured("POST", 200, None)).unwrap();
        assert_eq!((id.len(), challenge.len()), (36, 16));
        assert!(read_token(&captured("PATCH", 200, Some("pass"))).is_ok());
        assert!(matches!(read_token(&captured("PATCH", 200, Some("fail"))), Err(SessionError::ProofRejected)));
        assert!(matches!(read_token(&captured("PATCH", 401, None)), Err(SessionError::ProofRejected)));
        let gone = read_token(&captured("PATCH", 404, None)).unwrap_err();
        assert_eq!(gone.setback(), Setback::Busy { retry_after: None });
    }

    #[test]
    fn hostile_answers_are_refused() {
        let offer = |id: Value, challenge: &str| {
            let requested = json!([{"authentication_type": "tpm_pop", "chosen_parameters": {"challenge": challenge}}]);
            reply(200, &json!({"data": {"id": id, "attributes": {"authentication_requested": requested}}}))
        };
        assert!(read_offer(&offer(json!("a-b"), "AAAA")).is_ok());
        for (id, challenge) in [
            (json!("../agents"), "AAAA"),
            (json!(".."), "AAAA"),
            (json!(7), "AAAA"),
            (Value::Null, "AAAA"),
            (json!("x".repeat(200)), "AAAA"),
            (json!("a"), ""),
            (json!("a"), "no base64"),
            (json!("a"), &STANDARD.encode([0; 65])),
            (json!("a"), &"A".repeat(1 << 20)),
        ] {
            assert!(matches!(read_offer(&offer(id, challenge)), Err(SessionError::Answer { .. })));
        }
        for token in [json!(null), json!(""), json!("two words"), json!({"a": 1})] {
            let answer = reply(200, &json!({"data": {"attributes": {"evaluation": "pass", "token": token}}}));
            assert!(matches!(read_token(&answer), Err(SessionError::Answer { .. })));
        }
    }

    #[test]
    fn limits_keep_their_wait() {
        let limited = Reply { retry_after: Some(Duration::from_secs(60)), ..reply(429, &json!({})) };
        let busy = Setback::Busy { retry_after: Some(Duration::from_secs(60)) };
        assert_eq!(read_offer(&limited).unwrap_err().setback(), busy);
    }
}
