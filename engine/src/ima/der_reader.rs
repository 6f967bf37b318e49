//! A strict reader of DER elements, enough for public and private key structures.

/// Tags used by key structures (X.690 §8).
pub mod tag {
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const OID: u8 = 0x06;
    pub const SEQUENCE: u8 = 0x30;
}

/// Reads one element with this tag; returns its content and what follows it. `None` when the bytes hold something else.
pub fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first != tag {
        return None;
    }
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7F => (usize::from(length), rest),
        // Four length bytes hold any key; the indefinite form is not DER.
        0x81..=0x84 => {
            let (long, rest) = rest.split_at_checked(usize::from(length & 0x7F))?;
            let value = long.iter().fold(0_usize, |sum, &b| (sum << 8) | usize::from(b));
            if long[0] == 0 || value < 0x80 {
                return None;
            }
            (value, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Reads one element with this tag that fills the bytes.
pub fn only(tag: u8, bytes: &[u8]) -> Option<&[u8]> {
    element(tag, bytes).and_then(|(content, rest)| rest.is_empty().then_some(content))
}

/// Reads a non-negative integer in its shortest form; returns its magnitude and what follows it.
pub fn unsigned(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (content, rest) = element(tag::INTEGER, bytes)?;
    match content {
        [] => None,
        [first, ..] if *first >= 0x80 => None,
        [0, next, ..] if *next < 0x80 => None,
        [0, magnitude @ ..] if !magnitude.is_empty() => Some((magnitude, rest)),
        _ => Some((content, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shortest_definite_lengths_are_der() {
        assert_eq!(element(4, &[4, 1, 7, 9]), Some((&[7_u8][..], &[9_u8][..])));
        assert_eq!(element(4, &[4, 0x81, 1, 7]), None);
        assert_eq!(element(4, &[4, 0x80, 7, 0, 0]), None);
        assert_eq!(element(4, &[4, 2, 7]), None);
        let mut long = vec![4, 0x81, 0x80];
        long.resize(3 + 0x80, 5);
        assert_eq!(only(4, &long).map(<[u8]>::len), Some(0x80));
    }

    #[test]
    fn integers_are_minimal_and_not_negative() {
        assert_eq!(unsigned(&[2, 1, 0]).unwrap().0, [0]);
        assert_eq!(unsigned(&[2, 2, 0, 0x80]).unwrap().0, [0x80]);
        assert_eq!(unsigned(&[2, 1, 0x80]), None);
        assert_eq!(unsigned(&[2, 2, 0, 1]), None);
        assert_eq!(unsigned(&[2, 0]), None);
    }
}
