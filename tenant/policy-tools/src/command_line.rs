//! The command lines of all tools (`policy-tools.md` §2, §3).

use keylime_arguments::{Choice, Command, Kind, Need, OptionSpec, Parser, Positional};

const ALGORITHMS: &[Choice] = &[
    Choice { value: "sha1", shown: "<Hash.SHA1: 'sha1'>" },
    Choice { value: "sha256", shown: "<Hash.SHA256: 'sha256'>" },
    Choice { value: "sha384", shown: "<Hash.SHA384: 'sha384'>" },
    Choice { value: "sha512", shown: "<Hash.SHA512: 'sha512'>" },
    Choice { value: "sm3_256", shown: "<Hash.SM3_256: 'sm3_256'>" },
];

const BACKENDS: &[Choice] = &[Choice { value: "ecdsa", shown: "'ecdsa'" }, Choice { value: "x509", shown: "'x509'" }];

const REPOSITORIES: &str = "runtime policy from repositories";

fn positive(value: &str) -> Result<String, String> {
    match value.trim().parse::<u32>() {
        Ok(number) if number > 0 => Ok(number.to_string()),
        _ => Err(format!("'{value}' is not a positive integer.")),
    }
}

const FILE_SYSTEM: &str = "runtime policy from filesystem";

const CREATE_RUNTIME: Parser = Parser {
    epilogue: "examples:\n  \
        keylime-policy create runtime -m -o policy.json\n      \
        allow what this machine has measured since it was started\n  \
        keylime-policy create runtime --rootfs / --ramdisk-dir /boot -e excludes.txt -o policy.json\n      \
        allow every file of root's on this system and in its RAM disks\n  \
        keylime-policy create runtime -p policy.json -a allowlist.txt -o policy.json\n      \
        add a list of digests and paths to a policy\n",
    ..Parser::new(
        "keylime-policy create runtime",
        &[
            OptionSpec::help(),
            OptionSpec::value(&["--local-rpm-repo"], "local_rpm_repo", "directory of an RPM repository")
                .under(REPOSITORIES),
            OptionSpec::value(&["--remote-rpm-repo"], "remote_rpm_repo", "address of an RPM repository")
                .under(REPOSITORIES),
            OptionSpec::value(&["--max-workers"], "max_workers", "packages that are read at the same time (default 8)")
                .converted(positive)
                .under(REPOSITORIES),
            OptionSpec::value(
                &["--algo"],
                "algo",
                "algorithm that files are digested with; when it is not given, that of the other inputs, or sha256",
            )
            .one_of(ALGORITHMS)
            .under(FILE_SYSTEM),
            OptionSpec::value(&["--ramdisk-dir"], "ramdisk_dir", "directory with initial RAM disks, such as /boot")
                .under(FILE_SYSTEM),
            OptionSpec::value(&["--rootfs"], "rootfs", "root of the file system to digest, such as /")
                .under(FILE_SYSTEM),
            OptionSpec::value(
                &["-s", "--skip-path"],
                "skip_path",
                "directories whose files are not digested, separated by commas",
            )
            .under(FILE_SYSTEM),
            OptionSpec::value(&["-o", "--output"], "output", "file for the policy; standard output if not given"),
            OptionSpec::value(&["-p", "--base-policy"], "base_policy", "runtime policy to add to"),
            OptionSpec::flag(&["-k", "--keyrings"], "get_keyrings", "add keys from the measurement list to keyrings"),
            OptionSpec::flag(&["-b", "--ima-buf"], "get_ima_buf", "add buffers of the list that hold no keys"),
            OptionSpec::value(&["-a", "--allowlist"], "allowlist", "plain text with a digest and a path a line"),
            OptionSpec::value(
                &["-e", "--excludelist"],
                "exclude_list_file",
                "text with a regular expression a line; paths that match are not judged",
            ),
            OptionSpec::value(
                &["-m", "--ima-measurement-list"],
                "ima_measurement_list",
                "measurement list whose digests, keys and buffers are allowed; without a value \
                 /sys/kernel/security/ima/ascii_runtime_measurements, and /dev/null for none",
            )
            .of_kind(Kind::OptionalValue),
            OptionSpec::value(
                &["--ignored-keyrings"],
                "ignored_keyrings",
                "keyring whose keys are neither checked nor learned; may be given several times",
            )
            .of_kind(Kind::Values),
            OptionSpec::value(
                &["--add-ima-signature-verification-key"],
                "ima_signature_keys",
                "file with a certificate, public key or private key that verifies file signatures; may be given \
                 several times",
            )
            .of_kind(Kind::Values),
            OptionSpec::flag(
                &["--show-legacy-allowlist"],
                "legacy_allowlist",
                "write the digests as a plain allowlist, not the policy",
            ),
            OptionSpec::flag(&["-v", "--verbose"], "verbose", "tell everything, with time and level"),
        ],
    )
};

fn lower_case(value: &str) -> Result<String, String> {
    Ok(value.to_lowercase())
}

