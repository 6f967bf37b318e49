//! Sessions on the wire (`verifier-v3-push.md` §3): requests, and answers without the frame of JSON:API.

use super::timestamp::UtcMicros;
use serde::Serialize;
use serde_json::{Map, Value};

const POSSESSION_CLASS: &str = "pop";
const POSSESSION_TYPE: &str = "tpm_pop";
/// Most entries of a list that are looked at.
const MAX_ENTRIES: usize = 16;

/// Attributes of a request for a session.
#[derive(Debug, Clone, Copy)]
pub struct SessionRequest<'a>(&'a Map<String, Value>);

/// The members of a proof, as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProvidedProof<'a> {
    /// Base64 of a TPMS_ATTEST; empty when there is none.
    pub message: &'a str,
    /// Base64 of a TPMT_SIGNATURE; empty when there is none.
    pub signature: &'a str,
}

impl<'a> SessionRequest<'a> {
    /// Takes the attributes of a resource.
    #[must_use]
    pub const fn new(attributes: &'a Map<String, Value>) -> Self {
        Self(attributes)
    }

    /// The agent; `None` when it is missing, empty or no text.
    #[must_use]
    pub fn agent_id(&self) -> Option<&'a str> {
        self.0.get("agent_id").and_then(Value::as_str).filter(|id| !id.is_empty())
    }

    /// Whether the agent can prove possession of its key.
    #[must_use]
    pub fn supports_possession(&self) -> bool {
        self.entries("authentication_supported").any(is_possession)
    }

    /// The first proof of possession in the answer to a challenge; without members when there is none.
    #[must_use]
    pub fn proof(&self) -> ProvidedProof<'a> {
        let data =
            self.entries("authentication_provided").find(|entry| is_possession(entry)).map(|entry| &entry["data"]);
        let text = |member: &str| data.and_then(|data| data.get(member)).and_then(Value::as_str).unwrap_or_default();
        ProvidedProof { message: text("message"), signature: text("signature") }
    }

    fn entries(&self, list: &str) -> impl Iterator<Item = &'a Value> {
        self.0.get(list).and_then(Value::as_array).into_iter().flatten().take(MAX_ENTRIES)
    }
}

fn is_possession(entry: &Value) -> bool {
    entry.get("authentication_type").and_then(Value::as_str) == Some(POSSESSION_TYPE)
}

/// `{"data": {"type": "session", …}}`.
#[derive(Debug, Serialize)]
pub struct SessionDocument<A> {
    data: SessionResource<A>,
}

#[derive(Debug, Serialize)]
struct SessionResource<A> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    attributes: A,
}

impl<A: Serialize> SessionDocument<A> {
    /// The session with this id.
    pub fn new(id: String, attributes: A) -> Self {
        Self { data: SessionResource { kind: "session", id, attributes } }
    }
}

/// Attributes of a session that was opened.
#[derive(Debug, Serialize)]
pub struct OpenedSession {
    agent_id: String,
    authentication_requested: [Authentication; 1],
    created_at: String,
    challenges_expire_at: String,
}

/// Attributes of a session whose challenge was answered.
#[derive(Debug, Serialize)]
pub struct AnsweredSession {
    agent_id: String,
    evaluation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    authentication: [Authentication; 1],
    created_at: String,
    challenges_expire_at: String,
    response_received_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_expires_at: Option<Option<String>>,
}

#[derive(Debug, Serialize)]
struct Authentication {
    authentication_class: &'static str,
    authentication_type: &'static str,
    chosen_parameters: ChosenParameters,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<ProofData>,
}

#[derive(Debug, Serialize)]
struct ChosenParameters {
    challenge: String,
}

#[derive(Debug, Serialize)]
struct ProofData {
    message: String,
    signature: String,
}

/// The members that both answers about a session have.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// The agent.
    pub agent_id: String,
    /// The challenge, base64.
    pub challenge: String,
    /// When the session was opened.
    pub created: UtcMicros,
    /// Until when the challenge may be answered.
    pub challenge_expires: UtcMicros,
}

/// What an answer to a challenge came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evaluation {
    /// The session is active; its token, and until when that is good.
    Pass(String, UtcMicros),
    /// The answer came too late.
    Late,
    /// It proves nothing.
    Fail,
}

impl SessionFacts {
    /// The attributes of a session that was opened.
    #[must_use]
    pub fn opened(self) -> OpenedSession {
        OpenedSession {
            agent_id: self.agent_id,
            authentication_requested: [authentication(self.challenge, None)],
            created_at: self.created.without_zero_fraction(),
            challenges_expire_at: self.challenge_expires.without_zero_fraction(),
        }
    }

    /// The attributes of a session whose challenge was answered with `message` and `signature`, in base64.
    #[must_use]
    pub fn answered(
        self,
        message: String,
        signature: String,
        received: UtcMicros,
        evaluation: Evaluation,
    ) -> AnsweredSession {
        let (text, token, token_expires_at) = match evaluation {
            Evaluation::Pass(token, expires) => ("pass", Some(token), Some(Some(expires.without_zero_fraction()))),
            Evaluation::Late => ("fail", None, Some(None)),
            Evaluation::Fail => ("fail", None, None),
        };
        AnsweredSession {
            agent_id: self.agent_id,
            evaluation: text,
            token,
            authentication: [authentication(self.challenge, Some(ProofData { message, signature }))],
            created_at: self.created.without_zero_fraction(),
            challenges_expire_at: self.challenge_expires.without_zero_fraction(),
            response_received_at: received.without_zero_fraction(),
            token_expires_at,
        }
    }
}

fn authentication(challenge: String, data: Option<ProofData>) -> Authentication {
    Authentication {
        authentication_class: POSSESSION_CLASS,
        authentication_type: POSSESSION_TYPE,
        chosen_parameters: ChosenParameters { challenge },
        data,
    }
}
