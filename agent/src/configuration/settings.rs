//! The agent's options with their defaults, checked and typed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keylime_engine::algorithm::HashAlgorithm;

use crate::api_version::{ApiVersion, enabled_versions};
use crate::configuration::ConfigurationError;
use crate::configuration::address::parse_host;
use crate::configuration::device_identity_settings::DeviceIdentitySettings;
use crate::configuration::layers::{Environment, Layers};
use crate::configuration::list_syntax::parse_list;
use crate::configuration::value::Value;
use crate::tpm::pcr::{DATA_PCR, IMA_PCR, PCR_COUNT};
use crate::tpm::{KeyAlgorithm, SigningAlgorithm};

/// The agent id when none is configured.
pub const DEFAULT_UUID: &str = "d432fbb3-d2f1-4a97-9ef7-75bd81c00000";

/// Everything the pull agent can be told, and what both agents share.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// The option `uuid` as written; see [`crate::identity::uuid`].
    pub uuid: String,
    /// API versions served, ascending.
    pub api_versions: Vec<ApiVersion>,
    /// Where the HTTP server listens.
    pub ip: String,
    /// Its port.
    pub port: u16,
    /// The address the registrar hands out.
    pub contact_ip: String,
    /// The port the registrar hands out.
    pub contact_port: u16,
    /// Where the registrar listens for agents.
    pub registrar_ip: String,
    /// Its port.
    pub registrar_port: u16,
    /// Working directory, existing and canonical.
    pub keylime_dir: PathBuf,
    /// Files and passwords of the server and payload keys.
    pub keys: KeySettings,
    /// What the TPM is used with.
    pub tpm: TpmSettings,
    /// Key delivery and payload.
    pub payload: PayloadSettings,
    /// Revocation notices.
    pub revocation: RevocationSettings,
    /// Retries of requests to the registrar.
    pub backoff: BackoffSettings,
    /// User and group to become, `user:group`, or nothing.
    pub run_as: Option<String>,
    /// Where the attestation key is kept between runs.
    pub agent_data_path: PathBuf,
    /// The kernel's IMA list.
    pub ima_ml_path: PathBuf,
    /// The firmware's event log.
    pub measuredboot_ml_path: PathBuf,
}

/// Files and passwords of the agent's own keys.
#[derive(Debug, Clone)]
pub struct KeySettings {
    /// Whether the HTTP server demands client certificates; without, it speaks plain HTTP.
    pub enable_agent_mtls: bool,
    /// Private key of the server.
    pub server_key: PathBuf,
    /// Password of that file, may be empty.
    pub server_key_password: String,
    /// Certificate of the server.
    pub server_cert: PathBuf,
    /// Private key that key shares are encrypted for.
    pub payload_key: PathBuf,
    /// Password of that file, may be empty.
    pub payload_key_password: String,
    /// Files with the authorities of client certificates.
    pub trusted_client_ca: Vec<PathBuf>,
}

/// Algorithms, handles and passwords for the TPM.
#[derive(Debug, Clone)]
pub struct TpmSettings {
    /// Hash of quotes, PCR bank and attestation key.
    pub hash: HashAlgorithm,
    /// Kind of endorsement and attestation key.
    pub encryption: KeyAlgorithm,
    /// Scheme of the attestation key.
    pub signing: SigningAlgorithm,
    /// Persistent endorsement key, or none to make one.
    pub ek_handle: Option<u32>,
    /// Password of the endorsement hierarchy as written, may be empty.
    pub owner_password: String,
    /// Device identity keys, if they are used.
    pub device_identity: Option<DeviceIdentitySettings>,
}

/// Options of key delivery and payload.
#[derive(Debug, Clone)]
pub struct PayloadSettings {
    /// Size of the secure mount in the words of tmpfs.
    pub secure_size: String,
    /// File that holds the delivered key.
    pub enc_keyname: String,
    /// File that holds the decrypted payload.
    pub dec_payload_file: String,
    /// Whether the payload is unpacked.
    pub extract_payload_zip: bool,
    /// Script run after unpacking, may be empty.
    pub payload_script: String,
    /// Whether payloads are run although the server speaks plain HTTP.
    pub enable_insecure_payload: bool,
    /// PCR that each payload is measured into before it is unpacked.
    pub measured_pcr: Option<u8>,
}

