//! The quote string of the pull API, and the check that turns it into authenticated PCR values (`tpm-formats.md` §2).
//!
//! The steps and their order are the reference's, with two differences on purpose. A wrong signature is a failure like any
//! other. And the PCR selection that the TPM signed must be the one the values claim to belong to: the signed digest covers
//! only the values, so without this rule a host could quote a PCR it may reset and present its value as that of another.

use super::attest_structure::{InvalidAttest, QuoteAttest};
use super::clock_info::ClockInfo;
use super::lenient_base64::{self, InvalidBase64};
use super::pcr_bank::PcrBank;
use super::pcr_blob::{self, InvalidPcrBlob};
use super::pcr_selection::PcrSelection;
use super::signature::SignatureScheme;
use super::verified::Verified;
use super::verifying_key::SignatureError;
use crate::algorithm::HashAlgorithm;
use crate::identity::attestation_key::AttestationKey;
use std::io::Read as _;

/// Longest quote string that is read, in bytes; the largest honest one has below 6 KiB.
pub const MAX_QUOTE_TEXT_BYTES: usize = 64 * 1024;
/// Most bytes one part of a compressed quote may inflate to (CVE-2022-23951).
pub const MAX_PART_BYTES: usize = 64 * 1024;

/// The schemes a quote may be signed with; RSA-PSS is not among them, as in the reference.
const QUOTE_SCHEMES: [SignatureScheme; 2] = [SignatureScheme::Rsassa, SignatureScheme::Ecdsa];

/// How the parts of a quote string are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuoteEncoding {
    /// Base64; every API version since 2.0.
    Plain,
    /// Base64 of zlib; API version 1.0.
    Zlib,
}

impl QuoteEncoding {
    /// The encoding an agent of this API version uses.
    #[must_use]
    pub fn of_api_version(version: &str) -> Self {
        if version == "1.0" { Self::Zlib } else { Self::Plain }
    }
}

/// The three parts of a quote, decoded but not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteParts {
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
    /// The PCR values with their selection.
    pub pcr_blob: Vec<u8>,
}

/// Why a text is not a quote string. The reference raises an exception here instead of failing the quote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuoteText {
    /// No text.
    #[error("quote is empty")]
    Empty,
    /// Longer than [`MAX_QUOTE_TEXT_BYTES`].
    #[error("quote has {0} bytes, more than {MAX_QUOTE_TEXT_BYTES}")]
    TooLong(usize),
    /// The first character is not `r`.
    #[error("Invalid quote type {0}")]
    Type(char),
    /// Fewer than three parts.
    #[error("Quote is not compound!")]
    NotCompound,
    /// A part is not base64.
    #[error("quote part {part}: {reason}")]
    Base64 {
        /// Number of the part, from 1.
        part: usize,
        /// What is wrong.
        reason: InvalidBase64,
    },
    /// A part of a compressed quote does not inflate, or to more than [`MAX_PART_BYTES`].
    #[error("quote part {0} does not decompress within {MAX_PART_BYTES} bytes")]
    Compression(usize),
}

impl QuoteParts {
    /// Splits and decodes a quote string.
    ///
    /// # Errors
    /// See [`InvalidQuoteText`].
    pub fn decode(text: &str, encoding: QuoteEncoding) -> Result<Self, InvalidQuoteText> {
        if text.len() > MAX_QUOTE_TEXT_BYTES {
            return Err(InvalidQuoteText::TooLong(text.len()));
        }
        let mut characters = text.chars();
        match characters.next() {
            None => return Err(InvalidQuoteText::Empty),
            Some('r') => {}
            Some(other) => return Err(InvalidQuoteText::Type(other)),
        }
        let mut parts = characters.as_str().split(':');
        let (Some(attest), Some(signature), Some(pcr_blob)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(InvalidQuoteText::NotCompound);
        };
        Ok(Self {
            attest: decode_part(1, attest, encoding)?,
            signature: decode_part(2, signature, encoding)?,
            pcr_blob: decode_part(3, pcr_blob, encoding)?,
        })
    }

    /// Writes the quote string of API versions since 2.0.
    #[must_use]
    pub fn encode(&self) -> String {
        use base64::Engine as _;
        let base64 = |data: &[u8]| base64::engine::general_purpose::STANDARD.encode(data);
        format!("r{}:{}:{}", base64(&self.attest), base64(&self.signature), base64(&self.pcr_blob))
    }
}

fn decode_part(part: usize, text: &str, encoding: QuoteEncoding) -> Result<Vec<u8>, InvalidQuoteText> {
    let data = lenient_base64::decode(text.as_bytes()).map_err(|reason| InvalidQuoteText::Base64 { part, reason })?;
    match encoding {
        QuoteEncoding::Plain => Ok(data),
        QuoteEncoding::Zlib => inflate(&data).ok_or(InvalidQuoteText::Compression(part)),
    }
}

