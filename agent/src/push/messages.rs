//! The JSON the push agent sends and reads (`verifier-v3-push.md` §3 to §5).
//!
//! Only what the agent needs is read; members it does not know are skipped, so that a verifier may say more.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A JSON:API document with one resource to send.
#[derive(Debug, Serialize)]
pub struct Document<'a, A> {
    data: Resource<'a, A>,
}

#[derive(Debug, Serialize)]
struct Resource<'a, A> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    attributes: A,
}

impl<'a, A: Serialize> Document<'a, A> {
    /// A document of this resource type.
    pub fn new(r#type: &'static str, id: Option<&'a str>, attributes: A) -> Self {
        Self { data: Resource { r#type, id, attributes } }
    }

    /// The text to send.
    ///
    /// # Errors
    /// None in practice; the serializer's signature has one.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// What `POST /sessions` is told.
#[derive(Debug, Serialize)]
pub struct SessionRequest<'a> {
    /// This agent.
    pub agent_id: &'a str,
    /// The one way it can prove itself.
    pub authentication_supported: [AuthenticationKind; 1],
}

/// A kind of authentication.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AuthenticationKind {
    authentication_class: &'static str,
    authentication_type: &'static str,
}

impl AuthenticationKind {
    /// Proof of possession of the attestation key.
    pub const TPM_POP: Self = Self { authentication_class: "pop", authentication_type: "tpm_pop" };
}

/// What `PATCH /sessions/<id>` is told.
#[derive(Debug, Serialize)]
pub struct SessionProof<'a> {
    /// This agent.
    pub agent_id: &'a str,
    /// The one proof.
    pub authentication_provided: [AuthenticationProof; 1],
}

/// One proof.
#[derive(Debug, Serialize)]
pub struct AuthenticationProof {
    /// Its kind.
    #[serde(flatten)]
    pub kind: AuthenticationKind,
    /// The proof itself.
    pub data: ProofData,
}

/// TPM2_Certify's answer.
#[derive(Debug, Serialize)]
pub struct ProofData {
    /// Base64 of TPMS_ATTEST.
    pub message: String,
    /// Base64 of TPMT_SIGNATURE.
    pub signature: String,
}

/// Attributes of `POST /agents/<id>/attestations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Every kind of evidence this machine can give.
    pub evidence_supported: Vec<SupportedEvidence>,
    /// What the verifier is told of the machine.
    pub system_info: SystemInfo,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemInfo {
    /// When it booted, RFC 3339.
    pub boot_time: String,
}

/// One kind of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SupportedEvidence {
    /// `certification` or `log`.
    pub evidence_class: &'static str,
    /// `tpm_quote`, `uefi_log` or `ima_log`.
    pub evidence_type: &'static str,
    /// Its particulars.
    pub capabilities: Value,
}

/// Attributes of `PATCH /agents/<id>/attestations/<index>`.
#[derive(Debug, Serialize)]
pub struct CollectedEvidence {
    /// The evidence, in the order it was asked for.
    pub evidence_collected: Vec<EvidenceItem>,
}

/// One piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EvidenceItem {
    /// `certification` or `log`.
    pub evidence_class: String,
    /// `tpm_quote`, `uefi_log` or `ima_log`.
    pub evidence_type: String,
    /// The evidence itself.
    pub data: EvidenceData,
}

/// The evidence itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EvidenceData {
    /// A TPM quote; all base64.
    Quote {
        /// PCR values in the layout of tpm2-tools.
        subject_data: String,
        /// TPMS_ATTEST.
        message: String,
        /// TPMT_SIGNATURE.
        signature: String,
    },
    /// Lines of the IMA list.
    ImaLog {
        /// How many.
        entry_count: usize,
        /// The lines.
        entries: String,
    },
    /// The firmware's log.
    BootLog {
        /// Base64 of the log.
        entries: String,
    },
}

/// A reply with one resource; only what is needed of it.
#[derive(Debug, Deserialize)]
pub struct Answer<A> {
    /// The resource.
    pub data: AnswerResource<A>,
}

/// The resource of a reply.
#[derive(Debug, Deserialize)]
pub struct AnswerResource<A> {
    /// Its id; attestations of the reference have none.
    pub id: Option<String>,
    /// Its attributes.
    pub attributes: A,
}

/// Attributes of the answer to `POST /sessions`.
#[derive(Debug, Deserialize)]
pub struct SessionOffer {
    /// The proofs asked for.
    pub authentication_requested: Vec<RequestedAuthentication>,
}

/// A proof asked for.
#[derive(Debug, Deserialize)]
pub struct RequestedAuthentication {
    /// Its type.
    pub authentication_type: String,
    /// Its particulars.
    pub chosen_parameters: ChosenChallenge,
}

/// A challenge.
#[derive(Debug, Deserialize)]
pub struct ChosenChallenge {
    /// Base64 of the bytes to sign.
    pub challenge: String,
}

/// Attributes of the answer to `PATCH /sessions/<id>`.
#[derive(Debug, Deserialize)]
pub struct SessionResult {
    /// `pass` or `fail`.
    pub evaluation: String,
    /// The token, if it passed.
    #[serde(default)]
    pub token: Option<String>,
}

/// Attributes of the answer to `POST /agents/<id>/attestations`.
#[derive(Debug, Deserialize)]
pub struct Negotiated {
    /// What the verifier wants, in the order it wants it.
    pub evidence_requested: Vec<RequestedItem>,
}

/// One piece of evidence asked for.
#[derive(Debug, Deserialize)]
pub struct RequestedItem {
    /// `certification` or `log`.
    pub evidence_class: String,
    /// `tpm_quote`, `uefi_log` or `ima_log`.
    pub evidence_type: String,
    /// Its particulars.
    #[serde(default)]
    pub chosen_parameters: Value,
}

/// The answer to evidence; the echo of it is skipped.
#[derive(Debug, Deserialize)]
pub struct Receipt {
    /// When to come back.
    #[serde(default)]
    pub meta: Option<ReceiptMeta>,
}

/// When to come back.
#[derive(Debug, Deserialize)]
pub struct ReceiptMeta {
    /// Seconds until the next attestation is welcome.
    #[serde(default)]
    pub seconds_to_next_attestation: Option<f64>,
}
