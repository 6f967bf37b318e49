//! `keylime-policy lint`: what in a runtime policy cannot work as its author meant it.
//!
//! What is a finding, and how much it matters, is the engine's to say.

use crate::environment::{Console, Environment};
use crate::error::ToolError;
use crate::program::Finding as Outcome;
use keylime_arguments::Matches;
use keylime_engine::policy::report::{Finding, PolicyLint, Unmatchable, Weight, lint};
use serde_json::{Value, json};
use std::io;

/// Runs the command.
///
/// # Errors
/// The file cannot be read or holds no policy at all.
pub fn run(matches: &Matches, environment: &Environment, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let path = matches.value("POLICY").unwrap_or_default();
    let text = environment.read_text(path)?;
    let report = lint(&text).map_err(|error| ToolError::refused(format!("{path}: {error}")))?;
    if matches.is_present("json") {
        console.line(to_json(&report))?;
    } else {
        write(&report, console)?;
    }
    let matters = report.findings.iter().any(|finding| finding.weight() > Weight::Note);
    Ok(if matters { Outcome::Something } else { Outcome::Nothing })
}

fn to_json(report: &PolicyLint) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| json!({ "weight": finding.weight().to_string(), "place": place(finding), "message": message(finding) }))
        .collect();
    let holds = &report.holds;
    json!({
        "holds": {
            "generator": holds.generator,
            "log_hash_alg": holds.log_hash_alg,
            "paths": holds.paths,
            "digests": holds.digests,
            "keyrings": holds.keyrings,
            "ima-buf": holds.buffers,
            "excludes": holds.excludes,
            "ignored_keyrings": holds.ignored_keyrings,
            "verification_keys": holds.verification_keys,
        },
        "findings": findings,
        "omitted": report.omitted,
    })
}

fn write(report: &PolicyLint, console: &mut Console<'_>) -> io::Result<()> {
    let holds = &report.holds;
    console.line(format_args!(
        "{} digests of {} paths, {} keyrings, {} buffers, {} excludes, {} verification keys",
        holds.digests, holds.paths, holds.keyrings, holds.buffers, holds.excludes, holds.verification_keys
    ))?;
    for finding in &report.findings {
        console.line(format_args!("{}: {}: {}", finding.weight(), place(finding), message(finding)))?;
    }
    match (report.findings.len(), report.omitted) {
        (0, _) => console.line("no findings"),
        (_, 0) => Ok(()),
        (_, omitted) => console.line(format_args!("and {omitted} more findings")),
    }
}

/// The part of the policy a finding is about.
fn place(finding: &Finding) -> String {
    match finding {
        Finding::Schema(_) => "policy".to_owned(),
        Finding::BadExcludes(_) | Finding::ExcludesEverything(_) | Finding::RepeatedExclude(_) => "excludes".to_owned(),
        Finding::UnmatchableDigest { table, name, .. }
        | Finding::UnmatchableName { table, name }
        | Finding::EmptyList { table, name }
        | Finding::RepeatedDigest { table, name }
        | Finding::ExcludedName { table, name } => format!("{table}[{name:?}]"),
        Finding::IgnoredKeyring(name) => format!("keyrings[{name:?}]"),
        Finding::UnusableKeys(_) | Finding::UnusableKeyring(_) => "verification-keys".to_owned(),
    }
}

fn message(finding: &Finding) -> String {
    match finding {
        Finding::Schema(violation) => format!("verifiers refuse the policy: {violation}"),
        Finding::BadExcludes(reason) => format!("the list does not compile, so that all of it has no effect: {reason}"),
        Finding::ExcludesEverything(pattern) => {
            format!("the pattern {pattern:?} matches every name, so that no file is judged at all")
        }
        Finding::RepeatedExclude(pattern) => format!("the pattern {pattern:?} is listed more than once"),
        Finding::UnmatchableDigest { element, reason, .. } => {
            let reason = match reason {
                Unmatchable::NotText => "it is no text",
                Unmatchable::Prefix => "the name of its algorithm stands before it",
                Unmatchable::UpperCase => "it has capital letters",
                Unmatchable::NotHexadecimal => "it is not hexadecimal",
                Unmatchable::Length => "no digest has its length",
            };
            format!("no entry can have the digest {element}: {reason}")
        }
        Finding::UnmatchableName { .. } => "no entry can have this name".to_owned(),
        Finding::EmptyList { .. } => "no digest is listed, so that every entry of this name fails".to_owned(),
        Finding::RepeatedDigest { .. } => "a digest is listed more than once".to_owned(),
        Finding::ExcludedName { .. } => "the name is excluded, so that its digests do not matter".to_owned(),
        Finding::IgnoredKeyring(_) => "the keyring is ignored, so that its digests do not matter".to_owned(),
        Finding::UnusableKeys(count) => format!("{count} of the keys are no RSA or elliptic-curve public keys"),
        Finding::UnusableKeyring(reason) => format!("no key ring can be read: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_engine::policy::runtime_policy::empty_policy;

    #[test]
    fn findings_say_where_and_why() {
        let mut policy = empty_policy();
        policy["digests"] = json!({ "/a": ["sha256:00"], "/b": ["ab".repeat(32), "ab".repeat(32)] });
        policy["excludes"] = json!([".*"]);
        let report = lint(&policy.to_string()).unwrap();
        let answer = to_json(&report);
        assert_eq!((&answer["holds"]["paths"], &answer["omitted"]), (&json!(2), &json!(0)));
        let findings = answer["findings"].as_array().unwrap();
        let find = |weight: &str, place: &str| {
            findings.iter().any(|finding| finding["weight"] == weight && finding["place"] == place)
        };
        assert!(
            find("error", "policy") && find("warning", "digests[\"/a\"]") && find("warning", "excludes"),
            "{answer}"
        );
        let (mut out, mut err) = (Vec::new(), Vec::new());
        write(&report, &mut Console::new(&mut out, &mut err, time::UtcOffset::UTC)).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("3 digests of 2 paths, 0 keyrings"), "{text}");
        assert!(text.contains("the name of its algorithm stands before it"), "{text}");
    }
}
