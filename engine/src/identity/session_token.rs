//! Ids and tokens of sessions: `<session id>.<43 characters>` (`verifier-v3-push.md` §3).
//!
//! A token is 256 random bits, so one SHA-256 of it can be stored in the open: there is nothing to guess that slow hashing
//! would protect.

use crate::algorithm::HashAlgorithm;
use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;

/// Length of the random part of a token, in bytes.
pub const SECRET_BYTES: usize = 32;
/// Length of the random part of a token, in characters.
const SECRET_CHARACTERS: usize = 43;
/// Length of an id as text.
const ID_CHARACTERS: usize = 36;
/// Places of the hyphens in an id.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// The id of a session: a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Makes a random id of these bytes: UUID version 4.
    #[must_use]
    pub const fn from_entropy(mut entropy: [u8; 16]) -> Self {
        entropy[6] = (entropy[6] & 0x0f) | 0x40;
        entropy[8] = (entropy[8] & 0x3f) | 0x80;
        Self(entropy)
    }

    /// Reads an id in the one form that is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let plain = |(at, byte): (usize, &u8)| HYPHENS.contains(&at) == (*byte == b'-') && !byte.is_ascii_uppercase();
        if bytes.len() != ID_CHARACTERS || !bytes.iter().enumerate().all(plain) {
            return None;
        }
        let mut id = [0; 16];
        hex::decode_to_slice(text.replace('-', ""), &mut id).ok()?;
        Some(Self(id))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// What is kept of a token: its SHA-256.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of a whole token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let mut digest = [0; 32];
        digest.copy_from_slice(HashAlgorithm::Sha256.digest(&[token.as_bytes()]).as_bytes());
        Self(digest)
    }

    /// Reads the hexadecimal form.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).ok()?;
        Some(Self(digest))
    }

    /// Lower-case hexadecimal.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Whether both are of the same token; takes the same time for all answers.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
}

/// A token on its way to its agent. Its text is in no log: this type has no way to show it by accident.
pub struct SessionToken(String);

impl SessionToken {
    /// The token of a session with this secret.
    #[must_use]
    pub fn new(id: SessionId, secret: &[u8; SECRET_BYTES]) -> Self {
        Self(format!("{id}.{}", URL_SAFE_NO_PAD.encode(secret)))
    }

    /// The session that a text is the token of, if it has the form of one.
    #[must_use]
    pub fn session_of(text: &str) -> Option<SessionId> {
        let (id, secret) = text.split_once('.')?;
        let is_secret = secret.len() == SECRET_CHARACTERS
            && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        SessionId::parse(id).filter(|_| is_secret)
    }

    /// The text for the agent.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        TokenDigest::of(&self.0)
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_have_the_references_form() {
        let text = "540061dc-1aa1-4d2d-8aaf-b7ed922746ee.Wa6dtKrfjmcln-BTONcGzPR8wQsK30TwzvO5vqicmyc";
        let id = SessionToken::session_of(text).unwrap();
        assert_eq!(id.to_string(), &text[..36]);
        let token = SessionToken::new(id, &[0xff; SECRET_BYTES]);
        assert_eq!(token.expose().len(), 80);
        assert_eq!(SessionToken::session_of(token.expose()), Some(id));
    }

    #[test]
    fn what_has_not_the_form_names_no_session() {
        let id = SessionId::from_entropy([0xab; 16]).to_string();
        let secret = "A".repeat(43);
        assert!(SessionToken::session_of(&format!("{id}.{secret}")).is_some());
        for text in [
            String::new(),
            id.clone(),
            format!("{id}."),
            format!("{id}.{}", "A".repeat(42)),
            format!("{id}.{}", "A".repeat(44)),
            format!("{id}.{}=", "A".repeat(42)),
            format!("{}.{secret}", id.to_uppercase()),
            format!("{}.{secret}", id.replace('-', "")),
            format!("{}.{secret}", id.replace('-', "0")),
            format!("é{}.{secret}", &id[2..]),
        ] {
            assert_eq!(SessionToken::session_of(&text), None, "{text}");
        }
    }

    #[test]
    fn neither_tokens_nor_digests_show_themselves() {
        let token = SessionToken::new(SessionId::from_entropy([7; 16]), &[1; SECRET_BYTES]);
        assert_eq!(format!("{token:?} {:?}", token.digest()), "SessionToken TokenDigest");
    }

    proptest! {
        #[test]
        fn digests_match_only_their_own_token(a in any::<[u8; 32]>(), b in any::<[u8; 32]>()) {
            let id = SessionId::from_entropy([7; 16]);
            let [a_token, b_token] = [&a, &b].map(|secret| SessionToken::new(id, secret));
            prop_assert_eq!(a_token.digest().matches(&TokenDigest::of(b_token.expose())), a == b);
            prop_assert!(TokenDigest::from_hex(&a_token.digest().to_hex()).unwrap().matches(&a_token.digest()));
        }

        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,90}") {
            let _ = SessionToken::session_of(&text);
        }
    }
}
