//! What a command of `keylime_tenant --json` prints: one JSON document with everything that was learned, or why it failed.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

/// Results of a command, collected while it runs. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    results: Arc<Mutex<Map<String, Value>>>,
}

impl Answer {
    /// Notes a result; a later one of the same name replaces it.
    pub fn note(&self, name: &str, value: Value) {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), value);
    }

    /// The document of a command that ended, with the error if it failed.
    #[must_use]
    pub fn document(&self, command: &str, error: Option<&str>) -> Value {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut document = json!({"command": command, "success": error.is_none(), "results": results});
        if let (Some(error), Some(members)) = (error, document.as_object_mut()) {
            members.insert("error".to_owned(), json!({ "message": error }));
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_say_what_was_learned_and_what_failed() {
        let answer = Answer::default();
        answer.clone().note("agents", json!(["a"]));
        let expected = json!({"command": "cvlist", "success": true, "results": {"agents": ["a"]}});
        assert_eq!(answer.document("cvlist", None), expected);
        let failed = answer.document("cvlist", Some("no \"answer\""));
        assert_eq!((&failed["success"], &failed["error"]["message"]), (&json!(false), &json!("no \"answer\"")));
        assert_eq!(failed["results"], json!({"agents": ["a"]}));
    }
}
