//! Versions of the configuration format.

use std::fmt;

/// A format version, `MAJOR.MINOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormatVersion {
    major: u32,
    minor: u32,
}

impl FormatVersion {
    /// The format of files that say nothing about it.
    pub const UNVERSIONED: Self = Self::new(1, 0);

    /// A version from its parts.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Reads `M.m`, with quotes and blanks around it as TOML files have them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim_matches(['"', ' ']).split_once('.')?;
        let number = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            if is_number { digits.parse().ok() } else { None }
        };
        Some(Self::new(number(major)?, number(minor)?))
    }
}

impl fmt::Display for FormatVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number() {
        assert!(FormatVersion::parse("2.10") > FormatVersion::parse("2.9"));
        assert_eq!(FormatVersion::parse(" \"2.6\" "), Some(FormatVersion::new(2, 6)));
        for bad in ["", "2", "2.", ".6", "2.6.1", "v2.6", "2.-1", "2. 6", "99999999999.1"] {
            assert_eq!(FormatVersion::parse(bad), None, "{bad}");
        }
    }
}
