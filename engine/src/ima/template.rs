//! Templates of a measurement list: which fields an entry has and how they become the hashed template data.
//!
//! `ima`, `ima-ng`, `ima-sig` and `ima-buf` are read exactly as Keylime reads them (`ima.md` §2, §3). Keylime cannot read
//! `ima-ngv2`, `ima-sigv2`, `ima-modsig` and `evm-sig`; for these the kernel's own format rules
//! (Documentation/security/IMA-templates.rst and security/integrity/ima/ima_template_lib.c of Linux).

use super::hex_field::{self, HexError};
use super::measurement_list::split_field;
use std::ops::Range;

/// A template by its name in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// `ima`: raw digest and a name padded to 256 bytes.
    Ima,
    /// `ima-ng`: digest with algorithm, name.
    ImaNg,
    /// `ima-sig`: as `ima-ng`, with a file signature.
    ImaSig,
    /// `ima-buf`: as `ima-ng`, with the measured buffer.
    ImaBuf,
    /// `ima-ngv2`: as `ima-ng`, the digest also says whether it is IMA's or fs-verity's.
    ImaNgV2,
    /// `ima-sigv2`: `ima-ngv2` with a file signature.
    ImaSigV2,
    /// `ima-modsig`: `ima-sig` with an appended signature and the digest of the file without it.
    ImaModsig,
    /// `evm-sig`: `ima-ng` with a portable EVM signature and everything it covers.
    EvmSig,
}

impl Template {
    /// The template with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ima" => Self::Ima,
            "ima-ng" => Self::ImaNg,
            "ima-sig" => Self::ImaSig,
            "ima-buf" => Self::ImaBuf,
            "ima-ngv2" => Self::ImaNgV2,
            "ima-sigv2" => Self::ImaSigV2,
            "ima-modsig" => Self::ImaModsig,
            "evm-sig" => Self::EvmSig,
            _ => return None,
        })
    }
}

/// Why an entry's fields do not fit its template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The line ends before the last field.
    #[error("the line ends before the field {0}")]
    Missing(&'static str),
    /// A field is not hexadecimal.
    #[error("the field {0} is {1}")]
    Hex(&'static str, HexError),
    /// A digest is neither hexadecimal of 16 or 20 bytes nor `algorithm:hexadecimal`.
    #[error("the file digest is not of the form algorithm:hexadecimal")]
    Digest,
    /// A digest of the second generation does not start with `ima:` or `verity:`.
    #[error("the file digest is not of the form type:algorithm:hexadecimal with type ima or verity")]
    DigestType,
    /// The name of an `ima` entry exceeds the 255 bytes its field can hold.
    #[error("the name is {0} bytes long, the template ima holds 255")]
    NameTooLong(usize),
    /// A number is not decimal or out of the range of its type.
    #[error("the field {0} is not a decimal number in range")]
    Number(&'static str),
    /// The field would not fit the 32-bit length that precedes it.
    #[error("a field is longer than 4 GiB")]
    TooLong,
}

/// The fields of one entry. Ranges point into the template data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields<'l> {
    /// File name, key ring name or event name.
    pub name: &'l str,
    /// Name of the digest algorithm as logged; inferred from the length when the log does not name it.
    pub algorithm: &'l str,
    /// The file digest.
    pub digest: Range<usize>,
    /// What follows name and digest.
    pub extra: Extra,
}

/// The fields after digest and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extra {
    /// The template has no further field.
    Nothing,
    /// A file signature of well-formed header and length, or none.
    Signature(Option<Range<usize>>),
    /// A measured buffer.
    Buffer(Range<usize>),
    /// A portable EVM signature with what it covers.
    Evm(Box<EvmFields>),
}

/// The fields of `evm-sig` after digest and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvmFields {
    /// The signature, or none.
    pub signature: Option<Range<usize>>,
    /// Names of the extended attributes, separated by `|`.
    pub names: Range<usize>,
    /// Lengths of their values, 32 bits little-endian each.
    pub lengths: Range<usize>,
    /// Their values, concatenated.
    pub values: Range<usize>,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permission bits.
    pub mode: u16,
}

