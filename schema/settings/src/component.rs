//! Which component is configured, and where its files live.

use std::path::PathBuf;

/// A component with a configuration file of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Component {
    /// `verifier.conf`.
    Verifier,
    /// `registrar.conf`.
    Registrar,
    /// `tenant.conf`.
    Tenant,
    /// `ca.conf`.
    Ca,
    /// `logging.conf`.
    Logging,
}

impl Component {
    /// The name used for files, main sections and environment variables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verifier => "verifier",
            Self::Registrar => "registrar",
            Self::Tenant => "tenant",
            Self::Ca => "ca",
            Self::Logging => "logging",
        }
    }

    /// The environment variable that names a file to use instead of the installed ones.
    #[must_use]
    pub fn file_variable(self) -> String {
        format!("KEYLIME_{}_CONFIG", self.name().to_uppercase())
    }

    /// The environment variable that overrides an option; the section is part of it unless it is the main one.
    #[must_use]
    pub fn option_variable(self, section: &str, option: &str) -> String {
        let component = self.name();
        let name = if section == component {
            format!("KEYLIME_{component}_{option}")
        } else {
            format!("KEYLIME_{component}_{section}_{option}")
        };
        name.to_uppercase()
    }

    /// The variable of an option with its section spelt out, also the main one.
    pub(crate) fn full_option_variable(self, section: &str, option: &str) -> String {
        format!("KEYLIME_{}_{section}_{option}", self.name()).to_uppercase()
    }
}

/// Keylime's working directory: `KEYLIME_DIR` when set and not empty, else `/var/lib/keylime`.
#[must_use]
pub fn work_dir() -> PathBuf {
    std::env::var_os("KEYLIME_DIR").filter(|d| !d.is_empty()).map_or_else(|| "/var/lib/keylime".into(), PathBuf::from)
}
