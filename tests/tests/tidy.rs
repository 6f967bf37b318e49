//! Guards the layout: top-level names, layers, where actor and HTTP crates may be named, sizes and names of files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const TOP_LEVEL: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "engine",
    "actors",
    "gateway",
    "agent",
    "tenant",
    "schema",
    "bench",
    "tests",
];

/// What each crate may depend on, of this workspace. `tests`, `bench` and the harness may depend on anything.
const LAYERS: [(&str, &[&str]); 12] = [
    ("engine", &[]),
    ("schema/settings", &[]),
    ("schema/settings/upgrade", &["keylime-settings"]),
    ("schema/pki", &["keylime-settings"]),
    ("schema", &["keylime-engine"]),
    ("actors", &["keylime-engine", "keylime-schema", "keylime-settings", "keylime-pki"]),
    ("gateway", &["keylime-engine", "keylime-schema", "keylime-settings", "keylime-pki", "keylime-actors"]),
    ("agent/soft_tpm", &["keylime-engine"]),
    ("agent", &["keylime-engine", "keylime-schema", "keylime-settings", "keylime-pki", "keylime-soft-tpm"]),
    (
        "tenant",
        &["keylime-engine", "keylime-schema", "keylime-settings", "keylime-pki", "keylime-actors", "keylime-arguments"],
    ),
    ("tenant/arguments", &[]),
    ("tenant/policy-tools", &["keylime-engine", "keylime-schema", "keylime-arguments"]),
];

/// What the pure core must never depend on.
const FORBIDDEN_IN_ENGINE: [&str; 14] = [
    "tokio",
    "actix",
    "actix-rt",
    "actix-web",
    "sea-orm",
    "sqlx",
    "lapin",
    "reqwest",
    "hyper",
    "tss-esapi",
    "rustls",
    "rand",
    "getrandom",
    "tracing",
];

/// Lines of product code (without in-file tests) that a file may have; files beyond it are listed with the reason.
const HARD_LIMIT: usize = 700;
const LARGER_FILES: [(&str, &str); 0] = [];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn manifest(dir: &str) -> toml::Table {
    let path = root().join(dir).join("Cargo.toml");
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).parse().expect("manifests are TOML")
}

fn dependencies(dir: &str) -> BTreeSet<String> {
    let table = manifest(dir);
    table.get("dependencies").and_then(toml::Value::as_table).into_iter().flat_map(|t| t.keys().cloned()).collect()
}

/// Every Rust file below `dirs`, with its path relative to the workspace and its text.
fn sources(dirs: &[&str]) -> BTreeMap<String, String> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for dir in dirs {
        walk(&root().join(dir), &mut found);
    }
    let relative = |path: &Path| path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned();
    found.iter().map(|p| (relative(p), fs::read_to_string(p).unwrap_or_default())).collect()
}

const ALL: [&str; 8] = ["engine", "schema", "actors", "gateway", "agent", "tenant", "bench", "tests"];

fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |at| &text[..at])
}

#[test]
fn the_top_level_is_the_agreed_one() {
    let mut unexpected = Vec::new();
    for entry in fs::read_dir(root()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "target" && !TOP_LEVEL.contains(&name.as_str()) {
            unexpected.push(name);
        }
    }
    assert!(unexpected.is_empty(), "not part of the layout: {unexpected:?}");
    for name in TOP_LEVEL {
        assert!(root().join(name).exists(), "{name} is missing");
    }
}

#[test]
fn dependencies_point_downwards_only() {
    for (dir, allowed) in LAYERS {
        for dependency in dependencies(dir).iter().filter(|d| d.starts_with("keylime-")) {
            assert!(allowed.contains(&dependency.as_str()), "{dir} must not depend on {dependency}");
        }
    }
    let engine = dependencies("engine");
    for forbidden in FORBIDDEN_IN_ENGINE {
        assert!(!engine.contains(forbidden), "engine must not depend on {forbidden}");
    }
    for (dir, _) in LAYERS {
        let names = dependencies(dir);
        assert!(dir == "agent" || !names.contains("tss-esapi"), "{dir}: only the agent talks to a TPM");
        assert!(
            matches!(dir, "gateway" | "agent") || !names.contains("actix-web"),
            "{dir}: only HTTP edges name actix-web"
        );
        assert!(matches!(dir, "actors" | "tenant") || !names.contains("actix"), "{dir}: actors live in actors/");
    }
}

