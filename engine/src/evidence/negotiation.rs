//! From what an agent offers and what its policies call for to what it is asked for (`verifier-v3-push.md` §4,
//! `evidence-and-tee.md` §5).
//!
//! Differs from the reference in two points: keys of elliptic curves are taken, which its test of name prefixes never lets
//! through, and only the bank that is signed with is selected, so that every quoted value is judged.

use super::attestation::{AttestationItem, Challenge, Chosen, LogFormat, LogParameters, QuoteParameters};
use super::capabilities::{
    Capabilities, CertificationCapabilities, CertificationKey, EvidenceClass, EvidenceType, LogCapabilities,
    PartialAccess, Subjects,
};
use super::field_error::{FieldError, REQUIRED};
use super::offer::{BootTime, Offer, OfferedItem};
use super::requirements::Requirements;
use crate::algorithm::HashAlgorithm;
use crate::identity::attestation_key::AttestationKey;
use crate::tpm::public_area::PublicArea;
use crate::tpm::signature::SignatureScheme;

/// What an offer is measured by.
#[derive(Debug, Clone, Copy)]
pub struct NegotiationTerms<'a> {
    /// What has to be proved.
    pub requirements: Requirements,
    /// `accept_tpm_hash_algs`, most wanted first.
    pub accepted_hash: &'a [String],
    /// `accept_tpm_signing_algs`, most wanted first.
    pub accepted_sign: &'a [String],
    /// The agent's registered key.
    pub attestation_key: &'a AttestationKey,
}

/// How far the agent's measurement list is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownList {
    /// Boot time of the last attestation that passed, microseconds since the epoch.
    pub boot_time: Option<i64>,
    /// Number of its entries that need not be sent again.
    pub entries: u64,
}

/// What an agent is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Negotiated {
    /// Pieces of evidence.
    pub items: Vec<AttestationItem>,
    /// Boot time it named.
    pub boot_time: Option<i64>,
}

/// The schemes that quotes are verified for.
const VERIFIED_SCHEMES: [SignatureScheme; 2] = [SignatureScheme::Rsassa, SignatureScheme::Ecdsa];

/// Chooses evidence and its parameters.
///
/// # Errors
/// Every message about why the offer does not do.
pub fn negotiate(
    offer: &Offer,
    terms: &NegotiationTerms<'_>,
    known: KnownList,
    challenge: Challenge,
) -> Result<Negotiated, Vec<FieldError>> {
    let mut negotiation = Negotiation { offer, terms, errors: Vec::new() };
    let quote = negotiation.quote(challenge);
    let uefi = terms.requirements.uefi.is_wanted().then(|| negotiation.log(EvidenceType::UefiLog)).flatten();
    let ima = terms.requirements.ima.is_wanted().then(|| negotiation.log(EvidenceType::ImaLog)).flatten();
    negotiation.check_items();
    if !negotiation.errors.is_empty() {
        return Err(negotiation.errors);
    }
    let boot_time = negotiation.boot_time();
    let uefi = uefi.map(|(index, log)| negotiation.whole_log(index, log));
    let ima = ima.map(|(index, log)| negotiation.growing_log(index, log, boot_time, known));
    if !negotiation.errors.is_empty() {
        return Err(negotiation.errors);
    }
    Ok(Negotiated { items: quote.into_iter().chain(uefi).chain(ima).collect(), boot_time })
}

/// Whether an offer of a quote does, in one respect.
type Test<'t> = &'t dyn Fn(&CertificationCapabilities) -> bool;

struct Negotiation<'a> {
    offer: &'a Offer,
    terms: &'a NegotiationTerms<'a>,
    errors: Vec<FieldError>,
}

impl<'a> Negotiation<'a> {
    fn quote(&mut self, challenge: Challenge) -> Option<AttestationItem> {
        if self.terms.requirements.is_empty() {
            return None;
        }
        let offered: Vec<&CertificationCapabilities> = self
            .offer
            .items
            .iter()
            .filter(|item| *item.evidence_type == *EvidenceType::TpmQuote.name())
            .filter_map(|item| match &item.capabilities {
                Capabilities::Certification(capabilities) => Some(&**capabilities),
                Capabilities::Log(_) => None,
            })
            .collect();
        if offered.is_empty() {
            self.refuse("must contain a certification item of type 'tpm_quote' per agent policy");
            return None;
        }
        let usable = match self.usable(offered) {
            Ok(usable) => usable,
            Err(hint) => {
                self.errors.push(FieldError::evidence(format!(
                    "must have 'tpm_quote' with capabilities which are valid and satisfy agent policy ({hint})"
                )));
                return None;
            }
        };
        let item = self.parameters(usable, challenge);
        if item.is_none() {
            self.refuse(
                "must have 'tpm_quote' with capabilities which satisfy agent policy (check the correct numbered PCRs \
                 are given for an allowable PCR bank)",
            );
        }
        item
    }

