//! What an agent was enrolled with, decoded once and kept small: it stays in memory for every agent.

use crate::ports::{AgentEndpoint, AgentRecord, AgentTrust};
use keylime_engine::ids::AgentId;
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
    /// PCRs to ask for, as its `tpm_policy` writes them.
    mask: Box<str>,
    /// Row of its runtime policy.
    pub runtime_policy_id: Option<i32>,
    /// Row of its boot policy.
    pub boot_policy_id: Option<i32>,
}

/// Whether agents have to present a certificate (`enable_agent_mtls`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentTls {
    /// HTTPS with client certificate for every agent that registered a certificate.
    Enabled,
    /// Plain HTTP for all.
    Disabled,
}

impl AgentMaterial {
    /// Decodes an enrolment.
    ///
    /// # Errors
    /// Something cannot be attested with; the text says what.
    pub fn from_record(record: &AgentRecord, tls: AgentTls) -> Result<Self, String> {
        let host = record.ip.as_deref().ok_or("the agent has no address")?;
        let port = record.port.and_then(|port| u16::try_from(port).ok()).ok_or("the agent's port is not a port")?;
        let trust = trust(record.mtls_cert.as_deref(), &record.supported_version, tls)?;
        let mask = mask(&record.tpm_policy)?;
        Ok(Self {
            mask,
            agent_id: record.agent_id.clone(),
            endpoint: Arc::new(AgentEndpoint { host: host.into(), port, trust }),
            has_share: record.v.as_deref().is_some_and(|v| !v.is_empty()),
            runtime_policy_id: record.runtime_policy_id,
            boot_policy_id: record.boot_policy_id,
        })
    }
}

impl AgentMaterial {
    /// Stands for an enrolment that cannot be attested with; no request is ever made for it.
    #[must_use]
    pub fn unusable(agent_id: AgentId) -> Self {
        let endpoint = AgentEndpoint { host: "".into(), port: 0, trust: AgentTrust::Authorities };
        Self {
            agent_id,
            endpoint: Arc::new(endpoint),
            has_share: false,
            mask: "".into(),
            runtime_policy_id: None,
            boot_policy_id: None,
        }
    }

    /// PCRs to ask for, as its `tpm_policy` writes them.
    #[must_use]
    pub fn mask(&self) -> &str {
        &self.mask
    }
}

fn mask(tpm_policy: &str) -> Result<Box<str>, String> {
    let policy: serde_json::Value =
        serde_json::from_str(tpm_policy).map_err(|error| format!("tpm_policy is not JSON: {error}"))?;
    let mask = policy.get("mask").and_then(serde_json::Value::as_str).ok_or("tpm_policy has no mask")?;
    let is_plain = !mask.is_empty() && mask.len() <= 16 && mask.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_plain { Ok(mask.into()) } else { Err("the mask of tpm_policy is not a number".to_owned()) }
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
