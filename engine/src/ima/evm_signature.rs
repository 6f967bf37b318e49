//! Portable EVM signatures in entries of the template `evm-sig`.
//!
//! Such a signature covers the extended attributes, owner, group and mode of a file (Linux,
//! security/integrity/evm/evm_crypto.c, `evm_calc_hmac_or_hash`); the entry carries all of them. The file's content is
//! covered only through the attribute `security.ima`, which therefore has to vouch for the entry's file digest.

use super::file_signature::{FileSignature, SignatureHash, SignatureKind};
use super::measurement_list::Entry;
use super::template::EvmFields;

/// What has to be verified to trust the content of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvmClaim<'e> {
    /// The signature.
    pub signature: FileSignature<'e>,
    /// The digest it was made over.
    pub signed_digest: Vec<u8>,
    /// A signature in `security.ima` that has to verify over the file digest; `None` when the attribute holds the digest.
    pub content_signature: Option<FileSignature<'e>>,
}

/// Reads the claim of an entry. `None` when there is no portable signature or it does not cover the file's content.
#[must_use]
pub fn read_claim<'e>(entry: &Entry<'e, '_>, fields: &EvmFields) -> Option<EvmClaim<'e>> {
    let signature = FileSignature::read(entry.part(fields.signature.as_ref()?))?;
    if signature.kind != SignatureKind::EvmPortable {
        return None;
    }
    let attributes = attributes(entry, fields)?;
    let (_, ima) = attributes.iter().find(|(name, _)| *name == b"security.ima")?;
    let content_signature = content_claim(ima, entry)?;
    let mut parts: Vec<&[u8]> = attributes.iter().map(|(_, value)| *value).collect();
    let owner = owner_block(fields);
    parts.push(&owner);
    let signed_digest = signature.hash.digest(&parts)?;
    Some(EvmClaim { signature, signed_digest, content_signature })
}

/// `struct h_misc` on 64-bit machines: inode and generation, which are zero in portable signatures, then owner, group, mode.
fn owner_block(fields: &EvmFields) -> [u8; 24] {
    let mut block = [0; 24];
    block[12..16].copy_from_slice(&fields.uid.to_le_bytes());
    block[16..20].copy_from_slice(&fields.gid.to_le_bytes());
    block[20..22].copy_from_slice(&fields.mode.to_le_bytes());
    block
}

/// Names and values of the attributes; `None` when names, lengths and values do not fit each other.
fn attributes<'e>(entry: &Entry<'e, '_>, fields: &EvmFields) -> Option<Vec<(&'e [u8], &'e [u8])>> {
    let (lengths, []) = entry.part(&fields.lengths).as_chunks::<4>() else { return None };
    let mut lengths = lengths.iter();
    let mut values = entry.part(&fields.values);
    let mut attributes = Vec::new();
    for name in entry.part(&fields.names).split(|b| *b == b'|') {
        let length = usize::try_from(u32::from_le_bytes(*lengths.next()?)).ok()?;
        let (value, rest) = values.split_at_checked(length)?;
        values = rest;
        attributes.push((name, value));
    }
    (lengths.next().is_none() && values.is_empty()).then_some(attributes)
}

/// Whether `security.ima` vouches for the entry's digest: with the digest itself (inner `None`) or with a signature.
#[allow(clippy::option_option, reason = "no claim, a claim by digest and a claim by signature are three cases")]
fn content_claim<'e>(ima: &'e [u8], entry: &Entry<'e, '_>) -> Option<Option<FileSignature<'e>>> {
    match ima {
        // IMA_XATTR_DIGEST: SHA-1 or MD5 without a name.
        [1, digest @ ..] => (matches!(entry.algorithm, "sha1" | "md5") && digest == entry.digest()).then_some(None),
        // IMA_XATTR_DIGEST_NG: algorithm and digest.
        [4, algorithm, digest @ ..] => {
            let same = SignatureHash::from_id(*algorithm).is_some_and(|hash| hash.name() == entry.algorithm);
            (same && digest == entry.digest()).then_some(None)
        }
        [3, ..] => FileSignature::read(ima).map(Some),
        _ => None,
    }
}