    /// The first offer that passes every test, or a hint at the first test that none passes.
    fn usable(
        &self,
        mut offers: Vec<&'a CertificationCapabilities>,
    ) -> Result<&'a CertificationCapabilities, &'static str> {
        let tests: [(Test<'_>, &'static str); 5] = [
            (&|offer| offer.component_version.as_deref() == Some("2.0"), "check 'component_version'"),
            (&|offer| !self.schemes(offer).is_empty(), "check 'signature_schemes'"),
            (&|offer| !self.hashes(offer).is_empty(), "check 'hash_algorithms'"),
            (&|offer| self.has_accepted_bank(offer), "check PCR banks in 'available_subjects'"),
            (&|offer| self.keys(offer).next().is_some(), "check schemes and algorithms in 'certification_keys'"),
        ];
        for (test, hint) in tests {
            offers.retain(|offer| test(offer));
            if offers.is_empty() {
                return Err(hint);
            }
        }
        offers.first().copied().ok_or("check 'component_version'")
    }

    /// Accepted schemes that are offered and that quotes can be verified for, most wanted first.
    fn schemes(&self, offer: &CertificationCapabilities) -> Vec<SignatureScheme> {
        let offered = offer.signature_schemes.as_deref().unwrap_or_default();
        self.terms
            .accepted_sign
            .iter()
            .filter(|name| contains(offered, name))
            .filter_map(|name| SignatureScheme::from_name(name))
            .filter(|scheme| VERIFIED_SCHEMES.contains(scheme))
            .collect()
    }

    /// Accepted hash algorithms that are offered, most wanted first.
    fn hashes(&self, offer: &CertificationCapabilities) -> Vec<HashAlgorithm> {
        let offered = offer.hash_algorithms.as_deref().unwrap_or_default();
        self.terms
            .accepted_hash
            .iter()
            .filter(|name| contains(offered, name))
            .filter_map(|name| HashAlgorithm::from_name(name))
            .collect()
    }

    fn has_accepted_bank(&self, offer: &CertificationCapabilities) -> bool {
        match &offer.available_subjects {
            Some(Subjects::Banks(banks)) => {
                banks.iter().any(|(bank, _)| self.terms.accepted_hash.iter().any(|name| **name == **bank))
            }
            Some(Subjects::Flat(_)) => true,
            None => false,
        }
    }

