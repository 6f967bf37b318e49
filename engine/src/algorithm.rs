//! Algorithm names and identifiers, and the acceptance rule of Keylime's accept lists.
//!
//! Follows the TCG Algorithm Registry for identifiers and `tpm-formats.md` §1 and §9 for names.

use std::fmt;

/// A hash algorithm that a TPM bank, a quote or an IMA log may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HashAlgorithm {
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
    /// SM3, 32 bytes.
    Sm3_256,
}

impl HashAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 5] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512, Self::Sm3_256];

    /// The TPM_ALG_ID.
    #[must_use]
    pub const fn tpm_id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000B,
            Self::Sha384 => 0x000C,
            Self::Sha512 => 0x000D,
            Self::Sm3_256 => 0x0012,
        }
    }

    /// The algorithm with this TPM_ALG_ID.
    #[must_use]
    pub fn from_tpm_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.tpm_id() == id)
    }

    /// Keylime's name of the algorithm.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sm3_256 => "sm3_256",
        }
    }

    /// The algorithm with this name (exact, lower case).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// Length of a digest in bytes.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sm3_256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Hashes the concatenation of `parts`.
    #[must_use]
    pub fn digest(self, parts: &[&[u8]]) -> Digest {
        use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
        let algorithm = match self {
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
            Self::Sm3_256 => {
                use sm3::Digest as _;
                let mut hasher = sm3::Sm3::new();
                for part in parts {
                    hasher.update(part);
                }
                return Digest::from_slice(&hasher.finalize());
            }
        };
        if let [whole] = parts {
            // Half the time of a context, which has to be allocated.
            return Digest::from_slice(aws_lc_rs::digest::digest(algorithm, whole).as_ref());
        }
        let mut context = Context::new(algorithm);
        for part in parts {
            context.update(part);
        }
        Digest::from_slice(context.finish().as_ref())
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A digest of at most 64 bytes, kept in place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    bytes: [u8; 64],
    len: u8,
}

impl Digest {
    /// A digest with these bytes; bytes beyond the 64th are cut off.
    #[must_use]
    pub fn from_slice(data: &[u8]) -> Self {
        let len = data.len().min(64);
        let mut bytes = [0; 64];
        bytes[..len].copy_from_slice(&data[..len]);
        #[allow(clippy::cast_possible_truncation, reason = "len is at most 64")]
        Self { bytes, len: len as u8 }
    }

    /// A digest of `len` bytes (at most 64) with the same value.
    #[must_use]
    pub fn filled(value: u8, len: usize) -> Self {
        Self::from_slice(&[value; 64][..len.min(64)])
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Lower-case hexadecimal.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.as_bytes())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// Whether `name` is accepted by an accept list: an exact member, or equal after mapping `rsa` to `rsa2048` and `ecc` to
/// `ecc256` on both sides (`tpm-formats.md` §9).
#[must_use]
pub fn is_accepted<S: AsRef<str>>(name: &str, accepted: &[S]) -> bool {
    fn normalised(name: &str) -> &str {
        match name {
            "rsa" => "rsa2048",
            "ecc" => "ecc256",
            other => other,
        }
    }
    accepted.iter().any(|a| normalised(a.as_ref()) == normalised(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_have_the_length_of_their_algorithm() {
        for algorithm in HashAlgorithm::ALL {
            assert_eq!(algorithm.digest(&[b"a", b"b"]).as_bytes().len(), algorithm.digest_len());
            assert_eq!(algorithm.digest(&[b"a", b"b"]), algorithm.digest(&[b"ab"]));
            assert_eq!(HashAlgorithm::from_name(algorithm.name()), Some(algorithm));
            assert_eq!(HashAlgorithm::from_tpm_id(algorithm.tpm_id()), Some(algorithm));
        }
    }

    #[test]
    fn sm3_matches_the_standard_example() {
        // GB/T 32905-2016, example 1.
        assert_eq!(
            HashAlgorithm::Sm3_256.digest(&[b"abc"]).to_hex(),
            "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
        );
    }

    #[test]
    fn only_two_aliases_exist() {
        assert!(is_accepted("rsa2048", &["rsa"]));
        assert!(is_accepted("ecc", &["ecc256"]));
        assert!(!is_accepted("rsa3072", &["rsa"]));
        assert!(!is_accepted("ecc384", &["ecc"]));
        assert!(is_accepted("sha256", &["sha512", "sha256"]));
    }
}
