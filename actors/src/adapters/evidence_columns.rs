//! The columns of `evidence_items`: one piece of evidence read and written.

use super::attestation_rows::number;
use super::row::Row;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::evidence::attestation::{
    AttestationIndex, AttestationItem, Challenge, Chosen, ItemData, LogData, LogFormat, LogParameters, QuoteData,
    QuoteParameters,
};
use keylime_engine::evidence::capabilities::{Capabilities, CertificationKey, EvidenceType, LogGrowth, PartialAccess};
use keylime_engine::evidence::offer::{read_stored_capabilities, read_stored_key};
use keylime_engine::tpm::signature::SignatureScheme;
use keylime_schema::database::entity::evidence_item::Column;
use keylime_schema::wire::python_json::{self, Layout};
use keylime_schema::wire::v3::attestation::{KeyMembers, SelectedSubjects, SubjectMembers};
use sea_orm::{IdenStatic as _, Value};
use serde::Serialize;
use serde_json::{Map, Value as Json};

/// The columns of a row that this verifier writes, in the order of [`item_row`].
pub(super) const COLUMNS: [Column; 27] = [
    Column::AgentId,
    Column::AttestationIndex,
    Column::EvidenceClass,
    Column::EvidenceType,
    Column::CapabilitiesComponentVersion,
    Column::CapabilitiesEvidenceVersion,
    Column::CapabilitiesSignatureSchemes,
    Column::CapabilitiesHashAlgorithms,
    Column::CapabilitiesAvailableSubjects,
    Column::CapabilitiesCertificationKeys,
    Column::CapabilitiesEntryCount,
    Column::CapabilitiesSupportsPartialAccess,
    Column::CapabilitiesAppendable,
    Column::CapabilitiesFormats,
    Column::ChosenParametersChallenge,
    Column::ChosenParametersSignatureScheme,
    Column::ChosenParametersHashAlgorithm,
    Column::ChosenParametersSelectedSubjects,
    Column::ChosenParametersCertificationKey,
    Column::ChosenParametersStartingOffset,
    Column::ChosenParametersFormat,
    Column::DataSubjectData,
    Column::DataMessage,
    Column::DataSignature,
    Column::DataEntryCount,
    Column::DataEntries,
    Column::ResultsCertifiedEntryCount,
];

/// The values of a piece of evidence.
pub(super) fn item_row(agent_id: &str, index: AttestationIndex, item: &AttestationItem) -> Vec<Value> {
    let mut row: Vec<Value> =
        vec![agent_id.into(), number(index).into(), item.class().name().into(), item.kind.name().into()];
    row.extend(capability_values(&item.capabilities));
    row.extend(chosen_values(&item.chosen));
    row.extend(data_values(item.data.as_ref()));
    row.push(small(item.certified_entries.and_then(|entries| u64::try_from(entries).ok())));
    row
}

fn capability_values(capabilities: &Capabilities) -> [Value; 10] {
    let text = |text: &Option<Box<str>>| Value::from(text.as_deref());
    match capabilities {
        Capabilities::Certification(from) => {
            let keys: Option<Vec<KeyMembers<'_>>> =
                from.certification_keys.as_ref().map(|keys| keys.iter().map(KeyMembers).collect());
            [
                text(&from.component_version),
                text(&from.evidence_version),
                json(from.signature_schemes.as_ref()),
                json(from.hash_algorithms.as_ref()),
                json(from.available_subjects.as_ref().map(SubjectMembers).as_ref()),
                json(keys.as_ref()),
                small(None),
                Value::from(None::<bool>),
                Value::from(None::<bool>),
                json::<()>(None),
            ]
        }
        Capabilities::Log(from) => [
            text(&from.component_version),
            text(&from.evidence_version),
            json::<()>(None),
            json::<()>(None),
            json::<()>(None),
            json::<()>(None),
            small(from.entry_count),
            (from.partial_access == PartialAccess::Supported).into(),
            (from.growth == LogGrowth::Appendable).into(),
            json(from.formats.as_ref()),
        ],
    }
}

