//! What the verifier asked for, checked against what this agent is ready to give, and collecting it.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::tpm::pcr_blob;
use serde_json::Value;

use crate::measurement_logs::MeasurementLogs;
use crate::push::capabilities::{QuotingKey, is_public_of};
use crate::push::messages::{EvidenceData, EvidenceItem, RequestedItem};
use crate::push::session::read_challenge;
use crate::tpm::pcr::PCR_COUNT;
use crate::tpm::{QuoteRequest, TpmError, TpmHandle};

/// Pieces of evidence one attestation may consist of.
const MAX_ITEMS: usize = 16;

/// One piece of evidence to collect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvidencePlan {
    /// A quote.
    Quote {
        /// The challenge.
        challenge: Vec<u8>,
        /// Bit n selects PCR n.
        pcr_mask: u32,
        /// The bank.
        bank: HashAlgorithm,
    },
    /// The IMA list from an entry on.
    ImaLog {
        /// Number of the first entry, from 0.
        first_entry: u64,
        /// Most entries wanted.
        entry_count: Option<u64>,
    },
    /// The whole firmware log.
    BootLog,
}

/// A request this agent does not fulfil.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnacceptableRequest {
    /// Nothing is asked for: no policy of the agent needs evidence, and the verifier would not take any.
    #[error("the verifier asks for no evidence; the agent has no policy there")]
    Nothing,
    /// More than there can be.
    #[error("the verifier asks for more than {MAX_ITEMS} pieces of evidence")]
    TooMany,
    /// A kind this agent never offered.
    #[error("the verifier asks for evidence of the unknown type {0:?}")]
    UnknownType(String),
    /// A parameter is missing or has the wrong kind.
    #[error("the verifier's request for {evidence} lacks a usable {parameter}")]
    Parameter {
        /// The evidence.
        evidence: &'static str,
        /// The parameter.
        parameter: &'static str,
    },
    /// The attestation key cannot do this.
    #[error("the verifier asks for {parameter} {found:?}, which the attestation key does not sign with")]
    NotThisKey {
        /// The parameter.
        parameter: &'static str,
        /// What was asked for.
        found: String,
    },
    /// The log cannot be given in this form.
    #[error("the verifier asks for a log in the unknown format {0:?}")]
    Format(String),
}

