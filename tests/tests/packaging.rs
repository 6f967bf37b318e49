//! What is installed: units, maintainer scripts, manual pages, policies, and the Debian package in a machine of its own.

use keylime_harness::debian_package::{self, MAINTAINER_SCRIPTS};
use keylime_harness::manual_texts::PROGRAMS;
use keylime_harness::{binaries, manual_page};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn units() -> Vec<PathBuf> {
    let folders = ["gateway/dist/systemd", "agent/dist/systemd"].map(|folder| binaries::workspace().join(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    let mut units: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    units.sort();
    units
}

fn unit(name: &str) -> String {
    let path = units().into_iter().find(|path| path.ends_with(name)).unwrap_or_else(|| panic!("no unit {name}"));
    fs::read_to_string(path).unwrap()
}

/// Names, order and conflicts that other packages and habits rely on.
#[test]
fn units_have_keylimes_names_order_and_conflicts() {
    let expected: [(&str, &[&str]); 5] = [
        (
            "keylime_verifier.service",
            &["User=keylime", "Group=keylime", "Before=keylime_registrar.service", "TimeoutSec=60s", "RestartSec=120s"],
        ),
        (
            "keylime_registrar.service",
            &["User=keylime", "After=network.target keylime_verifier.service", "Restart=on-failure"],
        ),
        (
            "keylime_agent.service",
            &[
                "Requires=var-lib-keylime-secure.mount",
                "Conflicts=keylime_push_model_agent.service",
                "Environment=\"RUST_LOG=keylime_agent=info,keylime=info\"",
                "WantedBy=multi-user.target",
            ],
        ),
        ("keylime_push_model_agent.service", &["Conflicts=keylime_agent.service"]),
        (
            "var-lib-keylime-secure.mount",
            &["Where=/var/lib/keylime/secure", "Type=tmpfs", "Before=keylime_agent.service"],
        ),
    ];
    assert_eq!(units().len(), expected.len());
    for (name, lines) in expected {
        let text = unit(name);
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line} in {name}");
        }
        if name.ends_with(".service") {
            assert!(!unit(name).contains("\nUser=") || unit(name).contains("ProtectSystem=strict"), "{name}");
            assert!(text.contains("StartLimitBurst=5"), "{name}");
            assert_ne!(text.contains("NoNewPrivileges"), name.ends_with("keylime_agent.service"), "{name}");
        }
    }
}

#[test]
fn systemd_accepts_the_units() {
    if !is_installed("systemd-analyze") {
        eprintln!("systemd is not installed: its judgement of the units is not asked for");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut copies = Vec::new();
    for path in units() {
        // Programs need not be installed for the units to be right.
        let text = fs::read_to_string(&path).unwrap();
        let text: String = text
            .lines()
            .map(|line| if line.starts_with("ExecStart=/usr/bin/keylime_") { "ExecStart=/bin/true" } else { line })
            .flat_map(|line| [line, "\n"])
            .collect();
        let copy = directory.path().join(path.file_name().unwrap());
        fs::write(&copy, text).unwrap();
        copies.push(copy);
    }
    let output = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&copies));
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// CVE-2022-31250: a script that runs as root must not hand out what lies in a directory that the service's user owns: the
/// user could have put a link to any file there.
#[test]
fn cve_2022_31250_maintainer_scripts_change_no_ownership_below_the_services_directories() {
    let folder = binaries::workspace().join("gateway/dist/debian");
    for script in MAINTAINER_SCRIPTS {
        let text = fs::read_to_string(folder.join(script)).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for line in code {
            let words: Vec<&str> = line.split_whitespace().collect();
            for command in ["chown", "chmod", "chgrp", "setfacl"] {
                if let Some(at) = words.iter().position(|word| *word == command) {
                    let options: Vec<&&str> = words[at + 1..].iter().filter(|word| word.starts_with('-')).collect();
                    let recursive =
                        options.iter().any(|o| **o == "--recursive" || (!o.starts_with("--") && o.contains('R')));
                    assert!(!recursive, "{script}: {line}");
                }
            }
            assert!(!line.contains("find ") && !line.contains("cp -a"), "{script}: {line}");
        }
        succeed(Command::new("sh").arg("-n").arg(folder.join(script)));
    }
    // systemd's StateDirectory= would change owners recursively as well.
    for path in units() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("StateDirectory=") && !text.contains("RuntimeDirectory="), "{}", path.display());
    }
    let tmpfiles = fs::read_to_string(binaries::workspace().join("gateway/dist/tmpfiles/keylime.conf")).unwrap();
    let kinds = tmpfiles.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.chars().next());
    assert!(kinds.into_iter().all(|kind| kind == 'd'), "only 'd' lines, which change one directory each");
}