const SIGN_RUNTIME: Parser = Parser {
    epilogue: "examples:\n  \
        keylime-policy sign runtime -r policy.json -k key.pem -o signed.json\n  \
        keylime-policy sign runtime -r policy.json -b x509 -c certificate.pem -o signed.json\n      \
        makes a new key in keylime-ecdsa-key.pem\n",
    ..Parser::new(
        "keylime-policy sign runtime",
        &[
            OptionSpec::help(),
            OptionSpec::value(
                &["-o", "--output"],
                "output_file",
                "file for the signed policy; standard output if not given",
            ),
            OptionSpec::value(&["-r", "--runtime-policy"], "policy", "runtime policy to sign").required(),
            OptionSpec::value(&["-k", "--keyfile"], "keyfile", "private elliptic-curve key to sign with, PEM"),
            OptionSpec::value(
                &["-p", "--keypath"],
                "keypath",
                "where to write the key that is made when none is given",
            ),
            OptionSpec::value(&["-b", "--backend"], "backend", "sign with a key or with a certificate made for it")
                .converted(lower_case)
                .one_of(BACKENDS),
            OptionSpec::value(&["-c", "--cert-outfile"], "cert_outfile", "where to write the certificate"),
        ],
    )
};

const JSON: OptionSpec = OptionSpec::flag(&["--json"], "json", "answer with one JSON document");

const DIFF: Parser = Parser {
    description: "Tells what policy B allows, excludes and trusts that policy A does not, and the other way round. \
                  Ends with 0 when they mean the same, 1 when not, 2 when one cannot be read.",
    positionals: &[
        Positional { name: "A", help: "a runtime policy, signed or not" },
        Positional { name: "B", help: "the policy it is compared with" },
    ],
    epilogue: "examples:\n  \
        keylime-policy diff old.json new.json\n  \
        keylime-policy diff --json old.json signed.json | jq .digests.added\n",
    ..Parser::new("keylime-policy diff", &[OptionSpec::help(), JSON])
};

const LINT: Parser = Parser {
    description: "Tells what in a policy cannot work as it was meant: digests nothing can match, patterns that exclude \
                  everything, keys that cannot be read. Ends with 0 when there are no errors or warnings, 1 when there \
                  are, 2 when the policy cannot be read.",
    positionals: &[Positional { name: "POLICY", help: "a runtime policy, signed or not" }],
    epilogue: "examples:\n  \
        keylime-policy lint policy.json\n  \
        keylime-policy lint --json signed.json | jq '.findings[] | select(.weight == \"error\")'\n",
    ..Parser::new("keylime-policy lint", &[OptionSpec::help(), JSON])
};

const TEST: Parser = Parser {
    description: "Tells whether a measurement list would pass under a policy, and if not, why and what to add. Ends with \
                  0 when it passes, 1 when not, 2 when a file cannot be read.",
    positionals: &[
        Positional { name: "POLICY", help: "a runtime policy, signed or not" },
        Positional { name: "LOG", help: "a measurement list, as the kernel's ascii_runtime_measurements" },
    ],
    epilogue: "examples:\n  \
        keylime-policy test policy.json /sys/kernel/security/ima/ascii_runtime_measurements\n  \
        keylime-policy test policy.json agent.log -o policy-with-what-was-missing.json\n  \
        keylime-policy test --json policy.json agent.log | jq .patch\n",
    ..Parser::new(
        "keylime-policy test",
        &[
            OptionSpec::help(),
            JSON,
            OptionSpec::value(&["-o", "--output"], "output", "file for the policy with what was missing"),
        ],
    )
};

/// `keylime-policy`.
pub const KEYLIME_POLICY: Command = Command {
    name: "keylime-policy",
    summary: "",
    parser: Parser::new("keylime-policy", &[OptionSpec::help()]),
    title: "actions",
    children: &[
        Command {
            name: "create",
            summary: "create runtime or measured boot policy",
            parser: Parser::new("keylime-policy create", &[OptionSpec::help()]),
            title: "create",
            children: &[
                Command::leaf("runtime", "create runtime policies", CREATE_RUNTIME),
                Command::leaf("measured-boot", "create measured boot reference state policy", CREATE_MEASURED_BOOT),
            ],
            need: Need::Required,
        },
        Command {
            name: "sign",
            summary: "sign policy",
            parser: Parser::new("keylime-policy sign", &[OptionSpec::help()]),
            title: "sign",
            children: &[Command::leaf("runtime", "sign runtime policies", SIGN_RUNTIME)],
            need: Need::Required,
        },
        Command::leaf("diff", "compare two runtime policies", DIFF),
        Command::leaf("lint", "look for what cannot work in a runtime policy", LINT),
        Command::leaf("test", "try a runtime policy on a measurement list", TEST),
    ],
    need: Need::Optional,
};

