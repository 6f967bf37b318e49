//! Measured boot on real parts: a software TPM into which a real boot log was replayed, the agent that serves the log, the
//! verifier that judges it by policy `example`, and the revocation when the log was tampered with.

use keylime_engine::measured_boot::event_log::EventLog;
use keylime_engine::measured_boot::event_type::EventType;
use keylime_harness::child::run;
use keylime_harness::stack::{Implementation, Stack};
use keylime_harness::webhook_sink::WebhookSink;
use keylime_harness::{ima_log, ports};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

use Implementation::Ours;

const LOG: &[u8] = include_bytes!("../vectors/eventlogs/sb_base.bin");
const STATE: &str = include_str!("../vectors/eventlogs/refstate_sb_base.json");
const LIMIT: Duration = Duration::from_secs(60);

/// A machine that booted with this log, and a verifier that evaluates a policy on every quote.
struct Site {
    stack: Stack,
    /// Holds the log that the agent serves.
    firmware: TempDir,
    sink: WebhookSink,
}

impl Site {
    fn start(policy: &str, verifier: &[(&str, String)]) -> Self {
        let firmware = TempDir::with_prefix("keylime-firmware-").unwrap();
        let served = firmware.path().join("binary_bios_measurements");
        std::fs::write(&served, LOG).unwrap();
        let port = ports::free();
        let mut stack = Stack::prepare(|settings| {
            settings.agent = vec![("measuredboot_ml_path".into(), format!("{:?}", served.display().to_string()))];
            settings.verifier = vec![
                ("measured_boot_policy_name".into(), policy.to_owned()),
                ("measured_boot_evaluate".into(), "always".to_owned()),
            ];
            settings.verifier.extend(verifier.iter().map(|(option, value)| ((*option).to_owned(), value.clone())));
            settings.revocations = vec![
                ("enabled_revocation_notifications".into(), "['webhook']".into()),
                ("webhook_url".into(), format!("https://127.0.0.1:{port}")),
            ];
        })
        .unwrap();
        replay(&stack, LOG);
        stack.start_all(Ours, Ours).unwrap();
        let ca = stack.dir().join("cv_ca");
        let sink = WebhookSink::start(port, &ca.join("server-cert.crt"), &ca.join("server-private.pem")).unwrap();
        Self { stack, firmware, sink }
    }

    fn enrol(&self, state: &Value) {
        let state = self.stack.write_json("refstate.json", state).unwrap();
        let runtime = self.stack.write_json("policy.json", &ima_log::policy(&[])).unwrap();
        let arguments = ["-c", "add", "-t", "127.0.0.1", "--runtime-policy", &runtime, "--mb-policy", &state];
        let added = self.stack.tenant(Ours, &arguments).unwrap();
        assert_eq!(added.code, Some(0), "{added:?}\n{}", self.stack.logs());
    }

    fn serve(&self, log: &[u8]) {
        std::fs::write(self.firmware.path().join("binary_bios_measurements"), log).unwrap();
    }

    fn expect_attested(&self) {
        let attested = |record: &Value| record["attestation_count"].as_i64() >= Some(3);
        let record = self.stack.wait_for_status(LIMIT, attested);
        let record = record.unwrap_or_else(|error| panic!("{error}\n{}", self.stack.logs()));
        assert_eq!(record["attestation_status"], "PASS", "{record}");
    }

    fn expect_failure(&self, event_id: &str) -> Value {
        let failed = |record: &Value| record["operational_state"] == "Invalid Quote";
        let record = self.stack.wait_for_status(LIMIT, failed);
        let record = record.unwrap_or_else(|error| panic!("{error}\n{}", self.stack.logs()));
        assert_eq!(record["last_event_id"], event_id, "{record}");
        let notice = self.sink.wait_for("revocation", LIMIT);
        let notice = notice.unwrap_or_else(|| panic!("no webhook\n{}", self.stack.logs()));
        let notice: Value = serde_json::from_str(&notice).unwrap();
        let notice: Value = serde_json::from_str(notice["msg"].as_str().unwrap()).unwrap();
        assert_eq!(notice["event_id"], event_id);
        notice
    }
}

/// Extends the TPM with every event of a log, as the firmware did.
fn replay(stack: &Stack, log: &[u8]) {
    let log = EventLog::parse(log).unwrap();
    let extended = log.events.iter().filter(|event| event.event_type != EventType::NO_ACTION);
    let values = extended.flat_map(|event| {
        let digests = event.digests.iter().filter_map(|digest| Some((digest.bank()?, digest.digest)));
        digests.map(|(bank, digest)| format!("{}:{}={}", event.pcr, bank.name(), hex::encode(digest)))
    });
    let mut command = stack.command(Path::new("tpm2_pcrextend"));
    command.args(values);
    let finished = run(&mut command, LIMIT).unwrap();
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

/// The log with one bit of the digest of its last event for a PCR turned.
fn tampered(pcr: u8) -> Vec<u8> {
    let log = EventLog::parse(LOG).unwrap();
    let event = log.events.iter().rfind(|event| event.pcr == pcr).unwrap();
    let digest = event.offset + 12 + 2;
    let mut bytes = LOG.to_vec();
    bytes[digest] ^= 1;
    bytes
}

#[test]
fn a_known_boot_is_attested_until_its_log_is_tampered_with() {
    let site = Site::start("example", &[]);
    site.enrol(&serde_json::from_str(STATE).unwrap());
    site.expect_attested();
    site.serve(&tampered(14));
    let notice = site.expect_failure("measured_boot.invalid_pcr_14");
    assert!(notice["context"].to_string().contains("boot event log"), "{notice}");
}

#[test]
fn an_unknown_kernel_is_named() {
    let site = Site::start("example", &[]);
    let mut state: Value = serde_json::from_str(STATE).unwrap();
    state["kernels"][0]["kernel_authcode_sha256"] = Value::String(format!("0x{}", "ab".repeat(32)));
    site.enrol(&state);
    let notice = site.expect_failure("measured_boot.policy_example");
    assert!(notice["context"].to_string().contains("EV_EFI_BOOT_SERVICES_APPLICATION"), "{notice}");
}

#[test]
fn a_policy_of_the_operators_own_in_rego() {
    let policy = tempfile::Builder::new().suffix(".rego").tempfile().unwrap();
    let text = "package keylime.boot.site_boot\n\n\
                relevant_pcrs := {4, 7}\n\n\
                kernels := [e | some e in input.log.events; e.EventType == \"EV_EFI_BOOT_SERVICES_APPLICATION\"]\n\n\
                deny contains {\"event\": kernels[count(kernels) - 1].EventNum, \"reason\": \"was started too late\"} if {\n\
                \tcount(kernels) > input.refstate.applications\n}\n";
    std::fs::write(policy.path(), text).unwrap();
    let imports = ("measured_boot_imports", format!("[\"{}\"]", policy.path().display()));
    let site = Site::start("site-boot", &[imports]);
    site.enrol(&serde_json::json!({ "applications": 2 }));
    let notice = site.expect_failure("measured_boot.policy_site-boot");
    assert!(notice["context"].to_string().contains("was started too late"), "{notice}");
}
