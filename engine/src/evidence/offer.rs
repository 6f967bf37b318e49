//! Reads what a push agent offers. Every member is checked before anything is refused, and each message names its place
//! (`verifier-v3-push.md` §4, "Validation").

use super::binary_text::{self, BinaryOrText};
use super::capabilities::{
    Capabilities, CertificationCapabilities, CertificationKey, EvidenceClass, KeyClass, LogCapabilities, LogGrowth,
    PartialAccess, Subjects,
};
use super::field_error::{FieldError, REQUIRED};
use crate::tpm::signature::SignatureScheme;
use serde_json::{Map, Value};

/// What an agent said of its last boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootTime {
    /// Nothing.
    Absent,
    /// Something that is no time.
    Unreadable,
    /// Microseconds since the epoch.
    At(i64),
}

/// An offer whose members could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// The pieces of evidence, in the agent's order.
    pub items: Vec<OfferedItem>,
    /// The last boot.
    pub boot_time: BootTime,
}

/// One piece of evidence that is offered.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedItem {
    /// Its type, known or not.
    pub evidence_type: Box<str>,
    /// What the agent can do for it.
    pub capabilities: Capabilities,
}

impl OfferedItem {
    /// Its class.
    #[must_use]
    pub const fn class(&self) -> EvidenceClass {
        match self.capabilities {
            Capabilities::Certification(_) => EvidenceClass::Certification,
            Capabilities::Log(_) => EvidenceClass::Log,
        }
    }
}

/// Most pieces of evidence in one offer.
const MAX_ITEMS: usize = 16;
/// Most members of one list.
const MAX_LIST: usize = 64;
/// Most bytes of one text; the longest honest one is a public key.
const MAX_TEXT: usize = 4096;
/// Most characters of an algorithm's name, a version or a format, which have columns of their own in the database.
const MAX_NAME: usize = 255;

impl Offer {
    /// Reads `evidence_supported`.
    ///
    /// # Errors
    /// Every message about the form of the offer.
    pub fn read(evidence: Option<&Value>, boot_time: BootTime) -> Result<Self, Vec<FieldError>> {
        let items = match evidence {
            None => return Err(vec![FieldError::evidence(REQUIRED)]),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(vec![FieldError::evidence("must be an array")]),
        };
        if items.len() > MAX_ITEMS {
            return Err(vec![FieldError::evidence(format!("must contain at most {MAX_ITEMS} elements"))]);
        }
        let mut reader = OfferReader::default();
        let items: Vec<OfferedItem> =
            items.iter().enumerate().filter_map(|(index, item)| reader.item(index, item)).collect();
        if reader.errors.is_empty() { Ok(Self { items, boot_time }) } else { Err(reader.errors) }
    }
}

/// Reads capabilities that were read before, from a database; `None` when they are not what this verifier stores.
#[must_use]
pub fn read_stored_capabilities(class: EvidenceClass, members: &Map<String, Value>) -> Option<Capabilities> {
    let mut reader = OfferReader::default();
    let capabilities = match class {
        EvidenceClass::Certification => Capabilities::Certification(Box::new(reader.certification("", members))),
        EvidenceClass::Log => Capabilities::Log(reader.log("", members)),
    };
    reader.errors.is_empty().then_some(capabilities)
}

/// Reads a certification key that was read before, from a database.
#[must_use]
pub fn read_stored_key(key: &Value) -> Option<CertificationKey> {
    OfferReader::default().key("", key)
}

#[derive(Default)]
struct OfferReader {
    errors: Vec<FieldError>,
}

impl OfferReader {
    fn item(&mut self, index: usize, item: &Value) -> Option<OfferedItem> {
        let Value::Object(item) = item else {
            self.errors.push(FieldError::evidence("may only contain objects with key-value pairs"));
            return None;
        };
        let place = format!("evidence/{index}");
        let class = self.class(&place, item);
        let evidence_type = self.name(&place, item, "evidence_type");
        if evidence_type.is_none() {
            self.require(&place, "evidence_type", item);
        }
        let capabilities = match item.get("capabilities") {
            Some(Value::Object(capabilities)) => capabilities,
            Some(_) => {
                self.error(&place, "capabilities", "may only contain objects with key-value pairs");
                return None;
            }
            None => {
                self.error(&place, "capabilities", REQUIRED);
                return None;
            }
        };
        let place = format!("{place}/capabilities");
        let capabilities = match class? {
            EvidenceClass::Certification => {
                Capabilities::Certification(Box::new(self.certification(&place, capabilities)))
            }
            EvidenceClass::Log => Capabilities::Log(self.log(&place, capabilities)),
        };
        Some(OfferedItem { evidence_type: evidence_type?, capabilities })
    }

