//! The TCG event log as firmware hands it over: records, digests and data, nothing interpreted yet.
//!
//! Follows the TCG PC Client Platform Firmware Profile 1.05 §10.2 (TCG_PCClientPCREvent, TCG_PCR_EVENT2,
//! TCG_EfiSpecIDEvent) and `measured-boot.md` §1. Everything is borrowed from the log; a log that claims more than it holds
//! ends in an error that says where.

use super::event_type::EventType;
use super::little_endian::{Bytes, Truncated};
use crate::algorithm::HashAlgorithm;

/// Largest log read, in bytes. Firmware reserves 64 KiB to a few hundred KiB for its log.
pub const MAX_LOG_BYTES: usize = 4 << 20;

/// Most events of one log.
pub const MAX_EVENTS: usize = 65_536;

/// Most digests of one event. A TPM has at most 16 banks.
pub const MAX_DIGESTS: usize = 64;

/// Most digests of all events together: those of unknown algorithms take two bytes in the log and hundreds for policies.
pub const MAX_LOG_DIGESTS: usize = 131_072;

/// Most algorithms in the header.
const MAX_ALGORITHMS: u32 = 256;

/// Highest PCR number an event may carry.
const MAX_PCR: u32 = 31;

/// A log split into records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'l> {
    /// What the log starts with.
    pub format: LogFormat<'l>,
    /// The events after the header.
    pub events: Vec<Event<'l>>,
}

/// The two formats of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFormat<'l> {
    /// Crypto-agile, with the Specification ID event it starts with.
    CryptoAgile(SpecIdEvent<'l>),
    /// The older format: one SHA-1 digest for each event, no header.
    Sha1,
}

/// The Specification ID event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecIdEvent<'l> {
    /// Size of the event's data, as it claims.
    pub size: u32,
    /// 16 bytes, not checked.
    pub signature: &'l [u8],
    /// Platform class.
    pub platform_class: u32,
    /// Minor version of the specification.
    pub version_minor: u8,
    /// Major version of the specification.
    pub version_major: u8,
    /// Errata.
    pub errata: u8,
    /// 1 for 32-bit firmware, 2 for 64-bit firmware.
    pub uintn_size: u8,
    /// TPM_ALG_ID and digest size in bytes, as claimed.
    pub algorithms: Vec<(u16, u16)>,
    /// Vendor information.
    pub vendor_info: &'l [u8],
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'l> {
    /// Its number; the header is number 0, and a log in the older format starts with 0.
    pub number: usize,
    /// Where it starts in the log, in bytes.
    pub offset: usize,
    /// Its length in the log, in bytes.
    pub length: usize,
    /// The PCR it was extended into, at most 31.
    pub pcr: u8,
    /// Its type.
    pub event_type: EventType,
    /// Its digests.
    pub digests: Vec<EventDigest<'l>>,
    /// Its data.
    pub data: &'l [u8],
}

/// A digest of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventDigest<'l> {
    /// TPM_ALG_ID.
    pub algorithm: u16,
    /// The digest; empty when the algorithm is unknown, because then its length is unknown too.
    pub digest: &'l [u8],
}

impl EventDigest<'_> {
    /// The algorithm, if it is one of a PCR bank.
    #[must_use]
    pub fn bank(&self) -> Option<HashAlgorithm> {
        HashAlgorithm::from_tpm_id(self.algorithm)
    }
}

