//! A bounded reader of DER that forgives what certificates in the field get wrong, and says that it did.
//!
//! It forgives lengths that are longer than needed (X.690 §10.1 forbids them) and nothing else; the indefinite form is
//! refused. It never allocates and reads each byte at most once per level.

/// One element: its tag octet, its content, and all its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    pub(super) raw: &'a [u8],
}

/// Why bytes are not an element of DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DerError {
    /// The bytes end inside an element.
    #[error("element is truncated")]
    Truncated,
    /// The length is indefinite or needs more than four bytes.
    #[error("length form is not supported")]
    Length,
    /// Another element was expected.
    #[error("expected element {expected:#04x}, found {found:#04x}")]
    Tag {
        /// The tag octet that the structure demands.
        expected: u8,
        /// The tag octet that is there.
        found: u8,
    },
    /// Bytes follow the last element of a structure.
    #[error("unexpected bytes after the last element")]
    Trailing,
}

/// Reads elements one after another.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    canonical: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, canonical: true }
    }

    /// Whether every length that was read so far has its shortest form.
    pub(super) fn canonical(&self) -> bool {
        self.canonical
    }

    /// The bytes not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The tag octet of the next element.
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next element, whatever it is. Tags of more than one octet do not occur in certificates and read as truncated
    /// or as a foreign tag.
    pub(super) fn element(&mut self) -> Result<Element<'a>, DerError> {
        let [tag, first, tail @ ..] = self.rest else { return Err(DerError::Truncated) };
        let (len, header) = match first {
            0..=0x7f => (usize::from(*first), 2),
            0x81..=0x84 => {
                let count = usize::from(first & 0x7f);
                let octets = tail.get(..count).ok_or(DerError::Truncated)?;
                let len = octets.iter().fold(0_usize, |len, octet| (len << 8) | usize::from(*octet));
                self.canonical &= octets[0] != 0 && len > 0x7f;
                (len, 2 + count)
            }
            _ => return Err(DerError::Length),
        };
        let end = header.checked_add(len).ok_or(DerError::Length)?;
        let raw = self.rest.get(..end).ok_or(DerError::Truncated)?;
        self.rest = &self.rest[end..];
        Ok(Element { tag: *tag, content: &raw[header..], raw })
    }

    /// The next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Element<'a>, DerError> {
        let found = self.peek().ok_or(DerError::Truncated)?;
        if found != tag {
            return Err(DerError::Tag { expected: tag, found });
        }
        self.element()
    }

    /// Fails when anything is left.
    pub(super) fn end(&self) -> Result<(), DerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DerError::Trailing) }
    }
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0] EXPLICIT`, the version of a certificate.
pub(super) const CONTEXT_0: u8 = 0xa0;

/// Drops leading zero bytes, so that two spellings of one number compare equal.
pub(super) fn unsigned(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    &integer[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_short_and_long_lengths_and_reports_the_wasteful_ones() {
        let mut reader = Reader::new(&[0x02, 0x01, 0x05, 0x04, 0x81, 0x01, 0x07]);
        assert_eq!(reader.expect(INTEGER).unwrap().content, [5]);
        assert!(reader.canonical());
        assert_eq!(reader.element().unwrap().content, [7]);
        assert!(!reader.canonical());
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn refuses_what_it_cannot_bound() {
        assert_eq!(Reader::new(&[0x30, 0x80, 0, 0]).element(), Err(DerError::Length));
        assert_eq!(Reader::new(&[0x30, 0x85, 1, 1, 1, 1, 1]).element(), Err(DerError::Length));
        assert_eq!(Reader::new(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).element(), Err(DerError::Truncated));
        assert_eq!(Reader::new(&[0x30]).element(), Err(DerError::Truncated));
    }
}
