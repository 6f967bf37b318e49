//! Names of key kinds and signature schemes in the agent's configuration and on its API (`tpm-formats.md` §9).

use std::fmt;

/// Kind and size of a TPM key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// RSA, 1024 bits.
    Rsa1024,
    /// RSA, 2048 bits.
    Rsa2048,
    /// RSA, 3072 bits.
    Rsa3072,
    /// RSA, 4096 bits.
    Rsa4096,
    /// NIST P-192.
    Ecc192,
    /// NIST P-224.
    Ecc224,
    /// NIST P-256.
    Ecc256,
    /// NIST P-384.
    Ecc384,
    /// NIST P-521.
    Ecc521,
    /// SM2 P-256.
    EccSm2,
}

impl KeyAlgorithm {
    /// The kind with this configuration name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "rsa1024" => Self::Rsa1024,
            "rsa" | "rsa2048" => Self::Rsa2048,
            "rsa3072" => Self::Rsa3072,
            "rsa4096" => Self::Rsa4096,
            "ecc192" | "ecc_nist_p192" => Self::Ecc192,
            "ecc224" | "ecc_nist_p224" => Self::Ecc224,
            "ecc" | "ecc256" | "ecc_nist_p256" => Self::Ecc256,
            "ecc384" | "ecc_nist_p384" => Self::Ecc384,
            "ecc521" | "ecc_nist_p521" => Self::Ecc521,
            "ecc_sm2" | "ecc_sm2_p256" => Self::EccSm2,
            _ => return None,
        })
    }

    /// The name on the API from version 2.5 on.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa1024 => "rsa1024",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
            Self::Ecc192 => "ecc192",
            Self::Ecc224 => "ecc224",
            Self::Ecc256 => "ecc256",
            Self::Ecc384 => "ecc384",
            Self::Ecc521 => "ecc521",
            Self::EccSm2 => "ecc_sm2",
        }
    }

    /// The name on the API before version 2.5, where the two default sizes had no number.
    #[must_use]
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa",
            Self::Ecc256 => "ecc",
            Self::Rsa1024
            | Self::Rsa3072
            | Self::Rsa4096
            | Self::Ecc192
            | Self::Ecc224
            | Self::Ecc384
            | Self::Ecc521
            | Self::EccSm2 => self.name(),
        }
    }

    /// Size of the modulus or of the curve's field, in bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        match self {
            Self::Rsa1024 => 1024,
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
            Self::Ecc192 => 192,
            Self::Ecc224 => 224,
            Self::Ecc256 | Self::EccSm2 => 256,
            Self::Ecc384 => 384,
            Self::Ecc521 => 521,
        }
    }

    /// Whether this is an RSA key.
    #[must_use]
    pub const fn is_rsa(self) -> bool {
        match self {
            Self::Rsa1024 | Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => true,
            Self::Ecc192 | Self::Ecc224 | Self::Ecc256 | Self::Ecc384 | Self::Ecc521 | Self::EccSm2 => false,
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A signature scheme of an attestation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningAlgorithm {
    /// RSASSA-PKCS1-v1_5.
    RsaSsa,
    /// RSASSA-PSS.
    RsaPss,
    /// ECDSA.
    EcDsa,
    /// EC-Schnorr.
    EcSchnorr,
}

impl SigningAlgorithm {
    /// The scheme with this configuration name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "rsassa" => Self::RsaSsa,
            "rsapss" => Self::RsaPss,
            "ecdsa" => Self::EcDsa,
            "ecschnorr" => Self::EcSchnorr,
            _ => return None,
        })
    }

    /// The name on the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaSsa => "rsassa",
            Self::RsaPss => "rsapss",
            Self::EcDsa => "ecdsa",
            Self::EcSchnorr => "ecschnorr",
        }
    }

    /// Whether a key of this kind can sign with the scheme.
    #[must_use]
    pub const fn fits(self, key: KeyAlgorithm) -> bool {
        match self {
            Self::RsaSsa | Self::RsaPss => key.is_rsa(),
            Self::EcDsa | Self::EcSchnorr => !key.is_rsa(),
        }
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_default_sizes_lose_their_number_before_2_5() {
        for (name, full, short) in [
            ("rsa", "rsa2048", "rsa"),
            ("ecc", "ecc256", "ecc"),
            ("rsa3072", "rsa3072", "rsa3072"),
            ("ecc_nist_p384", "ecc384", "ecc384"),
        ] {
            let algorithm = KeyAlgorithm::from_name(name).unwrap();
            assert_eq!((algorithm.name(), algorithm.short_name()), (full, short));
        }
        assert_eq!(KeyAlgorithm::from_name("ecdsa"), None);
        assert_eq!(SigningAlgorithm::from_name("ecdaa"), None);
    }
}
