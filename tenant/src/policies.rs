//! The policies of an enrolment, from options and files to the members the verifier gets (`tenant-cli.md` §3.6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::policy::runtime_policy::{self, SignatureRule};
use keylime_engine::policy::tpm_policy::{self, InvalidTpmPolicy};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use tracing::{info, warn};

use crate::legacy_allowlist::{self, InvalidAllowlist};
use crate::output::compact;
use crate::payload::{self, PayloadError};
use crate::verification_keys::{self, SignedKey, VerificationKeyError};

/// The PCR that IMA extends.
const IMA_PCR: u32 = 10;
/// The PCRs that measured boot extends: 0 to 9 and 11 to 15.
const BOOT_PCRS: u32 = 0xfbff;

/// Why the policies cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The `--tpm_policy` cannot be read.
    #[error(transparent)]
    Tpm(#[from] InvalidTpmPolicy),
    /// A static value for a PCR that measured boot checks.
    #[error(
        "PCR {0} is in the --tpm_policy, but the measured boot policy is responsible for it: leave it out of one of them"
    )]
    BootPcr(u32),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] PayloadError),
    /// The checksum differs.
    #[error("Checksum of runtime policy does not match! Expected {expected}, Calculated {calculated}")]
    Checksum {
        /// What the operator gave.
        expected: String,
        /// What the file has.
        calculated: String,
    },
    /// The runtime policy is not one, or not signed as it should be.
    #[error("Validation for runtime policy {path} failed! Error: {reason}")]
    Runtime {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: runtime_policy::PolicyError,
    },
    /// The allowlist is not one.
    #[error(transparent)]
    Allowlist(#[from] InvalidAllowlist),
    /// The verification keys cannot be used.
    #[error(transparent)]
    Keys(#[from] VerificationKeyError),
    /// `--mb-policy default` without a configured file.
    #[error("--mb-policy default needs the option mb_refstate in the configuration")]
    NoDefaultBootPolicy,
    /// The measured boot policy is not JSON.
    #[error("measured boot policy {path} is not valid JSON: {reason}")]
    Boot {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Where the policies are.
#[derive(Debug, Clone, Default)]
pub struct PolicySources {
    /// `--tpm_policy`.
    pub tpm_policy: Option<String>,
    /// `--allowlist`, or the file `--allowlist-url` was written to.
    pub allowlist: Option<PathBuf>,
    /// `--exclude`.
    pub exclude: Option<PathBuf>,
    /// `--allowlist-name`.
    pub allowlist_name: Option<String>,
    /// `--runtime-policy`, or the file `--runtime-policy-url` was written to.
    pub runtime_policy: Option<PathBuf>,
    /// `--runtime-policy-checksum`.
    pub checksum: Option<String>,
    /// `--runtime-policy-sig-key`.
    pub signing_key: Option<PathBuf>,
    /// `--runtime-policy-name`.
    pub runtime_policy_name: Option<String>,
    /// `--mb-policy`.
    pub mb_policy: Option<String>,
    /// `--mb-policy-name`.
    pub mb_policy_name: Option<String>,
    /// What `--mb-policy default` stands for.
    pub default_mb_policy: Option<String>,
    /// `--signature-verification-key` and its relatives.
    pub verification_keys: Vec<SignedKey>,
}

/// The policies as the verifier takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    /// JSON object of PCR values with `mask`.
    pub tpm_policy: String,
    /// Base64 of the policy or its envelope; empty for none.
    pub runtime_policy: String,
    /// Name of a stored policy; empty for none.
    pub runtime_policy_name: String,
    /// Base64 of the key that must have signed the policy; empty for none.
    pub runtime_policy_key: String,
    /// JSON text.
    pub mb_policy: Option<String>,
    /// Name of a stored policy; empty for none.
    pub mb_policy_name: String,
    /// Key ring as JSON text; empty for none.
    pub ima_sign_verification_keys: String,
}

/// Reads and checks the policies.
///
/// # Errors
/// See [`PolicyError`].
pub fn process(sources: &PolicySources) -> Result<Policies, PolicyError> {
    let mut tpm = tpm_policy::read_operator_policy(sources.tpm_policy.as_deref().unwrap_or("{}"))?;
    let mut mask = mask_of(&tpm);
    info!(target: "keylime.cli.policies", "TPM PCR Mask from policy is {mask:#x}");

    let mut policies = Policies::default();
    if !sources.verification_keys.is_empty() {
        warn!(
            target: "keylime.cli.policies",
            "Verification keys given on the command line are deprecated: put them into the runtime policy"
        );
        for key in &sources.verification_keys {
            key.verify()?;
        }
        policies.ima_sign_verification_keys = verification_keys::keyring_json(&sources.verification_keys)?;
        mask |= 1 << IMA_PCR;
    }
    if let Some(policy) = converted_allowlist(sources)? {
        policies.runtime_policy = STANDARD.encode(policy);
        mask |= 1 << IMA_PCR;
    }
    if let Some(path) = &sources.runtime_policy {
        let (policy, key) = read_runtime_policy(path, sources)?;
        policies.runtime_policy = STANDARD.encode(policy);
        policies.runtime_policy_key = key.map(|key| STANDARD.encode(key)).unwrap_or_default();
        mask |= 1 << IMA_PCR;
    }
    if let Some(name) = sources.runtime_policy_name.as_ref().or(sources.allowlist_name.as_ref()) {
        policies.runtime_policy_name.clone_from(name);
        mask |= 1 << IMA_PCR;
    }
    let before_boot = mask;
    if let Some(path) = &sources.mb_policy {
        if let Some(pcr) = boot_pcr_with_value(&tpm) {
            return Err(PolicyError::BootPcr(pcr));
        }
        policies.mb_policy = Some(read_boot_policy(path, sources.default_mb_policy.as_deref())?);
        mask |= BOOT_PCRS;
    }
    if let Some(name) = &sources.mb_policy_name {
        policies.mb_policy_name.clone_from(name);
        mask |= BOOT_PCRS;
    }
    if mask != before_boot {
        info!(
            target: "keylime.cli.policies",
            "TPM PCR Mask automatically modified is {mask:#x} to include IMA/Event log PCRs"
        );
    }
    tpm.insert("mask".to_owned(), Value::String(format!("{mask:#x}")));
    policies.tpm_policy = compact(&Value::Object(tpm));
    Ok(policies)
}

/// The bits of the mask the policy's own PCRs come to.
fn mask_of(tpm: &Map<String, Value>) -> u32 {
    tpm.get("mask")
        .and_then(Value::as_str)
        .and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok())
        .unwrap_or(0)
}

fn boot_pcr_with_value(tpm: &Map<String, Value>) -> Option<u32> {
    tpm.keys().filter_map(|key| key.parse::<u32>().ok()).find(|pcr| *pcr < 32 && BOOT_PCRS >> pcr & 1 == 1)
}

fn converted_allowlist(sources: &PolicySources) -> Result<Option<String>, PolicyError> {
    let Some(path) = &sources.allowlist else { return Ok(None) };
    warn!(target: "keylime.cli.policies", "Allowlists are deprecated: use runtime policies");
    let excludes = sources.exclude.as_deref().map(payload::read).transpose()?;
    let policy = legacy_allowlist::convert(&payload::read(path)?, excludes.as_deref())?;
    Ok(Some(compact(&policy)))
}

/// The bytes of a runtime policy that passed the checks, and of the key that signed it.
fn read_runtime_policy(path: &Path, sources: &PolicySources) -> Result<(Vec<u8>, Option<Vec<u8>>), PolicyError> {
    let policy = payload::read(path)?;
    if let Some(expected) = &sources.checksum {
        let calculated = runtime_policy::checksum(&policy);
        if *expected != calculated {
            return Err(PolicyError::Checksum { expected: expected.clone(), calculated });
        }
    }
    let key = sources.signing_key.as_deref().map(payload::read).transpose()?;
    let refused = |reason| PolicyError::Runtime { path: path.display().to_string(), reason };
    let text = std::str::from_utf8(&policy).map_err(|_| refused(runtime_policy::PolicyError::NotJson))?;
    let document: Value = serde_json::from_str(text).map_err(|_| refused(runtime_policy::PolicyError::NotJson))?;
    let rule = match key.is_some() || runtime_policy::is_envelope(&document) {
        true => SignatureRule::Required,
        false => SignatureRule::NotRequired,
    };
    runtime_policy::verify_document(text, key.as_deref(), rule).map_err(refused)?;
    if rule == SignatureRule::Required {
        info!(target: "keylime.ima", "Runtime policy passed DSSE signature verification");
    }
    Ok((policy, key))
}

/// A measured boot policy, read as JSON and written in one line.
fn read_boot_policy(path: &str, default: Option<&str>) -> Result<String, PolicyError> {
    let path = match path {
        "default" => default.ok_or(PolicyError::NoDefaultBootPolicy)?,
        given => given,
    };
    let content = payload::read(Path::new(path))?;
    let value: Value = serde_json::from_slice(&content)
        .map_err(|error| PolicyError::Boot { path: path.to_owned(), reason: error.to_string() })?;
    Ok(compact(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"{"meta": {"version": 1, "generator": 1}, "release": 0, "digests": {"/x": ["0000000000000000000000000000000000000000"]}, "excludes": [], "keyrings": {}, "ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null}, "ima-buf": {}, "verification-keys": ""}"#;

    fn with(change: impl FnOnce(&mut PolicySources)) -> Result<Policies, PolicyError> {
        let mut sources = PolicySources::default();
        change(&mut sources);
        process(&sources)
    }

    fn file(directory: &tempfile::TempDir, name: &str, content: &str) -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn without_options_nothing_is_asked_of_the_agent() {
        let policies = with(|_| {}).unwrap();
        assert_eq!(policies, Policies { tpm_policy: "{\"mask\": \"0x0\"}".into(), ..Policies::default() });
    }

    #[test]
    fn masks_follow_the_policies() {
        let policies = with(|s| s.tpm_policy = Some("{\"22\": \"AB\", \"0\": [\"CD\"]}".into())).unwrap();
        assert_eq!(policies.tpm_policy, "{\"22\": [\"ab\"], \"0\": [\"cd\"], \"mask\": \"0x400001\"}");
        let policies = with(|s| s.runtime_policy_name = Some("p".into())).unwrap();
        assert_eq!(
            (policies.tpm_policy.as_str(), policies.runtime_policy_name.as_str()),
            ("{\"mask\": \"0x400\"}", "p")
        );
        let policies = with(|s| s.mb_policy_name = Some("m".into())).unwrap();
        assert_eq!(policies.tpm_policy, "{\"mask\": \"0xfbff\"}");
    }

    #[test]
    fn pcrs_of_other_checks_are_refused_in_the_tpm_policy() {
        let directory = tempfile::tempdir().unwrap();
        let boot = file(&directory, "mb.json", "{}").display().to_string();
        let message = |policy: &str| with(|s| s.tpm_policy = Some(policy.into())).unwrap_err().to_string();
        assert_eq!(message("{\"16\":\"00\"}"), "Invalid allowlist PCR number 16, keylime uses this PCR to bind data.");
        assert_eq!(message("{\"10\":\"00\"}"), "Invalid allowlist PCR number 10, this PCR is used for IMA.");
        let both = with(|s| {
            s.tpm_policy = Some("{\"7\":\"00\"}".into());
            s.mb_policy = Some(boot);
        });
        assert!(matches!(both, Err(PolicyError::BootPcr(7))));
    }

    #[test]
    fn runtime_policies_are_checked_and_sent_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "policy.json", POLICY);
        let policies = with(|s| s.runtime_policy = Some(path.clone())).unwrap();
        assert_eq!(STANDARD.decode(&policies.runtime_policy).unwrap(), POLICY.as_bytes());
        assert_eq!((policies.tpm_policy.as_str(), policies.runtime_policy_key.as_str()), ("{\"mask\": \"0x400\"}", ""));

        let wrong = with(|s| {
            s.runtime_policy = Some(path.clone());
            s.checksum = Some("00".into());
        });
        assert!(wrong.unwrap_err().to_string().starts_with("Checksum of runtime policy does not match! Expected 00, "));
        let key = file(&directory, "key.pem", "key");
        let unsigned = with(|s| {
            s.runtime_policy = Some(path.clone());
            s.signing_key = Some(key);
        });
        assert!(unsigned.unwrap_err().to_string().ends_with("failed! Error: Runtime policy is not signed!"));
        let envelope = file(&directory, "dsse.json", "{\"payload\": \"e30=\"}");
        let no_key = with(|s| s.runtime_policy = Some(envelope)).unwrap_err().to_string();
        assert!(no_key.ends_with("Runtime policy signature verification required but no key was given!"));
        let garbage = file(&directory, "garbage", "no json");
        let garbage = with(|s| s.runtime_policy = Some(garbage)).unwrap_err().to_string();
        assert!(garbage.ends_with("failed! Error: Runtime policy is not valid JSON!"));
    }

    #[test]
    fn boot_policies_are_written_in_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "mb.json", "{\n \"a\":1,\"b\":[]\n}").display().to_string();
        let policies = with(|s| s.mb_policy = Some(path.clone())).unwrap();
        assert_eq!(policies.mb_policy.as_deref(), Some("{\"a\": 1, \"b\": []}"));
        assert_eq!(policies.tpm_policy, "{\"mask\": \"0xfbff\"}");
        let default = with(|s| s.mb_policy = Some("default".into()));
        assert!(matches!(default, Err(PolicyError::NoDefaultBootPolicy)));
        let default = with(|s| {
            s.mb_policy = Some("default".into());
            s.default_mb_policy = Some(path);
        });
        assert!(default.is_ok());
    }
}