    /// Keys that can sign with some accepted scheme over some accepted hash: the registered one first, then the one the
    /// agent calls `ak`.
    fn keys<'o>(&self, offer: &'o CertificationCapabilities) -> impl Iterator<Item = &'o CertificationKey> + use<'o> {
        let (schemes, hashes) = (self.schemes(offer), self.hashes(offer));
        let mut keys: Vec<&CertificationKey> = offer
            .certification_keys
            .iter()
            .flatten()
            .filter(|key| schemes.iter().any(|scheme| may_sign(key, *scheme)))
            .filter(|key| hashes.iter().any(|hash| may_hash(key, *hash)))
            .collect();
        keys.sort_by_key(|key| (!self.is_registered(key), key.server_identifier.as_deref() != Some("ak")));
        keys.into_iter()
    }

    fn is_registered(&self, key: &CertificationKey) -> bool {
        let area = key.public.as_deref().and_then(|public| PublicArea::from_tpm2b(public).ok());
        area.is_some_and(|area| area.name() == Some(self.terms.attestation_key.name()))
    }

    fn parameters(&self, offer: &CertificationCapabilities, challenge: Challenge) -> Option<AttestationItem> {
        let key = self.keys(offer).next()?;
        let signature_scheme = self.schemes(offer).into_iter().find(|scheme| may_sign(key, *scheme))?;
        let hash_algorithm =
            self.hashes(offer).into_iter().find(|hash| may_hash(key, *hash) && self.has_required_pcrs(offer, *hash))?;
        let required: Vec<u32> = self.terms.requirements.pcrs.iter().map(u32::from).collect();
        let selection = |bank: &str| (bank == hash_algorithm.name()).then(|| required.clone());
        let selected_subjects = match offer.available_subjects.as_ref()? {
            Subjects::Banks(banks) => banks.iter().map(|(bank, _)| (bank.clone(), selection(bank))).collect(),
            Subjects::Flat(_) => vec![(hash_algorithm.name().into(), Some(required.clone()))],
        };
        Some(AttestationItem {
            kind: EvidenceType::TpmQuote,
            capabilities: Capabilities::Certification(Box::new(offer.clone())),
            chosen: Chosen::Quote(Box::new(QuoteParameters {
                challenge,
                signature_scheme,
                hash_algorithm,
                selected_subjects,
                certification_key: key.clone(),
            })),
            data: None,
            certified_entries: None,
        })
    }

    fn has_required_pcrs(&self, offer: &CertificationCapabilities, bank: HashAlgorithm) -> bool {
        let Some(available) = offer.available_subjects.as_ref().and_then(|subjects| subjects.bank(bank.name())) else {
            return false;
        };
        self.terms.requirements.pcrs.iter().all(|pcr| available.contains(&u32::from(pcr)))
    }

    /// The offer of a log with its position, if it does.
    fn log(&mut self, kind: EvidenceType) -> Option<(usize, &'a LogCapabilities)> {
        let mut offered = self.offer.items.iter().enumerate().filter_map(|(index, item)| match &item.capabilities {
            Capabilities::Log(log) if *item.evidence_type == *kind.name() => Some((index, log)),
            Capabilities::Log(_) | Capabilities::Certification(_) => None,
        });
        let Some(first) = offered.next() else {
            self.refuse(match kind {
                EvidenceType::UefiLog => "must contain a log item of type 'uefi_log' per agent policy",
                EvidenceType::ImaLog | EvidenceType::TpmQuote => {
                    "must contain a log item of type 'ima_log' per agent policy"
                }
            });
            return None;
        };
        let does = |log: &LogCapabilities| match kind {
            EvidenceType::UefiLog => has_format(log, LogFormat::Binary),
            EvidenceType::ImaLog | EvidenceType::TpmQuote => {
                has_format(log, LogFormat::Text) && log.partial_access == PartialAccess::Supported
            }
        };
        let usable = std::iter::once(first).chain(offered).find(|(_, log)| does(log));
        if usable.is_none() {
            self.refuse(match kind {
                EvidenceType::UefiLog => "must have 'uefi_log' with format 'application/octet-stream'",
                EvidenceType::ImaLog | EvidenceType::TpmQuote => {
                    "must have 'ima_log' with format 'text/plain' and which supports partial access"
                }
            });
        }
        usable
    }

    /// The rules for members that belong to the offered types, whether or not they are wanted.
    fn check_items(&mut self) {
        for (index, item) in self.offer.items.iter().enumerate() {
            let place = format!("evidence/{index}/capabilities");
            match &item.capabilities {
                Capabilities::Certification(capabilities) => self.check_certification(&place, item, capabilities),
                Capabilities::Log(log) if *item.evidence_type == *EvidenceType::ImaLog.name() => {
                    if log.entry_count.is_none() {
                        self.error(&place, "entry_count", REQUIRED);
                    }
                    if log.formats.is_none() {
                        self.error(&place, "formats", "is required for ima_log evidence");
                    }
                }
                Capabilities::Log(_) => {}
            }
        }
    }

    fn check_certification(&mut self, place: &str, item: &OfferedItem, offer: &CertificationCapabilities) {
        for (member, is_there) in [
            ("signature_schemes", offer.signature_schemes.is_some()),
            ("certification_keys", offer.certification_keys.is_some()),
        ] {
            if !is_there {
                self.error(place, member, REQUIRED);
            }
        }
        if *item.evidence_type == *EvidenceType::TpmQuote.name() {
            self.check_banks(place, offer);
        }
        self.check_keys(place, offer);
    }

    fn check_banks(&mut self, place: &str, offer: &CertificationCapabilities) {
        if offer.hash_algorithms.is_none() {
            self.error(place, "hash_algorithms", "is required for tpm_quote evidence");
        }
        let member = "available_subjects";
        match &offer.available_subjects {
            None => self.error(place, member, "is required for tpm_quote evidence"),
            Some(Subjects::Flat(_)) => {}
            Some(Subjects::Banks(banks)) => {
                let hashes = offer.hash_algorithms.as_deref().unwrap_or_default();
                if banks.iter().any(|(bank, _)| !hashes.contains(bank)) {
                    self.error(place, member, "may only contain PCR banks for the given hash algorithms");
                }
                if !self.has_accepted_bank(offer) {
                    self.error(place, member, "must have a PCR bank for a hash algorithm allowable for agent");
                }
            }
        }
    }

    fn check_keys(&mut self, place: &str, offer: &CertificationCapabilities) {
        let Some(keys) = &offer.certification_keys else { return };
        let of_family = |name: &str, family: &str| {
            SignatureScheme::from_name(name).is_some_and(|scheme| scheme.key_algorithm() == family)
        };
        let offered = offer.signature_schemes.as_deref().unwrap_or_default();
        for (index, key) in keys.iter().enumerate() {
            let Some(family) = &key.key_algorithm else { continue };
            let place = format!("{place}/certification_keys/{index}");
            if !offered.is_empty() && !offered.iter().any(|scheme| of_family(scheme, family)) {
                self.error(&place, "key_algorithm", "must be compatible with a given signature schemes");
            }
        }
        let is_accepted = |key: &CertificationKey| {
            key.key_algorithm
                .as_deref()
                .is_some_and(|family| self.terms.accepted_sign.iter().any(|scheme| of_family(scheme, family)))
        };
        if !keys.iter().any(is_accepted) {
            self.error(
                place,
                "certification_keys",
                "must have a key usable with a signature algorithm allowable for agent",
            );
        }
    }

    fn boot_time(&mut self) -> Option<i64> {
        match self.offer.boot_time {
            BootTime::At(at) => Some(at),
            BootTime::Unreadable => {
                self.errors.push(FieldError::boot_time("must be a valid ISO8601 datetime or Unix timestamp"));
                None
            }
            BootTime::Absent => {
                if self.terms.requirements.ima.is_wanted() {
                    self.errors.push(FieldError::boot_time(REQUIRED));
                }
                None
            }
        }
    }

    fn whole_log(&mut self, index: usize, log: &LogCapabilities) -> AttestationItem {
        if log.partial_access == PartialAccess::Supported {
            self.offset_required(index);
        }
        log_item(EvidenceType::UefiLog, log, LogParameters { starting_offset: None, format: LogFormat::Binary })
    }

    fn growing_log(
        &mut self,
        index: usize,
        log: &LogCapabilities,
        boot_time: Option<i64>,
        known: KnownList,
    ) -> AttestationItem {
        let starting_offset = match (boot_time, known.boot_time) {
            (Some(now), Some(last)) if now == last => known.entries,
            (Some(now), Some(last)) if now < last => {
                let message = "must be equal to or greater than the boot time of last attestation";
                self.errors.push(FieldError::boot_time(message));
                0
            }
            (Some(_) | None, _) => 0,
        };
        match log.entry_count {
            Some(0) | None => self.offset_required(index),
            Some(count) if count < starting_offset => {
                let message =
                    format!("must be greater than or equal to the calculated starting offset of '{starting_offset}'");
                self.errors.push(FieldError::at(format!("evidence/{index}/capabilities/entry_count"), message));
            }
            Some(_) => {}
        }
        let parameters = LogParameters { starting_offset: Some(starting_offset), format: LogFormat::Text };
        log_item(EvidenceType::ImaLog, log, parameters)
    }

    fn offset_required(&mut self, index: usize) {
        let path = format!("evidence/{index}/chosen_parameters/starting_offset");
        self.errors.push(FieldError::at(path, REQUIRED));
    }

    fn refuse(&mut self, message: &'static str) {
        self.errors.push(FieldError::evidence(message));
    }

    fn error(&mut self, place: &str, member: &str, message: &'static str) {
        self.errors.push(FieldError::at(format!("{place}/{member}"), message));
    }
}

fn log_item(kind: EvidenceType, log: &LogCapabilities, parameters: LogParameters) -> AttestationItem {
    debug_assert_eq!(kind.class(), EvidenceClass::Log);
    AttestationItem {
        kind,
        capabilities: Capabilities::Log(log.clone()),
        chosen: Chosen::Log(parameters),
        data: None,
        certified_entries: None,
    }
}

fn contains(offered: &[Box<str>], name: &str) -> bool {
    offered.iter().any(|offered| **offered == *name)
}

fn has_format(log: &LogCapabilities, format: LogFormat) -> bool {
    contains(log.formats.as_deref().unwrap_or_default(), format.name())
}

fn may_sign(key: &CertificationKey, scheme: SignatureScheme) -> bool {
    key.key_algorithm.as_deref() == Some(scheme.key_algorithm())
        && key.allowable_signature_schemes.as_ref().is_none_or(|schemes| contains(schemes, scheme.name()))
}

fn may_hash(key: &CertificationKey, hash: HashAlgorithm) -> bool {
    key.allowable_hash_algorithms.as_ref().is_none_or(|hashes| contains(hashes, hash.name()))
}