/// Why evidence is not there.
#[derive(Debug, thiserror::Error)]
pub enum CollectionError {
    /// The TPM failed.
    #[error("{0}")]
    Tpm(#[from] TpmError),
    /// A log cannot be read.
    #[error("cannot read the {log}: {source}")]
    Log {
        /// Which.
        log: &'static str,
        /// Why.
        source: io::Error,
    },
    /// There is no such log on this machine (any more).
    #[error("there is no {0}")]
    NoLog(&'static str),
    /// The list has fewer entries than the verifier has seen.
    #[error("the ima list has fewer than the {0} entries the verifier has seen")]
    ListTooShort(u64),
}

/// What to collect, in the order asked for.
///
/// # Errors
/// See [`UnacceptableRequest`].
pub fn plan(requested: &[RequestedItem], key: &QuotingKey) -> Result<Vec<EvidencePlan>, UnacceptableRequest> {
    if requested.is_empty() {
        return Err(UnacceptableRequest::Nothing);
    }
    if requested.len() > MAX_ITEMS {
        return Err(UnacceptableRequest::TooMany);
    }
    requested
        .iter()
        .map(|item| match item.evidence_type.as_str() {
            "tpm_quote" => plan_quote(&item.chosen_parameters, key),
            "ima_log" => plan_ima(&item.chosen_parameters),
            "uefi_log" => plan_boot_log(&item.chosen_parameters),
            unknown => Err(UnacceptableRequest::UnknownType(unknown.chars().take(64).collect())),
        })
        .collect()
}

fn plan_quote(parameters: &Value, key: &QuotingKey) -> Result<EvidencePlan, UnacceptableRequest> {
    let lacks = |parameter| UnacceptableRequest::Parameter { evidence: "tpm_quote", parameter };
    let challenge = parameters["challenge"].as_str().and_then(read_challenge).ok_or_else(|| lacks("challenge"))?;
    let demand = |parameter: &'static str, own: &str| match parameters[parameter].as_str() {
        None => Err(lacks(parameter)),
        Some(asked) if asked == own => Ok(()),
        Some(asked) => Err(UnacceptableRequest::NotThisKey { parameter, found: asked.chars().take(64).collect() }),
    };
    demand("hash_algorithm", key.hash.name())?;
    demand("signature_scheme", key.signing.name())?;
    if let Some(public) = parameters["certification_key"]["public"].as_str()
        && !is_public_of(key, public)
    {
        let found = public.chars().take(16).collect();
        return Err(UnacceptableRequest::NotThisKey { parameter: "certification_key", found });
    }
    // An object of banks, or, as the documentation shows it, the list alone.
    let subjects = &parameters["selected_subjects"];
    let list = subjects.as_array().or_else(|| subjects[key.hash.name()].as_array());
    let pcr_mask = list.and_then(|list| pcr_mask(list)).ok_or_else(|| lacks("selected_subjects"))?;
    Ok(EvidencePlan::Quote { challenge, pcr_mask, bank: key.hash })
}

fn pcr_mask(list: &[Value]) -> Option<u32> {
    let mut mask = 0;
    for value in list {
        let pcr = value.as_u64().filter(|pcr| *pcr < u64::from(PCR_COUNT))?;
        mask |= 1 << pcr;
    }
    (mask != 0).then_some(mask)
}

fn plan_ima(parameters: &Value) -> Result<EvidencePlan, UnacceptableRequest> {
    demand_format(parameters, "text/plain")?;
    let lacks = |parameter| UnacceptableRequest::Parameter { evidence: "ima_log", parameter };
    let number = |parameter| match &parameters[parameter] {
        Value::Null => Ok(None),
        value => value.as_u64().map(Some).ok_or_else(|| lacks(parameter)),
    };
    let first_entry = number("starting_offset")?.unwrap_or(0);
    Ok(EvidencePlan::ImaLog { first_entry, entry_count: number("entry_count")? })
}

fn plan_boot_log(parameters: &Value) -> Result<EvidencePlan, UnacceptableRequest> {
    demand_format(parameters, "application/octet-stream")?;
    Ok(EvidencePlan::BootLog)
}

fn demand_format(parameters: &Value, own: &str) -> Result<(), UnacceptableRequest> {
    match &parameters["format"] {
        Value::Null => Ok(()),
        Value::String(format) if format == own => Ok(()),
        other => Err(UnacceptableRequest::Format(other.to_string().chars().take(64).collect())),
    }
}

/// Collects the evidence: quotes first, so that the logs read afterwards hold everything the quoted PCRs do.
///
/// # Errors
/// See [`CollectionError`].
pub async fn collect(
    plans: &[EvidencePlan],
    tpm: &TpmHandle,
    logs: &MeasurementLogs,
) -> Result<Vec<EvidenceItem>, CollectionError> {
    let mut items: Vec<Option<EvidenceItem>> = vec![None; plans.len()];
    let (quotes, others): (Vec<_>, Vec<_>) =
        plans.iter().enumerate().partition(|(_, plan)| matches!(plan, EvidencePlan::Quote { .. }));
    for (index, plan) in quotes.into_iter().chain(others) {
        items[index] = Some(collect_one(plan, tpm, logs).await?);
    }
    Ok(items.into_iter().flatten().collect())
}

async fn collect_one(
    plan: &EvidencePlan,
    tpm: &TpmHandle,
    logs: &MeasurementLogs,
) -> Result<EvidenceItem, CollectionError> {
    match plan {
        EvidencePlan::Quote { challenge, pcr_mask, bank } => quote(challenge, *pcr_mask, *bank, tpm).await,
        EvidencePlan::ImaLog { first_entry, entry_count } => {
            let (logs, first_entry, limit) = (logs.clone(), *first_entry, *entry_count);
            blocking("ima list", move || ima_log(&logs, first_entry, limit)).await
        }
        EvidencePlan::BootLog => {
            let logs = logs.clone();
            blocking("firmware log", move || boot_log(&logs)).await
        }
    }
}

/// Reads a log on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    log: &'static str,
    read: impl FnOnce() -> Result<T, CollectionError> + Send + 'static,
) -> Result<T, CollectionError> {
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|error| Err(CollectionError::Log { log, source: io::Error::other(error) }))
}