fn chosen_values(chosen: &Chosen) -> [Value; 7] {
    match chosen {
        Chosen::Quote(parameters) => [
            parameters.challenge.as_bytes().to_vec().into(),
            parameters.signature_scheme.name().into(),
            parameters.hash_algorithm.name().into(),
            json(Some(&SelectedSubjects(&parameters.selected_subjects))),
            json(Some(&KeyMembers(&parameters.certification_key))),
            small(None),
            Value::from(None::<&str>),
        ],
        Chosen::Log(LogParameters { starting_offset, format }) => [
            Value::from(None::<Vec<u8>>),
            Value::from(None::<&str>),
            Value::from(None::<&str>),
            json::<()>(None),
            json::<()>(None),
            small(*starting_offset),
            format.name().into(),
        ],
    }
}

fn data_values(data: Option<&ItemData>) -> [Value; 5] {
    match data {
        Some(ItemData::Quote(quote)) => [
            STANDARD.encode(&quote.subject_data).into(),
            quote.message.clone().into(),
            quote.signature.clone().into(),
            small(None),
            Value::from(None::<&str>),
        ],
        Some(ItemData::Log(LogData { entry_count, entries })) => [
            Value::from(None::<&str>),
            Value::from(None::<Vec<u8>>),
            Value::from(None::<Vec<u8>>),
            small(*entry_count),
            (&**entries).into(),
        ],
        None => [
            Value::from(None::<&str>),
            Value::from(None::<Vec<u8>>),
            Value::from(None::<Vec<u8>>),
            small(None),
            Value::from(None::<&str>),
        ],
    }
}

fn json<T: Serialize>(value: Option<&T>) -> Value {
    value.and_then(|value| python_json::to_string(value, Layout::Compact).ok()).into()
}

fn small(number: Option<u64>) -> Value {
    number.map(|number| i32::try_from(number).unwrap_or(i32::MAX)).into()
}

/// Reads a row, with the index of its attestation.
pub(super) fn decode_item(row: &Row<'_>) -> Result<(AttestationIndex, AttestationItem), String> {
    let index = row.integer(Column::AttestationIndex.as_str())?.and_then(|index| u32::try_from(index).ok());
    let index = AttestationIndex(index.ok_or("attestation_index is no index")?);
    let kind = row.text_or_empty(Column::EvidenceType.as_str())?;
    let kind = EvidenceType::from_name(&kind).ok_or_else(|| format!("evidence type {kind:?} is unknown"))?;
    let capabilities =
        read_stored_capabilities(kind.class(), &stored_capabilities(row)?).ok_or("capabilities cannot be read")?;
    let (chosen, data) = match kind {
        EvidenceType::TpmQuote => decode_quote(row)?,
        EvidenceType::UefiLog | EvidenceType::ImaLog => decode_log(row)?,
    };
    let certified_entries = row.integer(Column::ResultsCertifiedEntryCount.as_str())?;
    Ok((index, AttestationItem { kind, capabilities, chosen, data, certified_entries }))
}

/// The capabilities in the form in which agents offer them.
fn stored_capabilities(row: &Row<'_>) -> Result<Map<String, Json>, String> {
    let mut members = Map::new();
    for (name, column) in [
        ("component_version", Column::CapabilitiesComponentVersion),
        ("evidence_version", Column::CapabilitiesEvidenceVersion),
    ] {
        members.insert(name.to_owned(), row.text(column.as_str())?.into());
    }
    for (name, column) in [
        ("signature_schemes", Column::CapabilitiesSignatureSchemes),
        ("hash_algorithms", Column::CapabilitiesHashAlgorithms),
        ("available_subjects", Column::CapabilitiesAvailableSubjects),
        ("certification_keys", Column::CapabilitiesCertificationKeys),
        ("formats", Column::CapabilitiesFormats),
    ] {
        members.insert(name.to_owned(), super::json_column::decode(row.text(column.as_str())?.as_deref())?);
    }
    members.insert("entry_count".to_owned(), row.integer(Column::CapabilitiesEntryCount.as_str())?.into());
    for (name, column) in [
        ("supports_partial_access", Column::CapabilitiesSupportsPartialAccess),
        ("appendable", Column::CapabilitiesAppendable),
    ] {
        members.insert(name.to_owned(), row.flag(column.as_str())?.into());
    }
    Ok(members)
}

