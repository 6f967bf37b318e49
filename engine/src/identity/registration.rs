//! What a machine may register, and what is stored of it (`registrar.md` §4, `registration-flow.md` §1 and §5).
//!
//! The registrar's one decision about trust. A registration binds an id to a TPM: EK, EK certificate and AK, once known,
//! never change under an id until an operator deletes it (CVE-2025-13609); the EK that is challenged is the EK that the
//! certificate names (CVE-2021-3406); the AK must be one that only a TPM can use. Whether the EK certificate's issuer is
//! trusted is the tenant's question, not the registrar's.

use super::attestation_key::AttestationKey;
use super::certificate::Certificate;
use super::certificate_store::CertificateStore;
use super::credential_challenge::{
    CHALLENGE_ENTROPY_BYTES, CredentialChallenge, CredentialError, SEAL_ENTROPY_BYTES, WrongAuthTag,
};
use super::device_identity;
use super::endorsement_key::EndorsementKey;
use super::registration_member::{Member, Members, MtlsCertificate};
use super::subject_key::SubjectKey;
use crate::ids::AgentId;
use crate::tpm::public_key::PublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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

/// Fresh random bytes for one registration.
pub struct RegistrationEntropy {
    /// For the challenge.
    pub challenge: [u8; CHALLENGE_ENTROPY_BYTES],
    /// For encrypting it.
    pub seal: [u8; SEAL_ENTROPY_BYTES],
}

/// What an accepted registration changes and answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The row to store; not active until the challenge is answered.
    pub registration: Registration,
    /// Base64 of the encrypted challenge, for the answer.
    pub blob: String,
    /// What the operator should know, for the log.
    pub warnings: Vec<String>,
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

/// Decides about a registration.
///
/// # Errors
/// See [`Refusal`]; a changed identity outweighs whatever else is wrong.
pub fn register(
    request: &RegistrationRequest<'_>,
    rules: RegistrationRules,
    entropy: &RegistrationEntropy,
) -> Result<Accepted, Refusal> {
    let mut members = Members::cast(request.members);
    if let Some(stored) = request.stored {
        keep_identity(stored, &members)?;
    }
    let mut errors = std::mem::take(&mut members.errors);
    let mut warnings = Vec::new();
    refuse_null_keys(&members, &mut errors);
    judge_form(&members, rules.malformed_certificates, &mut errors, &mut warnings);

    let mut merged = merge(request.stored, &members);
    let ek = read_key("ek_tpm", merged.ek_tpm.as_deref(), EndorsementKey::from_base64, &mut errors);
    let ak = read_key("aik_tpm", merged.aik_tpm.as_deref(), AttestationKey::from_base64, &mut errors);
    if let Some(ek) = &ek
        && (members.ek_tpm.is_present() || members.ekcert.is_present())
    {
        let certificate = merged.ekcert.as_deref();
        same_key("ek_tpm", ek.public_key(), "ekcert", members.ekcert.value(), certificate, &mut errors);
    }
    device_identity::check(request, rules.tpm_identity, &members, &merged, ak.as_ref(), &mut errors);
    // In every mode the challenge is made with the EK, and the AK is what is challenged.
    let (Some(ek), Some(ak), true) = (ek, ak, errors.is_empty()) else {
        return Err(Refusal::Invalid(errors));
    };

    let sealed = seal(&ek, &ak, entropy).map_err(|error| Refusal::Invalid(vec![error.to_string()]))?;
    merged.challenge = Some(sealed.0);
    if members.ek_tpm.is_present() || members.aik_tpm.is_present() {
        merged.active = false;
    }
    if members.touch_identity() {
        merged.regcount = merged.regcount.saturating_add(1);
    }
    Ok(Accepted { registration: merged, blob: sealed.1, warnings })
}

/// Decides about an activation: the registration with its new state.
///
/// # Errors
/// The tag is wrong, or nothing was challenged; the caller must delete the registration then, so that a challenge has one
/// try (CVE-2023-38201).
pub fn activate(agent_id: &AgentId, stored: &Registration, auth_tag: &str) -> Result<Registration, WrongAuthTag> {
    let challenge = stored.challenge.as_deref().ok_or(WrongAuthTag)?;
    let challenge = CredentialChallenge::from_stored(challenge).map_err(|_| WrongAuthTag)?;
    challenge.check_auth_tag(agent_id, auth_tag)?;
    Ok(Registration { active: true, ..stored.clone() })
}

/// Identity immutability (`registrar.md` §4, step 2): of EK, EK certificate and AK, what is known stays. Certificates are
/// compared as whole, even when they certify the same key.
fn keep_identity(stored: &Registration, members: &Members) -> Result<(), Refusal> {
    let (ek, ak) = (members.ek_tpm.as_deref(), members.aik_tpm.as_deref());
    let certificate = members.ekcert.map(|certificate| certificate.der());
    let pairs =
        [("ek_tpm", &stored.ek_tpm, ek), ("ekcert", &stored.ekcert, certificate), ("aik_tpm", &stored.aik_tpm, ak)];
    for (name, known, sent) in pairs {
        let Some(known) = known.as_deref().filter(|known| !known.is_empty()) else { continue };
        let same = match sent {
            Member::Absent => true,
            Member::Null => false,
            Member::Value(bytes) => STANDARD.decode(known).is_ok_and(|known| known == bytes),
        };
        if !same {
            return Err(Refusal::IdentityChanged(name));
        }
    }
    Ok(())
}