async fn quote(
    challenge: &[u8],
    pcr_mask: u32,
    bank: HashAlgorithm,
    tpm: &TpmHandle,
) -> Result<EvidenceItem, CollectionError> {
    let request = QuoteRequest { qualifying_data: challenge.to_vec(), pcr_mask, bank, bound_data: None };
    let quote = tpm.run(move |tpm| tpm.quote(&request)).await?;
    let data = EvidenceData::Quote {
        subject_data: STANDARD.encode(pcr_blob::write_bank(&quote.pcrs)),
        message: STANDARD.encode(&quote.attest),
        signature: STANDARD.encode(&quote.signature),
    };
    Ok(item("certification", "tpm_quote", data))
}

fn ima_log(
    logs: &MeasurementLogs,
    first_entry: u64,
    entry_count: Option<u64>,
) -> Result<EvidenceItem, CollectionError> {
    const LOG: &str = "ima list";
    let part = logs
        .ima_from(first_entry)
        .map_err(|source| CollectionError::Log { log: LOG, source })?
        .ok_or(CollectionError::NoLog(LOG))?;
    if part.first_entry != first_entry {
        return Err(CollectionError::ListTooShort(first_entry));
    }
    let mut entries = part.text;
    let (count, end) = complete_lines(&entries, entry_count);
    entries.truncate(end);
    Ok(item("log", "ima_log", EvidenceData::ImaLog { entry_count: count, entries }))
}

/// How many complete lines there are up to a limit, and where the last of them ends.
fn complete_lines(text: &str, limit: Option<u64>) -> (usize, usize) {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index + 1);
    ends.take(limit).fold((0, 0), |(count, _), end| (count + 1, end))
}

fn boot_log(logs: &MeasurementLogs) -> Result<EvidenceItem, CollectionError> {
    const LOG: &str = "firmware log";
    let log = logs
        .boot_log()
        .map_err(|source| CollectionError::Log { log: LOG, source })?
        .ok_or(CollectionError::NoLog(LOG))?;
    Ok(item("log", "uefi_log", EvidenceData::BootLog { entries: STANDARD.encode(log) }))
}

