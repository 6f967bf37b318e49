//! Identifiers that travel through the whole system, checked where they enter it.

use std::fmt;
use std::sync::Arc;

/// Longest agent id, in bytes: the width of the column `agent_id` in Keylime's databases.
pub const MAX_AGENT_ID_BYTES: usize = 80;

/// The identifier of an attested machine.
///
/// Holds one or more of Unicode word characters, `.` and `-` (Keylime's `[\w.-]+`), at most
/// [`MAX_AGENT_ID_BYTES`] long; so it can be written to a log line, a path or a header as it is (CVE-2022-23949).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(Arc<str>);

/// Why a text is not an agent id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAgentId {
    /// The text is empty.
    #[error("agent id is empty")]
    Empty,
    /// The text is longer than [`MAX_AGENT_ID_BYTES`].
    #[error("agent id is longer than {MAX_AGENT_ID_BYTES} bytes")]
    TooLong,
    /// The text holds a character other than letters, digits, `_`, `.` and `-`.
    #[error("agent id holds a character other than letters, digits, '_', '.' and '-'")]
    Character,
}

impl AgentId {
    /// Checks a text and takes it as an agent id.
    ///
    /// # Errors
    /// See [`InvalidAgentId`].
    pub fn parse(text: &str) -> Result<Self, InvalidAgentId> {
        if text.is_empty() {
            return Err(InvalidAgentId::Empty);
        }
        if text.len() > MAX_AGENT_ID_BYTES {
            return Err(InvalidAgentId::TooLong);
        }
        if text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-')) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidAgentId::Character)
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentId({})", &self.0)
    }
}

/// Counts the incarnations of one agent's lifecycle; an answer that carries an older one is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_keylime_accepts() {
        for id in ["d432fbb3-d2f1-4a97-9ef7-75bd81c00000", "a", "host.example_1", "prüfling"] {
            assert_eq!(AgentId::parse(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn refuses_what_could_forge_a_log_line_or_a_path() {
        assert_eq!(AgentId::parse(""), Err(InvalidAgentId::Empty));
        for id in ["a\nb", "a/b", "a b", "a\u{0}", "a%2e", "a\u{202e}b"] {
            assert_eq!(AgentId::parse(id), Err(InvalidAgentId::Character), "{id:?}");
        }
        assert_eq!(AgentId::parse(&"x".repeat(81)), Err(InvalidAgentId::TooLong));
    }
}
