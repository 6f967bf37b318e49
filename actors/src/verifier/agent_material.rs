//! What an agent was enrolled with, decoded once and kept small: it stays in memory for every agent.

use crate::ports::{AgentEndpoint, AgentRecord, AgentTrust};
use crate::verifier::agent_key::AgentKey;
use crate::verifier::shared_terms::{AcceptLists, SharedTerms, SharedTpmPolicy};
use keylime_engine::ids::AgentId;
use keylime_engine::ima::Keyring;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::sync::Arc;

/// The fixed part of one agent.
#[derive(Debug)]
pub struct AgentMaterial {
    /// Its id.
    pub agent_id: AgentId,
    /// Where it listens.
    pub endpoint: Arc<AgentEndpoint>,
    /// Whether it was enrolled with a key share.
    pub has_share: bool,
    /// Row of its runtime policy.
    pub runtime_policy_id: Option<i32>,
    /// Row of its boot policy.
    pub boot_policy_id: Option<i32>,
    /// What its evidence is judged by; absent when the enrolment is unusable, and then it is never asked for any.
    pub terms: Option<EvidenceTerms>,
}

/// What an agent's evidence is judged by, apart from its policies.
#[derive(Debug)]
pub struct EvidenceTerms {
    /// Its attestation key.
    pub attestation_key: AgentKey,
    /// Its PCR policy.
    pub tpm_policy: Arc<SharedTpmPolicy>,
    /// Algorithms it may use.
    pub accepted: Arc<AcceptLists>,
    /// Its own keys for file signatures (`ima_sign_verification_keys`).
    pub keyring: Option<Box<Keyring>>,
}

/// Whether agents have to present a certificate (`enable_agent_mtls`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentTls {
    /// HTTPS with client certificate for every agent that registered a certificate.
    Enabled,
    /// Plain HTTP for all.
    Disabled,
}

impl EvidenceTerms {
    /// Decodes what an enrolment says of evidence; what many agents have in common is shared through `shared`.
    ///
    /// # Errors
    /// Something cannot be attested with; the text says what.
    pub fn from_record(
        record: &AgentRecord,
        tpm_policy: Arc<SharedTpmPolicy>,
        shared: &SharedTerms,
    ) -> Result<Self, String> {
        let attestation_key = AgentKey::from_base64(&record.ak_tpm, shared.key_retention())
            .map_err(|error| format!("ak_tpm is unusable: {error}"))?;
        let keyring = match record.ima_sign_verification_keys.as_str() {
            "" => None,
            text => Keyring::from_json(text)
                .map_err(|error| format!("ima_sign_verification_keys are unusable: {error}"))?
                .map(Box::new),
        };
        Ok(Self { attestation_key, tpm_policy, accepted: shared.accept_lists(record), keyring })
    }
}

impl AgentMaterial {
    /// Decodes an enrolment; what many agents have in common is shared through `shared`.
    ///
    /// # Errors
    /// Something cannot be attested with; the text says what.
    pub fn from_record(record: &AgentRecord, tls: AgentTls, shared: &SharedTerms) -> Result<Self, String> {
        Ok(Self {
            agent_id: record.agent_id.clone(),
            endpoint: Arc::new(endpoint(record, tls)?),
            has_share: record.v.as_deref().is_some_and(|v| !v.is_empty()),
            runtime_policy_id: record.runtime_policy_id,
            boot_policy_id: record.boot_policy_id,
            terms: Some(EvidenceTerms::from_record(record, shared.tpm_policy(&record.tpm_policy)?, shared)?),
        })
    }

    /// Stands for an enrolment that cannot be attested with; no request is ever made for it.
    #[must_use]
    pub fn unusable(agent_id: AgentId) -> Self {
        let endpoint = AgentEndpoint { host: "".into(), port: 0, trust: AgentTrust::Authorities };
        Self {
            agent_id,
            endpoint: Arc::new(endpoint),
            has_share: false,
            runtime_policy_id: None,
            boot_policy_id: None,
            terms: None,
        }
    }

    /// PCRs to ask for, as its `tpm_policy` writes them.
    #[must_use]
    pub fn mask(&self) -> &str {
        self.terms.as_ref().map_or("0x0", |terms| &terms.tpm_policy.mask)
    }
}

/// Where an enrolled agent listens, and how it proves that it is the one.
///
/// # Errors
/// The agent has no address, or its certificate cannot be read; the text says which.
pub fn endpoint(record: &AgentRecord, tls: AgentTls) -> Result<AgentEndpoint, String> {
    let host = record.ip.as_deref().ok_or("the agent has no address")?;
    let port = record.port.and_then(|port| u16::try_from(port).ok()).ok_or("the agent's port is not a port")?;
    let trust = trust(record.mtls_cert.as_deref(), &record.supported_version, tls)?;
    Ok(AgentEndpoint { host: host.into(), port, trust })
}

/// HTTPS when mTLS is enabled and the agent registered a certificate, else plain HTTP (`verifier-state-machine.md` §4).
fn trust(certificate: Option<&str>, version: &str, tls: AgentTls) -> Result<AgentTrust, String> {
    let Some(pem) = certificate.filter(|text| !text.is_empty() && *text != "disabled") else {
        return Ok(AgentTrust::Plain);
    };
    if tls == AgentTls::Disabled || version == "1.0" {
        return Ok(AgentTrust::Plain);
    }
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| format!("mtls_cert is not a certificate in PEM: {error}"))?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate);
    let digest: [u8; 32] = digest.as_ref().try_into().map_err(|_| "digest of unexpected length")?;
    Ok(AgentTrust::Certificate(digest))
}
