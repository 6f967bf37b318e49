//! Lines and entries of `ascii_runtime_measurements`, split as Keylime splits them (`ima.md` §1, §2).
//!
//! Nothing here allocates per line: an [`EntryReader`] owns the buffers that the template data and the logged hash are
//! decoded into, and an [`Entry`] borrows from it and from the list.

use super::hex_field::{self, HexError};
use super::template::{Extra, FieldError, Fields, Template, read_fields};
use std::ops::Range;

/// Why a line is not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Fewer than four parts.
    #[error("the line has fewer than four parts: PCR, template hash, template name, fields")]
    Parts,
    /// The template hash is not hexadecimal.
    #[error("the template hash is {0}")]
    TemplateHash(HexError),
    /// No such template.
    #[error("unknown template {0:?}")]
    UnknownTemplate(String),
    /// The fields do not fit the template.
    #[error(transparent)]
    Fields(#[from] FieldError),
}

/// One entry.
#[derive(Debug)]
pub struct Entry<'r, 'l> {
    /// The PCR as written in the list.
    pub pcr: &'l str,
    /// The template hash as logged.
    pub logged_hash: &'r [u8],
    /// The template.
    pub template: Template,
    /// The bytes that the template hash covers.
    pub template_data: &'r [u8],
    /// File name, key ring name or event name.
    pub name: &'l str,
    /// Algorithm of the file digest, verbatim.
    pub algorithm: &'l str,
    digest: Range<usize>,
    /// The further fields.
    pub extra: Extra,
}

impl<'r> Entry<'r, '_> {
    /// The file digest.
    #[must_use]
    pub fn digest(&self) -> &'r [u8] {
        &self.template_data[self.digest.clone()]
    }

    /// A part of the template data.
    #[must_use]
    pub fn part(&self, range: &Range<usize>) -> &'r [u8] {
        &self.template_data[range.clone()]
    }
}

/// Reads lines into entries, reusing its buffers.
#[derive(Debug, Default)]
pub struct EntryReader {
    template_data: Vec<u8>,
    logged_hash: Vec<u8>,
}

impl EntryReader {
    /// Reads one non-empty line.
    ///
    /// # Errors
    /// [`EntryError`] when the line is no entry of a known template.
    pub fn read<'r, 'l>(&'r mut self, line: &'l str) -> Result<Entry<'r, 'l>, EntryError> {
        let (pcr, rest) = split_field(line).ok_or(EntryError::Parts)?;
        let (hash, rest) = split_field(rest).ok_or(EntryError::Parts)?;
        let (template, rest) = split_field(rest).ok_or(EntryError::Parts)?;
        self.logged_hash.clear();
        hex_field::decode_into(hash.as_bytes(), &mut self.logged_hash).map_err(EntryError::TemplateHash)?;
        let Some(template) = Template::from_name(template) else {
            return Err(EntryError::UnknownTemplate(template.chars().take(64).collect()));
        };
        let Fields { name, algorithm, digest, extra } = read_fields(template, rest, &mut self.template_data)?;
        Ok(Entry {
            pcr,
            logged_hash: &self.logged_hash,
            template,
            template_data: &self.template_data,
            name,
            algorithm,
            digest,
            extra,
        })
    }
}

/// The lines of a list with their numbers, counted from one; empty lines are numbered but left out.
///
/// Only line feeds separate lines: `\r`, tabs and spaces belong to the text.
pub fn lines(list: &str) -> impl Iterator<Item = (u64, &str)> {
    let (mut rest, mut number) = (list, 0_u64);
    std::iter::from_fn(move || {
        // Runs of empty lines are passed over at once: a list may consist of them.
        let empty = rest.bytes().take_while(|byte| *byte == b'\n').count();
        rest = &rest[empty..];
        number += empty as u64 + 1;
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some((number, line))
    })
}

