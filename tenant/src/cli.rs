//! The command line of `keylime_tenant` (`tenant-cli.md` §2).

use serde_json::{Map, Value};

use crate::argument_parser::{Kind, Matches, OptionSpec, Parser, Stop};
use crate::completion;

/// The agent id used when none is given.
pub const DEFAULT_AGENT_ID: &str = "d432fbb3-d2f1-4a97-9ef7-75bd81c00000";

const fn several(spellings: &'static [&'static str], name: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { kind: Kind::Values, ..OptionSpec::value(spellings, name, help) }
}

/// The options of `keylime_tenant`.
pub const PARSER: Parser = Parser::new(
    "keylime_tenant",
    &[
        OptionSpec::help(),
        OptionSpec::version(),
        OptionSpec::value(
            &["-c", "--command"],
            "command",
            "what to do: add (the default), delete, update, regstatus, cvstatus, status, reglist, cvlist, reactivate, \
             regdelete, bulkinfo, addruntimepolicy, showruntimepolicy, deleteruntimepolicy, updateruntimepolicy, \
             listruntimepolicy, addmbpolicy, showmbpolicy, deletembpolicy, updatembpolicy, listmbpolicy or explain",
        ),
        OptionSpec::flag(&["--push-model"], "push_model", "the agent attests by itself: never connect to it"),
        OptionSpec::value(&["-t", "--targethost"], "agent_ip", "IP address of the agent"),
        OptionSpec::value(&["-tp", "--targetport"], "agent_port", "port of the agent"),
        OptionSpec::value(&["-r", "--registrarhost"], "registrar_ip", "IP address of the registrar"),
        OptionSpec::value(&["-rp", "--registrarport"], "registrar_port", "port of the registrar"),
        OptionSpec::value(
            &["--cv_targethost"],
            "cv_agent_ip",
            "IP address at which the verifier reaches the agent, if it differs from --targethost",
        ),
        OptionSpec::value(&["-v", "--cv"], "verifier_ip", "IP address of the verifier"),
        OptionSpec::value(&["-vp", "--cvport"], "verifier_port", "port of the verifier"),
        OptionSpec::value(&["-vi", "--cvid"], "verifier_id", "id of a verifier, to list its agents only"),
        OptionSpec::flag(
            &["-nvc", "--no-verifier-check"],
            "no_verifier_check",
            "do not ask first whether the verifier knows the agent; for delete, update and reactivate",
        ),
        OptionSpec::value(&["-u", "--uuid"], "agent_uuid", "id of the agent"),
        OptionSpec::value(&["-f", "--file"], "file", "file to encrypt and deliver to the agent"),
        OptionSpec::value(
            &["--cert"],
            "ca_dir",
            "create a certificate for the agent with the authority in this directory (\"default\": the usual one) and \
             deliver it",
        ),
        OptionSpec::value(&["-k", "--key"], "keyfile", "key file made by keylime_userdata_encrypt"),
        OptionSpec::value(&["-p", "--payload"], "payload", "payload encrypted with the key of --key"),
        OptionSpec::value(&["--include"], "incl_dir", "directory with files to deliver along with --cert"),
        OptionSpec::value(&["--allowlist"], "allowlist", "deprecated, use --runtime-policy: file with an allowlist"),
        OptionSpec::value(&["--runtime-policy"], "runtime_policy", "file with a runtime policy"),
        several(
            &["--signature-verification-key", "--sign_verification_key"],
            "ima_sign_verification_keys",
            "deprecated, put keys into the runtime policy: key that verifies IMA file signatures",
        ),
        several(
            &["--signature-verification-key-sig"],
            "ima_sign_verification_key_sigs",
            "deprecated: signature of the --signature-verification-key at the same position",
        ),
        several(
            &["--signature-verification-key-sig-key"],
            "ima_sign_verification_key_sig_keys",
            "deprecated: key that verifies the --signature-verification-key-sig at the same position",
        ),
        several(
            &["--signature-verification-key-url"],
            "ima_sign_verification_key_urls",
            "deprecated: address of a key that verifies IMA file signatures",
        ),
        several(
            &["--signature-verification-key-sig-url"],
            "ima_sign_verification_key_sig_urls",
            "deprecated: address of the signature of the --signature-verification-key-url at the same position",
        ),
        several(
            &["--signature-verification-key-sig-url-key"],
            "ima_sign_verification_key_sig_url_keys",
            "deprecated: key that verifies the --signature-verification-key-sig-url at the same position",
        ),
        OptionSpec::value(
            &["--mb_refstate"],
            "mb_policy",
            "file with a measured boot reference state (\"default\": the configured one); --mb-policy is the same",
        ),
        OptionSpec::value(
            &["--allowlist-url"],
            "allowlist_url",
            "deprecated, use --runtime-policy-url: address of an allowlist",
        ),
        OptionSpec::value(&["--exclude"], "ima_exclude", "deprecated: file with paths an --allowlist leaves out"),
        OptionSpec::value(&["--runtime-policy-checksum"], "runtime_policy_checksum", "SHA-256 of the runtime policy"),
        OptionSpec::value(
            &["--runtime-policy-sig-key"],
            "runtime_policy_sig_key",
            "public key that must have signed the runtime policy",
        ),
        OptionSpec::value(&["--runtime-policy-url"], "runtime_policy_url", "address of a runtime policy"),
        OptionSpec::value(
            &["--tpm_policy", "--tpm-policy"],
            "tpm_policy",
            "expected PCR values as JSON, such as {\"15\": [\"0000000000000000000000000000000000000000\"]}",
        ),
        OptionSpec::flag(&["--verify"], "verify", "wait until the agent proves that it has derived the payload key"),
        OptionSpec::value(
            &["--allowlist-name"],
            "allowlist_name",
            "deprecated, use --runtime-policy-name: name of an allowlist at the verifier",
        ),
        OptionSpec::value(
            &["--runtime-policy-name"],
            "runtime_policy_name",
            "name of a runtime policy at the verifier",
        ),
        OptionSpec::value(&["--mb-policy"], "mb_policy", "file with a measured boot policy"),
        OptionSpec::value(&["--mb-policy-name"], "mb_policy_name", "name of a measured boot policy at the verifier"),
        OptionSpec::value(
            &["--agent-api-version"],
            "agent_api_version",
            "API version to use with the agent, instead of the highest both know",
        ),
        OptionSpec::value(
            &["--supported-version"],
            "supported_version",
            "deprecated, use --agent-api-version: API version to use with the agent",
        ),
        OptionSpec::flag(
            &["--json"],
            "json",
            "print one JSON document with the result or the error to standard output, and log lines to standard error",
        )
        .own(),
        OptionSpec::value(
            &["--completions"],
            "completions",
            "print a completion script for this shell (bash, zsh or fish) and exit",
        )
        .own(),
    ],
);

