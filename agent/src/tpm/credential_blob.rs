//! Reads the registrar's credential challenge (`tpm-formats.md` §8): magic, version, the credential and the secret.

/// Longest challenge accepted, in bytes; the largest key kind needs less than 700.
pub const MAX_BLOB_BYTES: usize = 4096;

const MAGIC: u32 = 0xBADC_C0DE;
const VERSION: u32 = 1;

/// The two parts TPM2_ActivateCredential takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialBlob {
    /// Content of TPM2B_ID_OBJECT.
    pub credential: Vec<u8>,
    /// Content of TPM2B_ENCRYPTED_SECRET.
    pub secret: Vec<u8>,
}

/// Why a challenge cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentialBlob {
    /// Longer than any challenge can be.
    #[error("credential blob is longer than {MAX_BLOB_BYTES} bytes")]
    TooLong,
    /// Ends inside a field, or goes on after the last one.
    #[error("credential blob has the wrong length")]
    Length,
    /// Starts with other bytes than a challenge does.
    #[error("credential blob starts with {0:#010x} instead of {MAGIC:#010x}")]
    Magic(u32),
    /// Of a version this agent does not know.
    #[error("credential blob has version {0} instead of {VERSION}")]
    Version(u32),
}

impl CredentialBlob {
    /// Reads the binary form.
    ///
    /// # Errors
    /// See [`InvalidCredentialBlob`].
    pub fn parse(blob: &[u8]) -> Result<Self, InvalidCredentialBlob> {
        if blob.len() > MAX_BLOB_BYTES {
            return Err(InvalidCredentialBlob::TooLong);
        }
        let (magic, rest) = split_u32(blob)?;
        if magic != MAGIC {
            return Err(InvalidCredentialBlob::Magic(magic));
        }
        let (version, rest) = split_u32(rest)?;
        if version != VERSION {
            return Err(InvalidCredentialBlob::Version(version));
        }
        let (credential, rest) = split_sized(rest)?;
        let (secret, rest) = split_sized(rest)?;
        if !rest.is_empty() {
            return Err(InvalidCredentialBlob::Length);
        }
        Ok(Self { credential: credential.to_vec(), secret: secret.to_vec() })
    }

    /// The binary form again.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = [MAGIC.to_be_bytes(), VERSION.to_be_bytes()].concat();
        for part in [&self.credential, &self.secret] {
            // Both were read behind a length of 16 bits.
            out.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend(part);
        }
        out
    }
}

fn split_u32(data: &[u8]) -> Result<(u32, &[u8]), InvalidCredentialBlob> {
    let (head, rest) = data.split_first_chunk::<4>().ok_or(InvalidCredentialBlob::Length)?;
    Ok((u32::from_be_bytes(*head), rest))
}

fn split_sized(data: &[u8]) -> Result<(&[u8], &[u8]), InvalidCredentialBlob> {
    let (head, rest) = data.split_first_chunk::<2>().ok_or(InvalidCredentialBlob::Length)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*head))).ok_or(InvalidCredentialBlob::Length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [u8; 15] = [0xBA, 0xDC, 0xC0, 0xDE, 0, 0, 0, 1, 0, 2, 7, 8, 0, 1, 9];

    #[test]
    fn takes_the_two_parts() {
        let blob = CredentialBlob::parse(&GOOD).unwrap();
        assert_eq!((blob.credential.as_slice(), blob.secret.as_slice()), (&[7, 8][..], &[9][..]));
        assert_eq!(blob.to_bytes(), GOOD);
    }

    #[test]
    fn refuses_every_truncation_and_extension() {
        for length in 0..GOOD.len() {
            assert!(CredentialBlob::parse(&GOOD[..length]).is_err(), "{length}");
        }
        assert_eq!(CredentialBlob::parse(&[&GOOD[..], &[0]].concat()), Err(InvalidCredentialBlob::Length));
        assert_eq!(CredentialBlob::parse(&vec![0; MAX_BLOB_BYTES + 1]), Err(InvalidCredentialBlob::TooLong));
    }

    #[test]
    fn names_foreign_magic_and_version() {
        assert_eq!(CredentialBlob::parse(&[0; 15]), Err(InvalidCredentialBlob::Magic(0)));
        let mut other = GOOD;
        other[7] = 2;
        assert_eq!(CredentialBlob::parse(&other), Err(InvalidCredentialBlob::Version(2)));
    }
}
