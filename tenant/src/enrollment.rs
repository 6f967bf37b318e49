//! Enrolment of an agent as a step machine: replies go in, the next step comes out.
//!
//! It does no I/O, has no clock and no randomness, so every order of replies can be tested. Whether a quote is good and
//! whether a proof is one is decided in the engine.
//!
//! Pull: registration, versions, material, (update: removal,) quote, endorsement, key share, enrolment, status, proof.
//! Push: registration, material, enrolment, status; the agent is never contacted, and its endorsement is the verifier's
//! and registrar's matter.

use keylime_engine::identity::identity_quote::{self, IdentityEvidence, IdentityExpectation};
use keylime_engine::identity::payload_key;
use keylime_engine::tpm::quote::QuoteEncoding;
use keylime_schema::wire::api_version::ApiVersion;
use serde_json::{Value, json};
use tracing::{error, info, warn};

use crate::address::Address;
use crate::cli::{AttestationModel, DerivationCheck};
use crate::ek_trust::Endorsement;
use crate::enrollment_step::{AgentLocation, Event, Material, Plan, Purpose, Step};
use crate::error::TenantError;
use crate::http::{HttpError, Reply};
use crate::output::{compact, printable};
use crate::python_repr;
use crate::registrar_client::Registration;
use crate::settings::AgentMtls;
use crate::version_negotiation;

/// The API version of agents that registered no certificate: before mutual TLS existed.
const LEGACY_VERSION: &str = "1.0";
/// Hexadecimal digits of a proof.
const PROOF_DIGITS: usize = 96;

/// An enrolment under way.
#[derive(Debug)]
pub struct Enrollment {
    plan: Plan,
    registration: Option<Box<Registration>>,
    location: AgentLocation,
    version: String,
    material: Box<Material>,
    agent_key: String,
    failures: u32,
    retrying: Option<Step>,
    failure: Option<String>,
}

