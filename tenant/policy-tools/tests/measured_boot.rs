//! Reference states from boot logs, as Keylime's tools make them.

use keylime_policy_tools::{Environment, Program, ProgressDisplay, run};
use serde_json::Value;
use std::fs;
use std::path::Path;
use time::UtcOffset;

fn tool(program: Program, words: &[&str]) -> (i32, String, String) {
    let environment = Environment {
        directory: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engine/tests/data/boot"),
        effective_user: 0,
        columns: 80,
        offset: UtcOffset::UTC,
        progress: ProgressDisplay::Hidden,
    };
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = run(program, &words, &environment, &mut stdout, &mut stderr);
    (exit, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_boot_log_becomes_a_reference_state() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engine/tests/data/boot/refstate_sb_base.json");
    let recorded: Value = serde_json::from_slice(&fs::read(recorded).unwrap()).unwrap();
    let (exit, stdout, stderr) = tool(Program::KeylimePolicy, &["create", "measured-boot", "-e", "sb_base.bin"]);
    assert_eq!((exit, stderr.as_str()), (0, ""));
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap(), recorded);

    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("state.json");
    let place = output.to_str().unwrap();
    let (exit, ..) = tool(Program::KeylimePolicy, &["create", "measured-boot", "-e", "sb_base.bin", "-i", "-o", place]);
    assert_eq!(exit, 0);
    assert_eq!(fs::read_to_string(&output).unwrap(), stdout);
}

#[test]
fn what_is_no_boot_log_is_refused_without_output() {
    let (exit, stdout, stderr) = tool(Program::KeylimePolicy, &["create", "measured-boot", "-e", "missing"]);
    assert_eq!((exit, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("Parsing of binary boot measurements (missing) failed with: [Errno 2]"), "{stderr}");
    let (exit, stdout, stderr) =
        tool(Program::KeylimePolicy, &["create", "measured-boot", "-e", "refstate_sb_base.json"]);
    assert_eq!((exit, stdout.as_str()), (1, ""));
    assert!(
        stderr.starts_with("Parsing of binary boot measurements (refstate_sb_base.json) failed with: "),
        "{stderr}"
    );
    let (exit, _, stderr) = tool(Program::CreateMbRefstate, &["sb_base.bin"]);
    assert_eq!(exit, 2);
    assert!(stderr.ends_with("create_mb_refstate: error: the following arguments are required: mb_refstate\n"));
}
