//! Keys and certificate that the agents of a fleet share.

use super::FleetError;
use super::agent_number::AgentNumber;
use super::options::AttestationKeyKind;
use crate::soft_tpm::{AttestationPair, EndorsementPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::tpm::signature::SignatureScheme;
use keylime_pki::tls::Identity;
use rcgen::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;

/// Attestation keys per fleet. More would only cost start-up time: a verifier keeps nothing per key.
const ATTESTATION_KEYS: u32 = 8;

/// Keys and certificate that the agents of a fleet share.
#[derive(Debug)]
pub struct FleetKeys {
    /// Kind of the attestation keys.
    pub kind: AttestationKeyKind,
    /// The endorsement key.
    pub endorsement: Arc<EndorsementPair>,
    attestation: Vec<Arc<AttestationPair>>,
    /// The payload key's public part, as PCR 16 binds it.
    pub payload_key_pem: String,
    /// The certificate all agents listen with.
    pub certificate_pem: String,
    /// The certificate with its key.
    pub identity: Identity,
}

impl FleetKeys {
    /// Makes all keys.
    ///
    /// # Errors
    /// A key or the certificate cannot be made.
    pub fn generate(kind: AttestationKeyKind) -> Result<Self, FleetError> {
        let attestation = (0..ATTESTATION_KEYS).map(|n| attestation_key(kind, n).map(Arc::new));
        let name = vec!["localhost".to_owned()];
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(name)
            .map_err(|e| FleetError::Setup(format!("certificate of the agents: {e}")))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        Ok(Self {
            kind,
            endorsement: Arc::new(EndorsementPair::p256_from_seed(&[1; 32])?),
            attestation: attestation.collect::<Result<_, _>>()?,
            payload_key_pem: public_key_pem(EndorsementPair::generate_rsa2048()?.spki()),
            certificate_pem: cert.pem(),
            identity: Identity { certs: vec![cert.der().clone()], key },
        })
    }

    /// An agent's attestation key.
    #[must_use]
    pub fn attestation(&self, agent: AgentNumber) -> &Arc<AttestationPair> {
        &self.attestation[agent.index() % self.attestation.len()]
    }
}

fn attestation_key(kind: AttestationKeyKind, number: u32) -> Result<AttestationPair, FleetError> {
    let key = match kind {
        AttestationKeyKind::Rsa2048 => {
            AttestationPair::generate_rsa2048(SignatureScheme::Rsassa, HashAlgorithm::Sha256)
        }
        AttestationKeyKind::P256 => {
            let seed = HashAlgorithm::Sha256.digest(&[b"attestation", &number.to_be_bytes()]);
            AttestationPair::p256_from_seed(seed.as_bytes().first_chunk().unwrap_or(&[2; 32]))
        }
    };
    Ok(key?)
}

fn public_key_pem(spki: &[u8]) -> String {
    let text = STANDARD.encode(spki);
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem + "-----END PUBLIC KEY-----\n"
}
