//! Versions of the agent's REST API and their renegotiation (`registration-flow.md` §4, `verifier-state-machine.md` §8).

use std::fmt;

/// A version such as 2.6: one digit, a dot, one digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiVersion {
    /// Before the dot.
    pub major: u8,
    /// After the dot.
    pub minor: u8,
}

impl ApiVersion {
    /// Every version this verifier speaks, ascending.
    pub const SUPPORTED: [Self; 9] = [
        Self { major: 1, minor: 0 },
        Self { major: 2, minor: 0 },
        Self { major: 2, minor: 1 },
        Self { major: 2, minor: 2 },
        Self { major: 2, minor: 3 },
        Self { major: 2, minor: 4 },
        Self { major: 2, minor: 5 },
        Self { major: 2, minor: 6 },
        Self { major: 3, minor: 0 },
    ];

    /// The newest version of the pull API; assumed of agents whose stored version is absent or unknown.
    pub const NEWEST_PULL: Self = Self { major: 2, minor: 6 };

    /// Reads a version; `None` unless it is a digit, a dot and a digit.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] => Some(Self { major: major - b'0', minor: minor - b'0' }),
            _ => None,
        }
    }

    /// Reads a stored version; [`ApiVersion::NEWEST_PULL`] when this verifier does not know it.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self::parse(text).filter(|v| Self::SUPPORTED.contains(v)).unwrap_or(Self::NEWEST_PULL)
    }

    /// Its text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match (self.major, self.minor) {
            (1, 0) => "1.0",
            (2, 0) => "2.0",
            (2, 1) => "2.1",
            (2, 2) => "2.2",
            (2, 3) => "2.3",
            (2, 4) => "2.4",
            (2, 5) => "2.5",
            (3, 0) => "3.0",
            _ => "2.6",
        }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why no version could be agreed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// Nothing that both sides speak.
    #[error("agent and verifier have no API version in common")]
    NothingInCommon,
    /// An attested agent offers only versions that are not newer; taking one could undo a protection it already has.
    #[error("agent offers version {offered}, which is not newer than {current} although it was attested with that")]
    Downgrade {
        /// The best version it offers.
        offered: ApiVersion,
        /// The version in use.
        current: ApiVersion,
    },
}

/// Chooses the version to go on with.
///
/// The highest common version wins. The version in use stays acceptable; a lower one is accepted only from an agent that
/// never attested successfully.
///
/// # Errors
/// See [`NegotiationError`].
pub fn renegotiate<S: AsRef<str>>(
    offers: &[S],
    current: ApiVersion,
    attestation_count: u64,
) -> Result<ApiVersion, NegotiationError> {
    let best = offers
        .iter()
        .filter_map(|offer| ApiVersion::parse(offer.as_ref()))
        .filter(|version| ApiVersion::SUPPORTED.contains(version))
        .max()
        .ok_or(NegotiationError::NothingInCommon)?;
    if best == current || attestation_count == 0 || best > current {
        return Ok(best);
    }
    Err(NegotiationError::Downgrade { offered: best, current })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> ApiVersion {
        ApiVersion::parse(text).unwrap()
    }

    #[test]
    fn every_supported_version_keeps_its_text() {
        for supported in ApiVersion::SUPPORTED {
            assert_eq!(supported.text(), supported.to_string());
            assert_eq!(ApiVersion::parse(supported.text()), Some(supported));
        }
        for text in ["2", "2.10", "v2.1", "", "2.", ".1", "2 1"] {
            assert_eq!(ApiVersion::parse(text), None, "{text}");
        }
        assert_eq!(ApiVersion::from_stored("2.9"), ApiVersion::NEWEST_PULL);
    }

    #[test]
    fn the_highest_common_version_wins() {
        assert_eq!(renegotiate(&["2.1", "2.4", "2.3", "9.9"], version("2.5"), 0), Ok(version("2.4")));
        assert_eq!(renegotiate(&["2.1", "2.6"], version("2.5"), 7), Ok(version("2.6")));
        assert_eq!(renegotiate(&["2.5"], version("2.5"), 7), Ok(version("2.5")));
    }

    #[test]
    fn an_attested_agent_cannot_go_back() {
        assert_eq!(
            renegotiate(&["2.4"], version("2.5"), 1),
            Err(NegotiationError::Downgrade { offered: version("2.4"), current: version("2.5") })
        );
        assert_eq!(renegotiate(&["7.0", "nonsense"], version("2.5"), 0), Err(NegotiationError::NothingInCommon));
        assert_eq!(renegotiate::<&str>(&[], version("2.5"), 0), Err(NegotiationError::NothingInCommon));
    }
}
