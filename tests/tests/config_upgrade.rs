//! `keylime_upgrade_config` beside Keylime 7.14.3's: the same templates and input give the same files, and each side starts
//! with what the other wrote.

use keylime_gateway::configuration::{RegistrarConfiguration, VerifierConfiguration};
use keylime_harness::{binaries, peer};
use keylime_settings::{Component, Config};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const COMPONENTS: [&str; 6] = ["agent", "verifier", "tenant", "registrar", "ca", "logging"];

/// A configuration from before the split, with options that are renamed, moved, listed in each way, or forced by others.
const UNVERSIONED: &str = include_str!("data/unversioned-keylime.conf");

fn ours() -> Command {
    clean(Command::new(binaries::path("keylime_upgrade_config")))
}

fn theirs() -> Command {
    clean(Command::new(peer::program("keylime_upgrade_config")))
}

fn clean(mut command: Command) -> Command {
    for component in COMPONENTS {
        command.env_remove(format!("KEYLIME_{}_CONFIG", component.to_uppercase()));
    }
    command.env_remove("KEYLIME_CONFIG");
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

fn succeed(command: &mut Command) {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty(), "{command:?} wrote to standard output");
}

struct Bench {
    directory: tempfile::TempDir,
    templates: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let templates = directory.path().join("templates");
        succeed(ours().arg("--export-templates").arg(&templates));
        Self { directory, templates }
    }

    fn folder(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Runs both programs with the same arguments; our built-in templates must do what the exported ones do.
    fn agree(&self, name: &str, arguments: &[&str]) -> BTreeMap<String, String> {
        let (a, b, c) = (
            self.folder(&format!("{name}-ours")),
            self.folder(&format!("{name}-theirs")),
            self.folder(&format!("{name}-built-in")),
        );
        let templates = self.templates.as_os_str();
        succeed(ours().args(arguments).arg("--templates").arg(templates).arg("--out").arg(&a));
        succeed(theirs().args(arguments).arg("--templates").arg(templates).arg("--out").arg(&b));
        succeed(ours().args(arguments).arg("--output").arg(&c));
        let (ours, theirs) = (files(&a), files(&b));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{name}");
        for (file, text) in &ours {
            assert_eq!(text, &theirs[file], "{name}: {file}");
        }
        assert_eq!(ours, files(&c), "{name}: built-in templates");
        ours
    }
}

fn files(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    entries.map(|e| (e.file_name().to_string_lossy().into_owned(), fs::read_to_string(e.path()).unwrap())).collect()
}

#[test]
fn defaults_of_every_format_are_the_same_files() {
    let bench = Bench::new();
    for version in ["2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6"] {
        let written = bench.agree(&format!("defaults-{version}"), &["--defaults", "--version", version]);
        assert_eq!(written.len(), 6, "{version}");
        assert!(written["verifier.conf"].contains(&format!("\nversion = {version}\n")));
    }
    let newest = bench.agree("defaults", &["--defaults"]);
    assert!(newest["agent.conf"].contains("\nverifier_url = \"https://localhost:8881\"\n"));
}

#[test]
fn an_unversioned_file_becomes_the_same_split_files() {
    let bench = Bench::new();
    let input = bench.file("keylime.conf", UNVERSIONED);
    let input = input.to_str().unwrap();
    for version in ["2.0", "2.1", "2.3", "2.6"] {
        bench.agree(&format!("old-{version}"), &["--input", input, "--version", version]);
    }
    let newest = bench.agree("old", &["--input", input]);
    let verifier = &newest["verifier.conf"];
    for line in [
        "uuid = verifier-7",
        "port = 9881",
        "quote_interval = 7",
        "database_url = sqlite",
        "severity_labels = ['low', 'high']",
        "enabled_revocation_notifications = ['zeromq', 'webhook']",
        "client_cert = default",
        "max_workers = 16",
    ] {
        assert!(verifier.contains(&format!("\n{line}\n")), "{line} in {verifier}");
    }
    assert!(newest["agent.conf"].contains("\nenable_agent_mtls = true\n"));
    assert!(newest["tenant.conf"].contains("\naccept_tpm_hash_algs = ['sha512', 'sha256']\n"));
}

