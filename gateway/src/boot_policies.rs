//! The boot policy the operator chose (`measured_boot_policy_name`); the engine holds the policies.

use crate::configuration::VerifierConfiguration;
use crate::startup::StartError;
use keylime_engine::measured_boot::BootPolicies;

/// The policy the operator chose.
///
/// # Errors
/// `measured_boot_imports` names modules, which are written in Python and cannot be loaded.
pub fn load(configuration: &VerifierConfiguration) -> Result<BootPolicies, StartError> {
    if let Some(module) = configuration.measured_boot_imports.iter().find(|module| !module.is_empty()) {
        return Err(StartError::Other(format!(
            "option 'measured_boot_imports': '{module}' cannot be loaded; only the built-in policies can be chosen"
        )));
    }
    let name = configuration.measured_boot_policy_name.as_str();
    let policies = BootPolicies::built_in(name);
    if policies.name() == BootPolicies::REJECT_ALL && name != BootPolicies::REJECT_ALL {
        tracing::error!(
            target: "keylime.verifier",
            "there is no boot policy '{name}': every agent with a measured boot policy will be rejected"
        );
    }
    Ok(policies)
}
