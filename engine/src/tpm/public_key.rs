//! Public keys as they stand in a public area, and their conversion to SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).

use super::ecc_curve::EccCurve;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::PublicKeyComponents;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;

/// Smallest RSA key that is accepted, in bits.
pub const MIN_RSA_BITS: u16 = 2048;
/// Largest RSA key that is accepted, in bits; no TPM offers more.
pub const MAX_RSA_BITS: u16 = 4096;
/// The public exponent a public area means with 0 (TPM 2.0 Part 2, 12.2.3.5).
const DEFAULT_EXPONENT: u32 = 65537;

/// An RSA or ECC public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA.
    Rsa(RsaPublicKey),
    /// A point on a NIST curve.
    Ecc(EccPublicKey),
}

/// An RSA public key of 2048 to 4096 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaPublicKey {
    modulus: Box<[u8]>,
    exponent: u32,
}

/// A point on P-256, P-384 or P-521, checked to be on its curve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EccPublicKey {
    curve: EccCurve,
    /// X9.62 uncompressed: 0x04, x, y.
    point: Box<[u8]>,
}

/// Why numbers are not a usable public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPublicKey {
    /// The modulus is not as long as the key size says.
    #[error("Misparsed either modulus or keybits: {got}*8 != {key_bits}")]
    ModulusLength {
        /// Bytes of the modulus.
        got: usize,
        /// Key size of the public area.
        key_bits: u16,
    },
    /// An RSA key shorter or longer than accepted.
    #[error("RSA key of {0} bits is not supported, {MIN_RSA_BITS} to {MAX_RSA_BITS} are")]
    RsaSize(u16),
    /// A modulus or exponent that no RSA key has.
    #[error("RSA modulus or exponent is not valid")]
    Rsa,
    /// A coordinate of the wrong length.
    #[error("Misparsed {axis} coordinate: got {got} bytes for {bits}-bit curve")]
    CoordinateLength {
        /// `X` or `Y`.
        axis: char,
        /// Bytes of the coordinate.
        got: usize,
        /// Bits of the field.
        bits: u16,
    },
    /// Keys on this curve are not accepted.
    #[error("keys on curve {0} are not supported")]
    Curve(EccCurve),
    /// A coordinate outside the field, or a point outside the curve.
    #[error("Invalid EC key. Point is not on the curve specified.")]
    NotOnCurve,
}

impl PublicKey {
    /// The SubjectPublicKeyInfo, DER.
    ///
    /// # Errors
    /// [`InvalidPublicKey::Rsa`] or [`InvalidPublicKey::NotOnCurve`] when the library refuses a key that passed the checks
    /// of the constructors.
    pub fn to_spki_der(&self) -> Result<Vec<u8>, InvalidPublicKey> {
        match self {
            Self::Rsa(key) => key.to_spki_der(),
            Self::Ecc(key) => key.to_spki_der(),
        }
    }

    /// The SubjectPublicKeyInfo as PEM: 64 columns, line feeds, one at the end.
    ///
    /// # Errors
    /// As [`Self::to_spki_der`].
    pub fn to_spki_pem(&self) -> Result<String, InvalidPublicKey> {
        let body = STANDARD.encode(self.to_spki_der()?);
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at(rest.len().min(64));
            let _infallible = writeln!(pem, "{line}");
            rest = tail;
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Ok(pem)
    }
}

