//! Signatures of files in entries of the templates `ima-sig` and later (`ima.md` §8).
//!
//! Keylime verifies version 2 over the entry's file digest. Version 3 (Linux 6.1, `struct ima_file_id`: type, algorithm,
//! digest) is verified too, which Keylime rejects.

use super::template::SIGNATURE_HEADER;
use crate::algorithm::HashAlgorithm;

/// A hash algorithm by its number in a signature header (`enum hash_algo` of Linux).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureHash {
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA-224.
    Sha224,
    /// GOST R 34.11-2012, 256 bits. Known by name; no key can verify it.
    Streebog256,
    /// GOST R 34.11-2012, 512 bits. Known by name; no key can verify it.
    Streebog512,
}

impl SignatureHash {
    /// The algorithm with this number.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        Some(match id {
            1 => Self::Md5,
            2 => Self::Sha1,
            4 => Self::Sha256,
            5 => Self::Sha384,
            6 => Self::Sha512,
            7 => Self::Sha224,
            18 => Self::Streebog256,
            19 => Self::Streebog512,
            _ => return None,
        })
    }

    /// Linux's name, as it stands before the digest in the list.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sha224 => "sha224",
            Self::Streebog256 => "streebog256",
            Self::Streebog512 => "streebog512",
        }
    }

    /// Length of a digest in bytes.
    #[must_use]
    pub fn digest_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 | Self::Streebog256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 | Self::Streebog512 => 64,
        }
    }

    /// The DER before the digest in a PKCS#1 v1.5 signature (RFC 8017 §9.2, note 1).
    pub(crate) fn digest_info_prefix(self) -> Option<&'static [u8]> {
        Some(match self {
            Self::Md5 => &[
                0x30, 0x20, 0x30, 0x0C, 0x06, 0x08, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x02, 0x05, 0x05, 0x00, 0x04,
                0x10,
            ],
            Self::Sha1 => &[0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2B, 0x0E, 0x03, 0x02, 0x1A, 0x05, 0x00, 0x04, 0x14],
            Self::Sha224 => &[
                0x30, 0x2D, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x04, 0x05, 0x00,
                0x04, 0x1C,
            ],
            Self::Sha256 => &[
                0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
                0x04, 0x20,
            ],
            Self::Sha384 => &[
                0x30, 0x41, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
                0x04, 0x30,
            ],
            Self::Sha512 => &[
                0x30, 0x51, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00,
                0x04, 0x40,
            ],
            Self::Streebog256 | Self::Streebog512 => return None,
        })
    }

    /// Hashes `parts`, where the algorithm is one that can be computed.
    pub(crate) fn digest(self, parts: &[&[u8]]) -> Option<Vec<u8>> {
        let algorithm = match self {
            Self::Sha1 => HashAlgorithm::Sha1,
            Self::Sha256 => HashAlgorithm::Sha256,
            Self::Sha384 => HashAlgorithm::Sha384,
            Self::Sha512 => HashAlgorithm::Sha512,
            Self::Sha224 => {
                let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA224);
                parts.iter().for_each(|part| context.update(part));
                return Some(context.finish().as_ref().to_vec());
            }
            Self::Md5 | Self::Streebog256 | Self::Streebog512 => return None,
        };
        Some(algorithm.digest(parts).as_bytes().to_vec())
    }
}

/// What kind of signature the extended attribute held (`enum evm_ima_xattr_type` of Linux).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKind {
    /// 3: signature of the file's content.
    Ima,
    /// 5: portable EVM signature.
    EvmPortable,
    /// 6: signature of the fs-verity digest.
    Verity,
}

impl SignatureKind {
    fn byte(self) -> u8 {
        match self {
            Self::Ima => 3,
            Self::EvmPortable => 5,
            Self::Verity => 6,
        }
    }
}

/// Which bytes a signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureVersion {
    /// 2: the file digest.
    V2,
    /// 3: `struct ima_file_id` around the file digest.
    V3,
}

/// A file signature of a kind, version and hash that can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSignature<'b> {
    /// The kind.
    pub kind: SignatureKind,
    /// The version.
    pub version: SignatureVersion,
    /// The hash algorithm it says it covers, with its number.
    pub hash: SignatureHash,
    hash_id: u8,
    /// The id of the key that made it.
    pub key_id: u32,
    /// The signature itself.
    pub bytes: &'b [u8],
}

impl<'b> FileSignature<'b> {
    /// Reads a signature field. `None` for other kinds, versions and algorithms: such a signature verifies nothing.
    #[must_use]
    pub fn read(field: &'b [u8]) -> Option<Self> {
        let (header, bytes) = field.split_at_checked(SIGNATURE_HEADER)?;
        let (kind, version) = match (header[0], header[1]) {
            (3, 2) => (SignatureKind::Ima, SignatureVersion::V2),
            (5, 2) => (SignatureKind::EvmPortable, SignatureVersion::V2),
            (3, 3) => (SignatureKind::Ima, SignatureVersion::V3),
            (6, 3) => (SignatureKind::Verity, SignatureVersion::V3),
            _ => return None,
        };
        let hash = SignatureHash::from_id(header[2])?;
        let key_id = u32::from_be_bytes([header[3], header[4], header[5], header[6]]);
        Some(Self { kind, version, hash, hash_id: header[2], key_id, bytes })
    }

    /// The digest the signature was made over, for a file with this digest.
    #[must_use]
    pub fn signed_digest(&self, file_digest: &[u8]) -> Option<Vec<u8>> {
        match self.version {
            SignatureVersion::V2 => Some(file_digest.to_vec()),
            SignatureVersion::V3 => self.hash.digest(&[&[self.kind.byte(), self.hash_id], file_digest]),
        }
    }
}
