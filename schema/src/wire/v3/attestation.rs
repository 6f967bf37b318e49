//! Attestations of push agents in answers (`verifier-v3-push.md` §4 to §6).
//!
//! The order of the members is the reference's; members without a value are left out, except that a certification item with
//! a component version shows its evidence version in any case.

use super::binary;
use super::timestamp::UtcMicros;
use keylime_engine::evidence::attestation::{
    Attestation, AttestationItem, Chosen, ItemData, LogData, LogParameters, QuoteData, QuoteParameters, WallMicros,
};
use keylime_engine::evidence::capabilities::{
    Capabilities, CertificationCapabilities, CertificationKey, LogCapabilities, LogGrowth, PartialAccess, Subjects,
};
use keylime_engine::tpm::clock_info::ClockInfo;
use keylime_engine::tpm::pcr_bank::PcrBank;
use serde::ser::{SerializeMap, SerializeSeq as _};
use serde::{Serialize, Serializer};

/// Which answer the attributes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// To the agent that opened it: what it is asked for.
    Requested,
    /// To the agent that sent evidence.
    Acknowledged,
    /// To those who read it.
    Full,
}

/// The attributes of an attestation.
#[derive(Debug, Clone, Copy)]
pub struct AttestationAttributes<'a> {
    attestation: &'a Attestation,
    view: View,
}

impl<'a> AttestationAttributes<'a> {
    /// The attributes that this answer shows.
    #[must_use]
    pub const fn new(attestation: &'a Attestation, view: View) -> Self {
        Self { attestation, view }
    }
}

impl Serialize for AttestationAttributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let attestation = self.attestation;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("stage", attestation.stage.name())?;
        match self.view {
            View::Requested => {
                map.serialize_entry("evidence_requested", &Items(&attestation.items, Part::Requested))?
            }
            View::Acknowledged => map.serialize_entry("evidence", &Items(&attestation.items, Part::Whole))?,
            View::Full => {
                map.serialize_entry("evaluation", attestation.stage.evaluation_name())?;
                if let Some(reason) = attestation.stage.failure_reason() {
                    map.serialize_entry("failure_reason", reason.name())?;
                }
                map.serialize_entry("evidence", &Items(&attestation.items, Part::Whole))?;
            }
        }
        map.serialize_entry("system_info", &SystemInfo(attestation.boot_time))?;
        entry_time(&mut map, "capabilities_received_at", Some(attestation.capabilities_received))?;
        entry_time(&mut map, "challenges_expire_at", attestation.challenges_expire)?;
        entry_time(&mut map, "evidence_received_at", attestation.evidence_received)?;
        entry_time(&mut map, "verification_completed_at", attestation.verification_completed)?;
        map.end()
    }
}

fn entry_time<M: SerializeMap>(map: &mut M, name: &str, time: Option<WallMicros>) -> Result<(), M::Error> {
    match time {
        Some(WallMicros(micros)) => map.serialize_entry(name, &UtcMicros::from_micros(micros)),
        None => Ok(()),
    }
}

struct SystemInfo(Option<i64>);

impl Serialize for SystemInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        entry_time(&mut map, "boot_time", self.0.map(WallMicros))?;
        map.end()
    }
}

#[derive(Clone, Copy)]
enum Part {
    Requested,
    Whole,
}

struct Items<'a>(&'a [AttestationItem], Part);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for item in self.0 {
            list.serialize_element(&Item(item, self.1))?;
        }
        list.end()
    }
}

struct Item<'a>(&'a AttestationItem, Part);

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let item = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("evidence_class", item.class().name())?;
        map.serialize_entry("evidence_type", item.kind.name())?;
        if let Part::Whole = self.1 {
            map.serialize_entry("capabilities", &CapabilityMembers(&item.capabilities))?;
        }
        map.serialize_entry("chosen_parameters", &ChosenMembers(&item.chosen))?;
        if let (Part::Whole, Some(data)) = (self.1, &item.data) {
            map.serialize_entry("data", &DataMembers(data, &item.chosen))?;
        }
        map.end()
    }
}

/// What an agent can do, as a JSON object.
#[derive(Debug)]
pub struct CapabilityMembers<'a>(pub &'a Capabilities);

impl Serialize for CapabilityMembers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Capabilities::Certification(capabilities) => certification(&mut map, capabilities)?,
            Capabilities::Log(capabilities) => log(&mut map, capabilities)?,
        }
        map.end()
    }
}

fn certification<M: SerializeMap>(map: &mut M, from: &CertificationCapabilities) -> Result<(), M::Error> {
    if from.component_version.is_some() {
        map.serialize_entry("component_version", &from.component_version)?;
        map.serialize_entry("evidence_version", &from.evidence_version)?;
    } else {
        optional(map, "evidence_version", from.evidence_version.as_ref())?;
    }
    optional(map, "signature_schemes", from.signature_schemes.as_ref())?;
    optional(map, "hash_algorithms", from.hash_algorithms.as_ref())?;
    optional(map, "available_subjects", from.available_subjects.as_ref().map(SubjectMembers).as_ref())?;
    let keys: Option<Vec<KeyMembers<'_>>> =
        from.certification_keys.as_ref().map(|k| k.iter().map(KeyMembers).collect());
    optional(map, "certification_keys", keys.as_ref())
}

