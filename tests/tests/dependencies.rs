//! Holds the bans and floors of dependencies without a network: what is compiled, not what the lock file could name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Versions below which an advisory is open (crate, first good version).
const FLOORS: [(&str, [u64; 3]); 7] = [
    ("rustls-webpki", [0, 103, 13]),
    ("aws-lc-sys", [0, 39, 0]),
    ("h2", [0, 4, 16]),
    ("quick-xml", [0, 41, 0]),
    ("zip", [2, 3, 0]),
    ("bytes", [1, 11, 1]),
    ("time", [0, 3, 47]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// Name and versions of every crate that takes part in a build of the workspace.
fn compiled() -> BTreeMap<String, Vec<[u64; 3]>> {
    let arguments =
        ["tree", "--workspace", "--locked", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found: BTreeMap<String, Vec<[u64; 3]>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next().and_then(|v| v.strip_prefix('v'))) else {
            continue;
        };
        let number = |part: Option<&str>| {
            part.map(|p| p.chars().take_while(char::is_ascii_digit).collect::<String>()).and_then(|d| d.parse().ok())
        };
        let mut parts = version.split('.');
        let version = [number(parts.next()), number(parts.next()), number(parts.next())].map(|n| n.unwrap_or(0));
        found.entry(name.to_owned()).or_default().push(version);
    }
    assert!(found.contains_key("actix") && found.contains_key("rustls"), "the tree was not read");
    found
}

#[test]
fn no_banned_crate_is_compiled() {
    let text = std::fs::read_to_string(root().join(".cargo/deny.toml")).expect("the bans are kept in .cargo/deny.toml");
    let table: toml::Table = text.parse().expect("TOML");
    let bans = table["bans"]["deny"].as_array().expect("a list of bans");
    assert!(bans.len() >= 10);
    let compiled = compiled();
    for ban in bans {
        let name = ban["crate"].as_str().expect("a crate's name");
        assert!(!compiled.contains_key(name), "{name} is compiled: {}", ban["reason"]);
    }
}

#[test]
fn no_crate_lies_below_the_floor_of_an_advisory() {
    let compiled = compiled();
    for (name, floor) in FLOORS {
        for version in compiled.get(name).into_iter().flatten() {
            assert!(*version >= floor, "{name} {version:?} lies below {floor:?}");
        }
    }
}

#[test]
fn the_actor_crate_is_pinned() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let table: toml::Table = text.parse().expect("TOML");
    let version = table["workspace"]["dependencies"]["actix"]["version"].as_str().expect("a version");
    assert!(version.starts_with('='), "the actor shell relies on behaviour of one version of actix, not on {version}");
}
