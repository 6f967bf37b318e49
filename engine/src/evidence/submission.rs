//! Reads the evidence of an opened attestation (`verifier-v3-push.md` §5). Whether it is any good is judged later.

use super::attestation::{Attestation, AttestationItem, Chosen, ItemData, LogData, QuoteData, QuoteParameters};
use super::binary_text;
use super::capabilities::{Capabilities, EvidenceClass, EvidenceType};
use super::field_error::{FieldError, REQUIRED};
use crate::algorithm::{Digest, HashAlgorithm};
use crate::tpm::attest_structure::QuoteAttest;
use crate::tpm::pcr_bank::PcrBank;
use crate::tpm::{pcr_blob, quote::MAX_PART_BYTES};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The evidence of an attestation, one for each piece that was asked for.
pub type Collected = Vec<ItemData>;

/// Reads `evidence_collected` for an attestation.
///
/// # Errors
/// Every message about what is wrong with its form.
pub fn read_evidence(evidence: Option<&Value>, attestation: &Attestation) -> Result<Collected, Vec<FieldError>> {
    let sent = match evidence {
        None | Some(Value::Null) => return Err(vec![FieldError::evidence(REQUIRED)]),
        Some(Value::Array(sent)) => sent,
        Some(_) => return Err(vec![FieldError::evidence("must be an array")]),
    };
    let requested = &attestation.items;
    if sent.len() != requested.len() {
        let message = "must contain a number of elements equal to that which were requested";
        return Err(vec![FieldError::evidence(message)]);
    }
    if sent.iter().zip(requested).any(|(sent, requested)| !is_of(sent, requested)) {
        return Err(vec![FieldError::evidence("must appear in the same order as the evidence requested")]);
    }
    let mut errors = Vec::new();
    let mut collected = Vec::with_capacity(requested.len());
    for (index, (sent, requested)) in sent.iter().zip(requested).enumerate() {
        let mut reader = ItemReader { place: format!("evidence/{index}/data"), errors: &mut errors };
        collected.extend(reader.read(sent, requested));
    }
    if errors.is_empty() { Ok(collected) } else { Err(errors) }
}

fn is_of(sent: &Value, requested: &AttestationItem) -> bool {
    let text = |member: &str| sent.get(member).and_then(Value::as_str);
    text("evidence_class").and_then(EvidenceClass::from_name) == Some(requested.class())
        && text("evidence_type") == Some(requested.kind.name())
}

struct ItemReader<'e> {
    place: String,
    errors: &'e mut Vec<FieldError>,
}

