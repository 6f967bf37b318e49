//! What manual pages say beyond the help text of a program.

/// A program with a manual page.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Name of the program.
    pub name: &'static str,
    /// Section of the manual.
    pub section: u8,
    /// Folder of the package it belongs to.
    pub package: &'static str,
    /// What it is, after the dash.
    pub summary: &'static str,
    /// Further paragraphs.
    pub description: &'static [&'static str],
    /// Subcommands with a help text of their own.
    pub subcommands: &'static [&'static str],
    /// Values of `--command`.
    pub commands: &'static [(&'static str, &'static str)],
    /// The component whose options are listed.
    pub component: Option<&'static str>,
    /// Variables.
    pub environment: &'static [(&'static str, &'static str)],
    /// Files.
    pub files: &'static [(&'static str, &'static str)],
    /// Exit codes.
    pub exit_status: &'static [(&'static str, &'static str)],
    /// Examples: what for, and the command.
    pub examples: &'static [(&'static str, &'static str)],
    /// Related pages.
    pub see_also: &'static str,
}

const PLAIN: Program = Program {
    name: "",
    section: 1,
    package: "tenant",
    summary: "",
    description: &[],
    subcommands: &[],
    commands: &[],
    component: None,
    environment: &[],
    files: &[],
    exit_status: &[],
    examples: &[],
    see_also: "keylime_verifier(8), keylime_registrar(8), keylime_agent(8), keylime_tenant(1)",
};

const DIRECTORY: (&str, &str) = ("KEYLIME_DIR", "Working directory, instead of /var/lib/keylime.");
const SERVER_STATUS: &[(&str, &str)] = &[
    ("0", "It was stopped by SIGTERM or SIGINT."),
    ("1", "It could not start; the last line of the log says why."),
    ("2", "The command line is wrong."),
];

