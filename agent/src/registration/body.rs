//! The registration request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::device_identity::DeviceIdentityMembers;
use crate::pem;
use crate::tpm::EndorsementKey;

/// The body of `POST /v2.x/agents/<id>`, in the reference agent's member order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegistrationBody {
    /// Base64 of the attestation key's TPM2B_PUBLIC.
    pub aik_tpm: String,
    /// Base64 of the endorsement key's TPM2B_PUBLIC.
    pub ek_tpm: String,
    /// The EK certificate and its chain in PEM; empty when the TPM has none.
    pub ekcert: String,
    /// Base64 of the IAK's certification of the attestation key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iak_attest: Option<String>,
    /// Base64 DER of the IAK's certificate.
    pub iak_cert: Option<String>,
    /// Base64 of the IAK's signature of that certification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iak_sign: Option<String>,
    /// Base64 of the IAK's TPM2B_PUBLIC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iak_tpm: Option<String>,
    /// Base64 DER of the IDevID's certificate.
    pub idevid_cert: Option<String>,
    /// Base64 of the IDevID's TPM2B_PUBLIC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idevid_tpm: Option<String>,
    /// Where verifier and tenant reach the agent.
    pub ip: String,
    /// PEM of the server certificate, or `disabled`.
    pub mtls_cert: String,
    /// Port of `ip`.
    pub port: u16,
}

impl RegistrationBody {
    /// The body for keys given as TPMT_PUBLIC.
    #[must_use]
    pub fn new(attestation_public: &[u8], key: &EndorsementKey, mtls_cert: Option<&str>, ip: &str, port: u16) -> Self {
        Self {
            aik_tpm: tpm2b(attestation_public),
            ek_tpm: tpm2b(&key.public),
            ekcert: certificates(key),
            iak_attest: None,
            iak_cert: None,
            iak_sign: None,
            iak_tpm: None,
            idevid_cert: None,
            idevid_tpm: None,
            ip: ip.to_owned(),
            mtls_cert: mtls_cert.unwrap_or("disabled").to_owned(),
            port,
        }
    }
}

impl RegistrationBody {
    /// The same registration with device identity keys.
    #[must_use]
    pub fn with_device_identity(self, identity: DeviceIdentityMembers) -> Self {
        Self {
            iak_attest: Some(identity.iak_attest),
            iak_cert: identity.iak_cert,
            iak_sign: Some(identity.iak_sign),
            iak_tpm: Some(identity.iak_tpm),
            idevid_cert: identity.idevid_cert,
            idevid_tpm: Some(identity.idevid_tpm),
            ..self
        }
    }
}

/// Base64 of a TPM2B: the size in two bytes, then the structure.
#[must_use]
pub fn tpm2b(structure: &[u8]) -> String {
    let size = u16::try_from(structure.len()).unwrap_or(u16::MAX);
    STANDARD.encode([&size.to_be_bytes()[..], structure].concat())
}

/// The EK certificate first, then its chain from the end. A chain without the certificate is not sent: its first member
/// would be taken for the EK certificate.
fn certificates(key: &EndorsementKey) -> String {
    let Some(leaf) = &key.certificate else {
        return String::new();
    };
    let chain = key.chain.iter().rev();
    std::iter::once(leaf).chain(chain).map(|der| pem::encode("CERTIFICATE", der)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_those_of_the_reference_agent() {
        let exchange: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/data/registration_exchange.json")).unwrap();
        let sent: serde_json::Value = serde_json::from_str(exchange["exchange"][2]["body"].as_str().unwrap()).unwrap();
        let from_base64 = |member: &str| STANDARD.decode(sent[member].as_str().unwrap()).unwrap()[2..].to_vec();
        let certificate =
            sent["ekcert"].as_str().unwrap().lines().filter(|line| !line.starts_with('-')).collect::<String>();
        let key = EndorsementKey {
            public: from_base64("ek_tpm"),
            certificate: Some(STANDARD.decode(certificate).unwrap()),
            chain: Vec::new(),
        };
        let body = RegistrationBody::new(&from_base64("aik_tpm"), &key, sent["mtls_cert"].as_str(), "127.0.0.1", 31896);
        assert_eq!(serde_json::to_value(&body).unwrap(), sent);
    }

    #[test]
    fn chain_follows_the_leaf_and_never_stands_alone() {
        let mut key = EndorsementKey { public: vec![1], certificate: Some(vec![1]), chain: vec![vec![2], vec![3]] };
        let order =
            |key: &EndorsementKey| certificates(key).lines().filter(|l| !l.starts_with('-')).collect::<String>();
        assert_eq!(order(&key), "AQ==Aw==Ag==");
        key.certificate = None;
        assert_eq!(certificates(&key), "");
    }
}
