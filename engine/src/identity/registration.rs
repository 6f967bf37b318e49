//! What a machine may register, and what is stored of it (`registrar.md` §4, `registration-flow.md` §1 and §5).
//!
//! The registrar's one decision about trust. A registration binds an id to a TPM: EK, EK certificate and AK, once known,
//! never change under an id until an operator deletes it (CVE-2025-13609); the EK that is challenged is the EK that the
//! certificate names (CVE-2021-3406); the AK must be one that only a TPM can use. Whether the EK certificate's issuer is
//! trusted is the tenant's question, not the registrar's.

use super::certificate_store::CertificateStore;
use crate::ids::AgentId;
use serde_json::{Map, Value};

/// A registration as it is stored: keys and certificates in base64 of TPM2B_PUBLIC and DER.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registration {
    /// The activation challenge, base64: the key of the tag that proves activation. Secret until then.
    pub challenge: Option<String>,
    /// Attestation key.
    pub aik_tpm: Option<String>,
    /// Endorsement key.
    pub ek_tpm: Option<String>,
    /// Endorsement key certificate.
    pub ekcert: Option<String>,
    /// Initial attestation key of IEEE 802.1AR.
    pub iak_tpm: Option<String>,
    /// Its certificate.
    pub iak_cert: Option<String>,
    /// Initial device identity key.
    pub idevid_tpm: Option<String>,
    /// Its certificate.
    pub idevid_cert: Option<String>,
    /// Certificate of the agent's own server, or `disabled`.
    pub mtls_cert: Option<String>,
    /// Contact address.
    pub ip: Option<String>,
    /// Contact port.
    pub port: Option<i32>,
    /// How often the identity was sent.
    pub regcount: i32,
    /// Whether the challenge was answered.
    pub active: bool,
}

/// Which root identity a machine must have (option `tpm_identity`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TpmIdentity {
    /// An EK, or IAK and IDevID: `default`, `ek_cert_or_iak_idevid` and every unknown text.
    #[default]
    EkOrDeviceIdentity,
    /// An EK: `ek_cert`.
    Ek,
    /// IAK and IDevID, with certificates: `iak_idevid`.
    DeviceIdentity,
}

impl TpmIdentity {
    /// Reads the option's text.
    #[must_use]
    pub fn from_option(text: &str) -> Self {
        match text {
            "ek_cert" => Self::Ek,
            "iak_idevid" => Self::DeviceIdentity,
            _ => Self::EkOrDeviceIdentity,
        }
    }
}

/// What happens to a certificate that only the lenient reader accepts (option `malformed_cert_action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MalformedCertificateAction {
    /// Accept and say so in the log.
    #[default]
    Warn,
    /// Refuse the registration.
    Reject,
    /// Accept silently.
    Ignore,
}

impl MalformedCertificateAction {
    /// Reads the option's text; an unknown one means the default.
    #[must_use]
    pub fn from_option(text: &str) -> Self {
        match text {
            "reject" => Self::Reject,
            "ignore" => Self::Ignore,
            _ => Self::Warn,
        }
    }
}

/// The operator's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegistrationRules {
    /// Which root identity is demanded.
    pub tpm_identity: TpmIdentity,
    /// What to do with malformed certificates.
    pub malformed_certificates: MalformedCertificateAction,
}

/// A request to register.
#[derive(Debug, Clone, Copy)]
pub struct RegistrationRequest<'a> {
    /// The machine's id.
    pub agent_id: &'a AgentId,
    /// The JSON members of the request.
    pub members: &'a Map<String, Value>,
    /// What is stored under the id.
    pub stored: Option<&'a Registration>,
    /// Authorities that issue IAK and IDevID certificates.
    pub authorities: &'a CertificateStore,
}

/// Why a registration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// EK, EK certificate or AK differ from those stored under the id; the text names the member.
    #[error("{0} differs from the one registered under this id")]
    IdentityChanged(&'static str),
    /// The request is invalid; each text is one reason.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
}
