//! What this machine can prove, as it is offered to the verifier (`verifier-v3-push.md` §4).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::tpm::name::TpmName;
use serde_json::{Map, Value, json};

use crate::push::messages::{Capabilities, SupportedEvidence, SystemInfo};
use crate::registration::body::tpm2b;
use crate::tpm::pcr::PCR_COUNT;
use crate::tpm::{KeyAlgorithm, SigningAlgorithm};

/// The attestation key and the banks it can quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotingKey {
    /// TPMT_PUBLIC.
    pub public: Vec<u8>,
    /// Kind and size.
    pub algorithm: KeyAlgorithm,
    /// Hash it signs and quotes with.
    pub hash: HashAlgorithm,
    /// Scheme it signs with.
    pub signing: SigningAlgorithm,
    /// What it is called towards the verifier.
    pub identifier: String,
    /// The allocated banks of the TPM.
    pub banks: Vec<HashAlgorithm>,
}

impl QuotingKey {
    /// Base64 of TPM2B_PUBLIC, the form the registrar and the verifier keep.
    #[must_use]
    pub fn public_text(&self) -> String {
        tpm2b(&self.public)
    }

    /// The key's TPM Name in hexadecimal.
    #[must_use]
    pub fn name_text(&self) -> String {
        hex::encode(TpmName::of_public_area(self.hash, &self.public).as_bytes())
    }

    fn evidence(&self) -> SupportedEvidence {
        let family = if self.algorithm.is_rsa() { "rsa" } else { "ecc" };
        let pcrs: Vec<u8> = (0..PCR_COUNT).collect();
        let subjects: Map<String, Value> =
            self.banks.iter().map(|bank| (bank.name().to_owned(), json!(pcrs))).collect();
        let hashes: Vec<&str> = self.banks.iter().map(|bank| bank.name()).collect();
        SupportedEvidence {
            evidence_class: "certification",
            evidence_type: "tpm_quote",
            capabilities: json!({
                "component_version": "2.0",
                "hash_algorithms": hashes,
                "signature_schemes": [self.signing.name()],
                "available_subjects": subjects,
                "certification_keys": [{
                    "key_class": "asymmetric",
                    "key_algorithm": family,
                    "key_size": self.algorithm.bits(),
                    "server_identifier": self.identifier,
                    "local_identifier": self.name_text(),
                    "public": self.public_text(),
                    "allowable_hash_algorithms": [self.hash.name()],
                    "allowable_signature_schemes": [self.signing.name()],
                }],
            }),
        }
    }
}

/// The logs there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogExtent {
    /// Entries of the IMA list; none without a list.
    pub ima_entries: Option<u64>,
    /// Events of the firmware's log; none without a log.
    pub boot_events: Option<u64>,
    /// Version of the firmware log's format.
    pub boot_log_version: String,
}

/// The offer. Logs that do not exist or are empty are left out: the verifier could ask for nothing of them.
#[must_use]
pub fn capabilities(key: &QuotingKey, logs: &LogExtent, boot_time: String) -> Capabilities {
    let mut evidence_supported = vec![key.evidence()];
    if let Some(count) = logs.boot_events.filter(|count| *count > 0) {
        evidence_supported.push(SupportedEvidence {
            evidence_class: "log",
            evidence_type: "uefi_log",
            capabilities: json!({
                "evidence_version": logs.boot_log_version,
                "entry_count": count,
                "supports_partial_access": false,
                "appendable": false,
                "formats": ["application/octet-stream"],
            }),
        });
    }
    if let Some(count) = logs.ima_entries.filter(|count| *count > 0) {
        evidence_supported.push(SupportedEvidence {
            evidence_class: "log",
            evidence_type: "ima_log",
            capabilities: json!({
                "entry_count": count,
                "supports_partial_access": true,
                "appendable": true,
                "formats": ["text/plain"],
            }),
        });
    }
    Capabilities { evidence_supported, system_info: SystemInfo { boot_time } }
}

/// Whether base64 text is this key's public area, with or without its size in front.
#[must_use]
pub fn is_public_of(key: &QuotingKey, text: &str) -> bool {
    STANDARD.decode(text).is_ok_and(|bytes| bytes == key.public || bytes.get(2..) == Some(&key.public))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(algorithm: KeyAlgorithm, signing: SigningAlgorithm) -> QuotingKey {
        QuotingKey {
            public: vec![0, 1, 0, 11],
            algorithm,
            hash: HashAlgorithm::Sha256,
            signing,
            identifier: "ak".to_owned(),
            banks: vec![HashAlgorithm::Sha1, HashAlgorithm::Sha256],
        }
    }

    fn logs(ima_entries: Option<u64>, boot_events: Option<u64>) -> LogExtent {
        LogExtent { ima_entries, boot_events, boot_log_version: "2.1".to_owned() }
    }

    #[test]
    fn members_are_those_of_the_contract() {
        let offer =
            capabilities(&key(KeyAlgorithm::Rsa2048, SigningAlgorithm::RsaSsa), &logs(Some(4), Some(7)), "t".into());
        let offer = serde_json::to_value(offer).unwrap();
        let quote = &offer["evidence_supported"][0]["capabilities"];
        assert_eq!(quote["hash_algorithms"], json!(["sha1", "sha256"]));
        assert_eq!(quote["available_subjects"]["sha256"].as_array().unwrap().len(), 24);
        let offered = &quote["certification_keys"][0];
        assert_eq!((&offered["key_algorithm"], &offered["key_size"]), (&json!("rsa"), &json!(2048)));
        assert_eq!(offered["public"], "AAQAAQAL");
        assert!(offered["local_identifier"].as_str().unwrap().starts_with("000b"));
        assert_eq!(offer["evidence_supported"][1]["capabilities"]["entry_count"], 7);
        assert_eq!(offer["evidence_supported"][2]["capabilities"]["formats"], json!(["text/plain"]));
        assert_eq!(offer["system_info"]["boot_time"], "t");
    }

    #[test]
    fn keys_on_curves_say_so() {
        let ecc = key(KeyAlgorithm::Ecc384, SigningAlgorithm::EcDsa).evidence().capabilities;
        let offered = &ecc["certification_keys"][0];
        assert_eq!((&offered["key_algorithm"], &offered["key_size"]), (&json!("ecc"), &json!(384)));
        assert_eq!(offered["allowable_signature_schemes"], json!(["ecdsa"]));
    }

    #[test]
    fn absent_and_empty_logs_are_not_offered() {
        let key = key(KeyAlgorithm::Rsa2048, SigningAlgorithm::RsaSsa);
        for extent in [logs(None, None), logs(Some(0), Some(0))] {
            assert_eq!(capabilities(&key, &extent, String::new()).evidence_supported.len(), 1);
        }
    }

    #[test]
    fn the_key_is_known_in_both_forms() {
        let key = key(KeyAlgorithm::Rsa2048, SigningAlgorithm::RsaSsa);
        assert!(is_public_of(&key, &key.public_text()) && is_public_of(&key, &STANDARD.encode(&key.public)));
        assert!(!is_public_of(&key, "AAAA") && !is_public_of(&key, "?"));
    }
}
