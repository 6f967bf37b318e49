//! Reads the operator's boot policies (`measured_boot_policy_name`, `measured_boot_imports`); the engine compiles them.

use crate::configuration::VerifierConfiguration;
use crate::startup::StartError;
use keylime_engine::measured_boot::{BootPolicies, PolicySource};
use std::fs;

/// Largest policy file, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The policy the operator chose. `measured_boot_imports` lists files with policies in Rego.
///
/// # Errors
/// A file cannot be read or its policy does not compile; the text names the file and the line.
pub fn load(configuration: &VerifierConfiguration) -> Result<BootPolicies, StartError> {
    let mut texts = Vec::new();
    for path in configuration.measured_boot_imports.iter().filter(|path| !path.is_empty()) {
        texts.push((path.as_str(), read(path).map_err(refused)?));
    }
    let sources: Vec<PolicySource<'_>> = texts.iter().map(|(path, text)| PolicySource { path, text }).collect();
    let name = configuration.measured_boot_policy_name.as_str();
    let policies = BootPolicies::choose(name, &sources).map_err(|error| refused(error.to_string()))?;
    if policies.name() == BootPolicies::REJECT_ALL && name != BootPolicies::REJECT_ALL {
        tracing::error!(
            target: "keylime.verifier",
            "there is no boot policy '{name}': every agent with a measured boot policy will be rejected"
        );
    }
    Ok(policies)
}

fn read(path: &str) -> Result<String, String> {
    let is_rego = path.rsplit('.').next().is_some_and(|extension| extension.eq_ignore_ascii_case("rego"));
    if !is_rego {
        return Err(format!(
            "'{path}' is no Rego file; policies are written in Rego here, in files that end in .rego, and Python modules \
             have to be rewritten"
        ));
    }
    let size = fs::metadata(path).map_err(|error| format!("{path}: {error}"))?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("{path}: {size} bytes are more than the {MAX_FILE_BYTES} that are read"));
    }
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn refused(problem: String) -> StartError {
    StartError::Other(format!("option 'measured_boot_imports': {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_settings::{Component, Config};
    use std::io::Write as _;

    fn configured(text: &str) -> Result<BootPolicies, String> {
        let config = Config::from_parts(Component::Verifier, text, &[]).map_err(|error| error.to_string())?;
        let configuration = VerifierConfiguration::read(&config).map_err(|error| error.to_string())?;
        load(&configuration).map_err(|error| error.to_string())
    }

    fn rego(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::Builder::new().suffix(".rego").tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn a_policy_is_chosen_by_name() {
        assert_eq!(configured("[verifier]\n").unwrap().name(), "accept-all");
        assert_eq!(configured("[verifier]\nmeasured_boot_policy_name = example\n").unwrap().name(), "example");
        assert_eq!(configured("[verifier]\nmeasured_boot_policy_name = nope\n").unwrap().name(), "reject-all");
        let file = rego("package keylime.boot.site\ndeny contains \"never\"\n");
        let option = format!("measured_boot_imports = [\"{}\"]\n", file.path().display());
        let policies = configured(&format!("[verifier]\nmeasured_boot_policy_name = site\n{option}")).unwrap();
        assert_eq!(policies.name(), "site");
    }

    #[test]
    fn a_policy_that_does_not_compile_refuses_the_start_with_its_line() {
        let file = rego("package keylime.boot.site\n\ndeny contains x if {\n");
        let path = file.path().display().to_string();
        let problem = configured(&format!("[verifier]\nmeasured_boot_imports = [\"{path}\"]\n")).unwrap_err();
        assert!(problem.contains(&path) && problem.contains(":4"), "{problem}");
        let problem = configured("[verifier]\nmeasured_boot_imports = [\"site.policy\"]\n").unwrap_err();
        assert!(problem.contains("no Rego file"), "{problem}");
        let problem = configured("[verifier]\nmeasured_boot_imports = [\"/nowhere.rego\"]\n").unwrap_err();
        assert!(problem.contains("/nowhere.rego"), "{problem}");
    }
}
