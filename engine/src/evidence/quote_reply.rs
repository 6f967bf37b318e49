//! The body of a good answer to `GET …/quotes/integrity` (`verifier-state-machine.md` §4).

use super::loose_json::{LooseInteger, LooseText};
use serde::Deserialize;

/// The `results` of a quote reply, borrowed from the body where its texts need no unescaping.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are the members of the reply")]
pub struct QuoteResults<'a> {
    #[serde(borrow)]
    pub quote: LooseText<'a>,
    #[serde(borrow)]
    pub pubkey: LooseText<'a>,
    #[serde(borrow)]
    pub hash_alg: LooseText<'a>,
    #[serde(borrow)]
    pub enc_alg: LooseText<'a>,
    #[serde(borrow)]
    pub sign_alg: LooseText<'a>,
    #[serde(borrow)]
    pub ima_measurement_list: LooseText<'a>,
    pub ima_measurement_list_entry: LooseInteger,
    #[serde(borrow)]
    pub mb_measurement_list: LooseText<'a>,
    pub boottime: LooseInteger,
}

/// Why a quote reply holds no evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteReplyError {
    /// It is not the expected JSON document; counts as invalid data.
    #[error("unparsable quote reply: {0}")]
    NotJson(String),
    /// A number is not an integer; Keylime cannot interpret such a reply at all.
    #[error("{0} in the quote reply is not an integer")]
    NotInteger(&'static str),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    results: QuoteResults<'a>,
}

impl<'a> QuoteResults<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`QuoteReplyError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, QuoteReplyError> {
        let text = std::str::from_utf8(body).map_err(|error| QuoteReplyError::NotJson(error.to_string()))?;
        let envelope: Envelope<'a> =
            serde_json::from_str(text).map_err(|error| QuoteReplyError::NotJson(error.to_string()))?;
        let results = envelope.results;
        for (name, value) in
            [("ima_measurement_list_entry", results.ima_measurement_list_entry), ("boottime", results.boottime)]
        {
            if value == LooseInteger::Other {
                return Err(QuoteReplyError::NotInteger(name));
            }
        }
        Ok(results)
    }

    /// First entry of the measurement list; 0 when absent.
    #[must_use]
    pub fn ima_entry(&self) -> i64 {
        integer(self.ima_measurement_list_entry)
    }

    /// Boot time; 0 when absent.
    #[must_use]
    pub fn boot_seconds(&self) -> i64 {
        integer(self.boottime)
    }
}

fn integer(value: LooseInteger) -> i64 {
    match value {
        LooseInteger::Integer(value) => value,
        LooseInteger::Absent | LooseInteger::Other => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    #[test]
    fn reads_a_reply_without_copying_plain_texts() {
        let body = br#"{"code":200,"status":"Success","results":{"quote":"rAA:BB:CC","hash_alg":"sha256",
            "enc_alg":"rsa","sign_alg":"rsassa","pubkey":"a\nb","ima_measurement_list_entry":7}}"#;
        let results = QuoteResults::parse(body).unwrap();
        assert!(matches!(results.quote, LooseText::Text(Cow::Borrowed("rAA:BB:CC"))));
        assert_eq!(results.pubkey.as_str(), Some("a\nb"));
        assert_eq!((results.ima_entry(), results.boot_seconds()), (7, 0));
        assert_eq!(results.mb_measurement_list, LooseText::Absent);
    }

    #[test]
    fn wrong_types_are_told_apart_from_broken_documents() {
        let parse = |body: &'static str| QuoteResults::parse(body.as_bytes());
        assert_eq!(parse(r#"{"results":{"boottime":"1"}}"#), Err(QuoteReplyError::NotInteger("boottime")));
        assert_eq!(
            parse(r#"{"results":{"ima_measurement_list_entry":1.5}}"#),
            Err(QuoteReplyError::NotInteger("ima_measurement_list_entry"))
        );
        assert_eq!(parse(r#"{"results":{"quote":[1,{"a":2}],"boottime":3}}"#).unwrap().quote, LooseText::Other);
        for body in ["", "{}", "[]", r#"{"results":null}"#, r#"{"results":{"quote":"#] {
            assert!(matches!(parse(body), Err(QuoteReplyError::NotJson(_))), "{body}");
        }
        assert!(matches!(QuoteResults::parse(b"\xff"), Err(QuoteReplyError::NotJson(_))));
    }
}