    fn class(&mut self, place: &str, item: &Map<String, Value>) -> Option<EvidenceClass> {
        match item.get("evidence_class") {
            None => self.error(place, "evidence_class", REQUIRED),
            Some(value) => {
                let class = value.as_str().and_then(EvidenceClass::from_name);
                if class.is_some() {
                    return class;
                }
                self.error(place, "evidence_class", "is not a permitted value");
            }
        }
        None
    }

    fn certification(&mut self, place: &str, from: &Map<String, Value>) -> CertificationCapabilities {
        CertificationCapabilities {
            component_version: self.short_name(place, from, "component_version"),
            evidence_version: self.short_name(place, from, "evidence_version"),
            signature_schemes: self.names(place, from, "signature_schemes"),
            hash_algorithms: self.names(place, from, "hash_algorithms"),
            available_subjects: self.subjects(place, from),
            certification_keys: self.keys(place, from),
        }
    }

    fn subjects(&mut self, place: &str, from: &Map<String, Value>) -> Option<Subjects> {
        let member = "available_subjects";
        let problem = match from.get(member)? {
            Value::Null => return None,
            Value::Array(numbers) => match pcr_numbers(numbers) {
                Some(numbers) => return Some(Subjects::Flat(numbers)),
                None => "must contain PCR numbers only",
            },
            Value::Object(banks) if banks.len() <= MAX_LIST => {
                let read: Option<Vec<_>> = banks
                    .iter()
                    .map(|(bank, numbers)| Some((bank.as_str().into(), pcr_numbers(numbers.as_array()?)?)))
                    .collect();
                match read {
                    Some(banks) => return Some(Subjects::Banks(banks)),
                    None => "must contain PCR numbers only",
                }
            }
            Value::Object(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                "must be a dictionary mapping PCR bank names to PCR numbers for tpm_quote evidence"
            }
        };
        self.error(place, member, problem);
        None
    }

    fn keys(&mut self, place: &str, from: &Map<String, Value>) -> Option<Vec<CertificationKey>> {
        let keys = match from.get("certification_keys")? {
            Value::Null => return None,
            Value::Array(keys) if keys.len() <= MAX_LIST => keys,
            _ => {
                self.error(place, "certification_keys", "must be an array");
                return None;
            }
        };
        let read = keys.iter().enumerate();
        Some(read.filter_map(|(index, key)| self.key(&format!("{place}/certification_keys/{index}"), key)).collect())
    }

    fn key(&mut self, place: &str, key: &Value) -> Option<CertificationKey> {
        let Value::Object(key) = key else {
            self.errors.push(FieldError::at(place.to_owned(), "may only contain objects with key-value pairs"));
            return None;
        };
        let class = key.get("key_class").and_then(Value::as_str).and_then(KeyClass::from_name);
        if class.is_none() {
            if key.get("key_class").is_some_and(|class| !class.is_null()) {
                self.error(place, "key_class", "is not a permitted value");
            }
            self.error(place, "key_class", REQUIRED);
        }
        let size = key.get("key_size").and_then(Value::as_i64);
        if size.is_none() {
            self.error(place, "key_size", REQUIRED);
        }
        let read = CertificationKey {
            key_class: class.unwrap_or(KeyClass::Asymmetric),
            key_algorithm: self.name(place, key, "key_algorithm"),
            key_size: size.unwrap_or_default(),
            server_identifier: self.name(place, key, "server_identifier"),
            local_identifier: self.text(place, key, "local_identifier", MAX_TEXT).map(|text| BinaryOrText::read(&text)),
            allowable_signature_schemes: self.names(place, key, "allowable_signature_schemes"),
            allowable_hash_algorithms: self.names(place, key, "allowable_hash_algorithms"),
            public: self.binary(place, key, "public"),
        };
        if class == Some(KeyClass::Asymmetric) {
            self.asymmetric_key(place, &read);
        }
        (class.is_some() && size.is_some()).then_some(read)
    }

    fn asymmetric_key(&mut self, place: &str, key: &CertificationKey) {
        if key.key_algorithm.is_none() {
            self.error(place, "key_algorithm", "is required when key_class is 'asymmetric'");
        }
        if key.server_identifier.is_none() && key.local_identifier.is_none() && key.public.is_none() {
            for member in ["server_identifier", "local_identifier", "public"] {
                self.error(place, member, REQUIRED);
            }
        }
        let (Some(algorithm), Some(schemes)) = (&key.key_algorithm, &key.allowable_signature_schemes) else { return };
        let foreign = |scheme: &str| {
            SignatureScheme::from_name(scheme).is_some_and(|scheme| scheme.key_algorithm() != &**algorithm)
        };
        if schemes.iter().any(|scheme| foreign(scheme)) {
            let message = format!("must not contain schemes incompatible with key_algorithm ('{algorithm}')");
            self.errors.push(FieldError::at(format!("{place}/allowable_signature_schemes"), message));
        }
    }

