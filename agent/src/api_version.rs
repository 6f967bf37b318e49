//! Versions of the agent's HTTP API (`agent-api.md` §1).

use std::fmt;

/// A version such as 2.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiVersion {
    /// The number before the point.
    pub major: u8,
    /// The number after the point.
    pub minor: u8,
}

impl ApiVersion {
    /// Versions the pull agent serves, ascending.
    pub const PULL: [Self; 6] =
        [Self::new(2, 1), Self::new(2, 2), Self::new(2, 3), Self::new(2, 4), Self::new(2, 5), Self::new(2, 6)];

    /// First version with `/agent/info`.
    pub const AGENT_INFO: Self = Self::new(2, 2);
    /// First version that writes key sizes out.
    pub const SIZED_KEY_NAMES: Self = Self::new(2, 5);

    /// A version.
    #[must_use]
    pub const fn new(major: u8, minor: u8) -> Self {
        Self { major, minor }
    }

    /// Reads `2.6`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The versions an option such as `api_versions` enables, ascending: `default` is all, `latest` the newest, else a list
/// whose unknown members are skipped; a list without known members means all.
#[must_use]
pub fn enabled_versions(items: &[String], known: &[ApiVersion]) -> Vec<ApiVersion> {
    if let [single] = items {
        match single.as_str() {
            "default" => return known.to_vec(),
            "latest" => return known.last().copied().into_iter().collect(),
            _ => {}
        }
    }
    let mut enabled = Vec::new();
    for item in items {
        match ApiVersion::parse(item).filter(|version| known.contains(version)) {
            Some(version) => enabled.push(version),
            None => tracing::warn!(target: "keylime.agent", version = item, "ignoring unsupported api version"),
        }
    }
    enabled.sort_unstable();
    enabled.dedup();
    if enabled.is_empty() {
        return known.to_vec();
    }
    enabled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled(items: &[&str]) -> Vec<String> {
        let items = items.iter().map(ToString::to_string).collect::<Vec<_>>();
        enabled_versions(&items, &ApiVersion::PULL).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keywords_and_lists() {
        assert_eq!(enabled(&["default"]), ["2.1", "2.2", "2.3", "2.4", "2.5", "2.6"]);
        assert_eq!(enabled(&["latest"]), ["2.6"]);
        assert_eq!(enabled(&["2.6", "2.1", "3.0", "2.1"]), ["2.1", "2.6"]);
        assert_eq!(enabled(&["1.0"]).len(), 6);
        assert_eq!(enabled(&[]).len(), 6);
    }
}
