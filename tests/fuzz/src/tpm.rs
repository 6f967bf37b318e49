//! Structures of the TPM.

use crate::text;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::identity::endorsement_key::EndorsementKey;
use keylime_engine::tpm::attest_structure::QuoteAttest;
use keylime_engine::tpm::ecc_curve::EccCurve;
use keylime_engine::tpm::pcr_blob;
use keylime_engine::tpm::public_area::PublicArea;
use keylime_engine::tpm::quote::{self, ExpectedNonce, QuoteEncoding, QuoteExpectation, QuoteParts};
use keylime_engine::tpm::signature::SignatureHeader;
use std::sync::LazyLock;

const BANKS: [HashAlgorithm; 5] =
    [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512, HashAlgorithm::Sm3_256];

/// TPMS_ATTEST.
pub fn attest_structure(data: &[u8]) {
    let _ = QuoteAttest::parse(data);
}

/// TPMT_SIGNATURE.
pub fn signature(data: &[u8]) {
    let Ok(signature) = SignatureHeader::parse(data) else { return };
    let _ = signature.rsa_value();
    for curve in EccCurve::ALL {
        if let Ok(value) = signature.ecdsa_value(curve) {
            let _ = value.to_der();
        }
    }
}

/// TPM2B_PUBLIC and TPMT_PUBLIC, and the keys made of them.
pub fn public_area(data: &[u8]) {
    let _ = PublicArea::from_tpmt(data);
    let _ = AttestationKey::from_tpm2b(data);
    if let Ok(area) = PublicArea::from_tpm2b(data)
        && let Ok(key) = EndorsementKey::from_public_area(&area)
    {
        let _ = key.hash_ek();
    }
    if let Some(text) = text(data) {
        let _ = PublicArea::from_base64(text);
    }
}

/// The PCR values behind a quote: what is written from what was read reads the same.
pub fn pcr_blob(data: &[u8]) {
    for bank in BANKS {
        if let Ok(read) = pcr_blob::read_bank(data, bank) {
            let again = pcr_blob::read_bank(&pcr_blob::write_bank(&read), bank);
            assert_eq!(again.as_ref(), Ok(&read));
        }
    }
}

static KEY: LazyLock<AttestationKey> = LazyLock::new(|| {
    AttestationKey::from_base64(include_str!("../corpus/attestation_key.b64").trim()).expect("the key of the corpus")
});

/// The quote string, packed or not; and no quote the fuzzer can think of is authentic.
pub fn quote_string(data: &[u8]) {
    let Some(text) = text(data) else { return };
    for encoding in [QuoteEncoding::Plain, QuoteEncoding::Zlib] {
        let Ok(parts) = QuoteParts::decode(text, encoding) else { continue };
        assert_eq!(QuoteParts::decode(&parts.encode(), QuoteEncoding::Plain).as_ref(), Ok(&parts));
        // Nothing in the corpus was made for this nonce.
        let expected = QuoteExpectation { nonce: ExpectedNonce::Text("a nonce of nobody"), hash_alg: "sha256" };
        assert!(quote::verify(&parts, &KEY, &expected).is_err());
    }
}