/// All programs.
pub const PROGRAMS: [Program; 14] = [
    Program {
        name: "keylime_verifier",
        section: 8,
        package: "gateway",
        summary: "attests enrolled machines, again and again",
        description: &[
            "The verifier asks the agents of enrolled machines for TPM quotes and logs, or takes them from push model agents, \
             and judges them by the policies of each agent. When one fails, it tells the notifiers that are configured.",
            "SIGTERM ends it within shutdown_drain_timeout. Certificates and revocation lists are read again when they change.",
        ],
        component: Some("verifier"),
        environment: &[
            ("KEYLIME_VERIFIER_CONFIG", "The one configuration file to read, instead of the installed ones."),
            ("KEYLIME_VERIFIER_OPTION", "Value of an option of [verifier]."),
            ("KEYLIME_VERIFIER_REVOCATIONS_OPTION", "Value of an option of [revocations]."),
            DIRECTORY,
        ],
        files: &[
            ("/etc/keylime/verifier.conf, /usr/etc/keylime/verifier.conf", "Configuration; the first that is there."),
            ("/etc/keylime/verifier.conf.d/, /usr/etc/keylime/verifier.conf.d/", "Snippets that override it."),
            ("/etc/keylime/ca.conf, /etc/keylime/logging.conf", "The authority of tls_dir = generate, and the log."),
            ("/var/lib/keylime/cv_ca/", "Keys and certificates."),
            ("/var/lib/keylime/cv_data.sqlite", "The database, unless database_url names another."),
        ],
        exit_status: SERVER_STATUS,
        examples: &[
            ("Show the configuration in effect, without secrets:", "keylime_verifier --print-config"),
            ("Run on another port for a test:", "KEYLIME_DIR=/tmp/k KEYLIME_VERIFIER_PORT=9881 keylime_verifier"),
        ],
        see_also: "keylime_registrar(8), keylime_agent(8), keylime_tenant(1), keylime_ca(1), keylime_upgrade_config(1)",
        ..PLAIN
    },
    Program {
        name: "keylime_registrar",
        section: 8,
        package: "gateway",
        summary: "keeps the identities of machines with a TPM",
        description: &[
            "Agents register the keys of their TPM here and prove that they belong together; tenants and verifiers ask for them.",
            "SIGTERM ends it within shutdown_drain_timeout. Certificates and revocation lists are read again when they change.",
        ],
        component: Some("registrar"),
        environment: &[
            ("KEYLIME_REGISTRAR_CONFIG", "The one configuration file to read, instead of the installed ones."),
            ("KEYLIME_REGISTRAR_OPTION", "Value of an option."),
            DIRECTORY,
        ],
        files: &[
            ("/etc/keylime/registrar.conf, /usr/etc/keylime/registrar.conf", "Configuration; the first that is there."),
            ("/etc/keylime/registrar.conf.d/, /usr/etc/keylime/registrar.conf.d/", "Snippets that override it."),
            (
                "/etc/keylime/tenant.conf",
                "Read for tpm_cert_store when a machine first brings device identity certificates.",
            ),
            ("/var/lib/keylime/reg_data.sqlite", "The database, unless database_url names another."),
        ],
        exit_status: SERVER_STATUS,
        examples: &[("Show the configuration in effect, without secrets:", "keylime_registrar --print-config")],
        see_also: "keylime_verifier(8), keylime_agent(8), keylime_tenant(1), keylime_upgrade_config(1)",
        ..PLAIN
    },
    Program {
        name: "keylime_agent",
        section: 8,
        package: "agent",
        summary: "answers a verifier's requests for TPM quotes",
        description: &[
            "The agent registers the machine's TPM at the registrar and then serves quotes, the IMA list and the firmware's \
             event log to the verifier. It takes key shares and payloads from the tenant and acts on revocations.",
            "It starts as root, opens what only root may read, and becomes the user of the option run_as.",
        ],
        component: Some("agent"),
        environment: &[
            ("KEYLIME_AGENT_CONFIG", "The one configuration file to read, instead of the installed ones."),
            ("KEYLIME_AGENT_OPTION", "Value of an option."),
            DIRECTORY,
            ("RUST_LOG", "Log level, such as keylime_agent=debug."),
            ("TCTI", "Way to the TPM, such as device:/dev/tpmrm0."),
        ],
        files: &[
            (
                "/usr/etc/keylime/agent.conf, /etc/keylime/agent.conf",
                "Configuration in TOML; the second overrides the first.",
            ),
            ("/etc/keylime/agent.conf.d/", "Snippets that override it."),
            ("/var/lib/keylime/secure/", "Memory for keys and payloads, a tmpfs."),
            ("/usr/libexec/keylime/", "Revocation actions."),
        ],
        exit_status: SERVER_STATUS,
        examples: &[("Run with a software TPM:", "TCTI=swtpm:port=2321 KEYLIME_AGENT_RUN_AS= keylime_agent")],
        see_also: "keylime_push_model_agent(8), keylime_ima_emulator(1), keylime_verifier(8), keylime_registrar(8)",
        ..PLAIN
    },
    Program {
        name: "keylime_push_model_agent",
        section: 8,
        package: "agent",
        summary: "sends evidence to the verifier on its own",
        description: &[
            "For machines that a verifier cannot connect to. The verifier has to run with mode = push. No port is opened, and \
             no payloads are taken.",
        ],
        component: Some("agent"),
        environment: &[
            ("KEYLIME_AGENT_CONFIG", "The one configuration file to read, instead of the installed ones."),
            ("KEYLIME_AGENT_OPTION", "Value of an option."),
            DIRECTORY,
            ("RUST_LOG", "Log level, such as keylime_push_model_agent=debug."),
            ("TCTI", "Way to the TPM, such as device:/dev/tpmrm0."),
        ],
        files: &[("/etc/keylime/agent.conf", "Configuration in TOML.")],
        exit_status: SERVER_STATUS,
        examples: &[(
            "Attest to a verifier elsewhere:",
            "KEYLIME_AGENT_VERIFIER_URL=https://verifier.example.org:8881 keylime_push_model_agent",
        )],
        see_also: "keylime_agent(8), keylime_verifier(8), keylime_registrar(8)",
        ..PLAIN
    },
    Program {
        name: "keylime_ima_emulator",
        section: 1,
        package: "agent",
        summary: "extends a software TPM with the entries of an IMA list",
        description: &[
            "A kernel extends PCR 10 of the machine's TPM with each file it measures. This program does the same to a software \
             TPM, for tests: it follows a list and refuses TPMs that are not emulated.",
        ],
        environment: &[("TCTI, TPM2TOOLS_TCTI", "Way to the software TPM; one of them is needed.")],
        files: &[("/sys/kernel/security/ima/ascii_runtime_measurements", "The list, unless --ima-log names another.")],
        exit_status: &[("0", "It was stopped by SIGTERM or SIGINT."), ("1", "The TPM or the list cannot be used.")],
        examples: &[(
            "Follow the kernel's list with the SHA-256 bank:",
            "TCTI=swtpm:port=2321 keylime_ima_emulator --hash_algs sha256 --ima-hash-alg sha1",
        )],
        see_also: "keylime_agent(8)",
        ..PLAIN
    },
    Program {
        name: "keylime_tenant",
        section: 1,
        package: "tenant",
        summary: "enrols agents at a verifier and asks about them",
        description: &[
            "Results and log lines go to standard output, in the form that scripts know; with --json, one JSON document does: \
             command, success, results, and error if there is one.",
        ],
        commands: &[
            ("add", "Checks the identity of an agent's TPM and has the verifier attest it. The default."),
            ("update", "Removes an agent from the verifier and adds it again, with other policies."),
            ("delete", "Has the verifier forget an agent."),
            ("reactivate", "Has the verifier attest an agent again that failed."),
            ("status, cvstatus, regstatus", "Show what registrar and verifier, or one of them, know about an agent."),
            ("cvlist, reglist", "List the agents of verifier or registrar."),
            ("bulkinfo", "Shows the states of all agents of a verifier."),
            ("explain", "Says why an agent failed, check by check, and what would let it pass."),
            ("regdelete", "Has the registrar forget an agent."),
            (
                "addruntimepolicy, updateruntimepolicy, showruntimepolicy, deleteruntimepolicy, listruntimepolicy",
                "Manage runtime policies that have a name at the verifier.",
            ),
            (
                "addmbpolicy, updatembpolicy, showmbpolicy, deletembpolicy, listmbpolicy",
                "Manage measured boot policies that have a name at the verifier.",
            ),
        ],
        component: Some("tenant"),
        environment: &[
            ("KEYLIME_TENANT_CONFIG", "The one configuration file to read, instead of the installed ones."),
            ("KEYLIME_TENANT_OPTION", "Value of an option."),
            DIRECTORY,
        ],
        files: &[
            ("/etc/keylime/tenant.conf, /usr/etc/keylime/tenant.conf", "Configuration; the first that is there."),
            ("/var/lib/keylime/cv_ca/", "Keys and certificates, unless tls_dir names others."),
            ("/var/lib/keylime/tpm_cert_store/", "Certificates of TPM manufacturers."),
        ],
        exit_status: &[
            ("0", "The command did what it should."),
            ("1", "It failed; the last line of the log, or error in the JSON document, says why."),
            ("2", "The command line is wrong."),
        ],
        examples: &[
            (
                "Attest a machine with a runtime policy:",
                "keylime_tenant -c add -t 10.0.0.7 -u d432fbb3-d2f1-4a97-9ef7-75bd81c00000 --runtime-policy policy.json",
            ),
            ("Why did it fail?", "keylime_tenant -c explain -u d432fbb3-d2f1-4a97-9ef7-75bd81c00000"),
            ("The ids of all agents, for a script:", "keylime_tenant -c cvlist --json | jq -r '.results.agents[]'"),
            ("Completions for bash:", "keylime_tenant --completions bash > /etc/bash_completion.d/keylime_tenant"),
        ],
        see_also: "keylime_verifier(8), keylime_registrar(8), keylime_ca(1), keylime-policy(1), keylime_userdata_encrypt(1)",
        ..PLAIN
    },
    Program {
        name: "keylime_ca",
        section: 1,
        package: "tenant",
        summary: "manages a certificate authority for Keylime",
        commands: &[
            ("init", "Makes a new authority; what was in the directory is lost."),
            ("create", "Issues a certificate for the name of --name."),
            ("pkg", "Packs certificate, key and authority of a name into NAME-pkg.zip."),
            ("revoke", "Revokes the certificate of a name and writes a new list of revoked certificates."),
            ("listen", "Serves the list of revoked certificates at the address of cert_crl_dist."),
            ("import-priv", "Takes a private key as that of the authority."),
        ],
        component: Some("ca"),
        environment: &[
            ("KEYLIME_CA_CONFIG", "The one configuration file to read, instead of the installed ones."),
            ("KEYLIME_CA_PASSWORD", "Password of the key store."),
            DIRECTORY,
        ],
        files: &[
            ("/etc/keylime/ca.conf", "Configuration."),
            ("/var/lib/keylime/ca/", "The authority, unless --dir names another directory."),
            ("private.yml", "Its encrypted key store."),
            ("cacrl.der", "Its list of revoked certificates."),
        ],
        exit_status: &[
            ("0", "The command did what it should."),
            ("1", "It failed."),
            ("2", "The command line is wrong."),
            ("255", "The command is unknown or lacks an option."),
        ],
        examples: &[
            (
                "Make an authority and a certificate:",
                "keylime_ca -d ca -c init && keylime_ca -d ca -c create -n client",
            ),
            ("Revoke it:", "keylime_ca -d ca -c revoke -n client"),
        ],
        see_also: "keylime_tenant(1), keylime_verifier(8)",
        ..PLAIN
    },
    Program {
        name: "keylime_userdata_encrypt",
        section: 1,
        package: "tenant",
        summary: "encrypts a payload for agents",
        description: &["Writes content_keys.txt and content_payload.txt into the current directory."],
        exit_status: &[("0", "The files were written."), ("255", "No file was given, or it is not there.")],
        examples: &[(
            "Encrypt a payload and deliver it:",
            "keylime_userdata_encrypt secrets.zip && keylime_tenant -c add -t 10.0.0.7 -k content_keys.txt -p content_payload.txt",
        )],
        see_also: "keylime_tenant(1)",
        ..PLAIN
    },
    Program {
        name: "keylime_upgrade_config",
        section: 1,
        package: "schema/settings/upgrade",
        summary: "brings configuration files to a newer format",
        description: &[
            "Without --input the installed files are read, or keylime.conf of old releases; where there is none, complete \
             commented files with the defaults are written.",
        ],
        environment: &[(
            "KEYLIME_COMPONENT_CONFIG, KEYLIME_CONFIG",
            "Files to read before the installed ones, which override them.",
        )],
        files: &[
            ("/etc/keylime/COMPONENT.conf", "What is read and, by root, written."),
            ("COMPONENT.conf.bkp", "What was there before."),
            ("/usr/share/keylime/templates/", "Mappings and templates, a copy of the built-in ones."),
        ],
        exit_status: &[("0", "The files are up to date."), ("1", "It failed."), ("2", "The command line is wrong.")],
        examples: &[
            ("Write complete files with the defaults:", "keylime_upgrade_config --defaults --out ."),
            ("Split an old file:", "keylime_upgrade_config --input keylime.conf --out /etc/keylime"),
        ],
        see_also: "keylime_verifier(8), keylime_registrar(8), keylime_tenant(1), keylime_ca(1), keylime_agent(8)",
        ..PLAIN
    },
    Program {
        name: "keylime-policy",
        section: 1,
        package: "tenant/policy-tools",
        summary: "makes, signs, compares and tests policies",
        subcommands: &["create runtime", "create measured-boot", "sign runtime", "diff", "lint", "test"],
        see_also: "keylime_tenant(1), keylime_create_policy(1)",
        ..PLAIN
    },
    Program {
        name: "keylime_create_policy",
        section: 1,
        package: "tenant/policy-tools",
        summary: "makes a runtime policy; the older form of keylime-policy create runtime",
        see_also: "keylime-policy(1)",
        ..PLAIN
    },
    Program {
        name: "keylime_convert_runtime_policy",
        section: 1,
        package: "tenant/policy-tools",
        summary: "makes a runtime policy of an allowlist and an exclude list",
        see_also: "keylime-policy(1)",
        ..PLAIN
    },
    Program {
        name: "keylime_sign_runtime_policy",
        section: 1,
        package: "tenant/policy-tools",
        summary: "signs a runtime policy; the older form of keylime-policy sign runtime",
        see_also: "keylime-policy(1)",
        ..PLAIN
    },
    Program {
        name: "keylime_attest",
        section: 1,
        package: "gateway",
        summary: "checks recorded evidence of durable attestation again",
        see_also: "keylime_verifier(8)",
        ..PLAIN
    },
];