/// What `--command` may be, without the names from the time of allowlists.
pub const COMMANDS: [&str; 22] = [
    "add",
    "delete",
    "update",
    "regstatus",
    "cvstatus",
    "status",
    "reglist",
    "cvlist",
    "reactivate",
    "regdelete",
    "bulkinfo",
    "explain",
    "addruntimepolicy",
    "showruntimepolicy",
    "deleteruntimepolicy",
    "updateruntimepolicy",
    "listruntimepolicy",
    "addmbpolicy",
    "showmbpolicy",
    "deletembpolicy",
    "updatembpolicy",
    "listmbpolicy",
];

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputForm {
    /// As the reference prints them.
    Lines,
    /// As one JSON document (`--json`).
    Json,
}

/// Whether delete, update and reactivate ask the verifier about the agent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifierCheck {
    /// They do.
    Ask,
    /// They do not (`--no-verifier-check`).
    Skip,
}

/// Who starts an attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttestationModel {
    /// The verifier asks the agent, and so does the tenant.
    Pull,
    /// The agent reports by itself (`--push-model`).
    Push,
}

impl AttestationModel {
    /// The model a verifier attests an agent in, by its record: an agent that pushes has no address there.
    #[must_use]
    pub fn of_record(record: &Map<String, Value>) -> Self {
        let is_null = |member: &str| record.get(member).is_some_and(Value::is_null);
        if is_null("ip") && is_null("port") { Self::Push } else { Self::Pull }
    }

    /// What is wrong when the verifier attests an agent in this model and the tenant was told the other one.
    #[must_use]
    pub fn mismatch(self, verifier: &str) -> String {
        match self {
            Self::Pull => format!(
                "{verifier} polls its agents (mode = pull) and will never attest one that was added with --push-model. \
                 Set mode = push in the verifier's configuration, or delete the agent and add it without --push-model."
            ),
            Self::Push => format!(
                "{verifier} waits for its agents to call (mode = push) and will never attest one that waits to be asked. \
                 Set mode = pull in the verifier's configuration, or delete the agent, run keylime_push_model_agent \
                 on it and add it with --push-model."
            ),
        }
    }
}

/// Whether `add` waits for the agent's proof that it derived the payload key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DerivationCheck {
    /// It waits (`--verify`).
    Await,
    /// It does not.
    Skip,
}

/// A command line of `keylime_tenant`.
#[derive(Debug, Clone)]
pub struct Options {
    matches: Matches,
}

impl Options {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn parse(arguments: &[String], width: usize) -> Result<Self, Stop> {
        let options = Self { matches: PARSER.parse(arguments, width)? };
        if let Some(shell) = options.value("completions") {
            return Err(match completion::Shell::parse(shell) {
                Some(shell) => Stop::Print(completion::script(&PARSER, &COMMANDS, shell)),
                None => PARSER.error("argument --completions: invalid choice: choose bash, zsh or fish", width),
            });
        }
        match options.contradiction() {
            Some(message) => Err(PARSER.error(message, width)),
            None => Ok(options),
        }
    }