impl Enrollment {
    /// An enrolment that has not begun.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            registration: None,
            location: AgentLocation::default(),
            version: ApiVersion::CURRENT.to_string(),
            material: Box::default(),
            agent_key: String::new(),
            failures: 0,
            retrying: None,
            failure: None,
        }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the agent is.
    #[must_use]
    pub fn location(&self) -> &AgentLocation {
        &self.location
    }

    /// The API version spoken with the agent.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What the registrar knows about the agent, once it was asked.
    #[must_use]
    pub fn registration(&self) -> Option<&Registration> {
        self.registration.as_deref()
    }

    /// The certificate with which the agent is spoken to by TLS; `None` if it is spoken to without.
    #[must_use]
    pub fn agent_certificate(&self) -> Option<&str> {
        match self.plan.agent_mtls {
            AgentMtls::Disabled => None,
            AgentMtls::Enabled => self
                .registration
                .as_ref()?
                .text("mtls_cert")
                .filter(|certificate| !certificate.is_empty() && *certificate != "disabled"),
        }
    }

    /// How the agent is called in messages.
    #[must_use]
    pub fn agent_name(&self) -> String {
        match (&self.location.ip, self.location.port_text()) {
            (Some(ip), Some(port)) => format!("Agent {} ({ip}:{port})", self.plan.agent_id),
            _ => format!("Agent {}", self.plan.agent_id),
        }
    }

    /// Takes what came of the last step and says what comes next. `verifier` is the verifier's name in messages.
    ///
    /// # Errors
    /// The enrolment cannot go on; an attestation that must not run on has been stopped by then.
    pub fn advance(&mut self, event: Event, verifier: &str) -> Result<Step, TenantError> {
        match event {
            Event::Started => Ok(Step::FetchRegistration),
            Event::Registration(registration) => self.registered(registration),
            Event::Versions(reply) => self.versions(reply),
            Event::Material(material) => Ok(self.prepared(material)),
            Event::Removed(location) => Ok(self.removed(location)),
            Event::Quote(reply) => self.quoted(reply),
            Event::Endorsement(outcome) => self.endorsed(outcome),
            Event::ShareDelivered(reply) => self.share_delivered(&reply),
            Event::Enrolled(reply) => self.enrolled(&reply, verifier),
            Event::Known(model) => self.known(model, verifier),
            Event::Unknown => self.unknown(verifier),
            Event::Proof(reply) => self.proof(reply),
            Event::Stopped => Err(TenantError::refused(self.failure.take().unwrap_or_default())),
            Event::Waited => Ok(self.retrying.take().unwrap_or(Step::Done)),
        }
    }

    fn registered(&mut self, registration: Option<Box<Registration>>) -> Result<Step, TenantError> {
        // The dollar sign is in the reference's text, which scripts look for.
        let missing =
            || TenantError::refused(format!("Agent ${} data not found in the Registrar.", self.plan.agent_id));
        let registration = registration.ok_or_else(missing)?;
        let registered_port = Some(registration.member("port")).filter(|port| !port.is_null());
        self.location = AgentLocation {
            ip: self.plan.given_ip.clone().or_else(|| registration.text("ip").map(str::to_owned)),
            port: self.plan.given_port.clone().map(Value::from).or(registered_port),
        };
        let has_certificate = registration.text("mtls_cert").is_some();
        if registration.text("mtls_cert") == Some("disabled") && self.plan.model == AttestationModel::Pull {
            warn!(target: "keylime.tenant", "mTLS is disabled for {}", self.agent_name());
            self.plan.agent_mtls = AgentMtls::Disabled;
        }
        self.registration = Some(registration);
        if let Some(forced) = &self.plan.forced_version {
            self.version.clone_from(forced);
        } else if !has_certificate {
            LEGACY_VERSION.clone_into(&mut self.version);
            return Ok(self.versions_known());
        }
        if self.plan.model == AttestationModel::Pull && self.location.address().is_some() {
            return Ok(Step::FetchVersions);
        }
        self.version_unknown();
        Ok(self.versions_known())
    }

    fn versions(&mut self, reply: Result<Reply, HttpError>) -> Result<Step, TenantError> {
        let reply = match reply {
            Ok(reply) => reply,
            Err(HttpError::UnknownAuthority { .. }) => {
                return Err(TenantError::refused(
                    "Keylime agent does not recognize mTLS certificate form tenant. Check if agents trusted_client_ca \
                     is configured correctly",
                ));
            }
            Err(other) => return Err(other.into()),
        };
        match version_negotiation::with_agent(&self.plan.agent_id, &reply)? {
            Some(version) if self.plan.forced_version.is_none() => self.version = version.to_string(),
            Some(_) => {}
            None => self.version_unknown(),
        }
        Ok(self.versions_known())
    }

    fn version_unknown(&self) {
        if self.plan.forced_version.is_some() {
            return;
        }
        let is_push = self.plan.model == AttestationModel::Push;
        warn!(
            target: "keylime.tenant",
            "Could not detect supported API version. Defaulting to {} (push_model={}, agent_ip={}, agent_port={})",
            self.version,
            if is_push { "True" } else { "False" },
            self.location.ip.as_deref().unwrap_or("None"),
            self.location.port_text().as_deref().unwrap_or("None")
        );
    }

    fn versions_known(&self) -> Step {
        if self.plan.model == AttestationModel::Pull {
            info!(target: "keylime.tenant", "Using API version {} for agent communication", self.version);
        }
        Step::PrepareMaterial
    }

    fn prepared(&mut self, material: Box<Material>) -> Step {
        self.material = material;
        match self.plan.purpose {
            Purpose::New => self.contact(),
            Purpose::Replacement => Step::RemoveEarlier,
        }
    }

    fn removed(&mut self, location: AgentLocation) -> Step {
        // The agent stays where the verifier found it: an update changes policies, not machines.
        if location.ip.is_some() {
            self.location.ip = location.ip;
        }
        if location.port.as_ref().is_some_and(|port| !port.is_null()) {
            self.location.port = location.port;
        }
        self.contact()
    }

    /// The first contact with the agent, or, in the push model, the enrolment.
    fn contact(&mut self) -> Step {
        self.failures = 0;
        match self.plan.model {
            AttestationModel::Push => self.enrol(),
            AttestationModel::Pull => {
                if self.agent_certificate().is_none() {
                    warn!(target: "keylime.tenant", "Connecting to {} without using mTLS!", self.agent_name());
                }
                Step::FetchQuote
            }
        }
    }

    fn quoted(&mut self, reply: Result<Reply, HttpError>) -> Result<Step, TenantError> {
        let agent = self.agent_name();
        let reply = match reply {
            Ok(reply) if reply.json().is_some() || !matches!(reply.status, 503 | 504) => reply,
            Ok(reply) => return self.again(Step::FetchQuote, &format!("status {}", reply.status)),
            Err(HttpError::UnknownAuthority { .. }) => {
                return Err(TenantError::refused(format!("{agent} does not trust the authority of our certificate")));
            }
            Err(problem) => return self.again(Step::FetchQuote, &problem.to_string()),
        };
        if reply.status != 200 {
            let message = format!("TPM Quote command response: {} Unexpected response from {agent}.", reply.status);
            return Err(TenantError::refused(format!("{message} {}", printable(&reply.status_text()))));
        }
        let results = reply.results().unwrap_or(Value::Null);
        let member = |name: &str| {
            results.get(name).and_then(Value::as_str).ok_or_else(|| {
                TenantError::refused(format!("Error: unexpected http response body from {agent}: no {name}"))
            })
        };
        let registration = self.registration.as_deref();
        let evidence = IdentityEvidence {
            quote: member("quote")?,
            pubkey: member("pubkey")?,
            hash_alg: member("hash_alg")?,
            enc_alg: member("enc_alg")?,
            sign_alg: member("sign_alg")?,
        };
        let expectation = IdentityExpectation {
            attestation_key: registration.and_then(|known| known.text("aik_tpm")).unwrap_or_default(),
            nonce: &self.plan.nonce,
            encoding: QuoteEncoding::of_api_version(&self.version),
            accepted_hash: &self.plan.accepted.hash,
            accepted_encryption: &self.plan.accepted.encryption,
            accepted_signing: &self.plan.accepted.signing,
        };
        let checked = identity_quote::check(&evidence, &expectation);
        let pubkey = evidence.pubkey.to_owned();
        if let Err(refusal) = checked {
            return Err(self.quote_refused(&refusal));
        }
        self.agent_key = pubkey;
        Ok(Step::CheckEndorsement)
    }

    fn quote_refused(&self, refusal: &identity_quote::IdentityRefusal) -> TenantError {
        use identity_quote::IdentityRefusal::{Clock, DataPcr, Encryption, Hash, Key, Quote, Signing, Text};
        let agent = self.agent_name();
        match refusal {
            Hash(_) | Encryption(_) | Signing(_) => TenantError::refused(format!("TPM Quote from {agent} {refusal}")),
            Key(_) | Text(_) | Quote(_) | DataPcr | Clock(_) => {
                error!(target: "keylime.tpm", "{}", printable(&refusal.to_string()));
                if self.registration.as_ref().is_some_and(|registration| registration.count() > 1) {
                    error!(
                        target: "keylime.tenant",
                        "WARNING: This UUID had more than one ek-ekcert registered to it! This might indicate that your \
                         system is misconfigured or a malicious host is present. Run 'regdelete' for this agent and \
                         restart"
                    );
                }
                self.quote_invalid()
            }
        }
    }

    fn quote_invalid(&self) -> TenantError {
        TenantError::refused(format!("TPM Quote from {} is invalid for nonce: {}", self.agent_name(), self.plan.nonce))
    }

    fn endorsed(&mut self, outcome: Endorsement) -> Result<Step, TenantError> {
        if outcome == Endorsement::Refused {
            return Err(self.quote_invalid());
        }
        info!(target: "keylime.tenant", "Quote from {} validated", self.agent_name());
        match &self.material.payload.key {
            None => Ok(self.enrol()),
            Some(key) => {
                let tag = payload_key::tag(key.k(), &self.plan.agent_id);
                let body = self.material.payload.share_body(key, &tag, &self.agent_key)?;
                Ok(Step::DeliverShare(Box::new(body)))
            }
        }
    }

    fn share_delivered(&mut self, reply: &Reply) -> Result<Step, TenantError> {
        if reply.status == 200 {
            return Ok(self.enrol());
        }
        let agent = self.agent_name();
        let reason = match reply.status {
            503 => format!("Cannot connect to {agent} to deliver the key share. Connection refused."),
            504 => format!("{agent} timed out while it was sent the key share."),
            other => format!("Posting of Encrypted U to {agent} failed with response code {other}"),
        };
        Err(TenantError::refused(reason))
    }

    fn enrol(&mut self) -> Step {
        self.failures = 0;
        Step::Enrol
    }

    /// The body of the enrolment; the verifier's address is the tenant's.
    #[must_use]
    pub fn body(&self, verifier: &Address) -> Value {
        let registered =
            |member: &str| self.registration.as_ref().map_or(Value::Null, |registration| registration.member(member));
        let Material { policies, payload } = self.material.as_ref();
        let share = payload.key.as_ref().map(|key| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(key.v())
        });
        let mut body = json!({
            "v": share,
            "cloudagent_ip": self.plan.verifier_side_ip.as_ref().or(self.location.ip.as_ref()),
            "cloudagent_port": self.location.port,
            "verifier_ip": verifier.host,
            "verifier_port": verifier.port,
            "tpm_policy": policies.tpm_policy,
            "runtime_policy": policies.runtime_policy,
            "runtime_policy_name": policies.runtime_policy_name,
            "runtime_policy_key": policies.runtime_policy_key,
            "mb_policy": policies.mb_policy,
            "mb_policy_name": policies.mb_policy_name,
            "ima_sign_verification_keys": policies.ima_sign_verification_keys,
            "metadata": compact(&payload.metadata_json()),
            "revocation_key": payload.revocation_key,
            "accept_tpm_hash_algs": self.plan.accepted.hash,
            "accept_tpm_encryption_algs": self.plan.accepted.encryption,
            "accept_tpm_signing_algs": self.plan.accepted.signing,
            "ak_tpm": registered("aik_tpm"),
            "mtls_cert": registered("mtls_cert"),
            "supported_version": self.version,
        });
        if self.plan.model == AttestationModel::Push {
            // For a verifier that serves both models; others decide by their own mode.
            body["attestation_model"] = json!("push");
        }
        body
    }

    fn enrolled(&mut self, reply: &Reply, verifier: &str) -> Result<Step, TenantError> {
        let agent = self.agent_name();
        let reason = match reply.status {
            200 => return Ok(Step::FetchStatus),
            503 => format!("Cannot connect to {verifier} to add {agent}. Connection refused."),
            504 => format!("{verifier} timed out while adding {agent}."),
            409 => format!(
                "{verifier} responded indicating a conflict for agent {agent}. Run \"delete\" or \"update\" first."
            ),
            other => {
                error!(target: "keylime.tenant", "Response code {other}: {}", printable(&reply.status_text()));
                // What only a verifier demands that asks its agents.
                if self.plan.model == AttestationModel::Push && reply.status_text().contains("mTLS certificate") {
                    error!(target: "keylime.tenant", "{}", AttestationModel::Pull.mismatch(verifier));
                }
                let body = reply.json().map(|body| python_repr::repr(&body));
                let body = body.unwrap_or_else(|| printable(&String::from_utf8_lossy(&reply.body)));
                format!("POST command response: {other} Unexpected response from {verifier}: {body}")
            }
        };
        Err(TenantError::refused(reason))
    }

    /// An agent that waits to be asked by a verifier that waits to be called would stay pending for ever, and one that is
    /// polled though it has no port would fail: neither may look like a success.
    fn known(&mut self, model: AttestationModel, verifier: &str) -> Result<Step, TenantError> {
        let agent = self.agent_name();
        if model != self.plan.model {
            return Err(TenantError::refused(format!("{agent} was added, but {}", model.mismatch(verifier))));
        }
        info!(target: "keylime.tenant", "{agent} added to {verifier} after {} tries", self.failures);
        self.failures = 0;
        let awaits = self.plan.derivation == DerivationCheck::Await && self.plan.model == AttestationModel::Pull;
        Ok(if awaits { Step::FetchProof } else { Step::Done })
    }

    fn unknown(&mut self, verifier: &str) -> Result<Step, TenantError> {
        let agent = self.agent_name();
        self.failures += 1;
        let (tries, limit) = (self.failures, self.plan.retry.max_failures);
        let Some(delay) = self.plan.retry.delay_after(tries) else {
            return Err(TenantError::refused(format!("{agent} was not added to {verifier} after {tries} tries")));
        };
        info!(
            target: "keylime.tenant",
            "{agent} still not added to {verifier} at try {tries}/{limit}, trying again in {:.2} seconds...",
            delay.as_secs_f64()
        );
        self.retrying = Some(Step::FetchStatus);
        Ok(Step::Wait(delay))
    }

    fn proof(&mut self, reply: Result<Reply, HttpError>) -> Result<Step, TenantError> {
        let agent = self.agent_name();
        let reply = match reply {
            Ok(reply) => reply,
            Err(problem) => {
                return Ok(self.stop(format!("Cannot connect to {agent} to verify the key derivation: {problem}")));
            }
        };
        let results = reply.results();
        let proof = results.as_ref().and_then(|results| results.get("hmac")).and_then(Value::as_str);
        if reply.status == 200 && proof.is_none() {
            return Ok(self.stop(format!("Error: unexpected http response body from {agent}: no hmac")));
        }
        let k = self.material.payload.key.as_ref().map(|key| key.k().to_vec()).unwrap_or_default();
        let proof = proof.filter(|_| reply.status == 200).unwrap_or_default();
        if payload_key::proves_derivation(&k, &self.plan.challenge, proof) {
            info!(target: "keylime.tenant", "Successful key derivation for {agent}");
            return Ok(Step::Done);
        }
        self.failures += 1;
        let (tries, limit) = (self.failures, self.plan.retry.max_failures);
        let Some(delay) = self.plan.retry.delay_after(tries) else {
            return Ok(self.stop(format!(
                "Failed key derivation for {agent} (expected length {PROOF_DIGITS}, received {})",
                proof.len()
            )));
        };
        info!(
            target: "keylime.tenant",
            "Key derivation not yet complete for {agent} at try {tries}/{limit}, trying again in {:.2} seconds... \
             (Ctrl-C to stop)",
            delay.as_secs_f64()
        );
        self.retrying = Some(Step::FetchProof);
        Ok(Step::Wait(delay))
    }

    /// Ends an enrolment whose attestation runs already.
    fn stop(&mut self, reason: String) -> Step {
        self.failure = Some(reason);
        Step::StopAttestation
    }

    fn again(&mut self, step: Step, problem: &str) -> Result<Step, TenantError> {
        let agent = self.agent_name();
        self.failures += 1;
        let (tries, limit) = (self.failures, self.plan.retry.max_failures);
        let Some(delay) = self.plan.retry.delay_after(tries) else {
            return Err(TenantError::refused(format!(
                "Tenant cannot establish connection to {agent} after {tries} tries: {}",
                printable(problem)
            )));
        };
        info!(
            target: "keylime.tenant",
            "Connection to {agent} failed at try {tries}/{limit} ({}), trying again in {:.2} seconds...",
            printable(problem),
            delay.as_secs_f64()
        );
        self.retrying = Some(step);
        Ok(Step::Wait(delay))
    }
}
