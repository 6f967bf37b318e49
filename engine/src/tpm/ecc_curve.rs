//! The NIST curves of TPM keys (TCG Algorithm Registry, table of TPM_ECC_CURVE).

use std::fmt;

/// A named curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EccCurve {
    /// secp192r1. Recognised, but no key on it is accepted: 96 bits of security are not enough.
    P192,
    /// secp224r1. Recognised, but no key on it is accepted: no maintained implementation is at hand.
    P224,
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl EccCurve {
    /// Every curve.
    pub const ALL: [Self; 5] = [Self::P192, Self::P224, Self::P256, Self::P384, Self::P521];

    /// The TPM_ECC_CURVE identifier.
    #[must_use]
    pub const fn tpm_id(self) -> u16 {
        match self {
            Self::P192 => 1,
            Self::P224 => 2,
            Self::P256 => 3,
            Self::P384 => 4,
            Self::P521 => 5,
        }
    }

    /// The curve with this TPM_ECC_CURVE identifier.
    #[must_use]
    pub fn from_tpm_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.tpm_id() == id)
    }

    /// The SEC 2 name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P192 => "secp192r1",
            Self::P224 => "secp224r1",
            Self::P256 => "secp256r1",
            Self::P384 => "secp384r1",
            Self::P521 => "secp521r1",
        }
    }

    /// Size of the field in bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        match self {
            Self::P192 => 192,
            Self::P224 => 224,
            Self::P256 => 256,
            Self::P384 => 384,
            Self::P521 => 521,
        }
    }

    /// Length of a coordinate in bytes: the field size, rounded up.
    #[must_use]
    pub const fn coordinate_len(self) -> usize {
        self.bits().div_ceil(8) as usize
    }
}

impl fmt::Display for EccCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