#[test]
fn every_split_format_is_brought_to_the_newest() {
    let bench = Bench::new();
    for version in ["2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6"] {
        let start = bench.folder(&format!("start-{version}"));
        succeed(ours().args(["--defaults", "--version", version, "--out"]).arg(&start));
        let verifier = start.join("verifier.conf");
        let changed = fs::read_to_string(&verifier).unwrap().replace("port = 8881", "port = 18881");
        fs::write(&verifier, changed).unwrap();
        let inputs: Vec<String> =
            COMPONENTS.iter().map(|c| start.join(format!("{c}.conf")).display().to_string()).collect();
        let mut arguments = vec!["--input"];
        arguments.extend(inputs.iter().map(String::as_str));
        let written = bench.agree(&format!("from-{version}"), &arguments);
        assert!(written["verifier.conf"].contains("\nport = 18881\n"), "{version}");
        assert!(written["verifier.conf"].contains("\nversion = 2.6\n"), "{version}");
    }
}

#[test]
fn own_templates_mappings_and_scripts_are_used_as_the_reference_uses_them() {
    let bench = Bench::new();
    let own = bench.folder("templates/2.7");
    let mapping = r#"{"version": "2.7", "type": "update", "components": {
        "tenant": {"add": {"colour": "blue"}, "remove": ["mb_refstate"],
                   "replace": {"verifier_ip": {"section": "tenant", "option": "verifier_host", "default": "h"}}}}}"#;
    fs::write(own.join("mapping.json"), mapping).unwrap();
    fs::write(
        own.join("adjust.py"),
        "def adjust(config, mapping):\n    config['tenant']['colour'] += mapping['version']\n",
    )
    .unwrap();
    let template = "[tenant]\n{% for name, value in tenant.items() %}{% if name != 'version' %}{{ name }} = {{ value }}\n\
                    {% endif %}{% endfor %}# {{ tenant.get('colour') | upper }} {{ tenant.absent }}\n";
    fs::write(own.join("tenant.j2"), template).unwrap();
    let (a, b) = (bench.folder("own-ours"), bench.folder("own-theirs"));
    for (command, out) in [(&mut ours(), &a), (&mut theirs(), &b)] {
        succeed(
            command
                .args(["--defaults", "--component", "tenant", "--templates"])
                .arg(&bench.templates)
                .arg("--out")
                .arg(out),
        );
    }
    let written = files(&a);
    assert_eq!(written, files(&b));
    assert!(written["tenant.conf"].ends_with("# BLUE2.7 \n"), "{written:?}");
    assert!(written["tenant.conf"].contains("verifier_host = h\n"));

    // The same mapping alone, on a file of its own.
    let input = bench.file("t.conf", "[tenant]\nversion = 2.6\nverifier_ip = 10.0.0.1\nmb_refstate = x\n");
    let mapping = own.join("mapping.json");
    for (command, out) in [(&mut ours(), &a), (&mut theirs(), &b)] {
        let arguments =
            ["--component", "tenant", "--mapping", mapping.to_str().unwrap(), "--input", input.to_str().unwrap()];
        succeed(command.args(arguments).arg("--templates").arg(&bench.templates).arg("--out").arg(out));
    }
    let written = files(&a);
    assert_eq!(written, files(&b), "the earlier file is kept as a backup by both");
    assert!(written["tenant.conf"].contains("verifier_host = 10.0.0.1\n"));
    assert!(written["tenant.conf.bkp"].contains("verifier_host = h\n"));
}

#[test]
fn mistakes_end_with_the_reference_s_exit_codes() {
    let bench = Bench::new();
    let templates = bench.templates.to_str().unwrap().to_owned();
    let out = bench.folder("mistakes").display().to_string();
    let broken = bench.file("broken.conf", "[verifier]\nnonsense\n").display().to_string();
    let cases: [(&[&str], i32); 7] = [
        (&["--out", "/nonexistent"], 1),
        (&["--out", &out, "--input", "/nonexistent"], 1),
        (&["--out", &out, "--input", &broken], 1),
        (&["--out", &out, "--defaults", "--version", "9.9"], 1),
        (&["--out", &out, "--defaults", "--version", "two"], 1),
        (&["--out", &out, "--defaults", "--mapping", "/nonexistent"], 1),
        (&["--nothing"], 2),
    ];
    for (arguments, code) in cases {
        for (name, mut command) in [("ours", ours()), ("theirs", theirs())] {
            let output = run(command.args(["--templates", &templates]).args(arguments));
            assert_eq!(output.status.code(), Some(code), "{name} {arguments:?}: {output:?}");
            assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{name} {arguments:?}");
        }
    }
    let missing = run(ours().args(["--templates", "/nonexistent", "--out", &out]));
    assert_eq!(missing.status.code(), Some(1));
}