/// The text before the first space, and what follows it.
pub(super) fn split_field(text: &str) -> Option<(&str, &str)> {
    let at = memchr::memchr(b' ', text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Vec<u8>, Vec<u8>), EntryError> {
        let mut reader = EntryReader::default();
        reader.read(line).map(|e| (e.template_data.to_vec(), e.digest().to_vec()))
    }

    #[test]
    fn ima_ng_is_prefixed_length_by_length() {
        let (data, digest) = read("10 00 ima-ng sha1:0102 /a b").unwrap();
        assert_eq!(data, b"\x08\0\0\0sha1:\0\x01\x02\x05\0\0\0/a b\0");
        assert_eq!(digest, [1, 2]);
    }

    #[test]
    fn ima_pads_the_name() {
        let (data, digest) = read(&format!("10 00 ima {} n", "07".repeat(20))).unwrap();
        assert_eq!((data.len(), digest.len()), (20 + 256, 20));
        assert_eq!(data[20..22], *b"n\0");
        assert!(matches!(
            read(&format!("10 00 ima {} {}", "07".repeat(20), "n".repeat(256))),
            Err(EntryError::Fields(FieldError::NameTooLong(256)))
        ));
    }

    #[test]
    fn a_digest_without_algorithm_is_told_by_its_length() {
        let (data, _) = read(&format!("10 00 ima-ng {} /a", "07".repeat(16))).unwrap();
        assert_eq!(data[..9], *b"\x15\0\0\0md5:\0");
        assert!(read(&format!("10 00 ima-ng {} /a", "07".repeat(17))).is_err());
        assert!(read("10 00 ima-ng a:b:00 /a").is_err());
    }

    #[test]
    fn a_malformed_signature_is_absent_but_a_malformed_buffer_is_an_error() {
        let (data, _) = read("10 00 ima-sig a: n zz").unwrap();
        assert_eq!(data, b"\x03\0\0\0a:\0\x02\0\0\0n\0\0\0\0\0");
        assert!(read("10 00 ima-buf a: n zz").is_err());
        let mut reader = EntryReader::default();
        let entry = reader.read("10 00 ima-sig a: n 030204000000010001ff").unwrap();
        let Extra::Signature(Some(range)) = &entry.extra else { panic!("{:?}", entry.extra) };
        assert_eq!(entry.part(range), [3, 2, 4, 0, 0, 0, 1, 0, 1, 0xFF]);
    }

    #[test]
    fn templates_beyond_keylime_follow_the_kernel() {
        let (data, digest) = read("10 00 ima-ngv2 verity:sha256:aabb /a").unwrap();
        assert_eq!(data, b"\x11\0\0\0verity:sha256:\0\xaa\xbb\x03\0\0\0/a\0");
        assert_eq!(digest, [0xAA, 0xBB]);
        assert!(read("10 00 ima-ngv2 sha256:aabb /a").is_err());

        let (data, _) = read("10 00 ima-modsig a:01 /m  b:02 0304").unwrap();
        assert_eq!(data, b"\x04\0\0\0a:\0\x01\x03\0\0\0/m\0\0\0\0\0\x04\0\0\0b:\0\x02\x02\0\0\0\x03\x04");

        let (data, _) = read("10 00 evm-sig a:01 /m  security.ima 02000000 0405 1000 100 33188").unwrap();
        let expected: &[u8] = b"\x04\0\0\0a:\0\x01\x03\0\0\0/m\0\0\0\0\0\x0d\0\0\0security.ima\0\x04\0\0\0\x02\0\0\0\x02\0\0\0\x04\x05\x04\0\0\0\xe8\x03\0\0\x04\0\0\0\x64\0\0\0\x02\0\0\0\xa4\x81";
        assert_eq!(data, expected);
    }

    #[test]
    fn empty_lines_count_but_are_not_read() {
        assert_eq!(lines("\na\n\r\n").collect::<Vec<_>>(), [(2, "a"), (3, "\r")]);
        assert_eq!(lines("").count(), 0);
    }
}