/// Why a log cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event} at offset {offset:#x}: {problem}")]
pub struct LogError {
    /// Number of the event.
    pub event: usize,
    /// Where the event starts, in bytes.
    pub offset: usize,
    /// What is wrong.
    pub problem: LogProblem,
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogProblem {
    /// The log ends inside a field.
    #[error("the log ends in the event: {0}")]
    Truncated(#[from] Truncated),
    /// The log is larger than [`MAX_LOG_BYTES`].
    #[error("the log has {0} bytes, more than the {MAX_LOG_BYTES} that are read")]
    TooLong(usize),
    /// More than [`MAX_EVENTS`].
    #[error("more than {MAX_EVENTS} events")]
    TooManyEvents,
    /// More than [`MAX_DIGESTS`].
    #[error("{0} digests, more than the {MAX_DIGESTS} that an event may have")]
    TooManyDigests(u32),
    /// More than [`MAX_LOG_DIGESTS`].
    #[error("more than {MAX_LOG_DIGESTS} digests")]
    TooManyLogDigests,
    /// The first event is not a Specification ID event although it is of its type.
    #[error("the Specification ID event {0}")]
    Header(&'static str),
    /// A PCR number above 31.
    #[error("there is no PCR {0}")]
    Pcr(u32),
    /// The event's data is not what its type demands.
    #[error("{event_type}: {problem}")]
    Body {
        /// The type.
        event_type: EventType,
        /// What is wrong.
        problem: &'static str,
    },
    /// A text that the reference's YAML step cannot carry.
    #[error("{event_type}: {field} {problem}")]
    Text {
        /// The type.
        event_type: EventType,
        /// The field of the event.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The log is in the older format, whose events carry SHA-1 digests only.
    #[error("the log is in the older SHA-1 format, which no policy can be evaluated on")]
    Sha1Format,
}

impl<'l> EventLog<'l> {
    /// Reads a log.
    ///
    /// # Errors
    /// [`LogError`] at the first record that cannot be read; nothing of such a log is used.
    pub fn parse(log: &'l [u8]) -> Result<Self, LogError> {
        let at_start = |problem| LogError { event: 0, offset: 0, problem };
        if log.len() > MAX_LOG_BYTES {
            return Err(at_start(LogProblem::TooLong(log.len())));
        }
        let mut bytes = Bytes::new(log);
        let first = FirstRecord::read(&mut bytes.clone()).map_err(|e| at_start(e.into()))?;
        let (format, mut number) = if first.event_type == EventType::NO_ACTION {
            (LogFormat::CryptoAgile(read_header(&mut bytes).map_err(at_start)?), 1)
        } else {
            (LogFormat::Sha1, 0)
        };
        let read = match format {
            LogFormat::CryptoAgile(_) => read_event,
            LogFormat::Sha1 => read_sha1_event,
        };
        let mut events = Vec::with_capacity((bytes.len() / 128).min(1024));
        let mut digests = 0;
        while !bytes.is_empty() {
            let offset = log.len() - bytes.len();
            let failed = |problem| LogError { event: number, offset, problem };
            if events.len() == MAX_EVENTS {
                return Err(failed(LogProblem::TooManyEvents));
            }
            let before = bytes.len();
            let mut event = read(&mut bytes).map_err(failed)?;
            event.number = number;
            event.offset = offset;
            event.length = before - bytes.len();
            check_body(&event).map_err(failed)?;
            digests += event.digests.len();
            if digests > MAX_LOG_DIGESTS {
                return Err(failed(LogProblem::TooManyLogDigests));
            }
            events.push(event);
            number += 1;
        }
        Ok(Self { format, events })
    }
}

/// The fixed part of a record in the older format, which every log starts with.
struct FirstRecord<'l> {
    pcr: u32,
    event_type: EventType,
    digest: &'l [u8],
    size: u32,
}

impl<'l> FirstRecord<'l> {
    fn read(bytes: &mut Bytes<'l>) -> Result<Self, Truncated> {
        Ok(Self {
            pcr: bytes.u32()?,
            event_type: EventType(bytes.u32()?),
            digest: bytes.take(HashAlgorithm::Sha1.digest_len())?,
            size: bytes.u32()?,
        })
    }
}

fn read_header<'l>(bytes: &mut Bytes<'l>) -> Result<SpecIdEvent<'l>, LogProblem> {
    let record = FirstRecord::read(bytes)?;
    if record.pcr != 0 {
        return Err(LogProblem::Header("is not for PCR 0"));
    }
    if record.digest.iter().any(|byte| *byte != 0) {
        return Err(LogProblem::Header("has a digest that is not zero"));
    }
    if record.size < 28 {
        return Err(LogProblem::Header("is too small"));
    }
    bytes.clone().take(record.size as usize)?;
    let signature = bytes.take(16)?;
    let platform_class = bytes.u32()?;
    let [version_minor, version_major, errata, uintn_size] = [bytes.u8()?, bytes.u8()?, bytes.u8()?, bytes.u8()?];
    let count = bytes.u32()?;
    if count == 0 {
        return Err(LogProblem::Header("names no algorithm"));
    }
    if count > MAX_ALGORITHMS {
        return Err(LogProblem::Header("names too many algorithms"));
    }
    let algorithms = (0..count).map(|_| Ok((bytes.u16()?, bytes.u16()?))).collect::<Result<Vec<_>, Truncated>>()?;
    // The next event starts after what was read, whatever size the header claims.
    let vendor_info_size = bytes.u8()?;
    let vendor_info = bytes.take(vendor_info_size.into())?;
    Ok(SpecIdEvent {
        size: record.size,
        signature,
        platform_class,
        version_minor,
        version_major,
        errata,
        uintn_size,
        algorithms,
        vendor_info,
    })
}

fn read_event<'l>(bytes: &mut Bytes<'l>) -> Result<Event<'l>, LogProblem> {
    let pcr = bytes.u32()?;
    let event_type = EventType(bytes.u32()?);
    let count = bytes.u32()?;
    let pcr = pcr_number(pcr)?;
    let mut digests = Vec::new();
    for read in 0..count {
        if read as usize == MAX_DIGESTS {
            return Err(LogProblem::TooManyDigests(count));
        }
        let algorithm = bytes.u16()?;
        let length = HashAlgorithm::from_tpm_id(algorithm).map_or(0, HashAlgorithm::digest_len);
        digests.push(EventDigest { algorithm, digest: bytes.take(length)? });
    }
    let size = bytes.u32()?;
    let data = bytes.take(size as usize)?;
    Ok(Event { number: 0, offset: 0, length: 0, pcr, event_type, digests, data })
}

