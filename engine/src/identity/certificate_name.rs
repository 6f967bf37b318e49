//! Names of issuers and subjects, compared as the reference compares them: by attribute and text, whatever string type
//! the text was written in.

use super::der::{self, Element, Reader};

/// A distinguished name, by its DER.
#[derive(Debug, Clone, Copy)]
pub struct CertificateName<'a>(&'a [u8]);

impl<'a> CertificateName<'a> {
    pub(super) fn new(der: &'a [u8]) -> Self {
        Self(der)
    }

    /// The name's DER.
    #[must_use]
    pub fn der(&self) -> &'a [u8] {
        self.0
    }

    /// The relative names in order, each as a sorted list of (attribute, value); `None` when malformed or oversized.
    #[allow(clippy::type_complexity, reason = "read once, next to its documentation")]
    fn parts(self) -> Option<Vec<Vec<(&'a [u8], Value<'a>)>>> {
        let mut parts = Vec::new();
        let mut names = Reader::new(Reader::new(self.0).expect(der::SEQUENCE).ok()?.content);
        while names.peek().is_some() {
            let mut attributes = Reader::new(names.expect(der::SET).ok()?.content);
            let mut part = Vec::new();
            while attributes.peek().is_some() {
                let mut attribute = Reader::new(attributes.expect(der::SEQUENCE).ok()?.content);
                let kind = attribute.expect(der::OID).ok()?.content;
                part.push((kind, Value::new(attribute.element().ok()?)));
            }
            part.sort();
            parts.push(part);
            if parts.len() > MAX_PARTS {
                return None;
            }
        }
        Some(parts)
    }
}

impl PartialEq for CertificateName<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || matches!((self.parts(), other.parts()), (Some(a), Some(b)) if a == b)
    }
}

impl Eq for CertificateName<'_> {}

/// A value: text of whatever string type, or the bytes of something else with their tag.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value<'a> {
    Text(String),
    Other(u8, &'a [u8]),
}

impl<'a> Value<'a> {
    fn new(element: Element<'a>) -> Self {
        let bytes = element.content;
        let text = match element.tag {
            // UTF8String, NumericString, PrintableString, IA5String, VisibleString.
            0x0c | 0x12 | 0x13 | 0x16 | 0x1a => std::str::from_utf8(bytes).ok().map(str::to_owned),
            // T61String, in practice Latin-1.
            0x14 => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
            // BMPString.
            0x1e => {
                let units: Vec<u16> =
                    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
                bytes.len().is_multiple_of(2).then(|| String::from_utf16(&units).ok()).flatten()
            }
            _ => None,
        };
        text.map_or(Self::Other(element.tag, bytes), Self::Text)
    }
}

/// More relative names than any real certificate has.
const MAX_PARTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// A name with one common name of the given string type.
    fn common_name(tag: u8, text: &[u8]) -> Vec<u8> {
        let len = u8::try_from(text.len()).unwrap();
        let mut der = vec![0x30, len + 11, 0x31, len + 9, 0x30, len + 7, 0x06, 3, 0x55, 4, 3, tag, len];
        der.extend_from_slice(text);
        der
    }

    #[test]
    fn the_string_type_does_not_matter_and_the_text_does() {
        let (utf8, printable) = (common_name(0x0c, b"Maker"), common_name(0x13, b"Maker"));
        assert_eq!(CertificateName::new(&utf8), CertificateName::new(&printable));
        assert_ne!(CertificateName::new(&utf8), CertificateName::new(&common_name(0x13, b"maker")));
        let wide = common_name(0x1e, b"\0M\0a\0k\0e\0r");
        assert_eq!(CertificateName::new(&utf8), CertificateName::new(&wide));
    }

    #[test]
    fn malformed_names_equal_only_themselves() {
        let broken: &[u8] = &[0x30, 3, 1, 2];
        assert_eq!(CertificateName::new(broken), CertificateName::new(broken));
        assert_ne!(CertificateName::new(broken), CertificateName::new(&[0x30, 3, 1, 3]));
    }
}
