//! `cargo agreement`: compares the engine's answers with recorded ones.
//!
//! Reads the directory named by `VECTORS_DIR`, by default `../shared/vectors` beside the checkout; without that directory it
//! runs on the project's own vectors and says so.

use keylime_tests::agreement::{SECTIONS, Vectors, run};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = directory();
    let vectors = match Vectors::open(&root) {
        Ok(vectors) => vectors,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    println!("vectors: {}", root.display());
    let report = run(&vectors, SECTIONS);
    for disagreement in &report.disagreements {
        println!("DISAGREES {disagreement}");
    }
    for section in &report.unknown_sections {
        println!("section {section} has no runner; its cases are not counted");
    }
    if !report.without_input.is_empty() {
        println!(
            "{} cases have no input and are not counted: {}",
            report.without_input.len(),
            report.without_input.join(", ")
        );
    }
    for (rule, count) in report.rules_used() {
        println!("excused {count} by {}: {} (feature: {})", rule.name, rule.reason, rule.feature);
    }
    println!("{} passed, {} failed ({} excused)", report.passed, report.disagreements.len(), report.excused_count());
    if report.disagreements.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn directory() -> PathBuf {
    if let Some(named) = std::env::var_os("VECTORS_DIR") {
        return PathBuf::from(named);
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let shared = project.join("../shared/vectors");
    if shared.join("EXPECTED.json").exists() {
        return shared;
    }
    println!("no {}: running on the project's own vectors", shared.display());
    project.join("tests/vectors/agreement")
}