fn item(class: &str, kind: &str, data: EvidenceData) -> EvidenceItem {
    EvidenceItem { evidence_class: class.to_owned(), evidence_type: kind.to_owned(), data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement_list::MeasurementList;
    use crate::push::messages::{Answer, Negotiated};
    use crate::tpm::{KeyAlgorithm, SigningAlgorithm};
    use proptest::prelude::*;
    use serde_json::json;

    fn key() -> QuotingKey {
        QuotingKey {
            public: vec![0, 1, 0, 11],
            algorithm: KeyAlgorithm::Rsa2048,
            hash: HashAlgorithm::Sha256,
            signing: SigningAlgorithm::RsaSsa,
            identifier: "ak".to_owned(),
            banks: vec![HashAlgorithm::Sha256],
        }
    }

    fn requested(evidence_type: &str, chosen_parameters: Value) -> RequestedItem {
        RequestedItem { evidence_class: "log".to_owned(), evidence_type: evidence_type.to_owned(), chosen_parameters }
    }

    fn quote_parameters() -> Value {
        json!({
            "challenge": "yBuCSB3DqCMQ+EobDcLOfA==",
            "signature_scheme": "rsassa",
            "hash_algorithm": "sha256",
            "selected_subjects": {"sha1": null, "sha256": [10, 0]},
            "certification_key": {"key_class": "asymmetric", "public": "AAQAAQAL"},
        })
    }

    #[test]
    fn the_request_is_read_in_both_shapes() {
        let items = [
            requested("tpm_quote", quote_parameters()),
            requested("uefi_log", json!({"format": "application/octet-stream"})),
            requested("ima_log", json!({"starting_offset": 7, "format": "text/plain"})),
        ];
        let plans = plan(&items, &key()).unwrap();
        assert!(matches!(&plans[0], EvidencePlan::Quote { pcr_mask: 0x401, challenge, .. } if challenge.len() == 16));
        assert_eq!(plans[1], EvidencePlan::BootLog);
        assert_eq!(plans[2], EvidencePlan::ImaLog { first_entry: 7, entry_count: None });
        let mut documented = quote_parameters();
        documented["selected_subjects"] = json!([10, 0]);
        assert_eq!(plan(&[requested("tpm_quote", documented)], &key()).unwrap()[0], plans[0]);
    }

    #[test]
    fn captured_requests_are_read() {
        let text = r#"{"data":{"type":"attestation","attributes":{"stage":"awaiting_evidence","evidence_requested":[
            {"evidence_class":"log","evidence_type":"ima_log","chosen_parameters":{"starting_offset":0,"format":"text/plain"}}],
            "system_info":{"boot_time":"2026-01-01T00:00:00.000000+00:00"}},"links":{"self":"/x"}},"jsonapi":{"version":"1.1"}}"#;
        let answer: Answer<Negotiated> = serde_json::from_str(text).unwrap();
        assert_eq!(plan(&answer.data.attributes.evidence_requested, &key()).unwrap().len(), 1);
    }

    #[test]
    fn what_the_key_does_not_do_is_refused() {
        for (parameter, value) in [
            ("hash_algorithm", json!("sha1")),
            ("signature_scheme", json!("ecdsa")),
            ("challenge", json!("")),
            ("challenge", json!("A".repeat(1000))),
            ("selected_subjects", json!({"sha256": [24]})),
            ("selected_subjects", json!({"sha256": [-1]})),
            ("selected_subjects", json!({"sha256": []})),
            ("selected_subjects", json!({"sha1": [10]})),
            ("certification_key", json!({"public": "AAAA"})),
            ("hash_algorithm", Value::Null),
        ] {
            let mut parameters = quote_parameters();
            parameters[parameter] = value.clone();
            assert!(plan(&[requested("tpm_quote", parameters)], &key()).is_err(), "{parameter} {value}");
        }
        assert_eq!(plan(&[], &key()), Err(UnacceptableRequest::Nothing));
        assert!(plan(&[requested("tee_report", json!({}))], &key()).is_err());
        assert!(plan(&[requested("ima_log", json!({"starting_offset": -1}))], &key()).is_err());
        assert!(plan(&[requested("ima_log", json!({"format": "cbor"}))], &key()).is_err());
        let many: Vec<_> = (0..17).map(|_| requested("uefi_log", json!({}))).collect();
        assert_eq!(plan(&many, &key()), Err(UnacceptableRequest::TooMany));
    }

    #[test]
    fn only_the_lines_asked_for_are_sent() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "10 a\n10 b\n10 c\n10 unfinished").unwrap();
        let logs = MeasurementLogs::new(Some(MeasurementList::open(file.path()).unwrap()), None);
        let lines = |first, limit| match ima_log(&logs, first, limit).unwrap().data {
            EvidenceData::ImaLog { entry_count, entries } => (entry_count, entries),
            other => panic!("{other:?}"),
        };
        assert_eq!(lines(0, None), (3, "10 a\n10 b\n10 c\n".to_owned()));
        assert_eq!(lines(1, Some(1)), (1, "10 b\n".to_owned()));
        assert_eq!(lines(3, None), (0, String::new()));
        assert!(matches!(ima_log(&logs, 9, None), Err(CollectionError::ListTooShort(9))));
        assert!(matches!(boot_log(&logs), Err(CollectionError::NoLog(_))));
    }

    proptest! {
        #[test]
        fn any_parameters_give_a_plan_or_an_error(text in "\\PC{0,80}", number in any::<i64>()) {
            let value = json!({"challenge": text, "hash_algorithm": text, "starting_offset": number, "format": number});
            for kind in ["tpm_quote", "ima_log", "uefi_log", text.as_str()] {
                let _ = plan(&[requested(kind, value.clone())], &key());
            }
        }
    }
}
