//! A machine that proves itself to a verifier by push attestation: a software TPM, a measurement list, and the requests a
//! push agent makes of them (`verifier-v3-push.md` §4, §5).

use crate::soft_tpm::{Attestation, AttestationPair, EndorsementPair, SoftTpm, SoftTpmError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::tpm::pcr_blob;
use keylime_engine::tpm::pcr_mask::PcrMask;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;

/// The bank this machine's kernel measures into.
const BANK: HashAlgorithm = HashAlgorithm::Sha256;
const IMA_PCR: u8 = 10;

/// The machine.
#[derive(Debug)]
pub struct PushMachine {
    tpm: SoftTpm,
    attestation: Arc<AttestationPair>,
    entries: Vec<String>,
    /// Second of its last boot.
    boot_second: i64,
}

/// What a verifier asked the machine for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The nonce.
    pub challenge: Vec<u8>,
    /// PCRs of the SHA-256 bank.
    pub pcrs: PcrMask,
    /// First entry of the measurement list, when it is wanted at all.
    pub ima_offset: Option<usize>,
}

impl PushMachine {
    /// A machine whose keys follow from a number.
    ///
    /// # Errors
    /// [`SoftTpmError::Key`].
    pub fn from_seed(seed: u8) -> Result<Self, SoftTpmError> {
        let attestation = AttestationPair::p256_from_seed(&[seed.wrapping_add(100); 32])?;
        let endorsement = EndorsementPair::p256_from_seed(&[seed; 32])?;
        Ok(Self::new(Arc::new(endorsement), Arc::new(attestation)))
    }

    /// A machine with these keys, freshly booted.
    #[must_use]
    pub fn new(endorsement: Arc<EndorsementPair>, attestation: Arc<AttestationPair>) -> Self {
        let tpm = SoftTpm::new(endorsement, Arc::clone(&attestation), &[BANK]);
        let mut machine = Self { tpm, attestation, entries: Vec::new(), boot_second: 1_767_225_600 };
        machine.run("boot_aggregate", &[0; 32]);
        machine
    }

    /// The TPM.
    pub fn tpm(&mut self) -> &mut SoftTpm {
        &mut self.tpm
    }

    /// The registered key, base64.
    #[must_use]
    pub fn ak(&self) -> String {
        STANDARD.encode(self.tpm.attestation().public())
    }

    /// Length of the measurement list.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// Measures a file as the kernel does with template `ima-ng`.
    pub fn run(&mut self, path: &str, content_digest: &[u8; 32]) {
        let digest_field = [b"sha256:\0".as_slice(), content_digest].concat();
        let path_field = [path.as_bytes(), b"\0"].concat();
        let mut data = Vec::new();
        for field in [digest_field, path_field] {
            data.extend_from_slice(&u32::try_from(field.len()).unwrap_or(0).to_le_bytes());
            data.extend_from_slice(&field);
        }
        let template = HashAlgorithm::Sha1.digest(&[&data]);
        // The bank is one this machine was made with.
        let _ = self.tpm.extend(BANK, IMA_PCR, &BANK.digest(&[&data]));
        let mut line = format!("{IMA_PCR} {} ima-ng sha256:", template.to_hex());
        for byte in content_digest {
            // Writing to a text cannot fail.
            let _ = write!(line, "{byte:02x}");
        }
        self.entries.push(format!("{line} {path}\n"));
    }

    /// Boots anew: the TPM is reset and the list begins again.
    pub fn reboot(&mut self) {
        self.tpm.reset();
        self.entries.clear();
        self.boot_second += 3600;
        self.run("boot_aggregate", &[0; 32]);
    }

    /// Proves possession of the registered key (TPM2_Certify): the structure and its signature.
    ///
    /// # Errors
    /// [`SoftTpmError::Key`].
    pub fn prove_possession(&mut self, challenge: &[u8]) -> Result<Attestation, SoftTpmError> {
        let signer = Arc::clone(&self.attestation);
        self.tpm.certify_attestation_key(&signer, challenge)
    }

    /// The body that opens an attestation.
    #[must_use]
    pub fn capabilities(&self) -> Value {
        let pair = self.tpm.attestation();
        let (family, scheme, size) = match pair.scheme().key_algorithm() {
            "rsa" => ("rsa", pair.scheme().name(), 2048),
            _ => ("ecc", pair.scheme().name(), 256),
        };
        let all: Vec<u32> = (0..24).collect();
        json!({"data": {"type": "attestation", "attributes": {
            "evidence_supported": [
                {"evidence_class": "certification", "evidence_type": "tpm_quote", "capabilities": {
                    "component_version": "2.0", "hash_algorithms": ["sha256"], "signature_schemes": [scheme],
                    "available_subjects": {"sha256": all},
                    "certification_keys": [{
                        "key_class": "asymmetric", "key_algorithm": family, "key_size": size,
                        "server_identifier": "ak", "allowable_signature_schemes": [scheme],
                        "allowable_hash_algorithms": ["sha256"], "public": self.ak()}]}},
                {"evidence_class": "log", "evidence_type": "ima_log", "capabilities": {
                    "entry_count": self.entries.len(), "supports_partial_access": true, "appendable": true,
                    "formats": ["text/plain"]}}],
            "system_info": {"boot_time": self.boot_second}}}})
    }

    /// The body that answers what a verifier asked for.
    ///
    /// # Errors
    /// [`SoftTpmError::Bank`], [`SoftTpmError::Key`].
    pub fn evidence(&mut self, wanted: &Wanted) -> Result<Value, SoftTpmError> {
        self.tpm.advance_clock(10);
        let (quote, pcrs) = self.tpm.quote(BANK, wanted.pcrs, &wanted.challenge)?;
        let mut collected = vec![json!({"evidence_class": "certification", "evidence_type": "tpm_quote", "data": {
            "message": STANDARD.encode(quote.attest), "signature": STANDARD.encode(quote.signature),
            "subject_data": STANDARD.encode(pcr_blob::write_bank(&pcrs))}})];
        if let Some(offset) = wanted.ima_offset {
            let entries = &self.entries[offset.min(self.entries.len())..];
            collected.push(json!({"evidence_class": "log", "evidence_type": "ima_log", "data": {
                "entry_count": entries.len(), "entries": entries.concat()}}));
        }
        Ok(json!({"data": {"type": "attestation", "attributes": {"evidence_collected": collected}}}))
    }
}

impl Wanted {
    /// Reads the answer that opened an attestation; `None` when it does not ask for a quote of the SHA-256 bank.
    #[must_use]
    pub fn read(answer: &Value) -> Option<Self> {
        let requested = answer.pointer("/data/attributes/evidence_requested")?.as_array()?;
        let chosen = |kind: &str| {
            let item = requested.iter().find(|item| item["evidence_type"] == kind)?;
            item.get("chosen_parameters")
        };
        let quote = chosen("tpm_quote")?;
        let pcrs = quote.pointer("/selected_subjects/sha256")?.as_array()?;
        let pcrs = pcrs.iter().filter_map(Value::as_u64).filter_map(|pcr| u8::try_from(pcr).ok());
        let offset = chosen("ima_log").and_then(|log| log.get("starting_offset")).and_then(Value::as_u64);
        Some(Self {
            challenge: STANDARD.decode(quote.get("challenge")?.as_str()?).ok()?,
            pcrs: PcrMask::of(pcrs),
            ima_offset: offset.and_then(|offset| usize::try_from(offset).ok()),
        })
    }
}
