//! What goes in and out of the step machine of an enrolment.

use std::time::Duration;

use serde_json::Value;

use crate::address::Address;
use crate::cli::{AttestationModel, DerivationCheck};
use crate::ek_trust::Endorsement;
use crate::http::{HttpError, Reply};
use crate::payload::Payload;
use crate::policies::Policies;
use crate::registrar_client::Registration;
use crate::retry_delay::RetryPolicy;
use crate::settings::{AcceptedAlgorithms, AgentMtls};

/// Whether an enrolment replaces an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The agent must not be enrolled yet (`add`).
    New,
    /// What is enrolled goes first (`update`).
    Replacement,
}

/// What the operator asked for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The agent.
    pub agent_id: String,
    /// New or replacement.
    pub purpose: Purpose,
    /// Pull or push.
    pub model: AttestationModel,
    /// Whether to wait for the proof.
    pub derivation: DerivationCheck,
    /// `--targethost`.
    pub given_ip: Option<String>,
    /// `--targetport`.
    pub given_port: Option<String>,
    /// `--cv_targethost`.
    pub verifier_side_ip: Option<String>,
    /// `--agent-api-version`.
    pub forced_version: Option<String>,
    /// Whether agents are spoken to with TLS.
    pub agent_mtls: AgentMtls,
    /// Algorithms the agent may use.
    pub accepted: AcceptedAlgorithms,
    /// When requests are repeated.
    pub retry: RetryPolicy,
    /// Challenge of the quote, fresh and random.
    pub nonce: String,
    /// Challenge of the proof, fresh and random.
    pub challenge: String,
}

/// What the enrolment is made of.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// The policies.
    pub policies: Policies,
    /// The payload.
    pub payload: Payload,
}

/// What the caller does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ask the registrar about the agent; answer with [`Event::Registration`].
    FetchRegistration,
    /// Ask the agent for its API versions; answer with [`Event::Versions`].
    FetchVersions,
    /// Read policies and payload; answer with [`Event::Material`].
    PrepareMaterial,
    /// Remove the earlier enrolment; answer with [`Event::Removed`].
    RemoveEarlier,
    /// Ask the agent for an identity quote over the nonce; answer with [`Event::Quote`].
    FetchQuote,
    /// Check the endorsement key; answer with [`Event::Endorsement`].
    CheckEndorsement,
    /// Send this body to the agent's `ukey`; answer with [`Event::ShareDelivered`].
    DeliverShare(Box<Value>),
    /// Send the enrolment's body to the verifier; answer with [`Event::Enrolled`].
    Enrol,
    /// Ask the verifier for the agent's state; answer with [`Event::Known`] or [`Event::Unknown`].
    FetchStatus,
    /// Ask the agent for its proof; answer with [`Event::Proof`].
    FetchProof,
    /// Have the verifier stop attesting; answer with [`Event::Stopped`].
    StopAttestation,
    /// Wait, then answer with [`Event::Waited`].
    Wait(Duration),
    /// The agent is enrolled.
    Done,
}

/// What came of a step.
#[derive(Debug)]
pub enum Event {
    /// The machine is started.
    Started,
    /// What the registrar knows, if it knows the agent.
    Registration(Option<Box<Registration>>),
    /// The agent's answer to `/version`.
    Versions(Result<Reply, HttpError>),
    /// Policies and payload.
    Material(Box<Material>),
    /// The earlier enrolment is gone; where the verifier said the agent is.
    Removed(AgentLocation),
    /// The agent's answer to the quote request.
    Quote(Result<Reply, HttpError>),
    /// What the endorsement checks came to.
    Endorsement(Endorsement),
    /// The agent's answer to the key share.
    ShareDelivered(Reply),
    /// The verifier's answer to the enrolment.
    Enrolled(Reply),
    /// The verifier knows the agent, and attests it in this model.
    Known(AttestationModel),
    /// The verifier does not know the agent (yet).
    Unknown,
    /// The agent's answer to the challenge.
    Proof(Result<Reply, HttpError>),
    /// The attestation was stopped.
    Stopped,
    /// The time is over.
    Waited,
}

/// Where an agent is, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentLocation {
    /// Its address.
    pub ip: Option<String>,
    /// Its port: a text from the command line, a number from a server.
    pub port: Option<Value>,
}

impl AgentLocation {
    /// The port as text.
    #[must_use]
    pub(crate) fn port_text(&self) -> Option<String> {
        match self.port.as_ref()? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The address to connect to, if ip and port are known.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        Some(Address::new(self.ip.clone()?, self.port_text()?))
    }
}
