//! All agents, and what they answer.

use super::FleetError;
use super::agent_number::AgentNumber;
use super::fleet_keys::FleetKeys;
use super::http_request::HttpRequest;
use super::measured_files::{BANK, MeasuredFiles};
use super::observations::Observations;
use super::simulated_agent::{Challenge, Evidence, SimulatedAgent};
use crate::soft_tpm::SoftTpm;
use keylime_engine::tpm::pcr_mask::PcrMask;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Which agents run the unknown file, and when.
#[derive(Debug, Clone, Copy)]
pub struct Intrusion {
    /// When the first agent does.
    pub start: Instant,
    /// How many agents do, from number 0.
    pub agents: u32,
    /// Time between one agent and the next.
    pub spacing: Duration,
}

impl Intrusion {
    fn has_reached(&self, agent: AgentNumber, now: Instant) -> bool {
        agent.0 < self.agents && now >= self.start + self.spacing * agent.0
    }
}

/// All agents of a fleet.
#[derive(Debug)]
pub struct Population {
    /// What they share.
    pub keys: FleetKeys,
    /// What they measure.
    pub files: MeasuredFiles,
    /// What they see.
    pub observations: Observations,
    agents: Vec<Mutex<SimulatedAgent>>,
    new_entries: u32,
    intrusion: OnceLock<Intrusion>,
}

impl Population {
    /// Boots `count` agents whose lists grow by `new_entries` between quotes.
    #[must_use]
    pub fn new(count: u32, keys: FleetKeys, files: MeasuredFiles, new_entries: u32) -> Self {
        let boot = |n| {
            let attestation = Arc::clone(keys.attestation(AgentNumber(n)));
            Mutex::new(SimulatedAgent::new(SoftTpm::new(Arc::clone(&keys.endorsement), attestation, &[BANK])))
        };
        let agents = (0..count).map(boot).collect();
        Self { agents, keys, files, observations: Observations::default(), new_entries, intrusion: OnceLock::new() }
    }

    /// Lets agents run the unknown file; once per fleet.
    pub fn intrude(&self, intrusion: Intrusion) {
        let _ = self.intrusion.set(intrusion);
    }

    /// How many of the first `count` agents were asked for a quote.
    #[must_use]
    pub fn asked(&self, count: u32) -> usize {
        (0..count).filter(|n| self.agent(AgentNumber(*n)).is_some_and(|agent| agent.was_asked())).count()
    }

    /// When an agent first showed the unknown file.
    #[must_use]
    pub fn evidence_at(&self, agent: AgentNumber) -> Option<Instant> {
        self.agent(agent)?.evidence_at()
    }

