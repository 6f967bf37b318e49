//! Reference states for policy `example`, made from a boot log (`measured-boot.md` §9).

use super::event_log::LogError;
use super::parsed_log::ParsedBootLog;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// Which of the reference's two tools to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `keylime-policy create measured-boot`: leaves out applications inside the firmware, and leaves out `kernels` with a
    /// warning when the log does not have the expected number of applications.
    KeylimePolicy,
    /// `create_mb_refstate`: takes every application, and fails where something expected is missing.
    CreateMbRefstate,
}

/// How a log without secure boot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecureBootRule {
    /// Secure boot has to be on.
    Required,
    /// It may be off (`--without-secureboot`, `-i`).
    MayBeOff,
}

/// How to make a reference state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Which tool to be like.
    pub flavour: Flavour,
    /// Whether secure boot may be off.
    pub secure_boot: SecureBootRule,
}

/// A reference state and what the operator should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceStateOutcome {
    /// The reference state, its members in the reference's order.
    pub state: Value,
    /// Warnings, in order.
    pub warnings: Vec<ReferenceStateWarning>,
}

impl ReferenceStateOutcome {
    /// The state as the reference's tools write it: Python's `json.dumps` with its default separators, no newline at the end.
    #[must_use]
    pub fn to_python_json(&self) -> String {
        python_json(&self.state)
    }
}

/// A value as Python's `json.dumps` writes it: a space after each separator, everything but ASCII escaped.
#[must_use]
pub fn python_json(value: &Value) -> String {
    let mut out = String::new();
    write_python_json(value, &mut out);
    out
}

/// Something the operator should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceStateWarning {
    /// No event tells whether secure boot is on.
    #[error("the event log does not say whether secure boot is on; it is taken to be off")]
    SecureBootUnknown,
    /// The option for logs without secure boot was given for one with it.
    #[error("the event log has secure boot enabled; the option for logs without it is ignored")]
    SecureBootIsOn,
    /// The number of applications is not the expected one, so the state has no kernels and rejects every log.
    #[error("expected {expected} boot applications but found {found}; no kernels were added")]
    ApplicationCount {
        /// What is expected.
        expected: &'static str,
        /// What the log has.
        found: usize,
    },
}

/// Why no reference state can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceStateError {
    /// The log cannot be read.
    #[error("the event log cannot be read: {0}")]
    Log(#[from] LogError),
    /// Secure boot is off and may not be.
    #[error("Provided eventlog has SecureBoot disabled, but -i flag was not set")]
    SecureBootDisabled,
    /// The log does not tell whether secure boot is on; only for [`Flavour::CreateMbRefstate`].
    #[error("the event log does not say whether secure boot is on")]
    SecureBootUnknown,
    /// The number of applications is not the expected one; only for [`Flavour::CreateMbRefstate`].
    #[error("expected {expected} boot applications but found {found}")]
    ApplicationCount {
        /// What is expected.
        expected: &'static str,
        /// What the log has.
        found: usize,
    },
    /// An event lacks something that a reference state needs.
    #[error("event {event}: has no {what}")]
    Lacking {
        /// The event's number.
        event: u64,
        /// What is missing.
        what: &'static str,
    },
}

/// Makes a reference state from a binary log.
///
/// # Errors
/// See [`ReferenceStateError`].
pub fn create(log: &[u8], options: Options) -> Result<ReferenceStateOutcome, ReferenceStateError> {
    let log = ParsedBootLog::parse(log)?;
    Creation { events: log.events(), options, warnings: Vec::new() }.run()
}

struct Creation<'l> {
    events: &'l [Value],
    options: Options,
    warnings: Vec<ReferenceStateWarning>,
}

const APPLICATION: &str = "EV_EFI_BOOT_SERVICES_APPLICATION";
const DRIVER_CONFIG: &str = "EV_EFI_VARIABLE_DRIVER_CONFIG";
const AUTHORITY: &str = "EV_EFI_VARIABLE_AUTHORITY";