/// Options of revocation notices.
#[derive(Debug, Clone)]
pub struct RevocationSettings {
    /// Whether the agent subscribes to the verifier's ZeroMQ socket.
    pub enable_notifications: bool,
    /// Host of that socket.
    pub notification_ip: String,
    /// Port of that socket.
    pub notification_port: u16,
    /// Certificate that notices are checked with.
    pub certificate: PathBuf,
    /// Actions run in any case, before those of the payload.
    pub actions: Vec<String>,
    /// Where actions are looked for first.
    pub actions_dir: PathBuf,
    /// Whether actions from the payload may run.
    pub allow_payload_actions: bool,
}

/// Retries of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffSettings {
    /// Wait before the first retry.
    pub initial_delay: Duration,
    /// Most retries.
    pub max_retries: u32,
    /// Longest wait.
    pub max_delay: Duration,
}

impl AgentSettings {
    /// Reads files and environment.
    ///
    /// # Errors
    /// See [`ConfigurationError`].
    pub fn load(environment: &Environment) -> Result<Self, ConfigurationError> {
        Self::from_layers(&Layers::load(environment)?)
    }

    /// Checks and types the options.
    ///
    /// # Errors
    /// See [`ConfigurationError`].
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigurationError> {
        let settings = Self::read(layers)?;
        settings.check_combinations()?;
        Ok(settings)
    }

    /// Types the options without judging what only matters to an agent with an HTTP server and payloads.
    ///
    /// # Errors
    /// See [`ConfigurationError`].
    pub(super) fn read(layers: &Layers) -> Result<Self, ConfigurationError> {
        let directory = PathBuf::from(layers.text("keylime_dir", "/var/lib/keylime"));
        let keylime_dir =
            directory.canonicalize().map_err(|source| ConfigurationError::WorkDirectory { path: directory, source })?;
        let run_as_default = if nix::unistd::Uid::effective().is_root() { "keylime:tss" } else { "" };
        Ok(Self {
            uuid: layers.text("uuid", DEFAULT_UUID),
            api_versions: enabled_versions(&list(layers, "api_versions", "default")?, &ApiVersion::PULL),
            ip: host(layers, "ip")?,
            port: layers.number("port", 9002)?,
            contact_ip: host(layers, "contact_ip")?,
            contact_port: layers.number("contact_port", 9002)?,
            registrar_ip: host(layers, "registrar_ip")?,
            registrar_port: layers.number("registrar_port", 8890)?,
            keys: key_settings(layers, &keylime_dir)?,
            tpm: tpm_settings(layers, &keylime_dir)?,
            payload: payload_settings(layers)?,
            revocation: revocation_settings(layers, &keylime_dir)?,
            backoff: BackoffSettings {
                initial_delay: Duration::from_millis(layers.number("exponential_backoff_initial_delay", 10_000)?),
                max_retries: layers.number("exponential_backoff_max_retries", 5)?,
                max_delay: Duration::from_millis(layers.number("exponential_backoff_max_delay", 300_000)?),
            },
            run_as: Some(layers.text("run_as", run_as_default)).filter(|text| !text.is_empty()),
            agent_data_path: file(layers, "agent_data_path", &keylime_dir, "agent_data.json"),
            ima_ml_path: file(
                layers,
                "ima_ml_path",
                Path::new("/"),
                "sys/kernel/security/ima/ascii_runtime_measurements",
            ),
            measuredboot_ml_path: file(
                layers,
                "measuredboot_ml_path",
                Path::new("/"),
                "sys/kernel/security/tpm0/binary_bios_measurements",
            ),
            keylime_dir,
        })
    }

    fn check_combinations(&self) -> Result<(), ConfigurationError> {
        let insecure_script = !self.keys.enable_agent_mtls
            && !self.payload.enable_insecure_payload
            && !self.payload.payload_script.is_empty();
        if insecure_script {
            return Err(ConfigurationError::Conflict(
                "mTLS disabled, payloads cannot be deployed: payload_script needs enable_agent_mtls or \
                 enable_insecure_payload"
                    .to_owned(),
            ));
        }
        if self.keys.enable_agent_mtls && self.keys.trusted_client_ca.is_empty() {
            return Err(ConfigurationError::Conflict("enable_agent_mtls needs trusted_client_ca".to_owned()));
        }
        if self.revocation.enable_notifications && !self.revocation.actions_dir.is_dir() {
            return Err(ConfigurationError::Conflict(format!(
                "enable_revocation_notifications needs an existing revocation_actions_dir, not {}",
                self.revocation.actions_dir.display()
            )));
        }
        Ok(())
    }
}