    /// One agent, for as long as the answer is kept.
    ///
    /// # Errors
    /// There is no such agent.
    pub fn locked(&self, number: AgentNumber) -> Result<MutexGuard<'_, SimulatedAgent>, FleetError> {
        self.agent(number).ok_or_else(|| FleetError::Setup(format!("there is no agent {number}")))
    }

    /// How many entries lists grow by between quotes.
    #[must_use]
    pub const fn new_entries(&self) -> u32 {
        self.new_entries
    }

    fn agent(&self, agent: AgentNumber) -> Option<MutexGuard<'_, SimulatedAgent>> {
        self.agents.get(agent.index()).map(|agent| agent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The bytes of an agent's answer to a request.
    #[must_use]
    pub fn answer(&self, agent: AgentNumber, request: &HttpRequest) -> Vec<u8> {
        let resource = request.path().strip_prefix("/v2.").and_then(|path| path.split_once('/')).map(|(_, rest)| rest);
        let results = match (request.method.as_str(), request.path(), resource) {
            ("GET", "/version", _) => Some(json!({
                "supported_version": "2.6",
                "supported_versions": ["2.1", "2.2", "2.3", "2.4", "2.5", "2.6"],
            })),
            ("GET", _, Some("quotes/integrity")) => self.quote(agent, request),
            ("POST", _, Some("keys/vkey" | "notifications/revocation")) => Some(Value::Null),
            _ => None,
        };
        let (status, body) = match results {
            Some(results) => ("200 OK", json!({ "code": 200, "status": "Success", "results": results })),
            None => {
                self.observations.refused();
                ("400 Bad Request", json!({ "code": 400, "status": "Bad Request", "results": {} }))
            }
        };
        let body = body.to_string();
        let close = if request.last { "connection: close\r\n" } else { "" };
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{close}\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    fn quote(&self, number: AgentNumber, request: &HttpRequest) -> Option<Value> {
        let challenge = Challenge {
            nonce: request.parameter("nonce")?,
            mask: PcrMask::from_hex(request.parameter("mask")?).ok()?,
            first_entry: request.parameter("ima_ml_entry").and_then(|text| text.parse().ok()).unwrap_or(0),
        };
        let now = Instant::now();
        let (gap, evidence) = self.evidence(number, &challenge, now).ok()?;
        self.observations.quoted(gap);
        let (enc_alg, sign_alg) = self.keys.kind.reported_algorithms();
        let mut results = json!({
            "quote": evidence.quote,
            "hash_alg": BANK.name(),
            "enc_alg": enc_alg,
            "sign_alg": sign_alg,
        });
        if request.parameter("partial") == Some("0") {
            results["pubkey"] = self.keys.payload_key_pem.as_str().into();
        }
        if let Some((list, first_entry)) = evidence.list {
            results["ima_measurement_list"] = list.into();
            results["ima_measurement_list_entry"] = first_entry.into();
        }
        Some(results)
    }

    fn evidence(
        &self,
        number: AgentNumber,
        challenge: &Challenge<'_>,
        now: Instant,
    ) -> Result<(Option<f64>, Evidence), FleetError> {
        let mut agent = self.agent(number).ok_or_else(|| FleetError::Setup(format!("there is no agent {number}")))?;
        let gap = agent.note_asked(now);
        if self.files.are_measured() {
            agent.measure(&self.files, self.new_entries)?;
            if self.intrusion.get().is_some_and(|intrusion| intrusion.has_reached(number, now)) {
                agent.run_unknown(&self.files, now)?;
            }
        }
        let evidence = agent.answer(challenge, &self.files, &self.keys.payload_key_pem)?;
        Ok((gap, evidence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::options::AttestationKeyKind;
    use keylime_engine::identity::attestation_key::AttestationKey;
    use keylime_engine::tpm::quote::{ExpectedNonce, QuoteEncoding, QuoteExpectation, QuoteParts, verify};

    fn results(answer: &[u8]) -> Value {
        let text = String::from_utf8(answer.to_vec()).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        serde_json::from_str::<Value>(text.split_once("\r\n\r\n").unwrap().1).unwrap()["results"].take()
    }

    fn request(target: &str) -> HttpRequest {
        HttpRequest { method: "GET".to_owned(), target: target.to_owned(), last: false }
    }

    #[test]
    fn quotes_are_real_and_lists_grow() {
        let keys = FleetKeys::generate(AttestationKeyKind::P256).unwrap();
        let population = Population::new(2, keys, MeasuredFiles::new(5), 3);
        let agent = AgentNumber(1);
        for (round, first) in [(1, 0), (2, 4)] {
            let target = format!("/v2.5/quotes/integrity?nonce=abc&mask=0x400&partial=0&ima_ml_entry={first}");
            let results = results(&population.answer(agent, &request(&target)));
            let list = results["ima_measurement_list"].as_str().unwrap();
            assert_eq!(list.lines().count(), if round == 1 { 4 } else { 3 });
            assert_eq!(results["ima_measurement_list_entry"], first);
            let parts = QuoteParts::decode(results["quote"].as_str().unwrap(), QuoteEncoding::Plain).unwrap();
            let key = AttestationKey::from_tpm2b(population.keys.attestation(agent).public()).unwrap();
            let expected = QuoteExpectation { nonce: ExpectedNonce::Text("abc"), hash_alg: "sha256" };
            assert_eq!(verify(&parts, &key, &expected).unwrap().pcrs.mask(), PcrMask::of([10, 16]));
        }
        assert_eq!((population.asked(2), population.observations.counts().quotes), (1, 2));
    }

    #[test]
    fn other_requests_are_refused_and_counted() {
        let keys = FleetKeys::generate(AttestationKeyKind::P256).unwrap();
        let population = Population::new(1, keys, MeasuredFiles::new(0), 0);
        for target in ["/", "/v2.5/quotes/integrity?mask=0x400", "/v2.5/quotes/integrity?nonce=a&mask=x"] {
            assert!(population.answer(AgentNumber(0), &request(target)).starts_with(b"HTTP/1.1 400"));
        }
        assert_eq!(population.observations.counts().refused_requests, 3);
        assert!(results(&population.answer(AgentNumber(0), &request("/version")))["supported_versions"].is_array());
    }
}