impl<'l> Creation<'l> {
    fn run(mut self) -> Result<ReferenceStateOutcome, ReferenceStateError> {
        let secure_boot = self.secure_boot()?;
        let mut state = Map::new();
        state.insert("has_secureboot".to_owned(), json!(secure_boot));
        state.insert("scrtm_and_bios".to_owned(), json!([self.firmware()]));
        for name in ["pk", "kek", "db", "dbx"] {
            state.insert(name.to_owned(), Value::Array(self.configured_keys(name)));
        }
        state.insert("vendor_db".to_owned(), Value::Array(self.vendor_keys()));
        state.insert("mokdig".to_owned(), Value::Array(self.named_digests("MokList")));
        state.insert("mokxdig".to_owned(), Value::Array(self.named_digests("MokListX")));
        if let Some(kernels) = self.kernels(secure_boot)? {
            state.insert("kernels".to_owned(), kernels);
        }
        Ok(ReferenceStateOutcome { state: Value::Object(state), warnings: self.warnings })
    }

    fn of_type(&self, event_type: &'static str) -> impl Iterator<Item = &'l Value> + use<'l> {
        let events: &'l [Value] = self.events;
        events.iter().filter(move |event| event["EventType"] == event_type)
    }

    fn secure_boot(&mut self) -> Result<bool, ReferenceStateError> {
        let mut variables = self.of_type(DRIVER_CONFIG).map(|event| &event["Event"]);
        let enabled = variables.find_map(|variable| {
            if variable["UnicodeName"] == "SecureBoot" { variable["VariableData"]["Enabled"].as_str() } else { None }
        });
        let enabled = match (enabled, self.options.flavour) {
            (Some(enabled), _) => enabled == "Yes",
            (None, Flavour::CreateMbRefstate) => return Err(ReferenceStateError::SecureBootUnknown),
            (None, Flavour::KeylimePolicy) => {
                self.warnings.push(ReferenceStateWarning::SecureBootUnknown);
                false
            }
        };
        match (enabled, self.options.secure_boot) {
            (false, SecureBootRule::Required) => Err(ReferenceStateError::SecureBootDisabled),
            (true, SecureBootRule::MayBeOff) => {
                self.warnings.push(ReferenceStateWarning::SecureBootIsOn);
                Ok(true)
            }
            (enabled, _) => Ok(enabled),
        }
    }

    /// The digests of the first CRTM version and of all firmware blobs.
    fn firmware(&self) -> Value {
        let mut firmware = Map::new();
        if let Some(event) = self.of_type("EV_S_CRTM_VERSION").next() {
            firmware.insert("scrtm".to_owned(), digest_object(event));
        }
        let is_blob = |event: &&Value| {
            matches!(
                event["EventType"].as_str(),
                Some("EV_EFI_PLATFORM_FIRMWARE_BLOB" | "EV_EFI_PLATFORM_FIRMWARE_BLOB2")
            )
        };
        let blobs = self.events.iter().filter(is_blob).map(digest_object).collect();
        firmware.insert("platform_firmware".to_owned(), Value::Array(blobs));
        Value::Object(firmware)
    }

    /// The keys of a secure boot variable; the last event counts.
    fn configured_keys(&self, name: &str) -> Vec<Value> {
        let variables = self.of_type(DRIVER_CONFIG).map(|event| &event["Event"]).filter(|variable| {
            let unicode_name = variable["UnicodeName"].as_str().unwrap_or_default();
            unicode_name.to_lowercase() == name && !variable["VariableData"].is_null()
        });
        let lists = variables.last().map(|variable| &variable["VariableData"]);
        let lists = lists.and_then(Value::as_array).into_iter().flatten();
        lists.flat_map(|list| list["Keys"].as_array().into_iter().flatten()).filter_map(signature).collect()
    }

    fn vendor_keys(&self) -> Vec<Value> {
        let variables = self.of_type(AUTHORITY).map(|event| &event["Event"]);
        let variables = variables.filter(|variable| variable["UnicodeName"] == "vendor_db");
        let keys = variables.flat_map(|variable| variable["VariableData"].as_array().into_iter().flatten());
        keys.filter_map(signature).collect()
    }

    fn named_digests(&self, name: &str) -> Vec<Value> {
        self.of_type("EV_IPL").filter(|event| event["Event"]["String"] == name).map(digest_object).collect()
    }

