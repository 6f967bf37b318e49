//! The reference implementation as a child process that answers questions.

use keylime_harness::peer;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running child; ends when dropped.
pub struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts the child, and installs the reference implementation when it is missing.
    pub fn start() -> Self {
        peer::ensure().expect("Keylime from PyPI");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/peer.py");
        let mut child = Command::new(peer::program("python"))
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, input, output }
    }

    /// Asks one question.
    pub fn ask(&mut self, question: &Value) -> Value {
        self.try_ask(question).unwrap_or_else(|| panic!("no answer to {question}"))
    }

    /// Asks one question; `None` when the child ended instead of answering.
    pub fn try_ask(&mut self, question: &Value) -> Option<Value> {
        let input = self.input.as_mut().expect("open until dropped");
        writeln!(input, "{question}").ok()?;
        input.flush().ok()?;
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the child's output is text");
        if line.is_empty() {
            return None;
        }
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?} to {question}")))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Its input ends, so it ends.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
