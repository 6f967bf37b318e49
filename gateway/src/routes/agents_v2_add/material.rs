//! Whether an agent can be attested and told of revocations with what its enrolment brings.

use keylime_engine::identity::attestation_key::{AttestationKey, InvalidAttestationKey};
use keylime_engine::identity::certificate::{Certificate, CertificateError};
use keylime_engine::ima::keyring::{Keyring, KeyringError};
use keylime_engine::policy::tpm_policy::{InvalidTpmPolicy, TpmPolicy};
use keylime_schema::wire::v2::enrolment::EnrolmentRequest;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use std::net::IpAddr;

/// Widest key share that the database holds, in characters.
const MAX_V_CHARACTERS: usize = 45;
/// Longest host name (RFC 1035 §2.3.4).
const MAX_HOST_NAME: usize = 253;

/// What is wrong with an enrolment.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(in crate::routes) enum InvalidMaterial {
    #[error("ak_tpm: {0}")]
    AttestationKey(#[from] InvalidAttestationKey),
    #[error("{0}")]
    TpmPolicy(#[from] InvalidTpmPolicy),
    #[error("tpm policy: mask is missing")]
    NoMask,
    #[error("mtls_cert is not a certificate: {0}")]
    Certificate(CertificateError),
    #[error("ima_sign_verification_keys: {0}")]
    Keyring(#[from] KeyringError),
    #[error("revocation_key is not a private key in PEM form")]
    RevocationKey,
    #[error("v is longer than {MAX_V_CHARACTERS} characters")]
    KeyShare,
    #[error("cloudagent_ip is neither an address nor a host name")]
    Address,
    #[error("cloudagent_ip and cloudagent_port are required to reach the agent")]
    NoAddress,
}

/// How an agent and the verifier come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::routes) enum Reach {
    /// The verifier asks the agent.
    IsAsked,
    /// The agent calls the verifier.
    ComesByItself,
}

/// Reads everything that attestation will need.
pub(in crate::routes) fn check(request: &EnrolmentRequest, reach: Reach) -> Result<(), InvalidMaterial> {
    AttestationKey::from_base64(&request.ak_tpm)?;
    let tpm_policy = TpmPolicy::parse(&request.tpm_policy)?;
    if reach == Reach::IsAsked && tpm_policy.mask().is_none() {
        return Err(InvalidMaterial::NoMask);
    }
    if let Some(certificate) = &request.mtls_cert {
        Certificate::from_text(certificate).map_err(InvalidMaterial::Certificate)?;
    }
    Keyring::from_json(&request.ima_sign_verification_keys)?;
    if !request.revocation_key.is_empty() && PrivateKeyDer::from_pem_slice(request.revocation_key.as_bytes()).is_err() {
        return Err(InvalidMaterial::RevocationKey);
    }
    if request.v.as_ref().is_some_and(|v| v.len() > MAX_V_CHARACTERS) {
        return Err(InvalidMaterial::KeyShare);
    }
    if reach == Reach::ComesByItself {
        return Ok(());
    }
    match (&request.cloudagent_ip, request.cloudagent_port) {
        (Some(host), Some(_)) if is_host(host) => Ok(()),
        (Some(_), Some(_)) => Err(InvalidMaterial::Address),
        (None, _) | (_, None) => Err(InvalidMaterial::NoAddress),
    }
}

fn is_host(text: &str) -> bool {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return true;
    }
    let labels = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    !text.is_empty() && text.len() <= MAX_HOST_NAME && labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in ["127.0.0.1", "::1", "[2001:db8::1]", "agent.example", "agent_1"] {
            assert!(is_host(host), "{host}");
        }
        for host in ["", "a b", "a/b", "h:80", "user@h", "ä", &"a".repeat(254)] {
            assert!(!is_host(host), "{host}");
        }
    }
}