    fn kernels(&mut self, secure_boot: bool) -> Result<Option<Value>, ReferenceStateError> {
        let applications: Vec<&Value> = self.of_type(APPLICATION).filter(|event| self.is_started(event)).collect();
        let found = applications.len();
        let fits = if secure_boot { matches!(found, 3 | 4) } else { found == 2 };
        if !fits {
            let expected = if secure_boot { "3 or 4" } else { "2" };
            if self.options.flavour == Flavour::CreateMbRefstate {
                return Err(ReferenceStateError::ApplicationCount { expected, found });
            }
            self.warnings.push(ReferenceStateWarning::ApplicationCount { expected, found });
            return Ok(None);
        }
        let mut kernel = Map::new();
        if secure_boot {
            kernel.insert("kernel_authcode_sha256".to_owned(), sha256(applications[2])?);
        }
        kernel.insert("shim_authcode_sha256".to_owned(), sha256(applications[0])?);
        kernel.insert("grub_authcode_sha256".to_owned(), sha256(applications[1])?);
        if let Some(initrd) = self.ipl(9, &["initrd", "initramfs"])? {
            kernel.insert("initrd_plain_sha256".to_owned(), sha256(initrd)?);
        }
        if !secure_boot && let Some(vmlinuz) = self.ipl(9, &["vmlinuz"])? {
            kernel.insert("vmlinuz_plain_sha256".to_owned(), sha256(vmlinuz)?);
        }
        if let Some(event) = self.ipl(8, &["kernel_cmdline"])? {
            let text = event["Event"]["String"].as_str().unwrap_or_default();
            let cmdline: String = text.chars().skip("kernel_cmdline: ".len()).collect();
            kernel.insert("kernel_cmdline".to_owned(), json!(escape_pattern(&cmdline)));
        }
        Ok(Some(json!([kernel])))
    }

    /// Whether an application was started from a disk. Those inside the firmware are measured with it.
    fn is_started(&self, event: &Value) -> bool {
        let path = event["Event"]["DevicePath"].as_str().unwrap_or_default();
        self.options.flavour == Flavour::CreateMbRefstate || !FIRMWARE_FILE.is_match(path)
    }

    /// The first EV_IPL event of a PCR whose text contains one of these words.
    fn ipl(&self, pcr: u8, words: &[&str]) -> Result<Option<&'l Value>, ReferenceStateError> {
        for event in self.of_type("EV_IPL").filter(|event| event["PCRIndex"] == pcr) {
            let text = event["Event"]["String"].as_str().ok_or_else(|| lacking(event, "text"))?;
            if words.iter().any(|word| text.contains(word)) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

/// A path into a firmware volume.
static FIRMWARE_FILE: LazyLock<regex::Regex> = LazyLock::new(|| {
    #[allow(clippy::expect_used, reason = "a constant that a test compiles")]
    regex::Regex::new(r"^FvVol\(\w{8}-\w{4}-\w{4}-\w{4}-\w{12}\)/FvFile\(\w{8}-\w{4}-\w{4}-\w{4}-\w{12}\)")
        .expect("the pattern is constant")
});

fn lacking(event: &Value, what: &'static str) -> ReferenceStateError {
    ReferenceStateError::Lacking { event: event["EventNum"].as_u64().unwrap_or_default(), what }
}

fn first_sha256(event: &Value) -> Option<String> {
    let mut digests = event["Digests"].as_array().into_iter().flatten();
    let digest = digests.find(|digest| digest["AlgorithmId"] == "sha256")?;
    Some(format!("0x{}", digest["Digest"].as_str()?))
}

fn sha256(event: &Value) -> Result<Value, ReferenceStateError> {
    first_sha256(event).map(Value::String).ok_or_else(|| lacking(event, "sha256 digest"))
}

fn digest_object(event: &Value) -> Value {
    first_sha256(event).map_or_else(|| json!({}), |digest| json!({ "sha256": digest }))
}

/// A signature with its data marked as hexadecimal. Data that YAML takes for a number is printed in decimal, as the
/// reference does; no log matches it.
fn signature(key: &Value) -> Option<Value> {
    let data = match key.get("SignatureData")? {
        Value::String(data) => data.clone(),
        other => other.to_string(),
    };
    Some(json!({ "SignatureOwner": key.get("SignatureOwner")?, "SignatureData": format!("0x{data}") }))
}

/// Python's `re.escape`.
fn escape_pattern(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if "\t\n\u{b}\u{c}\r #$&()*+-.?[\\]^{|}~".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn write_python_json(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            out.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_python_text(name, out);
                out.push_str(": ");
                write_python_json(member, out);
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (index, element) in list.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_python_json(element, out);
            }
            out.push(']');
        }
        Value::String(text) => write_python_text(text, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

fn write_python_text(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
