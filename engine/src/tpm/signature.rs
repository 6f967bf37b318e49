//! TPMT_SIGNATURE: reading (TPM 2.0 Part 2, 11.3.4; `tpm-formats.md` §2.2).
//!
//! Reading happens in two steps, because a quote check judges the algorithm identifiers before the rest of the structure.

use super::ecc_curve::EccCurve;
use super::reader::{Reader, Truncated};
use smallvec::SmallVec;
use std::fmt;

/// A signature scheme of the TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureScheme {
    /// RSASSA-PKCS1-v1_5.
    Rsassa,
    /// RSASSA-PSS.
    Rsapss,
    /// ECDSA.
    Ecdsa,
    /// Anonymous attestation; never accepted.
    Ecdaa,
    /// SM2; never accepted.
    Sm2,
    /// Schnorr over NIST curves; never accepted, as the verifier of the reference refuses it too.
    Ecschnorr,
}

impl SignatureScheme {
    /// Every scheme.
    pub const ALL: [Self; 6] = [Self::Rsassa, Self::Rsapss, Self::Ecdsa, Self::Ecdaa, Self::Sm2, Self::Ecschnorr];

    /// The TPM_ALG_ID.
    #[must_use]
    pub const fn tpm_id(self) -> u16 {
        match self {
            Self::Rsassa => 0x0014,
            Self::Rsapss => 0x0016,
            Self::Ecdsa => 0x0018,
            Self::Ecdaa => 0x001A,
            Self::Sm2 => 0x001B,
            Self::Ecschnorr => 0x001C,
        }
    }

    /// The scheme with this TPM_ALG_ID.
    #[must_use]
    pub fn from_tpm_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.tpm_id() == id)
    }

    /// Keylime's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsassa => "rsassa",
            Self::Rsapss => "rsapss",
            Self::Ecdsa => "ecdsa",
            Self::Ecdaa => "ecdaa",
            Self::Sm2 => "sm2",
            Self::Ecschnorr => "ecschnorr",
        }
    }

    /// Keylime's name of the key algorithm the scheme is for.
    #[must_use]
    pub const fn key_algorithm(self) -> &'static str {
        match self {
            Self::Rsassa | Self::Rsapss => "rsa",
            Self::Ecdsa | Self::Ecdaa | Self::Sm2 | Self::Ecschnorr => "ecc",
        }
    }

    /// The scheme with this name (exact, lower case).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

impl fmt::Display for SignatureScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The first two fields of a TPMT_SIGNATURE and what follows them, not yet interpreted.
#[derive(Debug, Clone, Copy)]
pub struct SignatureHeader<'a> {
    /// TPM_ALG_ID of the scheme.
    pub scheme_id: u16,
    /// TPM_ALG_ID of the hash.
    pub hash_id: u16,
    value: &'a [u8],
}

/// The number or numbers of an ECDSA signature, big-endian, as the TPM sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EcdsaValue<'a> {
    r: &'a [u8],
    s: &'a [u8],
}

/// A DER ECDSA signature; in place for curves up to P-384, the one of P-521 needs up to 141 bytes.
pub type EcdsaDer = SmallVec<[u8; 128]>;

/// Why a signature cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignature {
    /// Shorter than its fields say.
    #[error("signature: {0}")]
    Truncated(#[from] Truncated),
    /// A number of an ECDSA signature is longer than the field of its curve, or empty.
    #[error("Invalid {name} coordinate size {len} for curve {curve}")]
    Coordinate {
        /// `r` or `s`.
        name: char,
        /// Its length in bytes.
        len: usize,
        /// The curve of the key.
        curve: EccCurve,
    },
    /// An ECDSA signature shorter than its fields say.
    #[error("Unable to parse ECC signature from TPM format")]
    EccTruncated,
}

impl<'a> SignatureHeader<'a> {
    /// Reads the algorithm identifiers.
    ///
    /// # Errors
    /// [`InvalidSignature::Truncated`] when they are not there.
    pub fn parse(data: &'a [u8]) -> Result<Self, InvalidSignature> {
        let mut reader = Reader::new(data);
        Ok(Self { scheme_id: reader.u16()?, hash_id: reader.u16()?, value: reader.rest() })
    }

    /// Reads an RSA signature; bytes after it are ignored, as the reference does.
    ///
    /// # Errors
    /// [`InvalidSignature::Truncated`] when it is shorter than its size field says.
    pub fn rsa_value(&self) -> Result<&'a [u8], InvalidSignature> {
        Ok(Reader::new(self.value).sized()?)
    }

    /// Reads an ECDSA signature; bytes after it are ignored, as the reference does.
    ///
    /// # Errors
    /// See [`InvalidSignature`].
    pub fn ecdsa_value(&self, curve: EccCurve) -> Result<EcdsaValue<'a>, InvalidSignature> {
        let mut reader = Reader::new(self.value);
        let r = reader.sized().map_err(|_| InvalidSignature::EccTruncated)?;
        let s = reader.sized().map_err(|_| InvalidSignature::EccTruncated)?;
        for (name, number) in [('r', r), ('s', s)] {
            if !(1..=curve.coordinate_len()).contains(&number.len()) {
                return Err(InvalidSignature::Coordinate { name, len: number.len(), curve });
            }
        }
        Ok(EcdsaValue { r, s })
    }
}

impl EcdsaValue<'_> {
    /// The DER form: SEQUENCE of two INTEGERs in minimal encoding (RFC 3279 §2.2.3).
    #[must_use]
    pub fn to_der(&self) -> EcdsaDer {
        let mut body = EcdsaDer::new();
        push_integer(&mut body, self.r);
        push_integer(&mut body, self.s);
        let mut der = EcdsaDer::new();
        der.push(0x30);
        push_length(&mut der, body.len());
        der.extend_from_slice(&body);
        der
    }
}

fn push_integer(der: &mut EcdsaDer, number: &[u8]) {
    let zeros = number.iter().take_while(|b| **b == 0).count().min(number.len().saturating_sub(1));
    let digits = &number[zeros..];
    let sign = usize::from(digits.first().is_some_and(|b| b & 0x80 != 0));
    der.push(0x02);
    push_length(der, digits.len() + sign);
    if sign == 1 {
        der.push(0);
    }
    der.extend_from_slice(digits);
}

/// Writes a DER length below 256; the callers' numbers have at most 67 bytes, their sequence 138.
fn push_length(der: &mut EcdsaDer, len: usize) {
    let [.., low] = len.to_be_bytes();
    if low >= 0x80 {
        der.push(0x81);
    }
    der.push(low);
}
