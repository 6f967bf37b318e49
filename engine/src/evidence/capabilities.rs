//! What a push agent offers to prove, as it says so when it opens an attestation (`verifier-v3-push.md` §4).

use super::binary_text::BinaryOrText;

/// The classes of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceClass {
    /// Something signed.
    Certification,
    /// A list of events.
    Log,
}

impl EvidenceClass {
    /// Keylime's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certification => "certification",
            Self::Log => "log",
        }
    }

    /// The class with this name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Certification, Self::Log].into_iter().find(|class| class.name().eq_ignore_ascii_case(name))
    }
}

/// The types of evidence this verifier judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EvidenceType {
    /// A TPM's quote.
    TpmQuote,
    /// The firmware's event log.
    UefiLog,
    /// The kernel's measurement list.
    ImaLog,
}

impl EvidenceType {
    /// Every type, in the order in which they are asked for.
    pub const ALL: [Self; 3] = [Self::TpmQuote, Self::UefiLog, Self::ImaLog];

    /// Keylime's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpmQuote => "tpm_quote",
            Self::UefiLog => "uefi_log",
            Self::ImaLog => "ima_log",
        }
    }

    /// The type with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its class.
    #[must_use]
    pub const fn class(self) -> EvidenceClass {
        match self {
            Self::TpmQuote => EvidenceClass::Certification,
            Self::UefiLog | Self::ImaLog => EvidenceClass::Log,
        }
    }
}

/// What an agent can do for one piece of evidence.
#[derive(Debug, Clone, PartialEq)]
pub enum Capabilities {
    /// For something signed.
    Certification(Box<CertificationCapabilities>),
    /// For a list of events.
    Log(LogCapabilities),
}

/// What an agent's certifying component can do.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "the fields are the members of verifier-v3-push.md §4")]
pub struct CertificationCapabilities {
    pub component_version: Option<Box<str>>,
    pub evidence_version: Option<Box<str>>,
    pub signature_schemes: Option<Vec<Box<str>>>,
    pub hash_algorithms: Option<Vec<Box<str>>>,
    pub available_subjects: Option<Subjects>,
    pub certification_keys: Option<Vec<CertificationKey>>,
}

/// PCRs by bank, in the order in which they were offered. `Flat` is the form of Keylime's documentation, which names no
/// bank: it stands for every offered hash algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subjects {
    /// PCR numbers by bank.
    Banks(Vec<(Box<str>, Vec<u32>)>),
    /// PCR numbers of all banks.
    Flat(Vec<u32>),
}

impl Subjects {
    /// The numbers of a bank.
    #[must_use]
    pub fn bank(&self, name: &str) -> Option<&[u32]> {
        match self {
            Self::Banks(banks) => banks.iter().find(|(bank, _)| **bank == *name).map(|(_, pcrs)| pcrs.as_slice()),
            Self::Flat(pcrs) => Some(pcrs),
        }
    }
}

/// What an agent knows of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the fields are the members of verifier-v3-push.md §4")]
pub struct LogCapabilities {
    pub component_version: Option<Box<str>>,
    pub evidence_version: Option<Box<str>>,
    pub entry_count: Option<u64>,
    pub partial_access: PartialAccess,
    pub growth: LogGrowth,
    pub formats: Option<Vec<Box<str>>>,
}

/// Whether a log can be asked for from some entry on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PartialAccess {
    /// It can.
    Supported,
    /// Only the whole log.
    #[default]
    Unsupported,
}

/// Whether a log grows after boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogGrowth {
    /// It does.
    Appendable,
    /// It does not.
    #[default]
    Fixed,
}

/// A key that an agent can certify with; sent back as it was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the members of verifier-v3-push.md §4")]
pub struct CertificationKey {
    pub key_class: KeyClass,
    pub key_algorithm: Option<Box<str>>,
    pub key_size: i64,
    pub server_identifier: Option<Box<str>>,
    pub local_identifier: Option<BinaryOrText>,
    pub allowable_signature_schemes: Option<Vec<Box<str>>>,
    pub allowable_hash_algorithms: Option<Vec<Box<str>>>,
    /// TPM2B_PUBLIC.
    pub public: Option<Box<[u8]>>,
}

/// The kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyClass {
    /// A key pair.
    Asymmetric,
    /// A secret.
    Symmetric,
}

impl KeyClass {
    /// Keylime's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asymmetric => "asymmetric",
            Self::Symmetric => "symmetric",
        }
    }

    /// The class with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Asymmetric, Self::Symmetric].into_iter().find(|class| class.name() == name)
    }
}