impl ItemReader<'_> {
    fn read(&mut self, sent: &Value, requested: &AttestationItem) -> Option<ItemData> {
        let Some(Value::Object(data)) = sent.get("data") else {
            let path = self.place.clone();
            self.errors.push(FieldError::at(path, REQUIRED));
            return None;
        };
        match &requested.chosen {
            Chosen::Quote(parameters) => self.quote(data, parameters).map(|quote| ItemData::Quote(Box::new(quote))),
            Chosen::Log(_) if requested.kind == EvidenceType::ImaLog => {
                self.measurement_list(data, requested).map(ItemData::Log)
            }
            Chosen::Log(_) => self.boot_log(data).map(ItemData::Log),
        }
    }

    fn quote(&mut self, data: &Map<String, Value>, parameters: &QuoteParameters) -> Option<QuoteData> {
        let message = self.blob(data, "message");
        let signature = self.blob(data, "signature");
        let subject_data = self.subject_data(data, parameters);
        if let Some(message) = &message
            && let Err(error) = QuoteAttest::parse(message)
        {
            self.error("message", format!("must be a quote made by a TPM ({error})"));
            return None;
        }
        Some(QuoteData { subject_data: subject_data?, message: message?, signature: signature? })
    }

    fn blob(&mut self, data: &Map<String, Value>, member: &'static str) -> Option<Vec<u8>> {
        let text = match data.get(member) {
            None | Some(Value::Null) => {
                self.error(member, REQUIRED);
                return None;
            }
            Some(value) => value.as_str().filter(|text| text.len() <= 2 * MAX_PART_BYTES),
        };
        let bytes = text.and_then(binary_text::decode).filter(|bytes| bytes.len() <= MAX_PART_BYTES);
        if bytes.is_none() {
            self.error(member, REQUIRED);
            self.error(member, "must be valid binary");
        }
        bytes
    }

    /// The PCR values: the blob agents send, or the object of Keylime's documentation, which is brought into that form.
    fn subject_data(&mut self, data: &Map<String, Value>, parameters: &QuoteParameters) -> Option<Vec<u8>> {
        let bank = parameters.hash_algorithm;
        let blob = match data.get("subject_data") {
            Some(Value::String(text)) if text.len() <= 2 * MAX_PART_BYTES => binary_text::decode(text),
            Some(Value::Object(values)) => bank_of(values, bank).map(|bank| pcr_blob::write_bank(&bank)),
            _ => None,
        };
        let selected = parameters.selected_subjects.iter().filter_map(|(_, pcrs)| pcrs.as_ref()).flatten();
        let blob = blob.filter(|blob| {
            pcr_blob::read_bank(blob, bank).is_ok_and(|pcrs| {
                selected.clone().all(|pcr| u8::try_from(*pcr).is_ok_and(|pcr| pcrs.get(pcr).is_some()))
            })
        });
        if blob.is_none() {
            self.error("subject_data", "must contain at least the PCRs requested");
        }
        blob
    }

    fn measurement_list(&mut self, data: &Map<String, Value>, requested: &AttestationItem) -> Option<LogData> {
        let Some(entries) = data.get("entries").and_then(Value::as_str) else {
            self.error("entries", REQUIRED);
            return None;
        };
        let entries: Arc<str> = lines_of(entries);
        let sent = memchr::memchr_iter(b'\n', entries.as_bytes()).count() as u64;
        let offset = match &requested.chosen {
            Chosen::Log(log) => log.starting_offset.unwrap_or(0),
            Chosen::Quote(_) => 0,
        };
        let reported = match &requested.capabilities {
            Capabilities::Log(log) => log.entry_count.unwrap_or(0),
            Capabilities::Certification(_) => 0,
        };
        let least = reported.saturating_sub(offset);
        if sent < least {
            self.error(
                "entries",
                format!(
                    "must contain at least {least} entries based on the total reported log length and chosen starting \
                     offset"
                ),
            );
            return None;
        }
        Some(LogData { entry_count: Some(sent), entries })
    }

    fn boot_log(&mut self, data: &Map<String, Value>) -> Option<LogData> {
        let bytes = data.get("entries").and_then(Value::as_str).and_then(binary_text::decode);
        if bytes.is_none() {
            self.error("entries", REQUIRED);
        }
        bytes.map(|bytes| LogData { entry_count: None, entries: binary_text::encode(&bytes).into() })
    }

    fn error(&mut self, member: &str, message: impl Into<std::borrow::Cow<'static, str>>) {
        let path = format!("{}/{member}", self.place);
        self.errors.push(FieldError::at(path, message));
    }
}

/// The lines of a list: as they are, or from base64, which no line of a measurement list is.
fn lines_of(entries: &str) -> Arc<str> {
    if entries.is_empty() || entries.contains(' ') || entries.contains('\n') {
        return entries.into();
    }
    match binary_text::decode(entries).and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(lines) => lines.into(),
        None => entries.into(),
    }
}

fn bank_of(values: &Map<String, Value>, bank: HashAlgorithm) -> Option<PcrBank> {
    let mut pcrs = Vec::with_capacity(values.len().min(24));
    for (pcr, value) in values.iter().take(25) {
        let digits = value.as_str()?;
        let bytes = hex::decode(digits.strip_prefix("0x").unwrap_or(digits)).ok()?;
        if bytes.len() != bank.digest_len() {
            return None;
        }
        pcrs.push((pcr.parse::<u8>().ok()?, Digest::from_slice(&bytes)));
    }
    Some(PcrBank::from_values(bank, pcrs))
}