fn log<M: SerializeMap>(map: &mut M, from: &LogCapabilities) -> Result<(), M::Error> {
    optional(map, "component_version", from.component_version.as_ref())?;
    optional(map, "evidence_version", from.evidence_version.as_ref())?;
    optional(map, "entry_count", from.entry_count.as_ref())?;
    map.serialize_entry("supports_partial_access", &(from.partial_access == PartialAccess::Supported))?;
    map.serialize_entry("appendable", &(from.growth == LogGrowth::Appendable))?;
    optional(map, "formats", from.formats.as_ref())
}

fn optional<M: SerializeMap, T: Serialize>(map: &mut M, name: &str, value: Option<&T>) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(name, value),
        None => Ok(()),
    }
}

/// PCR numbers by bank, as a JSON object.
#[derive(Debug)]
pub struct SubjectMembers<'a>(pub &'a Subjects);

impl Serialize for SubjectMembers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Subjects::Banks(banks) => {
                serializer.collect_map(banks.iter().map(|(bank, numbers)| (&**bank, numbers.as_slice())))
            }
            Subjects::Flat(numbers) => numbers.serialize(serializer),
        }
    }
}

/// A certification key, as a JSON object.
#[derive(Debug)]
pub struct KeyMembers<'a>(pub &'a CertificationKey);

impl Serialize for KeyMembers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key_class", key.key_class.name())?;
        optional(&mut map, "key_algorithm", key.key_algorithm.as_ref())?;
        map.serialize_entry("key_size", &key.key_size)?;
        optional(&mut map, "server_identifier", key.server_identifier.as_ref())?;
        optional(&mut map, "local_identifier", key.local_identifier.as_ref().map(|id| id.text()).as_ref())?;
        optional(&mut map, "allowable_signature_schemes", key.allowable_signature_schemes.as_ref())?;
        optional(&mut map, "allowable_hash_algorithms", key.allowable_hash_algorithms.as_ref())?;
        optional(&mut map, "public", key.public.as_deref().map(binary::encode).as_ref())?;
        map.end()
    }
}

struct ChosenMembers<'a>(&'a Chosen);

impl Serialize for ChosenMembers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Chosen::Quote(parameters) => {
                let QuoteParameters { challenge, signature_scheme, hash_algorithm, .. } = &**parameters;
                map.serialize_entry("challenge", &binary::encode(challenge.as_bytes()))?;
                map.serialize_entry("signature_scheme", signature_scheme.name())?;
                map.serialize_entry("hash_algorithm", hash_algorithm.name())?;
                map.serialize_entry("selected_subjects", &SelectedSubjects(&parameters.selected_subjects))?;
                map.serialize_entry("certification_key", &KeyMembers(&parameters.certification_key))?;
            }
            Chosen::Log(LogParameters { starting_offset, format }) => {
                optional(&mut map, "starting_offset", starting_offset.as_ref())?;
                map.serialize_entry("format", format.name())?;
            }
        }
        map.end()
    }
}

/// The chosen PCRs by bank, as a JSON object.
#[derive(Debug)]
pub struct SelectedSubjects<'a>(pub &'a [(Box<str>, Option<Vec<u32>>)]);

impl Serialize for SelectedSubjects<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(bank, numbers)| (&**bank, numbers)))
    }
}

struct DataMembers<'a>(&'a ItemData, &'a Chosen);

impl Serialize for DataMembers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match (self.0, self.1) {
            (ItemData::Quote(quote), chosen) => {
                map.serialize_entry("subject_data", &binary::encode(&quote.subject_data))?;
                map.serialize_entry("message", &binary::encode(&quote.message))?;
                map.serialize_entry("signature", &binary::encode(&quote.signature))?;
                optional(&mut map, "meta", quote_meta(quote, chosen).as_ref())?;
            }
            (ItemData::Log(LogData { entry_count, entries }), _) => {
                optional(&mut map, "entry_count", entry_count.as_ref())?;
                map.serialize_entry("entries", &**entries)?;
            }
        }
        map.end()
    }
}

fn quote_meta(quote: &QuoteData, chosen: &Chosen) -> Option<QuoteMeta> {
    let Chosen::Quote(parameters) = chosen else { return None };
    quote.claims(parameters.hash_algorithm).map(|(pcrs, clock)| QuoteMeta { pcrs, clock })
}

struct QuoteMeta {
    pcrs: PcrBank,
    clock: ClockInfo,
}

impl Serialize for QuoteMeta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Clock {
            clock: u64,
            reset_count: u32,
            restart_count: u32,
            safe: u8,
        }
        let ClockInfo { clock, reset_count, restart_count, safe } = self.clock;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("pcrs", &Banks(&self.pcrs))?;
        map.serialize_entry("clock_info", &Clock { clock, reset_count, restart_count, safe })?;
        map.end()
    }
}

struct Banks<'a>(&'a PcrBank);

impl Serialize for Banks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Values<'a>(&'a PcrBank);
        impl Serialize for Values<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer
                    .collect_map(self.0.iter().map(|(pcr, value)| (pcr.to_string(), format!("0x{}", value.to_hex()))))
            }
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0.algorithm().name(), &Values(self.0))?;
        map.end()
    }
}