fn decode_quote(row: &Row<'_>) -> Result<(Chosen, Option<ItemData>), String> {
    let challenge = row.bytes(Column::ChosenParametersChallenge.as_str())?.unwrap_or_default();
    let scheme = row.text_or_empty(Column::ChosenParametersSignatureScheme.as_str())?;
    let hash = row.text_or_empty(Column::ChosenParametersHashAlgorithm.as_str())?;
    let selected = row.text(Column::ChosenParametersSelectedSubjects.as_str())?;
    let key = row.text(Column::ChosenParametersCertificationKey.as_str())?;
    let chosen = Chosen::Quote(Box::new(QuoteParameters {
        challenge: Challenge::from_stored(&challenge).ok_or("challenge has another length")?,
        signature_scheme: SignatureScheme::from_name(&scheme).ok_or("signature scheme is unknown")?,
        hash_algorithm: HashAlgorithm::from_name(&hash).ok_or("hash algorithm is unknown")?,
        selected_subjects: selected_subjects(&super::json_column::decode(selected.as_deref())?)
            .ok_or("selected subjects cannot be read")?,
        certification_key: certification_key(&super::json_column::decode(key.as_deref())?)?,
    }));
    let message = row.bytes(Column::DataMessage.as_str())?;
    let signature = row.bytes(Column::DataSignature.as_str())?;
    let subject_data = row.text(Column::DataSubjectData.as_str())?;
    let data = match (message, signature, subject_data) {
        (Some(message), Some(signature), Some(subject_data)) => {
            let text = subject_data.trim_matches('"');
            let subject_data = STANDARD.decode(text).map_err(|error| format!("subject data: {error}"))?;
            Some(ItemData::Quote(Box::new(QuoteData { subject_data, message, signature })))
        }
        _ => None,
    };
    Ok((chosen, data))
}

fn decode_log(row: &Row<'_>) -> Result<(Chosen, Option<ItemData>), String> {
    let count = |column: Column| -> Result<Option<u64>, String> {
        Ok(row.integer(column.as_str())?.and_then(|count| u64::try_from(count).ok()))
    };
    let format = row.text_or_empty(Column::ChosenParametersFormat.as_str())?;
    let chosen = Chosen::Log(LogParameters {
        starting_offset: count(Column::ChosenParametersStartingOffset)?,
        format: LogFormat::from_name(&format).ok_or("format is unknown")?,
    });
    let entries = row.text(Column::DataEntries.as_str())?;
    let entry_count = count(Column::DataEntryCount)?;
    Ok((chosen, entries.map(|entries| ItemData::Log(LogData { entry_count, entries: entries.into() }))))
}

/// PCRs by bank; `None` for a bank that is not wanted.
type SelectedBanks = Vec<(Box<str>, Option<Vec<u32>>)>;

fn selected_subjects(value: &Json) -> Option<SelectedBanks> {
    let numbers = |numbers: &Json| -> Option<Option<Vec<u32>>> {
        match numbers {
            Json::Null => Some(None),
            Json::Array(numbers) => {
                numbers.iter().map(|n| n.as_u64().and_then(|n| u32::try_from(n).ok())).collect::<Option<_>>().map(Some)
            }
            Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => None,
        }
    };
    value.as_object()?.iter().map(|(bank, pcrs)| Some((bank.as_str().into(), numbers(pcrs)?))).collect()
}

fn certification_key(value: &Json) -> Result<CertificationKey, String> {
    read_stored_key(value).ok_or_else(|| "certification key cannot be read".to_owned())
}