/// Reads the fields after the template name and replaces `data` by the template data.
///
/// # Errors
/// [`FieldError`] when the fields do not fit the template; `data` is of no use then.
pub fn read_fields<'l>(template: Template, rest: &'l str, data: &mut Vec<u8>) -> Result<Fields<'l>, FieldError> {
    data.clear();
    let (digest_text, rest) = split_field(rest).ok_or(FieldError::Missing("n-ng"))?;
    match template {
        Template::Ima => ima(digest_text, rest, data),
        Template::ImaNg => {
            let (algorithm, digest) = push_digest(digest_text, data)?;
            push_name(rest, data)?;
            Ok(Fields { name: rest, algorithm, digest, extra: Extra::Nothing })
        }
        Template::ImaSig => {
            let (name, text) = split_field(rest).ok_or(FieldError::Missing("sig"))?;
            let (algorithm, digest) = push_digest(digest_text, data)?;
            push_name(name, data)?;
            let signature = push_signature(text, data)?;
            Ok(Fields { name, algorithm, digest, extra: Extra::Signature(signature) })
        }
        Template::ImaBuf => {
            let (name, text) = split_field(rest).ok_or(FieldError::Missing("buf"))?;
            let (algorithm, digest) = push_digest(digest_text, data)?;
            push_name(name, data)?;
            let buffer = push_hex("buf", text, data)?;
            Ok(Fields { name, algorithm, digest, extra: Extra::Buffer(buffer) })
        }
        Template::ImaNgV2 => {
            let (algorithm, digest) = push_typed_digest(digest_text, data)?;
            push_name(rest, data)?;
            Ok(Fields { name: rest, algorithm, digest, extra: Extra::Nothing })
        }
        Template::ImaSigV2 => {
            let (name, text) = rest.rsplit_once(' ').ok_or(FieldError::Missing("sig"))?;
            let (algorithm, digest) = push_typed_digest(digest_text, data)?;
            push_name(name, data)?;
            let signature = push_signature(text, data)?;
            Ok(Fields { name, algorithm, digest, extra: Extra::Signature(signature) })
        }
        Template::ImaModsig => ima_modsig(digest_text, rest, data),
        Template::EvmSig => evm_sig(digest_text, rest, data),
    }
}

/// Longest name of the template `ima`, without the closing NUL.
const IMA_NAME_MAX: usize = 255;

fn ima<'l>(digest_text: &'l str, name: &'l str, data: &mut Vec<u8>) -> Result<Fields<'l>, FieldError> {
    if name.len() > IMA_NAME_MAX {
        return Err(FieldError::NameTooLong(name.len()));
    }
    let (algorithm, text) = split_digest(digest_text)?;
    let digest = push_raw_hex("d", text, data)?;
    let algorithm = named_or_inferred(algorithm, digest.len())?;
    data.extend_from_slice(name.as_bytes());
    data.resize(digest.end + IMA_NAME_MAX + 1, 0);
    Ok(Fields { name, algorithm, digest, extra: Extra::Nothing })
}

fn ima_modsig<'l>(digest_text: &'l str, rest: &'l str, data: &mut Vec<u8>) -> Result<Fields<'l>, FieldError> {
    // Right to left: the last three fields never hold a space, a name could.
    let mut fields = rest.rsplitn(4, ' ');
    let modsig = fields.next().unwrap_or_default();
    let modsig_digest = fields.next().ok_or(FieldError::Missing("modsig"))?;
    let signature = fields.next().ok_or(FieldError::Missing("d-modsig"))?;
    let name = fields.next().ok_or(FieldError::Missing("sig"))?;
    let (algorithm, digest) = push_digest(digest_text, data)?;
    push_name(name, data)?;
    let signature = push_signature(signature, data)?;
    if modsig_digest.is_empty() {
        push_length(0, data)?;
    } else {
        push_digest(modsig_digest, data)?;
    }
    push_hex("modsig", modsig, data)?;
    Ok(Fields { name, algorithm, digest, extra: Extra::Signature(signature) })
}