    fn log(&mut self, place: &str, from: &Map<String, Value>) -> LogCapabilities {
        let partial = self.flag(place, from, "supports_partial_access");
        let appendable = self.flag(place, from, "appendable");
        let entry_count = self.count(place, from, "entry_count");
        if partial && from.get("entry_count").is_none_or(Value::is_null) {
            self.error(place, "entry_count", "is required when supports_partial_access is true");
        }
        LogCapabilities {
            component_version: self.short_name(place, from, "component_version"),
            evidence_version: self.short_name(place, from, "evidence_version"),
            entry_count,
            partial_access: if partial { PartialAccess::Supported } else { PartialAccess::Unsupported },
            growth: if appendable { LogGrowth::Appendable } else { LogGrowth::Fixed },
            formats: self.names(place, from, "formats"),
        }
    }

    fn count(&mut self, place: &str, from: &Map<String, Value>, member: &str) -> Option<u64> {
        match from.get(member)? {
            Value::Null => None,
            Value::Number(number) => {
                // The database keeps it in 32 bits.
                let count = number.as_u64().filter(|count| *count <= i32::MAX as u64);
                if count.is_none() {
                    let negative = number.as_i64().is_some_and(|n| n < 0);
                    let problem = if negative { "must be greater than or equal to 0" } else { "must be an integer" };
                    self.error(place, member, problem);
                }
                count
            }
            _ => {
                self.error(place, member, "must be an integer");
                None
            }
        }
    }

    fn flag(&mut self, place: &str, from: &Map<String, Value>, member: &str) -> bool {
        match from.get(member) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.error(place, member, "must be a boolean");
                false
            }
        }
    }

    fn names(&mut self, place: &str, from: &Map<String, Value>, member: &str) -> Option<Vec<Box<str>>> {
        let names = match from.get(member)? {
            Value::Null => return None,
            Value::Array(names) if names.len() <= MAX_LIST => {
                names.iter().map(|name| name.as_str().filter(|name| name.len() <= MAX_NAME).map(Into::into)).collect()
            }
            _ => None,
        };
        if names.is_none() {
            self.error(place, member, "must be an array of strings");
        }
        names
    }

    fn name(&mut self, place: &str, from: &Map<String, Value>, member: &str) -> Option<Box<str>> {
        self.text(place, from, member, 30)
    }

    fn short_name(&mut self, place: &str, from: &Map<String, Value>, member: &str) -> Option<Box<str>> {
        self.text(place, from, member, 20)
    }

    fn text(&mut self, place: &str, from: &Map<String, Value>, member: &str, limit: usize) -> Option<Box<str>> {
        match from.get(member)? {
            Value::Null => None,
            Value::String(text) if text.len() <= limit => Some(text.as_str().into()),
            Value::String(_) => {
                self.error(place, member, format!("must not be longer than {limit} bytes"));
                None
            }
            _ => {
                self.error(place, member, "must be a string");
                None
            }
        }
    }

    fn binary(&mut self, place: &str, from: &Map<String, Value>, member: &str) -> Option<Box<[u8]>> {
        let text = self.text(place, from, member, MAX_TEXT)?;
        let bytes = binary_text::decode(&text);
        if bytes.is_none() {
            self.error(place, member, "must be valid binary");
        }
        bytes.map(Into::into)
    }

    fn require(&mut self, place: &str, member: &str, from: &Map<String, Value>) {
        if from.get(member).is_none_or(Value::is_null) {
            self.error(place, member, REQUIRED);
        }
    }

    fn error(&mut self, place: &str, member: &str, message: impl Into<std::borrow::Cow<'static, str>>) {
        self.errors.push(FieldError::at(format!("{place}/{member}"), message));
    }
}

/// PCR numbers, ascending and each once; no TPM has more than 24, but what an agent offers beyond is harmless.
fn pcr_numbers(numbers: &[Value]) -> Option<Vec<u32>> {
    if numbers.len() > MAX_LIST {
        return None;
    }
    let numbers: Option<Vec<u32>> =
        numbers.iter().map(|number| number.as_u64().and_then(|n| u32::try_from(n).ok())).collect();
    let mut numbers = numbers?;
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}
