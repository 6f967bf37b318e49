//! The versions of Keylime's REST interfaces (`verifier-v2.md` §2, `registrar.md` §2).

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// A version `major.minor`; ordered as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiVersion {
    /// Number before the dot.
    pub major: u16,
    /// Number after the dot.
    pub minor: u16,
}

impl ApiVersion {
    /// The version that is current in Keylime 7.14.
    pub const CURRENT: Self = Self::new(2, 6);

    /// All versions that a 7.14 server lists, ascending. 1.0 is listed although no route of it is served, as the peer does.
    pub const SUPPORTED: [Self; 9] = [
        Self::new(1, 0),
        Self::new(2, 0),
        Self::new(2, 1),
        Self::new(2, 2),
        Self::new(2, 3),
        Self::new(2, 4),
        Self::new(2, 5),
        Self::new(2, 6),
        Self::new(3, 0),
    ];

    /// Versions that are going to disappear.
    pub const DEPRECATED: [Self; 1] = [Self::new(1, 0)];

    /// A version from its numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Reads `2.6` or `v2.6`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.strip_prefix('v').unwrap_or(text).split_once('.')?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if plain { digits.parse().ok() } else { None }
        };
        Some(Self::new(number(major)?, number(minor)?))
    }

    /// Whether a 7.14 server lists this version.
    #[must_use]
    pub fn is_supported(self) -> bool {
        Self::SUPPORTED.contains(&self)
    }

    /// The highest version both sides know, below major version `below_major`.
    #[must_use]
    pub fn negotiate(ours: &[Self], theirs: &[Self], below_major: u16) -> Option<Self> {
        ours.iter().copied().filter(|version| version.major < below_major && theirs.contains(version)).max()
    }
}

impl PartialOrd for ApiVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ApiVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.major, self.minor).cmp(&(other.major, other.minor))
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Results of `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionList {
    /// The version the server prefers.
    pub current_version: String,
    /// All versions it lists.
    pub supported_versions: Vec<String>,
}

impl VersionList {
    /// What verifier and registrar answer.
    #[must_use]
    pub fn of_server() -> Self {
        Self {
            current_version: ApiVersion::CURRENT.to_string(),
            supported_versions: ApiVersion::SUPPORTED.iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_number_not_by_text() {
        assert!(ApiVersion::new(2, 10) > ApiVersion::new(2, 9));
        assert!(ApiVersion::SUPPORTED.is_sorted());
    }

    #[test]
    fn reads_only_two_plain_numbers() {
        assert_eq!(ApiVersion::parse("v2.6"), Some(ApiVersion::CURRENT));
        assert_eq!(ApiVersion::parse("2.0"), Some(ApiVersion::new(2, 0)));
        for text in ["", "2", "v2", "2.", ".6", "2.6.1", "2.+6", "2.6 ", "2.99999999"] {
            assert_eq!(ApiVersion::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn negotiation_takes_the_highest_common_version_below_the_bound() {
        let theirs = [ApiVersion::new(2, 1), ApiVersion::new(2, 4), ApiVersion::new(3, 0)];
        assert_eq!(ApiVersion::negotiate(&ApiVersion::SUPPORTED, &theirs, 3), Some(ApiVersion::new(2, 4)));
        assert_eq!(ApiVersion::negotiate(&ApiVersion::SUPPORTED, &[], 3), None);
    }
}