impl RsaPublicKey {
    /// Takes a big-endian modulus and the exponent of a public area, where 0 means 65537.
    ///
    /// # Errors
    /// See [`InvalidPublicKey`].
    pub fn new(modulus: &[u8], exponent: u32, key_bits: u16) -> Result<Self, InvalidPublicKey> {
        if modulus.len() * 8 != usize::from(key_bits) {
            return Err(InvalidPublicKey::ModulusLength { got: modulus.len(), key_bits });
        }
        if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&key_bits) {
            return Err(InvalidPublicKey::RsaSize(key_bits));
        }
        let exponent = if exponent == 0 { DEFAULT_EXPONENT } else { exponent };
        // Bit length as announced, odd modulus, odd exponent above 1: whatever else is wrong makes verification fail.
        let (first, last) = (modulus.first().copied().unwrap_or(0), modulus.last().copied().unwrap_or(0));
        if first & 0x80 == 0 || last & 1 == 0 || exponent < 3 || exponent & 1 == 0 {
            return Err(InvalidPublicKey::Rsa);
        }
        Ok(Self { modulus: modulus.into(), exponent })
    }

    /// The modulus, big-endian without leading zeros.
    #[must_use]
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// The public exponent.
    #[must_use]
    pub const fn exponent(&self) -> u32 {
        self.exponent
    }

    /// Size of the modulus in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.modulus.len() * 8
    }

    /// The numbers as the cryptographic library takes them.
    pub(super) fn components(&self) -> PublicKeyComponents<Box<[u8]>> {
        let exponent = self.exponent.to_be_bytes();
        let leading = exponent.iter().take_while(|b| **b == 0).count();
        PublicKeyComponents { n: self.modulus.clone(), e: exponent[leading..].into() }
    }

    fn to_spki_der(&self) -> Result<Vec<u8>, InvalidPublicKey> {
        self.components().as_der().map(|der| der.as_ref().to_vec()).map_err(|_| InvalidPublicKey::Rsa)
    }
}

impl EccPublicKey {
    /// Takes big-endian coordinates, each as long as the field (for P-521 also one byte shorter).
    ///
    /// # Errors
    /// See [`InvalidPublicKey`].
    pub fn new(curve: EccCurve, x: &[u8], y: &[u8]) -> Result<Self, InvalidPublicKey> {
        let len = curve.coordinate_len();
        let mut point = vec![0; 1 + 2 * len];
        point[0] = 4;
        for (axis, coordinate, end) in [('X', x, 1 + len), ('Y', y, 1 + 2 * len)] {
            let shortest = if curve == EccCurve::P521 { len - 1 } else { len };
            if !(shortest..=len).contains(&coordinate.len()) {
                return Err(InvalidPublicKey::CoordinateLength { axis, got: coordinate.len(), bits: curve.bits() });
            }
            point[end - coordinate.len()..end].copy_from_slice(coordinate);
        }
        let on_curve = match curve {
            EccCurve::P192 | EccCurve::P224 => return Err(InvalidPublicKey::Curve(curve)),
            EccCurve::P256 => p256::PublicKey::from_sec1_bytes(&point).is_ok(),
            EccCurve::P384 => p384::PublicKey::from_sec1_bytes(&point).is_ok(),
            EccCurve::P521 => p521::PublicKey::from_sec1_bytes(&point).is_ok(),
        };
        if on_curve { Ok(Self { curve, point: point.into() }) } else { Err(InvalidPublicKey::NotOnCurve) }
    }

    /// The curve.
    #[must_use]
    pub const fn curve(&self) -> EccCurve {
        self.curve
    }

    /// The point in X9.62 uncompressed form: 0x04, x, y.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        &self.point
    }

    /// The x coordinate, as long as the field.
    #[must_use]
    pub fn x(&self) -> &[u8] {
        &self.point[1..=self.curve.coordinate_len()]
    }

    /// The y coordinate, as long as the field.
    #[must_use]
    pub fn y(&self) -> &[u8] {
        &self.point[1 + self.curve.coordinate_len()..]
    }

    fn to_spki_der(&self) -> Result<Vec<u8>, InvalidPublicKey> {
        use p256::pkcs8::EncodePublicKey as _;
        let document = match self.curve {
            EccCurve::P192 | EccCurve::P224 => return Err(InvalidPublicKey::Curve(self.curve)),
            EccCurve::P256 => p256::PublicKey::from_sec1_bytes(&self.point).map(|key| key.to_public_key_der()),
            EccCurve::P384 => p384::PublicKey::from_sec1_bytes(&self.point).map(|key| key.to_public_key_der()),
            EccCurve::P521 => p521::PublicKey::from_sec1_bytes(&self.point).map(|key| key.to_public_key_der()),
        };
        match document {
            Ok(Ok(der)) => Ok(der.as_bytes().to_vec()),
            Ok(Err(_)) | Err(_) => Err(InvalidPublicKey::NotOnCurve),
        }
    }
}
