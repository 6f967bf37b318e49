//! TPMA_OBJECT: what a TPM lets a key do (TPM 2.0 Part 2, 8.3).

use std::fmt;

/// The attribute bits of an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectAttributes(u32);

impl ObjectAttributes {
    /// The key never leaves its TPM.
    pub const FIXED_TPM: Self = Self(0x2);
    /// The key never gets another parent.
    pub const FIXED_PARENT: Self = Self(0x10);
    /// The TPM itself generated the secret.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(0x20);
    /// The key handles only structures that the TPM made: a restricted signing key signs nothing a host composed.
    pub const RESTRICTED: Self = Self(0x1_0000);
    /// The key decrypts.
    pub const DECRYPT: Self = Self(0x2_0000);
    /// The key signs.
    pub const SIGN: Self = Self(0x4_0000);

    const NAMES: [(Self, &'static str); 6] = [
        (Self::FIXED_TPM, "fixedTPM"),
        (Self::FIXED_PARENT, "fixedParent"),
        (Self::SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin"),
        (Self::RESTRICTED, "restricted"),
        (Self::DECRYPT, "decrypt"),
        (Self::SIGN, "sign"),
    ];

    /// Attributes with these bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of `wanted` that are not set.
    #[must_use]
    pub const fn missing(self, wanted: Self) -> Self {
        Self(wanted.0 & !self.0)
    }

    /// Whether no bit is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for ObjectAttributes {
    /// The TCG names of the attributes that decide about trust; other bits as a number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = "";
        for (attribute, name) in Self::NAMES {
            if self.contains(attribute) {
                write!(f, "{separator}{name}")?;
                separator = ", ";
                rest &= !attribute.0;
            }
        }
        if rest != 0 || self.0 == 0 {
            write!(f, "{separator}{rest:#x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectAttributes({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        let host_key = ObjectAttributes::from_bits(0x4_0070);
        let wanted = ObjectAttributes::FIXED_TPM.union(ObjectAttributes::RESTRICTED).union(ObjectAttributes::SIGN);
        assert_eq!(host_key.missing(wanted).to_string(), "fixedTPM, restricted");
        assert!(ObjectAttributes::from_bits(0x5_0072).missing(wanted).is_empty());
        assert_eq!(ObjectAttributes::from_bits(0x40).to_string(), "0x40");
    }
}
