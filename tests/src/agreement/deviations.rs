//! Every deliberate difference from the recorded verdicts, with its reason and the feature of the input it is about.
//!
//! A rule excuses a case only when it finds its feature in the input and this engine's answer is the one the rule promises.

use super::{Case, text};
use keylime_engine::ima::measurement_list::lines;
use keylime_engine::policy::python_regex::PythonRegex;
use serde_json::Value;

/// A deliberate difference.
#[derive(Debug)]
pub struct Deviation {
    /// Short name.
    pub name: &'static str,
    /// Why this project answers differently.
    pub reason: &'static str,
    /// The feature of the input that triggers it.
    pub feature: &'static str,
    applies: fn(&Case<'_>) -> bool,
}

impl Deviation {
    /// Whether the rule excuses a case.
    #[must_use]
    pub fn covers(&self, case: &Case<'_>) -> bool {
        (self.applies)(case)
    }
}

/// The rules.
pub const DEVIATIONS: &[Deviation] = &[
    Deviation {
        name: "tomtou-by-its-name",
        reason: "ignore_tomtou_errors does what its name and documentation say; the reference's code does the reverse",
        feature: "a line whose template hash is all zeros or all ones",
        applies: |case| is_list(case) && has_violation(case) && differs_in_violations_only(case),
    },
    Deviation {
        name: "kernel-templates",
        reason: "ima-ngv2, ima-sigv2, ima-modsig and evm-sig are read in the kernel's formats; the reference cannot read them",
        feature: "a line with one of these templates",
        applies: |case| is_list(case) && has_kernel_template(case),
    },
    Deviation {
        name: "no-exception-over-a-list",
        reason: "a list or quote that makes the reference raise an exception is a failure with a name",
        feature: "a name over 255 bytes in template ima, text that is no UTF-8, a PCR that is no number, a quoted value that \
                  is not hexadecimal, a digest of a length or algorithm that no signature can cover, a device-mapper digest \
                  of unknown algorithm",
        applies: |case| is_list(case) && expects_exception(case) && is_refused(case) && has_raising_line(case),
    },
    Deviation {
        name: "no-exception-over-a-policy",
        reason: "a policy without a member that appraisal needs is refused as malformed; the reference raises an exception",
        feature: "a policy without ima, ima.log_hash_alg or ima.dm_policy",
        applies: |case| is_list(case) && expects_exception(case) && is_refused(case) && lacks_policy_member(case),
    },
    Deviation {
        name: "excludes-are-checked",
        reason: "a policy whose exclude list does not compile is refused at upload; the reference stores it and ignores the list",
        feature: "a pattern in excludes that Python does not compile",
        applies: |case| {
            case.section == "dsse" && case.answers.expected == "ok" && is_refused(case) && has_bad_exclude(case)
        },
    },
    Deviation {
        name: "no-exception-over-a-boot-log",
        reason: "a boot log that makes the reference raise an exception is a failure with a name and the event in it",
        feature: "a log in the older SHA-1 format, a log without events, a boot loader's text that is no UTF-8, a variable \
                  whose name YAML does not read as a text",
        applies: |case| {
            case.section == "eventlogs" && expects_exception(case) && is_refused(case) && has_raising_event(case)
        },
    },
    Deviation {
        name: "events-of-current-tools",
        reason: "events are rendered as tpm2-tools 5.6 and later have them, whose replay of PCR 0 is right",
        feature: "the answer of current tools is recorded for the same log and is another one",
        applies: |case| case.section == "event_json_quirks_tools54" && is_of_current_tools(case),
    },
    Deviation {
        name: "quoted-values-are-bytes",
        reason: "quoted PCR values are compared as bytes; no TPM quotes letters",
        feature: "a quoted value written in upper case, which fails in the reference",
        applies: |case| case.section == "check_pcrs" && has_upper_case_value(case),
    },
    Deviation {
        name: "tpm-policy-is-checked",
        reason: "a tpm_policy that makes the reference raise an exception is refused when the agent is enrolled",
        feature: "a PCR in tpm_policy that is no number",
        applies: |case| {
            case.section == "check_pcrs" && expects_exception(case) && is_refused(case) && has_odd_policy_key(case)
        },
    },
    Deviation {
        name: "no-exception-over-an-envelope",
        reason: "an envelope or key that makes the reference raise an exception is refused with a reason",
        feature: "a key that is no elliptic-curve key, a document that is no object, an envelope without a member or with one \
                  that cannot be decoded, a key id that is no certificate",
        applies: |case| {
            case.section == "dsse" && expects_exception(case) && is_refused(case) && has_raising_envelope(case)
        },
    },
    Deviation {
        name: "own-event-log-reader",
        reason: "boot logs are read by this project itself, so what is wrong with one is said in other words",
        feature: "a boot log that no reader accepts",
        applies: |case| {
            let refusal = |answer: &Value| {
                let line = answer["stderr"][0].as_str().unwrap_or_default();
                answer["exit"] == 1 && line.starts_with("Parsing of binary boot measurements (")
            };
            case.section == "policy_tools" && refusal(&case.answers.expected) && refusal(&case.answers.ours)
        },
    },
];

fn is_list(case: &Case<'_>) -> bool {
    matches!(case.section, "ima" | "ima_sequences")
}

fn expects_exception(case: &Case<'_>) -> bool {
    case.answers.expected == "exception" || case.answers.expected["expected"] == "exception"
}

fn is_refused(case: &Case<'_>) -> bool {
    let ours = &case.answers.ours;
    ours["expected"] == "fail" || ours.get("refused").is_some()
}

/// The list of a case, from its file or its steps.
fn list(case: &Case<'_>) -> String {
    match text(case.case, "log") {
        Some(path) => case.vectors.text(path).unwrap_or_default(),
        None => text(case.case, "text").unwrap_or_default().to_owned(),
    }
}

fn policy(case: &Case<'_>) -> Option<Value> {
    serde_json::from_slice(&case.vectors.file(text(case.case, "policy")?).ok()?).ok()
}

fn has_violation(case: &Case<'_>) -> bool {
    lines(&list(case)).any(|(_, line)| {
        let hash = line.split(' ').nth(1).unwrap_or_default();
        !hash.is_empty() && (hash.bytes().all(|b| b == b'0') || hash.bytes().all(|b| b.eq_ignore_ascii_case(&b'f')))
    })
}

fn differs_in_violations_only(case: &Case<'_>) -> bool {
    let without = |answer: &Value| -> Vec<Value> {
        let failures = answer["failures"].as_array().into_iter().flatten();
        failures.filter(|id| **id != "ima.validation.tomtou").cloned().collect()
    };
    let (expected, ours) = (&case.answers.expected, &case.answers.ours);
    without(expected) == without(ours) && expected["final_running_hash"] == ours["final_running_hash"]
}

fn has_kernel_template(case: &Case<'_>) -> bool {
    lines(&list(case))
        .any(|(_, line)| matches!(line.split(' ').nth(2), Some("ima-ngv2" | "ima-sigv2" | "ima-modsig" | "evm-sig")))
}

fn has_raising_line(case: &Case<'_>) -> bool {
    if text(case.case, "pcrval").is_some_and(|value| hex_of(value).is_none()) {
        return true;
    }
    let bytes = text(case.case, "log").and_then(|path| case.vectors.file(path).ok()).unwrap_or_default();
    if std::str::from_utf8(&bytes).is_err() {
        return true;
    }
    lines(&list(case)).any(|(_, line)| {
        let parts: Vec<&str> = line.splitn(5, ' ').collect();
        let [pcr, _, template, digest, rest] = parts[..] else { return false };
        let (algorithm, digits) = digest.split_once(':').unwrap_or(("", digest));
        let digest_bytes = match algorithm {
            "md5" => 16,
            "sha1" => 20,
            "sha224" => 28,
            "sha256" => 32,
            "sha384" => 48,
            "sha512" => 64,
            _ => 0,
        };
        pcr.parse::<i64>().is_err()
            || (template == "ima" && rest.len() > 255)
            || (template == "ima-sig" && digits.len() != 2 * digest_bytes)
            || (template == "ima-buf" && rest.starts_with("dm_") && digest_bytes == 0)
    })
}

fn lacks_policy_member(case: &Case<'_>) -> bool {
    let Some(policy) = policy(case) else { return false };
    let ima = &policy["ima"];
    ima.get("log_hash_alg").is_none() || ima.get("dm_policy").is_none()
}

fn has_bad_exclude(case: &Case<'_>) -> bool {
    let Some(document) = envelope(case) else { return false };
    let patterns = document["excludes"].as_array().cloned().unwrap_or_default();
    patterns.iter().filter_map(Value::as_str).any(|pattern| PythonRegex::prefix_match(pattern).is_err())
}

fn envelope(case: &Case<'_>) -> Option<Value> {
    serde_json::from_slice(&case.vectors.file(text(case.case, "envelope")?).ok()?).ok()
}

fn has_raising_envelope(case: &Case<'_>) -> bool {
    use keylime_engine::ima::key_reading::read_public_pem;
    use keylime_engine::policy::dsse;
    let Some(document) = envelope(case) else { return text(case.case, "api").is_some() };
    let key = text(case.case, "key").filter(|key| *key != "empty");
    let key = key.and_then(|key| super::policy_section::key_file(case.vectors, key).ok());
    let unusable_key = key.is_some_and(|key| !read_public_pem(&key).is_ok_and(|key| key.is_elliptic()));
    let signatures = document["signatures"].as_array();
    let self_certifying = text(case.case, "api").is_some();
    unusable_key
        || !document.is_object()
        || document.get("payloadType").is_none()
        || signatures.is_none()
        || dsse::payload(&document).is_err()
        || signatures.into_iter().flatten().any(|signature| {
            signature.get("sig").is_none()
                || (self_certifying && !signature["keyid"].as_str().is_some_and(|id| id.starts_with("LS0tLS")))
        })
}

fn has_raising_event(case: &Case<'_>) -> bool {
    use keylime_engine::measured_boot::event_log::{EventLog, LogFormat};
    use keylime_engine::measured_boot::event_type::EventType;
    let log = text(case.case, "file").and_then(|path| case.vectors.file(path).ok()).unwrap_or_default();
    let Ok(log) = EventLog::parse(&log) else { return false };
    let odd_name = |data: &[u8]| {
        let name = data.get(16..24).and_then(|length| Some(u64::from_le_bytes(length.try_into().ok()?)));
        let name = name.and_then(|units| data.get(32..32 + 2 * usize::try_from(units).ok()?)).unwrap_or_default();
        let name: String =
            name.chunks_exact(2).map(|unit| char::from(if unit[1] == 0 { unit[0] } else { b'?' })).collect();
        name.contains(": ") || name.parse::<f64>().is_ok() || matches!(name.as_str(), "on" | "off" | "yes" | "no")
    };
    matches!(log.format, LogFormat::Sha1)
        || log.events.is_empty()
        || log.events.iter().any(|event| match event.event_type {
            EventType::IPL => std::str::from_utf8(event.data).is_err(),
            EventType::VARIABLE_BOOT => odd_name(event.data),
            _ => false,
        })
}

fn is_of_current_tools(case: &Case<'_>) -> bool {
    let current = &case.vectors.expected()["event_json_quirks_tools58"];
    current.as_object().into_iter().flatten().any(|(name, events)| {
        super::boot_log_section::new_events(case.vectors, name)
            .is_ok_and(|ours| ours[0]["Digests"] == case.case[0]["Digests"] && *events == case.answers.ours)
    })
}

fn has_upper_case_value(case: &Case<'_>) -> bool {
    let values = case.case["quote_pcrs_sha256"].as_object();
    let mut values = values.into_iter().flatten().filter_map(|(pcr, value)| Some((pcr, value.as_str()?)));
    values.any(|(pcr, value)| {
        let failure = format!("measured_boot.invalid_pcr_{pcr}");
        value.bytes().any(|b| b.is_ascii_uppercase())
            && case.answers.expected.as_array().is_some_and(|failures| failures.iter().any(|id| *id == failure))
    })
}

fn has_odd_policy_key(case: &Case<'_>) -> bool {
    let policy: Value = serde_json::from_str(text(case.case, "tpm_policy").unwrap_or_default()).unwrap_or_default();
    policy.as_object().into_iter().flatten().any(|(key, _)| key != "mask" && key.parse::<i64>().is_err())
}

fn hex_of(text: &str) -> Option<Vec<u8>> {
    hex::decode(text).ok()
}