fn key_settings(layers: &Layers, base: &Path) -> Result<KeySettings, ConfigurationError> {
    let authorities = list(layers, "trusted_client_ca", "default")?;
    Ok(KeySettings {
        enable_agent_mtls: layers.boolean("enable_agent_mtls", true)?,
        server_key: file(layers, "server_key", base, "server-private.pem"),
        server_key_password: layers.text("server_key_password", ""),
        server_cert: file(layers, "server_cert", base, "server-cert.crt"),
        payload_key: file(layers, "payload_key", base, "payload-private.pem"),
        payload_key_password: layers.text("payload_key_password", ""),
        trusted_client_ca: authorities.iter().map(|name| located(name, base, "cv_ca/cacert.crt")).collect(),
    })
}

fn tpm_settings(layers: &Layers, base: &Path) -> Result<TpmSettings, ConfigurationError> {
    Ok(TpmSettings {
        hash: named(layers, "tpm_hash_alg", "sha256", HashAlgorithm::from_name)?,
        encryption: named(layers, "tpm_encryption_alg", "rsa", KeyAlgorithm::from_name)?,
        signing: named(layers, "tpm_signing_alg", "rsassa", SigningAlgorithm::from_name)?,
        ek_handle: named(layers, "ek_handle", "generate", handle)?,
        owner_password: layers.text("tpm_ownerpassword", ""),
        device_identity: DeviceIdentitySettings::read(layers, base)?,
    })
}

fn payload_settings(layers: &Layers) -> Result<PayloadSettings, ConfigurationError> {
    Ok(PayloadSettings {
        secure_size: named(layers, "secure_size", "1m", tmpfs_size)?,
        enc_keyname: file_name(layers, "enc_keyname", "derived_tci_key")?,
        dec_payload_file: file_name(layers, "dec_payload_file", "decrypted_payload")?,
        extract_payload_zip: layers.boolean("extract_payload_zip", true)?,
        payload_script: file_name(layers, "payload_script", "autorun.sh")?,
        enable_insecure_payload: layers.boolean("enable_insecure_payload", false)?,
        measured_pcr: named(layers, "measure_payload_pcr", "-1", measured_pcr)?,
    })
}

/// `-1` is none. IMA has one PCR for itself and the binding of data another; a payload would make their quotes fail.
fn measured_pcr(text: &str) -> Option<Option<u8>> {
    match text.trim() {
        "" | "-1" => Some(None),
        number => number.parse().ok().filter(|pcr| *pcr < PCR_COUNT && ![IMA_PCR, DATA_PCR].contains(pcr)).map(Some),
    }
}

fn revocation_settings(layers: &Layers, base: &Path) -> Result<RevocationSettings, ConfigurationError> {
    let enable_notifications = layers.boolean("enable_revocation_notifications", false)?;
    let certificate = "secure/unzipped/RevocationNotifier-cert.crt";
    Ok(RevocationSettings {
        enable_notifications,
        notification_ip: host(layers, "revocation_notification_ip")?,
        notification_port: layers.number("revocation_notification_port", 8992)?,
        certificate: file(layers, "revocation_cert", base, certificate),
        actions: list(layers, "revocation_actions", "")?,
        actions_dir: PathBuf::from(layers.text("revocation_actions_dir", "/usr/libexec/keylime")),
        allow_payload_actions: layers.boolean("allow_payload_revocation_actions", true)?,
    })
}

fn host(layers: &Layers, option: &'static str) -> Result<String, ConfigurationError> {
    named(layers, option, "127.0.0.1", parse_host)
}

