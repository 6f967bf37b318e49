//! Writing TPM structures, big-endian.

/// Appends a TPM2B: 16-bit length and contents, which never exceed the sizes of keys and digests.
pub(super) fn push_sized(out: &mut Vec<u8>, data: &[u8]) {
    let len = u16::try_from(data.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&data[..usize::from(len)]);
}

/// Appends 16-bit numbers.
pub(super) fn push_u16(out: &mut Vec<u8>, numbers: &[u16]) {
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// A TPM2B of a structure.
pub(super) fn sized(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + data.len());
    push_sized(&mut out, data);
    out
}

pub(super) const ALG_RSA: u16 = 0x0001;
pub(super) const ALG_AES: u16 = 0x0006;
pub(super) const ALG_NULL: u16 = 0x0010;
pub(super) const ALG_ECC: u16 = 0x0023;
pub(super) const ALG_CFB: u16 = 0x0043;
pub(super) const CURVE_P256: u16 = 0x0003;
