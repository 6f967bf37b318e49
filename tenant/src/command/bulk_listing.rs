//! The states of all agents, read one agent at a time while they arrive: of a large fleet only the text to be shown is kept.

use std::fmt;
use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::status::name_state;
use crate::error::TenantError;
use crate::http::OpenReply;
use crate::output::compact;

/// What the state of an agent that attests by itself is shown as.
const NO_STATE: &str = "Not applicable (Push Mode)";
/// Pieces of the answer that wait to be read.
const WAITING_PIECES: usize = 4;

/// Receives the answer to a bulk request: its `results` as Python prints them, states by their names.
///
/// # Errors
/// The answer breaks off, or is not what it should be.
pub(super) async fn receive(mut reply: OpenReply) -> Result<String, TenantError> {
    let (pieces, received) = mpsc::channel(WAITING_PIECES);
    let reader = tokio::task::spawn_blocking(move || transcribe(Pieces { received, current: Bytes::new() }));
    while let Some(piece) = reply.piece().await? {
        if pieces.send(piece).await.is_err() {
            // The reader has met something that it cannot read.
            break;
        }
    }
    drop(pieces);
    match reader.await {
        Ok(Ok(agents)) => Ok(agents),
        Ok(Err(_)) => Err(TenantError::Malformed { peer: "verifier" }),
        Err(panic) => Err(TenantError::refused(format!("cannot read the answer of the verifier: {panic}"))),
    }
}

/// Pieces as one stream of bytes.
struct Pieces {
    received: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.received.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// The member `results` of an answer as Python prints it.
fn transcribe(answer: impl Read) -> serde_json::Result<String> {
    let mut document = serde_json::Deserializer::from_reader(io::BufReader::new(answer));
    let mut agents = None;
    DeserializeSeed::deserialize(Answer(&mut agents), &mut document)?;
    document.end()?;
    agents.ok_or_else(|| serde_json::Error::missing_field("results"))
}

/// An answer, for its `results`.
struct Answer<'t>(&'t mut Option<String>);

impl<'de> DeserializeSeed<'de> for Answer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Answer<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with results")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            if name == "results" {
                let mut text = String::from("{");
                members.next_value_seed(Agents(&mut text))?;
                text.push('}');
                *self.0 = Some(text);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The agents of an answer, written one after the other.
struct Agents<'t>(&'t mut String);

impl<'de> DeserializeSeed<'de> for Agents<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Agents<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with an object for each agent")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some((id, mut agent)) = members.next_entry::<String, Map<String, Value>>()? {
            match agent.get_mut("operational_state") {
                None => return Err(A::Error::missing_field("operational_state")),
                Some(state @ Value::Null) => *state = Value::from(NO_STATE),
                Some(_) => name_state(&mut agent),
            }
            if self.0.len() > 1 {
                self.0.push_str(", ");
            }
            self.0.push_str(&compact(&Value::from(id)));
            self.0.push_str(": ");
            self.0.push_str(&compact(&Value::from(agent)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_shown_as_python_prints_them_with_their_states_by_name() {
        let answer = r#"{"code":200,"status":"Success","results":{
            "b\u00fc":{"operational_state":3,"ip":"::1","n":[1,2.5,null]},"a":{"ip":null,"operational_state":null},
            "c":{"operational_state":4711}},"more":[{}]}"#;
        let expected = concat!(
            r#"{"b\u00fc": {"operational_state": "Get Quote", "ip": "::1", "n": [1, 2.5, null]}, "#,
            r#""a": {"ip": null, "operational_state": "Not applicable (Push Mode)"}, "#,
            r#""c": {"operational_state": 4711}}"#,
        );
        assert_eq!(transcribe(answer.as_bytes()).unwrap(), expected);
        assert_eq!(transcribe(r#"{"results": {}}"#.as_bytes()).unwrap(), "{}");
    }

    #[test]
    fn what_is_no_listing_of_agents_is_refused() {
        let cut = r#"{"code": 200, "results": {"a": {"operational_state": 3}"#;
        let trailing = r#"{"results": {}} {}"#;
        let others = ["", "null", "[]", r#"{"code": 200}"#, r#"{"results": []}"#, r#"{"results": {"a": 3}}"#];
        for answer in others.into_iter().chain([r#"{"results": {"a": {"ip": null}}}"#, cut, trailing]) {
            assert!(transcribe(answer.as_bytes()).is_err(), "{answer}");
        }
    }

    #[test]
    fn pieces_are_one_stream_wherever_they_are_cut() {
        let (sender, received) = mpsc::channel(8);
        for piece in ["", "ab", "", "cde", "f"] {
            sender.try_send(Bytes::from_static(piece.as_bytes())).unwrap();
        }
        drop(sender);
        let mut text = String::new();
        Pieces { received, current: Bytes::new() }.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcdef");
    }
}
