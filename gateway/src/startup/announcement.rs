//! The first lines of a server's log (`packaging.md` §1).

use keylime_schema::wire::api_version::ApiVersion;
use keylime_settings::Config;

/// The configuration format the options were taken from.
const CONFIGURATION_VERSION: ApiVersion = ApiVersion::new(2, 6);

/// Says which versions are spoken and whether the configuration file is of an older format.
pub fn announce(config: &Config) {
    let others = ApiVersion::SUPPORTED.iter().filter(|version| **version != ApiVersion::CURRENT);
    tracing::info!(target: "keylime.api_version", "Current API version: {}", ApiVersion::CURRENT);
    tracing::info!(target: "keylime.api_version", "Other supported API versions: {}", list(others));
    tracing::info!(
        target: "keylime.api_version",
        "Deprecated API versions (soon to be removed): {}",
        list(ApiVersion::DEPRECATED.iter())
    );
    let component = config.component().name();
    let version = config.get_or(component, "version", "1.0");
    match ApiVersion::parse(&version) {
        Some(version) if version.major < CONFIGURATION_VERSION.major => tracing::warn!(
            target: "keylime.config",
            "{component}.conf has the format {version} of an older major version than {CONFIGURATION_VERSION}; \
             run keylime_upgrade_config"
        ),
        Some(version) if version < CONFIGURATION_VERSION => tracing::info!(
            target: "keylime.config",
            "{component}.conf has the format {version}; {CONFIGURATION_VERSION} is the newest, see keylime_upgrade_config"
        ),
        Some(_) | None => {}
    }
}

fn list<'v>(versions: impl Iterator<Item = &'v ApiVersion>) -> String {
    versions.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