    /// How results are printed.
    #[must_use]
    pub fn form(&self) -> OutputForm {
        if self.matches.is_present("json") { OutputForm::Json } else { OutputForm::Lines }
    }

    /// The first combination of options that makes no sense.
    fn contradiction(&self) -> Option<&'static str> {
        let is_add = matches!(self.command(), "addallowlist" | "addruntimepolicy");
        let sources = ["allowlist", "allowlist_url", "runtime_policy", "runtime_policy_url"];
        if is_add && !sources.iter().any(|name| self.given(name)) {
            return Some("--allowlist or --runtime_policy is required to add a runtime policy");
        }
        if self.given("ima_exclude") && !self.given("allowlist") {
            return Some("--exclude cannot be used without an --allowlist");
        }
        if self.given("allowlist") && self.given("allowlist_url") {
            return Some("--allowlist and --allowlist-url cannot be specified at the same time");
        }
        if self.given("runtime_policy") && self.given("runtime_policy_url") {
            return Some("--runtime_policy and --runtime_policy-url cannot be specified at the same time");
        }
        if self.given("runtime_policy_url") && !self.given("runtime_policy_checksum") {
            return Some("--runtime_policy-url must have --runtime_policy-checksum to verifier integrity");
        }
        let has_policy = self.given("runtime_policy") || self.given("runtime_policy_url");
        if self.given("runtime_policy_checksum") && !has_policy {
            return Some("--runtime_policy-checksum must have either --runtime_policy or --runtime_policy-url");
        }
        None
    }

    /// The command, `add` unless given.
    #[must_use]
    pub fn command(&self) -> &str {
        self.matches.value("command").unwrap_or("add")
    }

    /// The value of an option by its name in [`PARSER`]; an empty value counts as absent, as it does for the reference.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.matches.value(name).filter(|value| !value.is_empty())
    }

    /// All values of an option by its name in [`PARSER`].
    #[must_use]
    pub fn values(&self, name: &str) -> &[String] {
        self.matches.values(name)
    }

    fn given(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Who starts an attestation.
    #[must_use]
    pub fn model(&self) -> AttestationModel {
        if self.matches.is_present("push_model") { AttestationModel::Push } else { AttestationModel::Pull }
    }

    /// Whether to ask the verifier first.
    #[must_use]
    pub fn verifier_check(&self) -> VerifierCheck {
        if self.matches.is_present("no_verifier_check") { VerifierCheck::Skip } else { VerifierCheck::Ask }
    }

    /// Whether to wait for the key derivation.
    #[must_use]
    pub fn derivation_check(&self) -> DerivationCheck {
        if self.matches.is_present("verify") { DerivationCheck::Await } else { DerivationCheck::Skip }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, Stop> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Options::parse(&arguments, 80)
    }

    #[test]
    fn both_spellings_reach_the_same_option() {
        for spelling in ["--tpm_policy", "--tpm-policy"] {
            assert_eq!(parse(&[spelling, "{}"]).unwrap().value("tpm_policy"), Some("{}"));
        }
        let options = parse(&["--mb_refstate", "a", "--mb-policy", "b"]).unwrap();
        assert_eq!(options.value("mb_policy"), Some("b"));
        let options = parse(&["--runtime-policy-n", "p", "-tp", "1", "-vp", "2", "-rp", "3"]).unwrap();
        assert_eq!(options.value("runtime_policy_name"), Some("p"));
        assert_eq!(options.value("agent_port"), Some("1"));
        assert_eq!((options.value("verifier_port"), options.value("registrar_port")), (Some("2"), Some("3")));
        assert_eq!(options.command(), "add");
    }

    #[test]
    fn refuses_combinations_in_the_order_of_the_reference() {
        let cases: [(&[&str], &str); 6] = [
            (&["-c", "addruntimepolicy"], "--allowlist or --runtime_policy is required to add a runtime policy"),
            (&["--exclude", "x"], "--exclude cannot be used without an --allowlist"),
            (
                &["--allowlist", "x", "--allowlist-url", "y"],
                "--allowlist and --allowlist-url cannot be specified at the same time",
            ),
            (
                &["--runtime-policy", "x", "--runtime-policy-url", "y"],
                "--runtime_policy and --runtime_policy-url cannot be specified at the same time",
            ),
            (
                &["--runtime-policy-url", "y"],
                "--runtime_policy-url must have --runtime_policy-checksum to verifier integrity",
            ),
            (
                &["--runtime-policy-checksum", "y"],
                "--runtime_policy-checksum must have either --runtime_policy or --runtime_policy-url",
            ),
        ];
        for (arguments, message) in cases {
            let Err(Stop::Usage(text)) = parse(arguments) else { panic!("{arguments:?} was taken") };
            assert!(text.ends_with(&format!("keylime_tenant: error: {message}\n")), "{text}");
            assert!(text.starts_with("usage: keylime_tenant [-h] [-c COMMAND] [--push-model] [-t AGENT_IP]\n"));
        }
    }
}