/// `create_mb_refstate`.
pub const CREATE_MB_REFSTATE: Parser = Parser {
    description: "Makes a reference state for the measured boot policy from a machine's boot log",
    positionals: &[
        Positional { name: "eventlog_file", help: "binary boot log" },
        Positional { name: "mb_refstate", help: "file for the reference state" },
    ],
    ..Parser::new("create_mb_refstate", &[OptionSpec::help(), WITHOUT_SECURE_BOOT])
};

const WITHOUT_SECURE_BOOT: OptionSpec = OptionSpec::flag(
    &["--without-secureboot", "-i"],
    "without_secureboot",
    "take a log of a machine without secure boot, too",
);

const CREATE_MEASURED_BOOT: Parser = Parser {
    epilogue: "example:\n  \
        keylime-policy create measured-boot -e /sys/kernel/security/tpm0/binary_bios_measurements -o state.json\n",
    ..Parser::new(
        "keylime-policy create measured-boot",
        &[
            OptionSpec::help(),
            OptionSpec::value(
                &["-e", "--eventlog-file"],
                "eventlog_file",
                "binary boot log, usually /sys/kernel/security/tpm0/binary_bios_measurements",
            )
            .required(),
            WITHOUT_SECURE_BOOT,
            OptionSpec::value(&["-o", "--output"], "output", "file for the reference state, - for standard output"),
        ],
    )
};

/// `keylime_sign_runtime_policy`.
pub const SIGN_RUNTIME_POLICY: Parser = Parser::new(
    "keylime_sign_runtime_policy",
    &[
        OptionSpec::help(),
        OptionSpec::value(&["-r", "--runtime_policy"], "runtime_policy", "file to sign"),
        OptionSpec::value(&["-k", "--keyfile"], "keyfile", "private elliptic-curve key to sign with, PEM"),
        OptionSpec::value(&["-p", "--keypath"], "keypath", "where to write the key that is made when none is given"),
        OptionSpec::value(&["-b", "--backend"], "backend", "ecdsa (default) or x509"),
        OptionSpec::value(&["-o", "--output_file"], "output_file", "file for the signed policy"),
        OptionSpec::value(
            &["-c", "--certificate_output_file"],
            "certificate_output_file",
            "where x509 writes the certificate; certificate.crt if not given",
        ),
    ],
);

/// `keylime_convert_runtime_policy`.
pub const CONVERT_RUNTIME_POLICY: Parser = Parser::new(
    "keylime_convert_runtime_policy",
    &[
        OptionSpec::help(),
        OptionSpec::value(&["-a", "--allowlist"], "allowlist", "allowlist to convert, plain text or JSON"),
        OptionSpec::value(&["-r", "--runtime_policy"], "runtime_policy", "policy to bring to the latest version"),
        OptionSpec::value(&["-e", "--excludelist"], "excludelist", "patterns to add to the exclude list"),
        OptionSpec::value(&["-v", "--verification_keys"], "verification_keys", "files with keys to add")
            .of_kind(Kind::Several),
        OptionSpec::value(&["-o", "--output_file"], "output_file", "file for the policy"),
    ],
);

/// `keylime_create_policy`.
pub const CREATE_POLICY: Parser = Parser {
    description: "Adds to a runtime policy or makes one; keylime-policy create runtime does more",
    ..Parser::new(
        "keylime_create_policy",
        &[
            OptionSpec::help(),
            OptionSpec::value(&["-B", "--base-policy"], "base_policy", "runtime policy to add to"),
            OptionSpec::flag(&["-k", "--keyrings"], "get_keyrings", "add keys from the measurement list to keyrings"),
            OptionSpec::flag(&["-b", "--ima-buf"], "get_ima_buf", "add buffers of the list that hold no keys"),
            OptionSpec::value(&["-a", "--allowlist"], "allowlist", "plain text with a digest and a path a line"),
            OptionSpec::value(
                &["-m", "--ima-measurement-list"],
                "ima_measurement_list",
                "measurement list whose digests, keys and buffers are allowed, instead of the running kernel's; \
                 /dev/null for none",
            ),
            OptionSpec::value(
                &["-i", "--ignored-keyrings"],
                "ignored_keyrings",
                "keyring whose keys are neither checked nor learned; may be given several times",
            )
            .of_kind(Kind::Values),
            OptionSpec::value(&["-o", "--output"], "output", "file for the policy; standard output if not given"),
            OptionSpec::flag(&["--no-hashes"], "no_hashes", "take no digests from the measurement list"),
            OptionSpec::value(
                &["-A", "--add-ima-signature-verification-key"],
                "ima_signature_keys",
                "file with a certificate, public key or private key that verifies file signatures; may be given \
                 several times",
            )
            .of_kind(Kind::Values),
            OptionSpec::value(
                &["-e", "--exclude"],
                "exclude_list_file",
                "text with a regular expression a line; paths that match are not judged",
            ),
            OptionSpec::value(&["-l", "--local-repo"], "local_repo", "directory of an RPM repository").shown_as("REPO"),
            OptionSpec::value(&["-r", "--remote-repo"], "remote_repo", "address of an RPM repository").shown_as("URL"),
        ],
    )
};
