//! Bytes as the v3 API takes them: strict base64 first, else hexadecimal with or without `0x`
//! (`verifier-v3-push.md` §2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The bytes a text stands for, if it stands for any.
///
/// A hexadecimal text whose length is a multiple of four is base64, too, and taken as such: it is only ever sent back, and
/// then comes out as it came in.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if let Ok(bytes) = STANDARD.decode(text) {
        return Some(bytes);
    }
    let digits = text.strip_prefix("0x").unwrap_or(text);
    hex::decode(digits).ok()
}

/// The text sent for bytes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes where the text stands for some, else the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BinaryOrText {
    /// Bytes.
    Binary(Box<[u8]>),
    /// Any other text.
    Text(Box<str>),
}

impl BinaryOrText {
    /// Takes a text.
    #[must_use]
    pub fn read(text: &str) -> Self {
        match decode(text) {
            Some(bytes) => Self::Binary(bytes.into()),
            None => Self::Text(text.into()),
        }
    }

    /// The text sent back.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Binary(bytes) => encode(bytes),
            Self::Text(text) => text.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base64_wins_over_hexadecimal() {
        assert_eq!(decode("abcd"), STANDARD.decode("abcd").ok());
        assert_eq!(decode("0x0b"), STANDARD.decode("0x0b").ok());
        assert_eq!(decode("0x616263").map(|b| encode(&b)).as_deref(), Some("0x616263"));
        assert_eq!(decode("abcdef").as_deref(), Some(&[0xab, 0xcd, 0xef][..]));
        assert_eq!(decode("0xab").map(|b| encode(&b)).as_deref(), Some("0xab"));
        assert_eq!(decode("0xabcdeg"), STANDARD.decode("0xabcdeg").ok());
        assert_eq!(decode("0xabcg"), None);
        assert_eq!(BinaryOrText::read("the ak!").text(), "the ak!");
    }

    proptest! {
        #[test]
        fn what_was_sent_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..80), text in "\\PC{0,40}") {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
            let echoed = BinaryOrText::read(&text).text();
            prop_assert_eq!(BinaryOrText::read(&echoed).text(), echoed);
        }
    }
}
