//! An agent's attestation key in one of two forms: prepared for verification, or packed while nothing is verified.
//!
//! A prepared RSA key takes about two kilobytes, preparing it about ten microseconds. Where quotes come every few seconds the
//! time counts, where they come every few minutes the memory does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::identity::attestation_key::{AttestationKey, InvalidAttestationKey};
use std::borrow::Cow;
use std::time::Duration;

/// Which form keys are kept in between quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRetention {
    /// Prepared.
    Prepared,
    /// As the agent registered them.
    Packed,
}

impl KeyRetention {
    /// The form that suits an interval between quotes.
    #[must_use]
    pub fn for_interval(interval: Duration) -> Self {
        if interval < PACK_FROM { Self::Prepared } else { Self::Packed }
    }
}

/// An attestation key.
#[derive(Debug)]
pub struct AgentKey(Form);

#[derive(Debug)]
enum Form {
    Prepared(Box<AttestationKey>),
    Packed(Box<[u8]>),
}

impl AgentKey {
    /// Reads the base64 of a TPM2B_PUBLIC; the key is checked completely, whichever form it is kept in.
    ///
    /// # Errors
    /// It is no attestation key; the text says why.
    pub fn from_base64(text: &str, retention: KeyRetention) -> Result<Self, String> {
        let key = AttestationKey::from_base64(text).map_err(|error| error.to_string())?;
        let form = match retention {
            KeyRetention::Prepared => Form::Prepared(Box::new(key)),
            KeyRetention::Packed => match STANDARD.decode(text) {
                Ok(packed) => Form::Packed(packed.into()),
                // The engine reads some texts that are not strictly base64.
                Err(_) => Form::Prepared(Box::new(key)),
            },
        };
        Ok(Self(form))
    }

    /// The key, prepared for verification.
    ///
    /// # Errors
    /// Never for a key that was read; the type cannot say so.
    pub fn prepared(&self) -> Result<Cow<'_, AttestationKey>, InvalidAttestationKey> {
        match &self.0 {
            Form::Prepared(key) => Ok(Cow::Borrowed(key)),
            Form::Packed(packed) => AttestationKey::from_tpm2b(packed).map(Cow::Owned),
        }
    }
}

/// From this interval on memory counts more than time.
const PACK_FROM: Duration = Duration::from_secs(10);
