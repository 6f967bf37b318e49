//! Every recorded verdict of the project's vectors, through the modules of the agreement runner.

use keylime_tests::agreement::{SECTIONS, Vectors, run};
use std::path::Path;

#[test]
fn agrees_with_the_recorded_verdicts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/agreement");
    let report = run(&Vectors::open(&root).unwrap(), SECTIONS);
    assert!(report.disagreements.is_empty(), "{}", report.disagreements.join("\n"));
    for (rule, count) in report.rules_used() {
        println!("{count} excused by {}", rule.name);
    }
    println!("{} passed", report.passed);
    assert!(report.passed >= 700, "only {} cases agree", report.passed);
}