#[test]
fn manual_pages_say_what_help_says() {
    let workspace = binaries::workspace();
    let mut seen = 0;
    for program in PROGRAMS.iter().filter(|program| binaries::dir().join(program.name).is_file()) {
        let path = manual_page::path(program, &workspace);
        let committed = fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{}: {e}; write it with: cargo manual", path.display()));
        let current = manual_page::render(program, &binaries::dir()).unwrap();
        assert_eq!(committed, current, "{} is out of date; write it with: cargo manual", path.display());
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"] {
            assert!(current.contains(&format!(".SH {section}\n")), "{}: {section}", program.name);
        }
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} programs are built");
}

#[test]
fn manual_pages_render_without_a_warning() {
    if !is_installed("groff") {
        eprintln!("groff is not installed: the pages are not formatted");
        return;
    }
    let workspace = binaries::workspace();
    for program in PROGRAMS {
        let path = manual_page::path(&program, &workspace);
        if !path.is_file() {
            continue;
        }
        let output = run(Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(&path));
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && warnings.is_empty(), "{}: {warnings}", path.display());
    }
}

/// The package installs on a Debian 12 of its own, its programs start there, and purging leaves nothing behind.
#[test]
fn the_debian_package_installs_starts_and_purges() {
    if std::env::var("KEYLIME_TEST_EFFORT").as_deref() != Ok("full") {
        eprintln!("a Debian of its own takes minutes: only with cargo accept -- --full");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("debian");
    let package = debian_package::build(&binaries::dir(), directory.path()).unwrap();
    let packages = "adduser,util-linux,libtss2-esys-3.0.2-0,libtss2-tctildr0,python3-minimal";
    succeed(
        Command::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={packages}"), "bookworm"])
            .arg(&root),
    );
    let name = package.file_name().unwrap().to_string_lossy().into_owned();
    fs::copy(&package, root.join(&name)).unwrap();
    // A link the service's user could have planted: nobody may follow it.
    fs::create_dir_all(root.join("var/lib/keylime")).unwrap();
    fs::write(root.join("root/victim"), "root's own").unwrap();
    std::os::unix::fs::symlink("/root/victim", root.join("var/lib/keylime/cv_data.sqlite")).unwrap();

    let inside = |script: &str| succeed(Command::new("chroot").arg(&root).args(["/bin/sh", "-ec", script]));
    inside(&format!("dpkg --install /{name}"));
    let listed = inside("stat -c '%a %U:%G %n' /etc/keylime /etc/keylime/*.conf /var/lib/keylime /root/victim");
    for line in [
        "500 keylime:keylime /etc/keylime",
        "400 keylime:keylime /etc/keylime/verifier.conf",
        "400 keylime:keylime /etc/keylime/agent.conf",
        "700 keylime:tss /var/lib/keylime",
        "644 root:root /root/victim",
    ] {
        assert!(listed.lines().any(|found| found == line), "{line} in\n{listed}");
    }
    fs::remove_file(root.join("var/lib/keylime/cv_data.sqlite")).unwrap();
    let ports = "export KEYLIME_VERIFIER_PORT=38881 KEYLIME_REGISTRAR_PORT=38890 KEYLIME_REGISTRAR_TLS_PORT=38891";
    let started = inside(&format!(
        "{ports}; cd /; run() {{ exec setpriv --reuid keylime --regid keylime --init-groups \"$@\"; }}
         run keylime_verifier > /tmp/verifier.log 2>&1 & verifier=$!
         for i in $(seq 60); do [ -f /var/lib/keylime/cv_ca/client-cert.crt ] && break; sleep 1; done; sleep 2
         run keylime_registrar > /tmp/registrar.log 2>&1 & registrar=$!
         sleep 3; kill $verifier $registrar; wait $verifier && wait $registrar; cat /tmp/verifier.log /tmp/registrar.log
         keylime_tenant --version; keylime_upgrade_config --help > /dev/null; stat -c %U /var/lib/keylime/cv_data.sqlite"
    ));
    for text in [
        "https port 38881",
        "https port 38891",
        "Verifier stopped",
        "Registrar stopped",
        "keylime_tenant 0.",
        "keylime\n",
    ] {
        assert!(started.contains(text), "{text} in\n{started}");
    }

    // A file of the administrator survives an upgrade to the same package.
    inside(&format!(
        "echo '# mine' >> /etc/keylime/tenant.conf; dpkg --install /{name}; grep -q mine /etc/keylime/tenant.conf"
    ));
    inside(
        "dpkg --purge keylime-rust; ! getent passwd keylime; for f in /etc/keylime /var/lib/keylime /usr/bin/keylime_verifier; do [ ! -e $f ]; done",
    );
    assert!(root.join("root/victim").is_file());
    assert!(!Path::new(&root).join("usr/share/keylime").exists());
}