fn evm_sig<'l>(digest_text: &'l str, rest: &'l str, data: &mut Vec<u8>) -> Result<Fields<'l>, FieldError> {
    let mut fields = rest.rsplitn(8, ' ');
    let mode = fields.next().unwrap_or_default();
    let gid = fields.next().ok_or(FieldError::Missing("imode"))?;
    let uid = fields.next().ok_or(FieldError::Missing("igid"))?;
    let values = fields.next().ok_or(FieldError::Missing("iuid"))?;
    let lengths = fields.next().ok_or(FieldError::Missing("xattrvalues"))?;
    let names = fields.next().ok_or(FieldError::Missing("xattrlengths"))?;
    let signature = fields.next().ok_or(FieldError::Missing("xattrnames"))?;
    let name = fields.next().ok_or(FieldError::Missing("evmsig"))?;

    let (algorithm, digest) = push_digest(digest_text, data)?;
    push_name(name, data)?;
    let signature = push_signature(signature, data)?;
    let names = if names.is_empty() {
        push_length(0, data)?;
        data.len()..data.len()
    } else {
        let start = data.len() + LENGTH_BYTES;
        push_name(names, data)?;
        start..start + names.len()
    };
    let lengths = push_hex("xattrlengths", lengths, data)?;
    let values = push_hex("xattrvalues", values, data)?;
    let uid: u32 = decimal("iuid", uid)?;
    push_bytes(&uid.to_le_bytes(), data)?;
    let gid: u32 = decimal("igid", gid)?;
    push_bytes(&gid.to_le_bytes(), data)?;
    let mode: u16 = decimal("imode", mode)?;
    push_bytes(&mode.to_le_bytes(), data)?;
    let extra = Extra::Evm(Box::new(EvmFields { signature, names, lengths, values, uid, gid, mode }));
    Ok(Fields { name, algorithm, digest, extra })
}

fn decimal<N: std::str::FromStr>(field: &'static str, text: &str) -> Result<N, FieldError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(FieldError::Number(field));
    }
    text.parse().map_err(|_| FieldError::Number(field))
}

/// Splits `algorithm:hex`; the algorithm is `None` when there is no colon.
fn split_digest(text: &str) -> Result<(Option<&str>, &str), FieldError> {
    let mut colons = memchr::memchr_iter(b':', text.as_bytes());
    match (colons.next(), colons.next()) {
        (None, _) => Ok((None, text)),
        (Some(at), None) => Ok((Some(&text[..at]), &text[at + 1..])),
        (Some(_), Some(_)) => Err(FieldError::Digest),
    }
}

fn named_or_inferred(name: Option<&str>, length: usize) -> Result<&str, FieldError> {
    match (name, length) {
        (Some(name), _) => Ok(name),
        (None, 20) => Ok("sha1"),
        (None, 16) => Ok("md5"),
        (None, _) => Err(FieldError::Digest),
    }
}

/// Writes `d-ng`: length, algorithm, colon, NUL, digest.
fn push_digest<'l>(text: &'l str, data: &mut Vec<u8>) -> Result<(&'l str, Range<usize>), FieldError> {
    let (name, text) = split_digest(text)?;
    let algorithm = if let Some(name) = name {
        name
    } else {
        // Only the decoded digest tells which prefix goes before it.
        let trial = push_raw_hex("d-ng", text, data)?;
        data.truncate(trial.start);
        named_or_inferred(None, trial.len())?
    };
    let field = begin_field(data);
    data.extend_from_slice(algorithm.as_bytes());
    data.extend_from_slice(b":\0");
    let digest = push_raw_hex("d-ng", text, data)?;
    end_field(field, data)?;
    Ok((algorithm, digest))
}

