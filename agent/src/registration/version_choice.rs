//! Which API versions registration is tried with (`registration-flow.md` §1).

use crate::api_version::ApiVersion;

/// What `GET /version` told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrarVersions {
    /// The registrar has no such resource.
    Unknown,
    /// It serves these.
    Known {
        /// The one it prefers.
        current: String,
        /// All of them.
        supported: Vec<String>,
    },
}

impl RegistrarVersions {
    /// The versions to try, in order; empty when agent and registrar have none in common.
    #[must_use]
    pub fn candidates(&self, enabled: &[ApiVersion]) -> Vec<ApiVersion> {
        let newest_first = enabled.iter().rev().copied();
        match self {
            Self::Unknown => newest_first.collect(),
            Self::Known { current, supported } => {
                if let Some(preferred) = ApiVersion::parse(current).filter(|version| enabled.contains(version)) {
                    return vec![preferred];
                }
                newest_first.filter(|version| supported.contains(&version.to_string())).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(versions: &RegistrarVersions, enabled: &[ApiVersion]) -> Vec<String> {
        versions.candidates(enabled).iter().map(ToString::to_string).collect()
    }

    fn known(current: &str, supported: &[&str]) -> RegistrarVersions {
        RegistrarVersions::Known {
            current: current.to_owned(),
            supported: supported.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn the_preferred_version_else_common_ones_newest_first() {
        let enabled = &ApiVersion::PULL[..3];
        assert_eq!(tried(&known("2.2", &["2.1", "2.2"]), enabled), ["2.2"]);
        assert_eq!(tried(&known("3.0", &["2.1", "2.3", "3.0"]), enabled), ["2.3", "2.1"]);
        assert_eq!(tried(&RegistrarVersions::Unknown, enabled), ["2.3", "2.2", "2.1"]);
        assert_eq!(tried(&known("1.0", &["1.0"]), enabled), Vec::<String>::new());
    }
}