/// An option whose text `read` understands.
pub(super) fn named<T>(
    layers: &Layers,
    option: &'static str,
    default: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, ConfigurationError> {
    let text = layers.text(option, default);
    read(&text).ok_or(ConfigurationError::Unknown { option, found: text })
}

pub(super) fn list(layers: &Layers, option: &'static str, default: &str) -> Result<Vec<String>, ConfigurationError> {
    if let Some(Value::List(items)) = layers.value(option) {
        return Ok(items.clone());
    }
    parse_list(&layers.text(option, default)).map_err(|source| ConfigurationError::List { option, source })
}

pub(super) fn file(layers: &Layers, option: &str, base: &Path, default: &str) -> PathBuf {
    located(&layers.text(option, "default"), base, default)
}

/// A file option: `default` or nothing is the default name below `base`; a relative path is below `base` too.
pub(super) fn located(text: &str, base: &Path, default: &str) -> PathBuf {
    base.join(if text.is_empty() || text == "default" { default } else { text })
}

/// A name that stays inside the directory it is joined to, or nothing.
fn file_name(layers: &Layers, option: &'static str, default: &str) -> Result<String, ConfigurationError> {
    named(layers, option, default, |text| {
        let stays_inside = !text.contains(['/', '\0']) && text != "." && text != "..";
        stays_inside.then(|| text.to_owned())
    })
}

/// `generate` or nothing makes a key, anything else is a hexadecimal handle.
pub(super) fn handle(text: &str) -> Option<Option<u32>> {
    if text.is_empty() || text == "generate" {
        return Some(None);
    }
    u32::from_str_radix(text.trim_start_matches("0x"), 16).ok().map(Some)
}

/// Digits with an optional unit, so that nothing else can enter the options of mount(2).
fn tmpfs_size(text: &str) -> Option<String> {
    let digits = text.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G', '%']);
    let is_size = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && text.len() - digits.len() <= 1;
    is_size.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<AgentSettings, ConfigurationError> {
        let mut layers = Layers::default();
        layers.add_text(Path::new("test"), &format!("[agent]\nkeylime_dir = \"/tmp\"\n{text}"))?;
        AgentSettings::from_layers(&layers)
    }

    #[test]
    fn defaults_are_keylimes() {
        let defaults = settings("").unwrap();
        assert_eq!((defaults.ip.as_str(), defaults.port, defaults.registrar_port), ("127.0.0.1", 9002, 8890));
        assert_eq!(defaults.uuid, DEFAULT_UUID);
        assert_eq!(defaults.api_versions.len(), 6);
        assert_eq!(defaults.keys.trusted_client_ca, [Path::new("/tmp/cv_ca/cacert.crt")]);
        assert_eq!(defaults.revocation.certificate, Path::new("/tmp/secure/unzipped/RevocationNotifier-cert.crt"));
        assert_eq!(defaults.ima_ml_path, Path::new("/sys/kernel/security/ima/ascii_runtime_measurements"));
        assert_eq!(defaults.backoff.max_delay, Duration::from_secs(300));
        assert_eq!(defaults.tpm.ek_handle, None);
    }

    #[test]
    fn lists_paths_and_handles_are_read() {
        let read = settings(
            "trusted_client_ca = \"['ca1.crt', /abs/ca2.crt]\"\nek_handle = \"0x81010001\"\nima_ml_path = \"log\"\n\
             revocation_actions = [\"one\", \"two\"]\napi_versions = \"2.1, 2.6\"\n",
        )
        .unwrap();
        assert_eq!(read.keys.trusted_client_ca, [Path::new("/tmp/ca1.crt"), Path::new("/abs/ca2.crt")]);
        assert_eq!(read.tpm.ek_handle, Some(0x8101_0001));
        assert_eq!(read.ima_ml_path, Path::new("/log"));
        assert_eq!(read.revocation.actions, ["one", "two"]);
        assert_eq!(read.api_versions.len(), 2);
    }

    #[test]
    fn a_script_needs_a_safe_way_of_delivery() {
        assert!(matches!(settings("enable_agent_mtls = false\n"), Err(ConfigurationError::Conflict(_))));
        assert!(settings("enable_agent_mtls = false\npayload_script = \"\"\n").is_ok());
        assert!(settings("enable_agent_mtls = false\nenable_insecure_payload = true\n").is_ok());
    }

    #[test]
    fn names_cannot_leave_their_directory_or_their_field() {
        for wrong in
            ["payload_script = \"../x\"", "enc_keyname = \"/etc/x\"", "secure_size = \"1m,exec\"", "ip = \"a/b\""]
        {
            assert!(matches!(settings(wrong), Err(ConfigurationError::Unknown { .. })), "{wrong}");
        }
    }
}
