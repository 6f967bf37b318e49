//! The option `uuid`: where the agent's id comes from.
//!
//! Besides a UUID, `generate` and `hash_ek`, the documented words `environment`, `dmidecode` and `hostname` mean what the
//! documentation says. Any other text is replaced by a random id, with a warning, as agents always did.

use keylime_engine::ids::{AgentId, InvalidAgentId};

/// The agent's id, or where it will come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identifier {
    /// Known before the TPM is opened.
    Known(AgentId),
    /// The hash of the endorsement key.
    EkHash,
}

/// Why there is no id.
#[derive(Debug, thiserror::Error)]
pub enum IdentifierError {
    /// `environment` without the variable.
    #[error("option uuid is 'environment' but KEYLIME_AGENT_UUID is not set")]
    VariableMissing,
    /// The DMI table has no UUID this user may read.
    #[error("cannot read the system uuid from the dmi table: {0}")]
    Dmi(std::io::Error),
    /// The host has no name.
    #[error("cannot read the host name: {0}")]
    HostName(std::io::Error),
    /// What was found cannot be an id.
    #[error("{text:?} cannot be an agent id: {source}")]
    Invalid {
        /// What was found.
        text: String,
        /// Why.
        source: InvalidAgentId,
    },
}

/// The kernel's copy of what `dmidecode -s system-uuid` prints; only root may read it.
const DMI_FILE: &str = "/sys/class/dmi/id/product_uuid";

impl Identifier {
    /// Resolves the option as far as possible without the TPM; runs before privileges are dropped.
    ///
    /// # Errors
    /// See [`IdentifierError`].
    pub fn from_option(option: &str) -> Result<Self, IdentifierError> {
        let text = match option {
            "hash_ek" => return Ok(Self::EkHash),
            "generate" => random(),
            "environment" => std::env::var("KEYLIME_AGENT_UUID").map_err(|_| IdentifierError::VariableMissing)?,
            "dmidecode" => std::fs::read_to_string(DMI_FILE).map_err(IdentifierError::Dmi)?.trim().to_lowercase(),
            "hostname" => host_name()?,
            text => uuid::Uuid::try_parse(text).map_or_else(
                |_| {
                    tracing::warn!(target: "keylime.agent", uuid = text, "misformatted uuid, taking a random one");
                    random()
                },
                |uuid| uuid.hyphenated().to_string(),
            ),
        };
        AgentId::parse(&text).map(Self::Known).map_err(|source| IdentifierError::Invalid { text, source })
    }

    /// Takes what the command line of the push agent says: one of the option's words, or any id as it is.
    ///
    /// # Errors
    /// See [`IdentifierError`].
    pub fn from_command_line(text: &str) -> Result<Self, IdentifierError> {
        if let "hash_ek" | "generate" | "environment" | "dmidecode" | "hostname" = text {
            return Self::from_option(text);
        }
        let invalid = |source| IdentifierError::Invalid { text: text.to_owned(), source };
        AgentId::parse(text).map(Self::Known).map_err(invalid)
    }

    /// The id, once the endorsement key's hash is known.
    ///
    /// # Errors
    /// [`IdentifierError::Invalid`]; a hash always is an id.
    pub fn with_ek_hash(self, ek_hash: &str) -> Result<AgentId, IdentifierError> {
        match self {
            Self::Known(id) => Ok(id),
            Self::EkHash => {
                AgentId::parse(ek_hash).map_err(|source| IdentifierError::Invalid { text: ek_hash.to_owned(), source })
            }
        }
    }
}

fn random() -> String {
    uuid::Uuid::new_v4().hyphenated().to_string()
}

/// The name the resolver knows this host by, as `getfqdn` finds it: the first name with a dot in `/etc/hosts` beside the
/// host name, else the host name itself.
fn host_name() -> Result<String, IdentifierError> {
    let name = nix::unistd::gethostname().map_err(|error| IdentifierError::HostName(error.into()))?;
    let name = name.to_string_lossy().into_owned();
    if name.contains('.') {
        return Ok(name);
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    Ok(qualified_name(&hosts, &name).unwrap_or(name))
}

fn qualified_name(hosts: &str, name: &str) -> Option<String> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>())
        .filter(|names| names.contains(&name))
        .find_map(|names| names.into_iter().find(|candidate| candidate.contains('.')).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_normalised_and_words_known() {
        let id = |option: &str| Identifier::from_option(option).unwrap().with_ek_hash("00ff").unwrap();
        assert_eq!(id("D432FBB3D2F14A979EF775BD81C00000").as_str(), "d432fbb3-d2f1-4a97-9ef7-75bd81c00000");
        assert_eq!(id("hash_ek").as_str(), "00ff");
        assert_ne!(id("generate"), id("generate"));
        assert_eq!(id("my machine").as_str().len(), 36);
        assert!(!id("hostname").as_str().is_empty());
        let given = |text: &str| Identifier::from_command_line(text);
        assert_eq!(given("hash_ek").unwrap(), Identifier::EkHash);
        assert!(matches!(given("machine-7").unwrap(), Identifier::Known(id) if id.as_str() == "machine-7"));
        assert!(matches!(given("a/b"), Err(IdentifierError::Invalid { .. })));
    }

    #[test]
    fn a_qualified_name_beside_the_host_name_is_taken() {
        let hosts = "127.0.0.1 localhost\n10.0.0.1 box box.example.org # other.example\n";
        assert_eq!(qualified_name(hosts, "box").as_deref(), Some("box.example.org"));
        assert_eq!(qualified_name(hosts, "other"), None);
    }
}