/// What the peer's own reader makes of a file: every option of it, and the lists that its services read at start.
#[test]
fn files_we_write_are_read_by_keylime() {
    let bench = Bench::new();
    let out = bench.folder("out");
    succeed(ours().args(["--defaults", "--out"]).arg(&out));
    let script = "from keylime import config\n\
        assert config.getint('verifier', 'port') == 8881 and config.getint('registrar', 'tls_port') == 8891\n\
        assert config.getlist('verifier', 'enabled_revocation_notifications', section='revocations') == ['agent']\n\
        assert config.getlist('verifier', 'severity_labels')[-1] == 'emergency'\n\
        assert config.getlist('verifier', 'severity_policy')[0]['event_id'] == '.*'\n\
        assert config.getlist('tenant', 'accept_tpm_hash_algs') == ['sha512', 'sha384', 'sha256']\n\
        assert config.getboolean('tenant', 'require_ek_cert') and config.getfloat('verifier', 'quote_interval') == 2.0\n\
        assert config.get('ca', 'cert_ca_name') == 'Keylime Certificate Authority'\n\
        assert config.get('verifier', 'version') == '2.6'\n\
        from keylime import keylime_logging\n\
        keylime_logging.init_logging('tenant').info('a line')\n";
    let mut python = Command::new(peer::program("python3"));
    for component in ["verifier", "registrar", "tenant", "ca", "logging"] {
        let variable = format!("KEYLIME_{}_CONFIG", component.to_uppercase());
        python.env(variable, out.join(format!("{component}.conf")));
    }
    let output = run(python.args(["-c", script]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(" - keylime.tenant - INFO - a line"), "{output:?}");
}

/// A file with all defaults means what no file means.
#[test]
fn written_defaults_are_the_built_in_ones() {
    let bench = Bench::new();
    let out = bench.folder("out");
    succeed(ours().args(["--defaults", "--out"]).arg(&out));
    let config = |component: Component, text: &str| Config::from_parts(component, text, &[]).unwrap();
    let written = |component: Component| {
        let text = fs::read_to_string(out.join(format!("{}.conf", component.name()))).unwrap();
        config(component, &text)
    };
    let registrar = RegistrarConfiguration::read(&written(Component::Registrar)).unwrap();
    let without = RegistrarConfiguration::read(&config(Component::Registrar, "[registrar]\nversion = 2.6\n")).unwrap();
    assert_eq!(registrar, without);
    let verifier = VerifierConfiguration::read(&written(Component::Verifier)).unwrap();
    let without = VerifierConfiguration::read(&config(Component::Verifier, "[verifier]\nversion = 2.6\n")).unwrap();
    assert!(verifier == without, "written defaults of the verifier differ from the built-in ones");
    let ca = keylime_tenant::ca_settings::subject(&written(Component::Ca)).unwrap();
    assert_eq!(ca, keylime_pki::authority::Subject::default());
}

/// Our programs take complete files with the defaults, and mean by them what they mean without any file.
#[test]
fn our_programs_take_the_files_with_the_defaults() {
    let bench = Bench::new();
    let out = bench.folder("out");
    succeed(ours().args(["--defaults", "--out"]).arg(&out));
    for component in ["verifier", "registrar"] {
        let mut command = Command::new(binaries::path(&format!("keylime_{component}")));
        for file in COMPONENTS {
            command.env(format!("KEYLIME_{}_CONFIG", file.to_uppercase()), out.join(format!("{file}.conf")));
        }
        let output = run(command.arg("--print-config"));
        assert!(output.status.success(), "{output:?}");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("version = 2.6") && shown.contains("ip = 127.0.0.1"), "{shown}");
    }
    let text = fs::read_to_string(out.join("agent.conf")).unwrap();
    let agent: toml::Table = text.parse().unwrap();
    assert_eq!(agent["agent"]["port"].as_integer(), Some(9002));
    assert_eq!(agent["agent"]["enable_agent_mtls"].as_bool(), Some(true));
    assert_eq!(agent["agent"]["trusted_client_ca"].as_str(), Some("default"));
}