fn refuse_null_keys(members: &Members, errors: &mut Vec<String>) {
    for (name, member) in [("ek_tpm", &members.ek_tpm), ("aik_tpm", &members.aik_tpm)] {
        if *member == Member::Null {
            errors.push(format!("{name}: must not be null"));
        }
    }
}

/// `malformed_cert_action`, as the documentation describes it.
fn judge_form(
    members: &Members,
    action: MalformedCertificateAction,
    errors: &mut Vec<String>,
    warnings: &mut Vec<String>,
) {
    for (name, reason) in members.malformed_certificates() {
        let text = format!("{name}: certificate does not conform to der: {reason}");
        match action {
            MalformedCertificateAction::Reject => errors.push(text),
            MalformedCertificateAction::Warn => warnings.push(text),
            MalformedCertificateAction::Ignore => {}
        }
    }
}

/// What would be stored: sent members replace stored ones, absent ones keep them.
fn merge(stored: Option<&Registration>, members: &Members) -> Registration {
    fn put<T, S>(slot: &mut Option<S>, member: &Member<T>, text: impl Fn(&T) -> S) {
        match member {
            Member::Absent => {}
            Member::Null => *slot = None,
            Member::Value(value) => *slot = Some(text(value)),
        }
    }
    let mut merged = stored.cloned().unwrap_or_default();
    put(&mut merged.ek_tpm, &members.ek_tpm, |key| STANDARD.encode(key));
    put(&mut merged.aik_tpm, &members.aik_tpm, |key| STANDARD.encode(key));
    put(&mut merged.iak_tpm, &members.iak_tpm, |key| STANDARD.encode(key));
    put(&mut merged.idevid_tpm, &members.idevid_tpm, |key| STANDARD.encode(key));
    put(&mut merged.ekcert, &members.ekcert, |certificate| certificate.to_base64());
    put(&mut merged.iak_cert, &members.iak_cert, |certificate| certificate.to_base64());
    put(&mut merged.idevid_cert, &members.idevid_cert, |certificate| certificate.to_base64());
    put(&mut merged.mtls_cert, &members.mtls_cert, |certificate| match certificate {
        MtlsCertificate::Disabled => "disabled".to_owned(),
        MtlsCertificate::Certificate(certificate) => certificate.to_base64(),
    });
    put(&mut merged.ip, &members.ip, String::clone);
    put(&mut merged.port, &members.port, |port| *port);
    merged
}

/// Reads a key that must be there.
fn read_key<K, E: std::fmt::Display>(
    name: &str,
    text: Option<&str>,
    read: impl Fn(&str) -> Result<K, E>,
    errors: &mut Vec<String>,
) -> Option<K> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        // A member that could not be cast has its own reason in the list.
        if !errors.iter().any(|error| error.starts_with(name)) {
            errors.push(format!("{name}: is required"));
        }
        return None;
    };
    read(text).map_err(|error| errors.push(format!("{name}: {error}"))).ok()
}

/// A key and its certificate, both known, must be the same key (CVE-2021-3406).
#[allow(clippy::borrowed_box, reason = "members are kept boxed, and callers pass them on as they are")]
pub(super) fn same_key(
    key_name: &str,
    key: &PublicKey,
    certificate_name: &str,
    sent: Option<&Box<Certificate>>,
    stored: Option<&str>,
    errors: &mut Vec<String>,
) {
    let certified = match (sent, stored) {
        (Some(certificate), _) => certificate.subject_key().map_err(|error| error.to_string()),
        (None, Some(text)) if !text.is_empty() => Certificate::from_text(text)
            .map_err(|error| error.to_string())
            .and_then(|certificate| certificate.subject_key().map_err(|error| error.to_string())),
        (None, _) => return,
    };
    match certified {
        Ok(certified) if certified == SubjectKey::from(key) => {}
        Ok(_) => errors.push(format!("{certificate_name}: certifies another key than {key_name}")),
        Err(reason) => errors.push(format!("{certificate_name}: {reason}")),
    }
}

/// The stored challenge and the blob for the agent.
fn seal(
    ek: &EndorsementKey,
    ak: &AttestationKey,
    entropy: &RegistrationEntropy,
) -> Result<(String, String), CredentialError> {
    let challenge = CredentialChallenge::mint(&entropy.challenge)?;
    let blob = challenge.seal(ek, ak, &entropy.seal)?;
    Ok((challenge.to_stored(), STANDARD.encode(blob)))
}