/// Inflates at most [`MAX_PART_BYTES`]; reading one byte more tells a full part from a bomb.
fn inflate(data: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let limit = MAX_PART_BYTES as u64 + 1;
    flate2::read::ZlibDecoder::new(data).take(limit).read_to_end(&mut out).ok()?;
    (out.len() <= MAX_PART_BYTES).then_some(out)
}

/// What the challenger put into the quote.
#[derive(Debug, Clone, Copy)]
pub enum ExpectedNonce<'a> {
    /// A text: the quote holds its bytes, or the bytes it is the base64 of.
    Text(&'a str),
    /// The bytes themselves.
    Bytes(&'a [u8]),
}

/// What a quote must agree with.
#[derive(Debug, Clone, Copy)]
pub struct QuoteExpectation<'a> {
    /// The nonce of this challenge.
    pub nonce: ExpectedNonce<'a>,
    /// Name of the hash algorithm the agent says it uses.
    pub hash_alg: &'a str,
}

/// An authenticated quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The values of the quoted PCRs.
    pub pcrs: PcrBank,
    /// The TPM's clock when it quoted.
    pub clock: ClockInfo,
}

/// Why a quote is not authentic or not fresh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The signature, its form or its algorithms.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The agent named another hash algorithm than it used.
    #[error("Quote was expected to use {expected} but used {used} instead")]
    HashAlgorithm {
        /// What the agent said.
        expected: String,
        /// What it used.
        used: HashAlgorithm,
    },
    /// The signed structure is not a quote.
    #[error(transparent)]
    Attest(#[from] InvalidAttest),
    /// The quote answers another challenge.
    #[error("The nonce from the attestation differs from the expected nonce")]
    Nonce,
    /// The PCR values cannot be read.
    #[error(transparent)]
    PcrBlob(#[from] InvalidPcrBlob),
    /// The PCR values are not those that were quoted.
    #[error("The digest used for quoting is different than the one that was calculated")]
    PcrDigest,
    /// The PCR values are presented as those of other PCRs than were quoted.
    #[error("The quoted PCR selection differs from the selection of the PCR values")]
    Selection,
}

/// Checks a quote.
///
/// # Errors
/// See [`QuoteError`]; there is no other way to learn a quote's contents.
pub fn verify(
    parts: &QuoteParts,
    key: &AttestationKey,
    expected: &QuoteExpectation<'_>,
) -> Result<Verified<Quote>, QuoteError> {
    let verifying_key = key.verifying_key();
    let signature = verifying_key.parse(&parts.signature, &QUOTE_SCHEMES)?;
    let hash = signature.hash();
    if hash.name() != expected.hash_alg {
        return Err(QuoteError::HashAlgorithm { expected: expected.hash_alg.chars().take(64).collect(), used: hash });
    }
    verifying_key.verify_parsed(&parts.attest, &signature)?;
    let attest = QuoteAttest::parse(&parts.attest)?;
    if !nonce_matches(attest.extra_data, expected.nonce) {
        return Err(QuoteError::Nonce);
    }
    let pcrs = pcr_blob::read_bank(&parts.pcr_blob, hash)?;
    check_pcrs(&attest, &pcrs)?;
    Ok(Verified::vouch(Quote { pcrs, clock: attest.clock }))
}

fn nonce_matches(extra_data: &[u8], expected: ExpectedNonce<'_>) -> bool {
    match expected {
        ExpectedNonce::Bytes(bytes) => extra_data == bytes,
        ExpectedNonce::Text(text) => {
            extra_data == text.as_bytes()
                || lenient_base64::decode(text.as_bytes()).is_ok_and(|bytes| extra_data == bytes)
        }
    }
}

fn check_pcrs(attest: &QuoteAttest<'_>, pcrs: &PcrBank) -> Result<(), QuoteError> {
    let mut concatenated = [0_u8; 24 * 64];
    let mut end = 0;
    for (_, value) in pcrs.iter() {
        let bytes = value.as_bytes();
        concatenated[end..end + bytes.len()].copy_from_slice(bytes);
        end += bytes.len();
    }
    if pcrs.algorithm().digest(&[&concatenated[..end]]).as_bytes() != attest.pcr_digest {
        return Err(QuoteError::PcrDigest);
    }
    let claimed = PcrSelection { hash_id: pcrs.algorithm().tpm_id(), mask: pcrs.mask() };
    let same = match attest.selections.as_slice() {
        [] => claimed.mask.is_empty(),
        [signed] => *signed == claimed,
        [_, _, ..] => false,
    };
    if same { Ok(()) } else { Err(QuoteError::Selection) }
}
