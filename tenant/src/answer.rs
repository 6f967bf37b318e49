//! What a command of `keylime_tenant --json` prints: one JSON document with everything that was learned, or why it failed.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::output::compact;

/// Results of a command, collected while it runs. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Names with what they stand for as JSON text.
    results: Arc<Mutex<Vec<(String, String)>>>,
}

impl Answer {
    /// Notes a result; a later one of the same name replaces it.
    pub fn note(&self, name: &str, value: Value) {
        self.note_text(name, compact(&value));
    }

    /// As [`Answer::note`], for a result that is JSON text already.
    pub fn note_text(&self, name: &str, text: String) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        match results.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = text,
            None => results.push((name.to_owned(), text)),
        }
    }

    /// Writes the document of a command that ended, with the error if it failed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, mut out: impl Write, command: &str, error: Option<&str>) -> std::io::Result<()> {
        let text = |text: &str| compact(&Value::from(text));
        write!(out, "{{\"command\": {}, \"success\": {}, \"results\": {{", text(command), error.is_none())?;
        for (index, (name, value)) in self.results.lock().unwrap_or_else(PoisonError::into_inner).iter().enumerate() {
            write!(out, "{}{}: {value}", if index == 0 { "" } else { ", " }, text(name))?;
        }
        match error {
            Some(error) => writeln!(out, "}}, \"error\": {}}}", compact(&json!({ "message": error }))),
            None => writeln!(out, "}}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(answer: &Answer, error: Option<&str>) -> String {
        let mut out = Vec::new();
        answer.write(&mut out, "cvlist", error).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn documents_say_what_was_learned_and_what_failed() {
        let answer = Answer::default();
        assert_eq!(document(&answer, None), "{\"command\": \"cvlist\", \"success\": true, \"results\": {}}\n");
        answer.clone().note("agents", json!(["b"]));
        answer.note("agents", json!(["a"]));
        answer.note_text("\u{e9}", "{\"n\": 1}".to_owned());
        let expected = json!({"command": "cvlist", "success": true, "results": {"agents": ["a"], "é": {"n": 1}}});
        assert_eq!(document(&answer, None), compact(&expected) + "\n");
        let failed: Value = serde_json::from_str(&document(&answer, Some("no \"answer\""))).unwrap();
        assert_eq!((&failed["success"], &failed["error"]["message"]), (&json!(false), &json!("no \"answer\"")));
        assert_eq!(failed["results"], expected["results"]);
    }
}
