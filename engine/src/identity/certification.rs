//! TPM2_Certify: one key of a TPM vouches that another lives in the same TPM (`tpm-formats.md` §7).
//!
//! The registrar uses it to bind an AK to the IAK whose certificate names the device; the push API uses it as proof of
//! possession of the AK.

use super::attestation_key::AttestationKey;
use crate::algorithm::HashAlgorithm;
use crate::ids::AgentId;
use crate::tpm::attest_structure::{CertifyAttest, InvalidAttest};
use crate::tpm::name::TpmName;
use crate::tpm::signature::SignatureScheme;
use crate::tpm::verifying_key::SignatureError;

/// Longest TPMS_ATTEST or TPMT_SIGNATURE that is read here, in bytes.
pub const MAX_CERTIFICATION_BYTES: usize = 4096;

/// The schemes a certification may be signed with; IAKs of template H-1 use RSA-PSS.
const CERTIFY_SCHEMES: [SignatureScheme; 3] =
    [SignatureScheme::Rsassa, SignatureScheme::Rsapss, SignatureScheme::Ecdsa];

/// What the certification must hold as qualifying data.
#[derive(Debug, Clone, Copy)]
pub enum QualifyingData<'a> {
    /// The agent's id, as SHA-256 (agents that speak 2.6) or as its bytes (older ones).
    Agent(&'a AgentId),
    /// Exactly these bytes.
    Exact(&'a [u8]),
    /// Anything: the caller gets freshness from elsewhere.
    Any,
}

/// What a certification must agree with.
#[derive(Debug, Clone, Copy)]
pub struct CertificationExpectation<'a> {
    /// The Name of the certified key.
    pub certified: &'a TpmName,
    /// The qualifying data.
    pub qualifying: QualifyingData<'a>,
    /// The scheme that must have been used; `None` accepts RSASSA, RSA-PSS and ECDSA.
    pub scheme: Option<SignatureScheme>,
    /// The hash that must have been used; `None` accepts SHA-1, SHA-256, SHA-384 and SHA-512.
    pub hash: Option<HashAlgorithm>,
}

/// Proof that a certification was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a certification that nobody looks at proves nothing"]
pub struct Certified(());

/// Why a certification proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificationError {
    /// Larger than [`MAX_CERTIFICATION_BYTES`].
    #[error("certification is larger than {MAX_CERTIFICATION_BYTES} bytes")]
    TooLong,
    /// The signature, its form or its algorithms.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Signed with another scheme or hash than agreed.
    #[error("certification is signed with {scheme} and {hash}, which was not agreed")]
    Algorithm {
        /// The scheme used.
        scheme: SignatureScheme,
        /// The hash used.
        hash: HashAlgorithm,
    },
    /// The signed structure is not a certification.
    #[error(transparent)]
    Attest(#[from] InvalidAttest),
    /// The qualifying data is that of something else.
    #[error("certification holds other qualifying data than expected")]
    Qualifying,
    /// Another key is certified.
    #[error("certification names another key")]
    Name,
}

/// Checks a TPMS_ATTEST of type CERTIFY and its TPMT_SIGNATURE by `signer`.
///
/// # Errors
/// See [`CertificationError`].
pub fn verify_certification(
    attest: &[u8],
    signature: &[u8],
    signer: &AttestationKey,
    expected: &CertificationExpectation<'_>,
) -> Result<Certified, CertificationError> {
    if attest.len() > MAX_CERTIFICATION_BYTES || signature.len() > MAX_CERTIFICATION_BYTES {
        return Err(CertificationError::TooLong);
    }
    let key = signer.verifying_key();
    let signature = key.parse(signature, &CERTIFY_SCHEMES)?;
    let (scheme, hash) = (signature.scheme(), signature.hash());
    if expected.scheme.is_some_and(|s| s != scheme) || expected.hash.is_some_and(|h| h != hash) {
        return Err(CertificationError::Algorithm { scheme, hash });
    }
    key.verify_parsed(attest, &signature)?;
    let attest = CertifyAttest::parse(attest)?;
    let qualified = match expected.qualifying {
        QualifyingData::Any => true,
        QualifyingData::Exact(bytes) => attest.extra_data == bytes,
        QualifyingData::Agent(agent) => {
            let id = agent.as_str().as_bytes();
            attest.extra_data == id || attest.extra_data == HashAlgorithm::Sha256.digest(&[id]).as_bytes()
        }
    };
    if !qualified {
        return Err(CertificationError::Qualifying);
    }
    if attest.name != expected.certified.as_bytes() {
        return Err(CertificationError::Name);
    }
    Ok(Certified(()))
}