fn read_sha1_event<'l>(bytes: &mut Bytes<'l>) -> Result<Event<'l>, LogProblem> {
    let record = FirstRecord::read(bytes)?;
    let pcr = pcr_number(record.pcr)?;
    let data = bytes.take(record.size as usize)?;
    let digests = vec![EventDigest { algorithm: HashAlgorithm::Sha1.tpm_id(), digest: record.digest }];
    Ok(Event { number: 0, offset: 0, length: 0, pcr, event_type: record.event_type, digests, data })
}

fn pcr_number(pcr: u32) -> Result<u8, LogProblem> {
    u8::try_from(pcr).ok().filter(|_| pcr <= MAX_PCR).ok_or(LogProblem::Pcr(pcr))
}

/// Length of the fixed part of UEFI_VARIABLE_DATA and of UEFI_IMAGE_LOAD_EVENT.
pub(super) const VARIABLE_HEADER_BYTES: usize = 32;
/// Length of UEFI_PLATFORM_FIRMWARE_BLOB.
pub(super) const BLOB_BYTES: usize = 16;
/// Length of EV_NO_ACTION_STRUCT with a startup locality.
const LOCALITY_BYTES: usize = 17;

/// The demands on an event's data that hold whether it is looked at or not.
fn check_body(event: &Event<'_>) -> Result<(), LogProblem> {
    let problem = match event.event_type {
        EventType::VARIABLE_DRIVER_CONFIG | EventType::VARIABLE_BOOT | EventType::VARIABLE_AUTHORITY
            if !variable_fits(event.data) =>
        {
            "the data is too small for the variable it describes"
        }
        EventType::S_CRTM_CONTENTS | EventType::PLATFORM_FIRMWARE_BLOB if event.data.len() < BLOB_BYTES => {
            "the data is too small for a firmware blob"
        }
        EventType::BOOT_SERVICES_APPLICATION | EventType::BOOT_SERVICES_DRIVER | EventType::RUNTIME_SERVICES_DRIVER
            if event.data.len() < VARIABLE_HEADER_BYTES =>
        {
            "the data is too small for an image"
        }
        EventType::HCRTM_EVENT if event.data != b"HCRTM" => "the data is not HCRTM",
        EventType::NO_ACTION if event.pcr == 0 && event.length < LOCALITY_BYTES => "the event is too small",
        _ => return Ok(()),
    };
    Err(LogProblem::Body { event_type: event.event_type, problem })
}

fn variable_fits(data: &[u8]) -> bool {
    let mut bytes = Bytes::new(data);
    let lengths = bytes.take(16).and_then(|_| Ok((bytes.u64()?, bytes.u64()?)));
    let Ok((name, content)) = lengths else { return false };
    let needed = name.checked_mul(2).and_then(|name| name.checked_add(content));
    needed.is_some_and(|needed| needed <= bytes.len() as u64)
}

#[cfg(test)]
mod tests;