/// Writes `d-ngv2`: length, type, colon, algorithm, colon, NUL, digest.
fn push_typed_digest<'l>(text: &'l str, data: &mut Vec<u8>) -> Result<(&'l str, Range<usize>), FieldError> {
    let (kind, rest) = text.split_once(':').ok_or(FieldError::DigestType)?;
    let (algorithm, hex) = rest.split_once(':').ok_or(FieldError::DigestType)?;
    if !matches!(kind, "ima" | "verity") || hex.contains(':') {
        return Err(FieldError::DigestType);
    }
    let field = begin_field(data);
    data.extend_from_slice(&text.as_bytes()[..kind.len() + 1 + algorithm.len()]);
    data.extend_from_slice(b":\0");
    let digest = push_raw_hex("d-ngv2", hex, data)?;
    end_field(field, data)?;
    Ok((algorithm, digest))
}

/// Leaves room for the length of a field and returns where its content begins.
fn begin_field(data: &mut Vec<u8>) -> usize {
    data.extend_from_slice(&[0; LENGTH_BYTES]);
    data.len()
}

/// Fills in the length of the field whose content begins at `start` and ends with the data.
fn end_field(start: usize, data: &mut [u8]) -> Result<(), FieldError> {
    let length = u32::try_from(data.len() - start).map_err(|_| FieldError::TooLong)?;
    data[start - LENGTH_BYTES..start].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Width of the little-endian length before each field.
const LENGTH_BYTES: usize = 4;

/// Writes `n-ng`: length including the closing NUL, text, NUL.
fn push_name(name: &str, data: &mut Vec<u8>) -> Result<(), FieldError> {
    push_length(name.len() + 1, data)?;
    data.extend_from_slice(name.as_bytes());
    data.push(0);
    Ok(())
}

fn push_bytes(bytes: &[u8], data: &mut Vec<u8>) -> Result<(), FieldError> {
    push_length(bytes.len(), data)?;
    data.extend_from_slice(bytes);
    Ok(())
}

fn push_length(length: usize, data: &mut Vec<u8>) -> Result<(), FieldError> {
    let length = u32::try_from(length).map_err(|_| FieldError::TooLong)?;
    data.extend_from_slice(&length.to_le_bytes());
    Ok(())
}

fn push_raw_hex(field: &'static str, text: &str, data: &mut Vec<u8>) -> Result<Range<usize>, FieldError> {
    let start = data.len();
    hex_field::decode_into(text.as_bytes(), data).map_err(|e| FieldError::Hex(field, e))?;
    Ok(start..data.len())
}

/// Writes a hexadecimal field with its length before it.
fn push_hex(field: &'static str, text: &str, data: &mut Vec<u8>) -> Result<Range<usize>, FieldError> {
    let start = begin_field(data);
    let range = push_raw_hex(field, text, data)?;
    end_field(start, data)?;
    Ok(range)
}

/// Bytes before the signature itself: type, version, hash algorithm, key id (32 bits), length (16 bits), big-endian.
pub const SIGNATURE_HEADER: usize = 9;

/// Writes a signature field. A signature that is not hexadecimal or whose header does not state its length counts as
/// absent, so that the template hash tells (`ima.md` §2).
fn push_signature(text: &str, data: &mut Vec<u8>) -> Result<Option<Range<usize>>, FieldError> {
    let start = data.len();
    if let Ok(range) = push_hex("sig", text, data) {
        let bytes = &data[range.clone()];
        if let Some(size) = bytes.get(SIGNATURE_HEADER - 2..SIGNATURE_HEADER) {
            let size = usize::from(u16::from_be_bytes([size[0], size[1]]));
            if SIGNATURE_HEADER + size == bytes.len() {
                return Ok(Some(range));
            }
        }
    }
    data.truncate(start);
    push_length(0, data)?;
    Ok(None)
}
