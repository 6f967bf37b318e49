//! `logging.conf`: what is written, how and where.

use super::{START_LIMIT, command, settings};
use keylime_harness::child::Guarded;
use keylime_harness::configuration;
use std::net::TcpStream;

/// Runs a verifier with this logging until it listens, and answers what it wrote to its output.
fn output_with(dir: &std::path::Path, logging: &str) -> String {
    let settings = settings();
    configuration::write(dir, &settings).unwrap();
    std::fs::write(dir.join("logging.conf"), logging).unwrap();
    let mut process =
        Guarded::spawn("keylime_verifier", &mut command(dir, "keylime_verifier"), &dir.join("output")).unwrap();
    process.wait_until(START_LIMIT, || TcpStream::connect(("127.0.0.1", settings.verifier_port)).is_ok()).unwrap();
    assert_eq!(process.terminate(START_LIMIT).unwrap(), Some(0));
    process.output()
}

fn logging(level: &str, handler: &str, format: &str) -> String {
    format!(
        "[logging]\nversion = 2.6\n[loggers]\nkeys = root,keylime\n[handlers]\nkeys = h\n[formatters]\nkeys = f\n\
         [formatter_f]\nformat = {format}\n[logger_root]\nlevel = {level}\nhandlers = h\n\
         [handler_h]\n{handler}\nlevel = {level}\nformatter = f\n\
         [logger_keylime]\nlevel = {level}\nqualname = keylime\nhandlers =\n"
    )
}

#[test]
fn lines_have_the_format_and_go_to_the_file_of_the_options() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("own.log");
    let handler = format!("class = FileHandler\nargs = ('{}',)", file.display());
    let output = output_with(dir.path(), &logging("INFO", &handler, "<%(levelname)s> %(name)s: %(message)s"));
    let lines = std::fs::read_to_string(file).unwrap();
    assert!(lines.lines().any(|line| line.starts_with("<INFO> keylime.verifier: ")), "format, args: {lines}");
    assert!(!output.contains("keylime.verifier"), "class: {output}");
}

#[test]
fn lines_below_the_level_are_not_written() {
    let handler = "class = StreamHandler\nargs = (sys.stdout,)";
    for (level, written) in [("INFO", true), ("ERROR", false)] {
        let dir = tempfile::tempdir().unwrap();
        let output = output_with(dir.path(), &logging(level, handler, "<%(levelname)s> %(message)s"));
        assert_eq!(output.contains("<INFO>"), written, "level {level}: {output}");
    }
}

#[test]
fn lines_are_documents_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let handler = "class = StreamHandler\nargs = (sys.stdout,)";
    let text = logging("INFO", handler, "%(message)s").replace("version = 2.6\n", "version = 2.6\nformat = json\n");
    let output = output_with(dir.path(), &text);
    let lines: Vec<&str> = output.lines().filter(|line| line.contains("keylime.verifier")).collect();
    assert!(!lines.is_empty(), "{output}");
    for line in lines {
        let document: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(document["fields"]["message"].is_string(), "{document}");
    }
}