#[test]
fn actor_and_http_crates_are_named_only_where_they_belong() {
    for (path, text) in sources(&ALL) {
        if path.starts_with("tests/") {
            continue;
        }
        let product = without_tests(&text);
        if product.contains("use actix::") || product.contains("actix::prelude") {
            let allowed = path.starts_with("actors/") || path == "tenant/src/enrollment_actor.rs";
            assert!(allowed, "{path} names actix");
        }
        if product.contains("use actix_web::") {
            assert!(path.starts_with("gateway/") || path.starts_with("agent/"), "{path} names actix_web");
        }
    }
}

#[test]
fn the_core_has_no_clock_no_files_and_no_sockets() {
    let forbidden =
        ["std::fs", "std::net", "SystemTime", "Instant::now", "std::thread", "std::process", "async fn", "std::env"];
    for (path, text) in sources(&["engine/src"]) {
        for word in forbidden {
            assert!(!without_tests(&text).contains(word), "{path} names {word}");
        }
    }
}

#[test]
fn files_are_of_a_readable_size_and_named_for_their_concept() {
    let vague = ["utils", "util", "helpers", "helper", "common", "misc", "manager", "stuff", "types2"];
    for (path, text) in sources(&ALL) {
        let lines = without_tests(&text).lines().count();
        let excused = LARGER_FILES.iter().any(|(file, _)| *file == path);
        let golden = path.starts_with("tests/tests/") || path.contains("/tests/");
        assert!(lines <= HARD_LIMIT || excused || golden, "{path} has {lines} lines; split it by concept");
        let stem = Path::new(&path).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        assert!(!vague.contains(&stem.as_str()), "{path} is not named for what it holds");
    }
}

#[test]
fn nothing_is_left_unfinished_and_no_test_is_switched_off() {
    // Written in two parts so that this file does not find itself.
    let forbidden =
        [["to", "do!("], ["unimplem", "ented!("], ["#[ign", "ore"], ["FIX", "ME"], ["dbg", "!("]].map(|p| p.concat());
    for (path, text) in sources(&ALL) {
        for word in &forbidden {
            assert!(!text.contains(word.as_str()), "{path} holds {word}");
        }
    }
}

/// CVE-2022-23950: a path in a directory that everybody may write to can be taken by somebody else first.
#[test]
fn cve_2022_23950_no_predictable_path_in_a_shared_directory() {
    for (path, text) in sources(&["engine", "schema", "actors", "gateway", "agent", "tenant"]) {
        let product = without_tests(&text);
        // A list of directories that are left out of policies opens none of them.
        if path.contains("/tests/") || path == "tenant/policy-tools/src/root_filesystem.rs" {
            continue;
        }
        for word in ["\"/tmp", "/var/tmp", "/dev/shm"] {
            assert!(!product.contains(word), "{path} names {word}");
        }
    }
}

/// CVE-2022-31250: a privileged change of owner that follows a link gives away what the link points to.
#[test]
fn cve_2022_31250_ownership_changes_never_follow_a_link() {
    for (path, text) in sources(&["engine", "schema", "actors", "gateway", "agent", "tenant"]) {
        if path.contains("/tests/") {
            continue;
        }
        let product = without_tests(&text);
        let calls = product.match_indices("chown(").map(|(at, _)| &product[at.saturating_sub(1)..at]);
        assert!(calls.into_iter().all(|before| matches!(before, "f" | "l")), "{path} changes an owner by a path");
        assert!(!product.contains("chown -R") && !product.contains("chown --recursive"), "{path}");
    }
}

#[test]
fn every_crate_forbids_unsafe_code() {
    for (dir, _) in LAYERS {
        let lib = fs::read_to_string(root().join(dir).join("src/lib.rs")).unwrap_or_default();
        assert!(lib.contains("#![forbid(unsafe_code)]") || dir == "agent", "{dir}/src/lib.rs must forbid unsafe code");
    }
}
